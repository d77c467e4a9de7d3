// The keyboard of the page of a scan.

import { isTyping } from "./dom.js";
import { showTools } from "./panel.js";

export function onKey(page, event) {
  if (isTyping(event)) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z" && !event.shiftKey) page.undo();
    else if (event.key === "y" || event.key === "Z" || (event.key === "z" && event.shiftKey)) page.redo();
    else return;
    event.preventDefault();
    return;
  }
  if (event.altKey) return;
  const toggle = (name) => () => { page.showing[name] = !page.showing[name]; showTools(page); page.draw(); };
  const acts = {
    Escape: () => page.go("#/"), " ": () => page.play(), ArrowLeft: () => page.setFrame(page.frame - 1), ArrowRight: () => page.setFrame(page.frame + 1),
    PageDown: () => page.scan.next && page.go(`#/scan/${page.scan.next}`), PageUp: () => page.scan.previous && page.go(`#/scan/${page.scan.previous}`),
    v: () => page.take("shape"), b: () => page.take("brush"), e: () => page.take("erase"), w: () => page.take("window"), 1: () => page.take("RVInsertionAnterior"), 2: () => page.take("RVInsertionInferior"),
    n: () => page.newBorder(), Delete: () => page.clear(), l: () => page.leaveOut(), h: toggle("contours"), s: toggle("segments"),
    z: () => { page.whole = !page.whole; showTools(page); page.layOut(); },
    c: () => page.actions.querySelector("#compute").click(), a: () => page.actions.querySelector("#accept").click(), x: () => page.actions.querySelector("#not-usable").click(),
  };
  const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  act();
  event.preventDefault();
}
