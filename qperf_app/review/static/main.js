// Which page is shown: the list (#/) or a scan (#/scan/KEY); and the jobs that the server tells of.

import { listen, takeToken } from "./api.js";
import { el, show } from "./dom.js";
import { openList } from "./list.js";
import { ScanPage } from "./scan.js";

const page = document.getElementById("page");
const jobs = document.getElementById("jobs");
let leave = () => {};
let scan = null;
let turn = 0;
// A page that takes longer says so, ms.
const PATIENCE = 250;

const go = (address) => {
  location.hash = address;
};

async function open() {
  const mine = ++turn;
  const from = scan?.key;
  leave();
  leave = () => {};
  scan = null;
  const [, kind, key] = location.hash.split("/");
  const loading = setTimeout(() => mine === turn && show(page, el("p", { class: "message", role: "status" }, "Loading …")), PATIENCE);
  try {
    if (kind === "scan" && key) {
      const next = new ScanPage(page, go, decodeURIComponent(key));
      const close = await next.open();
      if (mine !== turn) return close();
      scan = next;
      leave = close;
    } else {
      document.title = "qperf review";
      const close = await openList(page, go, from);
      if (mine !== turn) return close();
      leave = close;
    }
  } catch (error) {
    if (mine === turn) show(page, el("p", { class: "message error" }, error.message), el("p", { class: "message" }, el("a", { href: "#/", onclick: () => location.reload() }, "To the list")));
  } finally {
    clearTimeout(loading);
  }
  return undefined;
}

const shown = new Map();

function tell(job) {
  const before = shown.get(job.participant)?.state;
  shown.set(job.participant, job);
  show(jobs, [...shown.values()].filter((j) => ["waiting", "running", "failed"].includes(j.state)).map((j) =>
    el("div", { class: `job ${j.state}` },
      el("strong", {}, `sub-${j.participant}`), ` ${j.state === "failed" ? j.reason : j.step ?? "waiting"} `,
      j.total ? el("progress", { max: j.total, value: j.done ?? 0 }) : null,
      j.state === "failed" ? el("button", { onclick: () => { shown.delete(j.participant); tell({ ...j, state: "seen" }); } }, "Close") : null)));
  scan?.onJob(job);
  // The list is new where a job ends, not where one is heard of that had ended before.
  if (job.state === "done" && before && before !== "done" && !scan && !location.hash.startsWith("#/scan/")) open();
}

takeToken();
window.addEventListener("hashchange", () => {
  takeToken();
  open();
});
open();
listen(tell, (there) => document.body.classList.toggle("alone", !there));
