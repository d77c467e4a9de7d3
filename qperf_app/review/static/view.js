// One slice of one series on a canvas: a frame of the film, contours over it, and what the pointer does to them.

import { bytesOf, closedCurve, pixelsOf, spanAt } from "./geometry.js";

export const COLOURS = { outer: "#52e08a", inner: "#ff6b6b", lv: "#ffb02e", rv: "#5aa9ff", "aif-voxels": "#ff7ae0", spleen: "#b69cff", points: "#6ff0ff" };
// Twelve hues that neighbours in the wall do not share.
const SEGMENT_HUES = [210, 45, 160, 320, 95, 265];
const HANDLE_RADIUS = 4.5;
const REACH = { mouse: 11, pen: 14, touch: 24 };

export class View {
  constructor(owner, planeName, slice) {
    Object.assign(this, { owner, planeName, slice });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "view";
    this.canvas.dataset.view = `${planeName}-${slice}`;
    this.picture = document.createElement("canvas");
    const [, , rows, columns] = this.plane.shape;
    Object.assign(this.picture, { width: columns, height: rows });
    this.image = this.picture.getContext("2d").createImageData(columns, rows);
    this.drag = null;
    for (const [type, act] of [["pointerdown", "down"], ["pointermove", "move"], ["pointerup", "up"], ["pointercancel", "up"], ["pointerleave", "leave"], ["dblclick", "double"]])
      this.canvas.addEventListener(type, (event) => this[act](event));
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("wheel", (event) => {
      owner.setFrame(owner.frame + Math.sign(event.deltaY));
      event.preventDefault();
    }, { passive: false });
  }

  get plane() {
    return this.owner.scan.planes[this.planeName];
  }

  get structures() {
    return Object.keys(this.owner.edits.regions).filter((s) => this.owner.planeOf(s) === this.planeName);
  }

  region(structure) {
    return this.owner.edits.regions[structure][this.slice];
  }

  // Fit the box (columns and rows) into a square of so many CSS pixels.
  resize(size) {
    const ratio = window.devicePixelRatio || 1;
    const box = this.owner.boxOf(this.planeName);
    this.size = size;
    Object.assign(this.canvas, { width: Math.round(size * ratio), height: Math.round(size * ratio) });
    Object.assign(this.canvas.style, { width: `${size}px`, height: `${size}px` });
    const [dy, dx] = this.plane.spacing;
    const scale = size / Math.max((box[2] - box[0]) * dx, (box[3] - box[1]) * dy);
    this.scale = [scale * dx, scale * dy];
    this.offset = [size / 2 - ((box[0] + box[2]) / 2) * this.scale[0], size / 2 - ((box[1] + box[3]) / 2) * this.scale[1]];
    this.ratio = ratio;
    this.canvas.dataset.place = JSON.stringify([this.scale, this.offset]);
    this.draw();
  }

  toScreen([x, y]) {
    return [(x + 0.5) * this.scale[0] + this.offset[0], (y + 0.5) * this.scale[1] + this.offset[1]];
  }

  toImage(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const at = [event.clientX - bounds.left, event.clientY - bounds.top];
    return [0, 1].map((axis) => (at[axis] - this.offset[axis]) / this.scale[axis] - 0.5);
  }

