// The page of a scan: film, contours, curves; draw, undo, decide, compute again.

import { api } from "./api.js";
import { clock, el, show } from "./dom.js";
import { circle, pixelsOf } from "./geometry.js";
import { History } from "./history.js";
import { onKey } from "./keys.js";
import { build, showTools } from "./panel.js";
import { COLOURS, View } from "./view.js";

// Radii, mm, of a new border.
const NEW = { myocardium: [28, 18], lv: [16], rv: [16], "aif-voxels": [6], spleen: [20] };
// Drawn on the tissue series; all else on that of the blood.
const ON_TISSUE = ["myocardium", "spleen"];
// Lies apart from the heart: brought into view only while it is the one that is drawn.
const APART = ["spleen"];
const PREVIEW_MS = 120;
const PLAY_MS = 90;

export class ScanPage {
  constructor(page, go, key) {
    Object.assign(this, { page, go, key, films: {}, frame: 0, tool: "shape", active: "myocardium", brush: 5, whole: false });
    this.showing = { contours: true, segments: true };
    this.windows = {};
    this.keys = (event) => onKey(this, event);
    this.onResize = () => this.layOut();
  }

  async open() {
    await this.load();
    document.addEventListener("keydown", this.keys);
    window.addEventListener("resize", this.onResize);
    for (const name of Object.keys(this.scan.planes))
      api.film(this.key, name).then((film) => {
        this.films[name] = film;
        this.draw();
      }, (error) => this.say(error.message, true));
    return () => this.close();
  }

  close() {
    clearInterval(this.playing);
    document.removeEventListener("keydown", this.keys);
    window.removeEventListener("resize", this.onResize);
  }

  async load() {
    this.scan = await api.scan(this.key);
    Object.assign(this, { edits: this.scan.edits, version: this.scan.version, saved: this.scan.saved, preview: this.scan.preview, locked: false, computing: false });
    this.history = new History(this.edits);
    if (!this.edits.regions[this.active]) this.active = Object.keys(this.edits.regions)[0];
    const times = this.scan.planes[this.mainPlane].times;
    if (!this.views) this.frame = this.peak(times);
    this.views = Object.entries(this.scan.planes).flatMap(([name, plane]) => Array.from({ length: plane.shape[0] }, (_, z) => new View(this, name, z)));
    const before = this.views.find((view) => view.planeName === this.chosen?.planeName && view.slice === this.chosen.slice);
    this.chosen = before ?? this.views[Math.floor((this.scan.planes.tissue?.shape[0] ?? 1) / 2)];
    build(this);
  }

  get mainPlane() {
    return this.scan.planes.tissue ? "tissue" : "blood";
  }

  planeOf(structure) {
    return !ON_TISSUE.includes(structure) && this.scan.planes.blood ? "blood" : "tissue";
  }

  // ---- what is shown

  frameOf(name) {
    if (name === this.mainPlane) return this.frame;
    const time = this.scan.planes[this.mainPlane].times[this.frame];
    const { times } = this.scan.planes[name];
    return times.reduce((best, t, i) => (Math.abs(t - time) < Math.abs(times[best] - time) ? i : best), 0);
  }

  // The frame in which the blood is brightest; one in the middle where there is no blood.
  peak(times) {
    const { blood } = this.preview;
    const time = blood ? blood.times[blood.signal.indexOf(Math.max(...blood.signal))] : times[Math.floor(times.length / 2)];
    return times.reduce((best, t, i) => (Math.abs(t - time) < Math.abs(times[best] - time) ? i : best), 0);
  }

  windowOf(name) {
    return this.windows[name] ?? this.scan.planes[name].window;
  }

  dragWindow(name, drag, event) {
    const [low, high] = drag.window;
    const range = this.scan.planes[name].window[1] - this.scan.planes[name].window[0];
    const width = Math.max(range / 100, high - low + ((event.clientX - drag.from[0]) / 300) * range);
    const level = (low + high) / 2 + ((event.clientY - drag.from[1]) / 300) * range;
    this.windows[name] = [level - width / 2, level + width / 2];
    this.draw();
  }

