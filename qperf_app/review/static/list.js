// The list of scans: doubtful ones first, each with why.

import { api } from "./api.js";
import { clock, el, isTyping, show } from "./dom.js";

const WORDS = { "no result": "no result", doubtful: "doubtful", warnings: "warnings", none: "nothing to say" };

export async function openList(page, go, from) {
  const told = await api.scans();
  const open = told.scans.filter((row) => !row.decision).length;
  let at = Math.max(0, told.scans.findIndex((row) => row.key === from));
  const rows = told.scans.map((row, index) =>
    el("tr", { class: `row ${row.decision ? "seen" : ""}`, "data-key": row.key, onclick: () => row.key && go(`#/scan/${row.key}`), onmouseenter: () => mark(index) },
      el("td", {}, row.key ? el("a", { href: `#/scan/${row.key}` }, `sub-${row.participant}`) : `sub-${row.participant}`),
      el("td", {}, row.label),
      el("td", {}, el("span", { class: `badge ${row.severity.replace(" ", "-")}` }, WORDS[row.severity])),
      el("td", { class: "why" }, why(row.reasons)),
      el("td", {}, row.corrected && row.decision !== "corrected" ? el("span", { class: "badge corrected" }, "corrected") : "",
        row.decision ? el("span", { class: `badge ${row.decision.replace(" ", "-")}` }, row.decision) : "",
        row.pending ? el("span", { class: "badge pending" }, "edits not computed") : ""),
      el("td", { class: "who" }, [row.reader, clock(row.time)].filter(Boolean).join(", "), row.comment ? el("p", {}, row.comment) : ""),
    ));
  const mark = (index) => {
    rows[at]?.classList.remove("at");
    at = Math.min(rows.length - 1, Math.max(0, index));
    rows[at]?.classList.add("at");
  };
  show(page,
    el("header", { class: "bar" }, el("h1", {}, `Review of ${told.results}`),
      el("p", {}, `${told.scans.length} scans, ${open} not looked at. ${told.reader ? `Reader: ${told.reader}.` : "No reader named (--reader)."}`)),
    el("main", { class: "list" },
      el("table", {}, el("thead", {}, el("tr", {}, ["Participant", "Scan", "", "Why", "Decision", "By"].map((name) => el("th", {}, name)))),
        el("tbody", {}, rows)),
      el("p", { class: "hint" }, "↑ ↓ choose, Enter opens. Corrections are kept in ", el("code", {}, told.corrections), ".")));
  mark(at);
  const keys = (event) => {
    if (isTyping(event)) return;
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (step) {
      mark(at + step);
      rows[at]?.scrollIntoView({ block: "nearest" });
      event.preventDefault();
    } else if (event.key === "Enter" && told.scans[at]?.key) go(`#/scan/${told.scans[at].key}`);
  };
  document.addEventListener("keydown", keys);
  return () => document.removeEventListener("keydown", keys);
}

function why(reasons) {
  if (reasons.length < 2) return reasons;
  return el("details", { onclick: (event) => event.stopPropagation() }, el("summary", {}, `${reasons[0]} (and ${reasons.length - 1} more)`),
    el("ul", {}, reasons.slice(1).map((reason) => el("li", {}, reason))));
}