  draw() {
    if (!this.size) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.size, this.size);
    this.drawFilm(context);
    const numbers = this.owner.showing.segments && this.planeName === "tissue" ? this.drawSegments(context) : [];
    if (this.owner.showing.contours) {
      for (const structure of this.structures) this.drawRegion(context, structure);
      if (this.planeName === "tissue") this.drawPoints(context);
    }
    // Over the handles, which are as large as the wall is thick.
    for (const [number, at] of numbers) this.write(context, number, at);
    this.drawStroke(context);
    this.drawEdges(context);
  }

  drawFilm(context) {
    const film = this.owner.films[this.planeName];
    if (!film) {
      this.write(context, "Loading …", [this.size / 2, this.size / 2]);
      return;
    }
    const [, frames, rows, columns] = this.plane.shape;
    const frame = this.owner.frameOf(this.planeName);
    const start = (this.slice * frames + frame) * rows * columns;
    const [low, high] = this.owner.windowOf(this.planeName);
    const gain = (255 * film.step) / (high - low);
    const shift = (255 * (film.zero - low)) / (high - low);
    const pixels = this.image.data;
    for (let i = 0; i < rows * columns; i++) {
      const grey = film.values[start + i] * gain + shift;
      pixels[4 * i] = pixels[4 * i + 1] = pixels[4 * i + 2] = grey;
      pixels[4 * i + 3] = 255;
    }
    this.picture.getContext("2d").putImageData(this.image, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, this.offset[0], this.offset[1], columns * this.scale[0], rows * this.scale[1]);
  }

  // Colour the segments; returns their numbers with where they stand.
  drawSegments(context) {
    const labels = bytesOf(this.owner.preview?.segments?.[this.slice] ?? "");
    const columns = this.plane.shape[3];
    const sums = {};
    context.globalAlpha = 0.3;
    labels.forEach((label, i) => {
      if (!label) return;
      const at = [i % columns, Math.floor(i / columns)];
      const [x, y] = this.toScreen([at[0] - 0.5, at[1] - 0.5]);
      context.fillStyle = `hsl(${SEGMENT_HUES[label % 6]} 85% 60%)`;
      context.fillRect(x, y, this.scale[0] + 0.5, this.scale[1] + 0.5);
      const sum = (sums[label] ??= [0, 0, 0]);
      sum[0] += at[0];
      sum[1] += at[1];
      sum[2] += 1;
    });
    context.globalAlpha = 1;
    return Object.entries(sums).map(([label, [x, y, n]]) => [label, this.toScreen([x / n, y / n])]);
  }

  write(context, text, [x, y]) {
    Object.assign(context, { font: "600 12px system-ui, sans-serif", textAlign: "center", textBaseline: "middle", lineWidth: 3 });
    context.strokeStyle = "#000a";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  }

  drawRegion(context, structure) {
    const region = this.region(structure);
    const active = this.owner.active === structure;
    if (region.painted && active) {
      context.fillStyle = "#ffffff30";
      for (const [x, y] of pixelsOf(region.painted, this.plane.shape[3]))
        context.fillRect(...this.toScreen([x - 0.5, y - 0.5]), this.scale[0], this.scale[1]);
    }
    for (const which of ["outer", "inner"]) {
      const handles = region[which];
      if (!handles) continue;
      const colour = structure === "myocardium" ? COLOURS[which] : COLOURS[structure];
      context.beginPath();
      for (const point of closedCurve(handles, this.owner.scan.weights)) context.lineTo(...this.toScreen(point));
      context.closePath();
      context.lineWidth = active ? 2 : 1.25;
      context.strokeStyle = colour;
      context.stroke();
      if (!active || this.owner.tool !== "shape") continue;
      for (const handle of handles) {
        context.beginPath();
        context.arc(...this.toScreen(handle), HANDLE_RADIUS, 0, 2 * Math.PI);
        context.fillStyle = "#000b";
        context.fill();
        context.stroke();
      }
    }
  }

  drawPoints(context) {
    for (const point of this.owner.edits.points.filter((p) => p.slice === this.slice)) {
      const [x, y] = this.toScreen([point.x, point.y]);
      context.lineWidth = 2.5;
      context.strokeStyle = COLOURS.points;
      context.beginPath();
      context.arc(x, y, 6, 0, 2 * Math.PI);
      context.moveTo(x - 10, y);
      context.lineTo(x + 10, y);
      context.moveTo(x, y - 10);
      context.lineTo(x, y + 10);
      context.stroke();
      this.write(context, point.name === "RVInsertionAnterior" ? "A" : "I", [x, y - 18]);
    }
  }

  drawStroke(context) {
    const stroke = this.drag?.stroke;
    if (!stroke) return;
    context.fillStyle = this.owner.tool === "erase" ? "#ff303060" : "#ffffff60";
    const radius = this.owner.brush / this.plane.spacing[1];
    for (const point of stroke) {
      context.beginPath();
      context.arc(...this.toScreen(point), radius * this.scale[0], 0, 2 * Math.PI);
      context.fill();
    }
  }

  drawEdges(context) {
    const [up, right, down, left] = this.plane.edges;
    const middle = this.size / 2;
    context.globalAlpha = 0.75;
    for (const [text, at] of [[up, [middle, 10]], [right, [this.size - 12, middle]], [down, [middle, this.size - 10]], [left, [12, middle]]])
      this.write(context, text, at);
    context.globalAlpha = 1;
    const kind = this.planeName === "blood" ? "input function" : `slice ${this.slice + 1}`;
    Object.assign(context, { font: "12px system-ui, sans-serif", textAlign: "left", textBaseline: "top", fillStyle: "#fffc" });
    context.fillText(kind, 8, 8);
  }

  // What the pointer is on: a handle, an insertion point or a curve; of the active structure first.
  hit(at, reach) {
    const near = (point) => {
      const [x, y] = this.toScreen(point);
      const [px, py] = this.toScreen(at);
      return Math.hypot(x - px, y - py);
    };
    let best = null;
    const take = (distance, found) => {
      if (distance <= reach && (!best || distance < best.distance)) best = { ...found, distance };
    };
    const order = [this.owner.active, ...this.structures.filter((s) => s !== this.owner.active)].filter((s) => this.structures.includes(s));
    if (this.planeName === "tissue")
      this.owner.edits.points.forEach((p, index) => p.slice === this.slice && take(near([p.x, p.y]) * 0.8, { point: index }));
    for (const structure of order) {
      if (best) break;
      for (const which of ["outer", "inner"])
        this.region(structure)[which]?.forEach((handle, index) => take(near(handle), { structure, which, handle: index }));
    }
    for (const structure of order) {
      if (best) break;
      for (const which of ["outer", "inner"]) {
        const handles = this.region(structure)[which];
        if (handles) for (const point of closedCurve(handles, this.owner.scan.weights)) take(near(point), { structure, which });
      }
    }
    return best;
  }

  down(event) {
    const { owner } = this;
    const at = this.toImage(event);
    owner.choose(this);
    if (event.button === 2 || owner.tool === "window") this.drag = { window: [...owner.windowOf(this.planeName)], from: [event.clientX, event.clientY] };
    else if (event.button !== 0 || owner.locked) return;
    else if (owner.tool === "brush" || owner.tool === "erase") {
      if (owner.planeOf(owner.active) === this.planeName) this.drag = { stroke: [at] };
    } else if (owner.tool === "RVInsertionAnterior" || owner.tool === "RVInsertionInferior") {
      if (this.planeName === "tissue") owner.placePoint(owner.tool, this.slice, at);
    } else {
      const found = this.hit(at, REACH[event.pointerType] ?? REACH.mouse);
      if (found?.structure) owner.activate(found.structure);
      if (found?.handle !== undefined && event.altKey) owner.removeHandle(this, found);
      else if (found) this.drag = { ...found, last: at };
    }
    if (this.drag) this.canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  move(event) {
    const at = this.toImage(event);
    this.owner.hover(this, at);
    const { drag } = this;
    if (!drag) {
      const found = this.owner.tool === "shape" && this.hit(at, REACH[event.pointerType] ?? REACH.mouse);
      this.canvas.style.cursor = found ? (found.handle === undefined && found.point === undefined ? "move" : "grab") : "crosshair";
      return;
    }
    if (drag.window) this.owner.dragWindow(this.planeName, drag, event);
    else if (drag.stroke) drag.stroke.push(at);
    else {
      const by = [at[0] - drag.last[0], at[1] - drag.last[1]];
      drag.last = at;
      this.owner.moveBy(this, drag, by);
    }
    this.draw();
  }

  up() {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.stroke) this.owner.paint(this, drag.stroke);
    else if (!drag.window) this.owner.changed();
  }

  leave() {
    if (!this.drag) this.owner.hover(null);
  }

  double(event) {
    const at = this.toImage(event);
    const found = this.owner.tool === "shape" && !this.owner.locked && this.hit(at, REACH.mouse);
    if (!found?.structure || found.handle !== undefined) return;
    const handles = this.region(found.structure)[found.which];
    const weights = this.owner.scan.weights;
    this.owner.addHandle(this, found, spanAt(closedCurve(handles, weights), at, weights.length), at);
  }
}