  // Box (left, top, right, bottom) that holds everything drawn on a plane, with room around; all where nothing is drawn,
  // or where what is chosen lies apart and is not drawn yet.
  boxOf(name) {
    const [, , rows, columns] = this.scan.planes[name].shape;
    const all = [-0.5, -0.5, columns - 0.5, rows - 0.5];
    if (this.whole) return all;
    const structures = Object.keys(this.edits.regions).filter((s) => this.planeOf(s) === name && (name === "blood" || s === "myocardium"));
    const pointsOf = (s) => this.scan.edits.regions[s].flatMap((r) => [...(r.outer ?? []), ...(r.painted ? pixelsOf(r.painted, columns) : [])]);
    const apart = APART.includes(this.active) && this.planeOf(this.active) === name ? pointsOf(this.active) : null;
    const points = [...structures.flatMap(pointsOf), ...(apart ?? [])];
    if (!points.length || apart?.length === 0) return all;
    const [dy, dx] = this.scan.planes[name].spacing;
    const bounds = [0, 1].map((axis) => points.reduce(([low, high], p) => [Math.min(low, p[axis]), Math.max(high, p[axis])], [Infinity, -Infinity]));
    const side = Math.max((bounds[0][1] - bounds[0][0]) * dx, (bounds[1][1] - bounds[1][0]) * dy) + 50;
    const centre = bounds.map(([low, high]) => (low + high) / 2);
    return [centre[0] - side / dx / 2, centre[1] - side / dy / 2, centre[0] + side / dx / 2, centre[1] + side / dy / 2];
  }

  layOut() {
    const width = this.grid.clientWidth;
    const height = Math.max(220, window.innerHeight - this.grid.getBoundingClientRect().top - window.scrollY - 110);
    const n = this.views.length;
    let best = [n, 0];
    // One row where it can be; more only where the slices are then clearly larger.
    for (let columns = n; columns >= 1; columns--) {
      const size = Math.floor(Math.min((width - 6 * (columns - 1)) / columns, height / Math.ceil(n / columns) - 6));
      if (size > 1.2 * best[1]) best = [columns, size];
    }
    best[1] = Math.max(best[1], 80);
    this.grid.style.gridTemplateColumns = `repeat(${best[0]}, ${best[1]}px)`;
    for (const view of this.views) view.resize(best[1]);
    this.draw();
  }

  draw() {
    for (const view of this.views) view.draw();
    for (const view of this.views) view.canvas.classList.toggle("chosen", view === this.chosen);
    const { times } = this.scan.planes[this.mainPlane];
    this.slider.value = String(this.frame);
    this.frameText.textContent = `${this.frame + 1} of ${times.length}, ${times[this.frame].toFixed(1)} s${Object.keys(this.scan.planes).filter((name) => this.isOut(name)).map((name) => `, left out of the ${name === "blood" ? "input-function" : "tissue"} series`).join("")}`;
    this.plot.draw(this.curves(), times, this.frame, this.edits.left_out[this.mainPlane] ?? []);
  }

  curves() {
    const found = [];
    const { input } = this.scan;
    if (input?.signal) found.push({ name: "blood, as computed", colour: "#c78a1d", times: input.times, values: input.signal, dashed: true });
    const blood = this.preview?.blood;
    if (blood) found.push({ name: `blood now (${blood.voxels} voxels)`, colour: COLOURS.lv, times: blood.times, values: blood.signal });
    if (this.under) found.push({ name: "cursor", colour: "#4fc3d9", ...this.under });
    return found;
  }

  hover(view, at) {
    this.under = null;
    const film = view && this.films[view.planeName];
    if (film) {
      const [, frames, rows, columns] = view.plane.shape;
      const [x, y] = at.map(Math.round);
      if (x >= 0 && y >= 0 && x < columns && y < rows) {
        const first = view.plane.protonDensity;
        const indices = Array.from({ length: frames - first }, (_, i) => first + i);
        const values = indices.map((t) => film.values[((view.slice * frames + t) * rows + y) * columns + x] * film.step + film.zero);
        this.under = { times: indices.map((t) => view.plane.times[t]), values };
      }
    }
    const { times } = this.scan.planes[this.mainPlane];
    this.plot.draw(this.curves(), times, this.frame, this.edits.left_out[this.mainPlane] ?? []);
  }

