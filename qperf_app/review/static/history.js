// Undo and redo: snapshots of all edits, which are small.

export class History {
  constructor(first) {
    this.past = [];
    this.future = [];
    this.present = JSON.stringify(first);
  }

  // Take note of what is there now; says whether it differs from before.
  note(edits) {
    const now = JSON.stringify(edits);
    if (now === this.present) return false;
    this.past.push(this.present);
    this.present = now;
    this.future = [];
    return true;
  }

  step(from, to) {
    if (!from.length) return null;
    to.push(this.present);
    this.present = from.pop();
    return JSON.parse(this.present);
  }

  undo() {
    return this.step(this.past, this.future);
  }

  redo() {
    return this.step(this.future, this.past);
  }
}
