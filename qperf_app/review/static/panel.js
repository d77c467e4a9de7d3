// What stands around the pictures of a scan: its header, the tools, the table of flow.

import { el, show } from "./dom.js";
import { Plot } from "./plot.js";

const NAMES = { myocardium: "Wall", lv: "Left ventricle", rv: "Right ventricle", "aif-voxels": "Input function", spleen: "Spleen", landmarks: "Insertion points", frames: "Frames" };
const TOOLS = [["shape", "Drag", "V"], ["brush", "Brush", "B"], ["erase", "Erase", "E"], ["window", "Window", "W"], ["RVInsertionAnterior", "Anterior point", "1"], ["RVInsertionInferior", "Inferior point", "2"]];

export function build(page) {
  const { scan } = page;
  document.title = `sub-${scan.participant} ${scan.label}`;
  const link = (key, text) => el("a", { class: "button", href: key ? `#/scan/${key}` : "#/", "aria-disabled": String(!key) }, text);
  page.status = el("p", { class: "status", role: "status" });
  page.grid = el("div", { class: "views" }, page.views.map((view) => view.canvas));
  page.plot = new Plot((frame) => page.setFrame(frame));
  page.slider = el("input", { type: "range", min: "0", max: String(scan.planes[page.mainPlane].times.length - 1), "aria-label": "frame", oninput: () => page.setFrame(Number(page.slider.value)) });
  page.frameText = el("output", {});
  page.comment = el("input", { type: "text", placeholder: "Comment", maxlength: "500", class: "comment", "aria-label": "comment" });
  page.side = el("aside", { class: "tools" });
  page.actions = el("div", { class: "actions" });
  page.flow = el("div", { class: "flow" });
  show(page.page,
    el("header", { class: "bar" },
      el("nav", {}, link(null, "☰ List"), link(scan.previous, "‹"), link(scan.next, "›")),
      el("h1", {}, `sub-${scan.participant} ${scan.label}`),
      scan.reasons.length ? el("details", { class: "reasons" }, el("summary", {}, el("span", { class: `badge ${scan.severity.replace(" ", "-")}` }, scan.severity), ` ${scan.reasons[0]}`), el("ul", {}, scan.reasons.map((r) => el("li", {}, r)))) : el("p", {}, "Nothing to doubt was found."),
      el("div", { class: "deed" }, page.comment, page.actions,
        el("a", { class: "button", href: scan.report, target: "_blank", rel: "noopener", id: "report" }, "Report")),
      page.status),
    el("main", { class: "scan" },
      el("section", { class: "stage" }, page.grid,
        el("div", { class: "film" }, el("button", { onclick: () => page.play(), title: "Space" }, "▶"), page.slider, page.frameText),
        el("div", { class: "below" }, page.plot.canvas, page.flow)),
      page.side));
  showTools(page);
  showFlow(page);
  page.layOut();
  page.say(page.reviewText());
}

export function showTools(page) {
  const { showing } = page;
  const structures = Object.keys(page.edits.regions);
  const check = (name, text, key) => el("label", {}, el("input", { type: "checkbox", checked: showing[name], onchange: (event) => { showing[name] = event.target.checked; page.draw(); } }), ` ${text} (${key})`);
  const painting = page.tool === "brush" || page.tool === "erase";
  show(page.side,
    el("h2", {}, "Region", el("small", {}, page.edits.touched.length ? ` drawn by you: ${page.edits.touched.map((t) => NAMES[t].toLowerCase()).join(", ")}` : "")),
    el("div", { class: "choices" }, structures.map((s) => el("button", { class: s === page.active ? "on" : "", "data-structure": s, onclick: () => page.activate(s) }, el("i", { class: `dot ${s}` }), NAMES[s]))),
    el("h2", {}, "Tool"),
    el("div", { class: "choices" }, TOOLS.filter(([name]) => !name.startsWith("RV") || page.scan.planes.tissue).map(([name, text, key]) => el("button", { class: name === page.tool ? "on" : "", title: key, "data-tool": name, onclick: () => page.take(name) }, text))),
    painting && el("label", { class: "range" }, `Brush ${page.brush} mm`, el("input", { type: "range", min: "2", max: "25", step: "0.5", value: String(page.brush), oninput: (event) => { page.brush = Number(event.target.value); event.target.previousSibling.textContent = `Brush ${page.brush} mm`; } })),
    el("div", { class: "choices" },
      el("button", { onclick: () => page.newBorder(), title: "N" }, "New border"),
      el("button", { onclick: () => page.clear(), title: "Delete" }, "Clear slice"),
      el("button", { onclick: () => page.leaveOut(), title: "L", id: "leave-out" }, page.isOut(page.drawnOn) ? "Take frame in" : "Leave frame out")),
    el("div", { class: "choices" },
      el("button", { onclick: () => page.undo(), disabled: !page.history.past.length, title: "Ctrl+Z", id: "undo" }, "Undo"),
      el("button", { onclick: () => page.redo(), disabled: !page.history.future.length, title: "Ctrl+Y" }, "Redo"),
      el("button", { onclick: () => page.reset(), disabled: !page.edits.touched.length, id: "reset" }, "The app's own")),
    el("div", { class: "checks" }, check("contours", "contours", "H"), check("segments", "segments", "S"),
      el("label", {}, el("input", { type: "checkbox", checked: page.whole, onchange: (event) => { page.whole = event.target.checked; page.layOut(); } }), " whole image (Z)")),
    el("p", { class: "hint" }, "Drag a handle, a border or a point. Double-click a border: one handle more; Alt-click a handle: one less. Right button or Window: drag for window and level. Wheel: frames."));
  const stale = page.edits.touched.length > 0 || !page.saved;
  show(page.actions,
    el("button", { class: page.saved ? "" : "primary", onclick: () => page.compute(), disabled: page.locked || page.computing || !stale, title: "C", id: "compute" }, "Compute again"),
    el("button", { onclick: () => page.decide("accepted"), disabled: page.locked || page.computing || !page.saved, title: "A", id: "accept" }, "Accept"),
    el("button", { onclick: () => page.decide("not usable"), disabled: page.locked, title: "X", id: "not-usable" }, "Not usable"));
}

export function showFlow(page) {
  const { flow } = page.scan;
  if (!flow) return show(page.flow);
  const before = page.scan.flow_before?.method === flow.method ? page.scan.flow_before.values : null;
  const cell = (v) => (v === null || v === undefined ? "–" : v.toFixed(2));
  show(page.flow, el("h2", {}, `Flow, ${flow.units} (${flow.method})`, before ? el("small", {}, " was: before the corrections") : ""),
    el("table", {}, el("tbody", {}, Object.entries(flow.values).map(([segment, value]) => el("tr", { "data-segment": segment }, el("th", {}, segment), el("td", {}, cell(value)),
      before && el("td", { class: before[segment] === value ? "" : "changed" }, before[segment] === value ? "" : `was ${cell(before[segment])}`))))));
}