  setFrame(frame) {
    const count = this.scan.planes[this.mainPlane].times.length;
    const left = this.isOut(this.drawnOn);
    this.frame = Math.min(count - 1, Math.max(0, frame));
    if (left !== this.isOut(this.drawnOn)) showTools(this);
    this.draw();
  }

  play() {
    if (this.playing) {
      clearInterval(this.playing);
      this.playing = null;
      return;
    }
    const { times, protonDensity } = this.scan.planes[this.mainPlane];
    this.playing = setInterval(() => this.setFrame(this.frame + 1 < times.length ? this.frame + 1 : protonDensity), PLAY_MS);
  }

  // ---- what is drawn

  choose(view) {
    const other = view.planeName !== this.chosen.planeName;
    this.chosen = view;
    if (other) showTools(this);
    this.draw();
  }

  activate(structure) {
    if (this.active === structure) return;
    const other = APART.includes(this.active) || APART.includes(structure);
    this.active = structure;
    showTools(this);
    if (other) this.layOut();
    else this.draw();
  }

  take(tool) {
    this.tool = tool;
    showTools(this);
    this.draw();
  }

  touch(what) {
    if (!this.edits.touched.includes(what)) this.edits.touched.push(what);
  }

  moveBy(view, drag, [dx, dy]) {
    if (drag.point !== undefined) {
      const point = this.edits.points[drag.point];
      point.x += dx;
      point.y += dy;
      this.touch("landmarks");
    } else {
      const region = view.region(drag.structure);
      region.painted = null;
      const handles = region[drag.which];
      for (const handle of drag.handle === undefined ? handles : [handles[drag.handle]]) {
        handle[0] += dx;
        handle[1] += dy;
      }
      this.touch(drag.structure);
    }
    this.previewSoon();
  }

  addHandle(view, found, span, at) {
    const region = view.region(found.structure);
    region.painted = null;
    region[found.which].splice(span + 1, 0, at);
    this.touch(found.structure);
    this.changed();
  }

  removeHandle(view, found) {
    const region = view.region(found.structure);
    if (region[found.which].length <= 4) return;
    region.painted = null;
    region[found.which].splice(found.handle, 1);
    this.touch(found.structure);
    this.changed();
  }

  placePoint(name, slice, [x, y]) {
    this.edits.points = this.edits.points.filter((p) => p.name !== name || p.slice !== slice);
    this.edits.points.push({ name, slice, x, y });
    this.touch("landmarks");
    this.changed();
  }

  newBorder() {
    const view = this.viewFor(this.active);
    if (!view || this.locked) return;
    const region = view.region(this.active);
    const box = this.boxOf(view.planeName);
    const centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    const [outer, inner] = NEW[this.active].map((radius) => circle(centre, radius, view.plane.spacing));
    Object.assign(region, { outer, inner: inner ?? null, painted: null });
    this.touch(this.active);
    this.changed();
  }

  clear() {
    const view = this.viewFor(this.active);
    if (!view || this.locked) return;
    Object.assign(view.region(this.active), { outer: null, inner: null, painted: null });
    this.touch(this.active);
    this.changed();
  }

  // The chosen slice, or the first one of the series that a structure is drawn on.
  viewFor(structure) {
    const name = this.planeOf(structure);
    return this.chosen?.planeName === name ? this.chosen : this.views.find((view) => view.planeName === name);
  }

  // Plane of the chosen slice.
  get drawnOn() {
    return this.chosen.planeName;
  }

  isOut(name) {
    return (this.edits.left_out[name] ?? []).includes(this.frameOf(name));
  }

  // Leave the frame out of the series of the chosen slice, or take it in again.
  leaveOut() {
    if (this.locked) return;
    const name = this.drawnOn;
    const frame = this.frameOf(name);
    const out = this.edits.left_out[name] ?? [];
    this.edits.left_out[name] = this.isOut(name) ? out.filter((f) => f !== frame) : [...out, frame].sort((a, b) => a - b);
    this.touch("frames");
    this.changed();
  }

  async paint(view, path) {
    try {
      const region = await api.brush(this.key, { structure: this.active, region: view.region(this.active), path, radius: this.brush, add: this.tool === "brush" });
      this.edits.regions[this.active][view.slice] = region;
      this.touch(this.active);
      this.changed();
    } catch (error) {
      this.say(error.message, true);
      this.draw();
    }
  }

  async reset() {
    this.edits.touched = [];
    this.edits.left_out = {};
    await this.changed();
    await this.kept;
    if (!this.locked) await this.load();
  }

  undo() {
    this.restore(this.history.undo());
  }

  redo() {
    this.restore(this.history.redo());
  }

  restore(edits) {
    if (!edits || this.locked) return;
    this.edits = edits;
    this.keep();
  }

  // Something was drawn: remember it for undo, and keep it.
  changed() {
    if (!this.history.note(this.edits)) return this.draw();
    return this.keep();
  }

  // One request after another: each has the version that the one before it made.
  keep() {
    this.saved = false;
    showTools(this);
    this.draw();
    const edits = JSON.parse(JSON.stringify(this.edits));
    this.kept = (this.kept ?? Promise.resolve()).then(async () => {
      if (this.locked) return;
      try {
        const told = await api.keep(this.key, this.version, edits);
        Object.assign(this, { version: told.version, preview: told.preview });
        this.say(["Kept as a draft. Compute again to have new flow.", ...told.preview.notes].join(" "));
        this.draw();
      } catch (error) {
        this.fail(error);
      }
    });
    return this.kept;
  }

  previewSoon() {
    if (this.previewing || performance.now() - (this.previewed ?? 0) < PREVIEW_MS) return;
    this.previewing = true;
    api.preview(this.key, this.edits).then((preview) => {
      this.preview = preview;
      this.draw();
    }, () => {}).finally(() => {
      this.previewing = false;
      this.previewed = performance.now();
    });
  }

  fail(error) {
    if (error.code === 409) {
      this.locked = true;
      showTools(this);
      show(this.status, error.message, " ", el("button", { id: "load-again", onclick: () => this.load() }, "Load again"));
      this.status.classList.add("error");
    } else this.say(error.message, true);
  }

  // ---- what is decided

  async decide(decision) {
    await this.kept;
    // What is accepted are the numbers on the page, not those that are on their way.
    if (this.locked || (this.computing && decision === "accepted")) return;
    try {
      const told = await api.decide(this.key, this.version, decision, this.comment.value);
      this.version = told.version;
      if (this.scan.next) this.go(`#/scan/${this.scan.next}`);
      else this.go("#/");
    } catch (error) {
      this.fail(error);
    }
  }

  async compute() {
    await this.kept;
    if (this.locked) return;
    try {
      const told = await api.compute(this.key, this.version, this.comment.value);
      Object.assign(this, { version: told.version, saved: told.saved, job: told.job, computing: true });
      showTools(this);
      this.say("Computing … The report is the earlier one until it ends.");
    } catch (error) {
      this.fail(error);
    }
  }

  // A job of the server has changed.
  async onJob(job) {
    if (job.participant !== this.scan?.participant) return;
    if (job.job === this.job && ["done", "failed"].includes(job.state)) {
      this.computing = false;
      showTools(this);
    }
    if (job.job === this.job && job.state === "failed") this.say(`Not computed: ${job.reason}`, true);
    if (job.state !== "done" || job.job !== this.job) return;
    await this.kept;
    const untouched = !this.history.past.length || this.saved;
    if (!untouched) return this.say("Computed. You have drawn more since: compute again.");
    const { frame, history } = this;
    await this.load();
    this.frame = frame;
    // What was computed is what was drawn, and can still be undone.
    this.history.past = history.past;
    showTools(this);
    this.draw();
    this.say(`Computed in ${job.seconds} s. The report is new.`);
  }

  reviewText() {
    const last = this.scan.reviews.at(-1);
    if (!last) return "";
    return `${last.decision}${last.reader ? ` by ${last.reader}` : ""}, ${clock(last.time)}${last.comment ? `: ${last.comment}` : ""}`;
  }

  say(text, wrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("error", wrong);
  }
}
