// What the page asks the server for. The token is behind '#' of the address that was printed; it is kept for this tab
// and travels in a header.

const KEPT = "qperf-review-token";

export function takeToken() {
  const fragment = location.hash.slice(1);
  if (fragment && !fragment.startsWith("/")) {
    sessionStorage.setItem(KEPT, fragment);
    history.replaceState(null, "", "#/");
  }
}

export class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEPT) ?? ""}`, ...options.headers };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused("qperf review has ended, or can't be reached. What you drew last may not be kept.", 0);
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Refused(told.error ?? `the server answered ${response.status}`, response.status);
  }
  return response;
}

const send = async (path, method, content) =>
  (await ask(path, { method, body: JSON.stringify(content), headers: { "Content-Type": "application/json" } })).json();

const scan = (key, rest = "") => `/api/scans/${encodeURIComponent(key)}${rest}`;

export const api = {
  scans: async () => (await ask("/api/scans")).json(),
  scan: async (key) => (await ask(scan(key))).json(),
  film: async (key, plane) => {
    const response = await ask(scan(key, `/film/${plane}`));
    const values = new Uint16Array(await response.arrayBuffer());
    const number = (name) => Number(response.headers.get(name));
    return { values, step: number("X-Signal-Step"), zero: number("X-Signal-Zero") };
  },
  keep: (key, version, edits) => send(scan(key, "/draft"), "PUT", { version, edits }),
  preview: (key, edits) => send(scan(key, "/preview"), "POST", edits),
  brush: (key, stroke) => send(scan(key, "/brush"), "POST", stroke),
  decide: (key, version, decision, comment) => send(scan(key, "/decision"), "POST", { version, decision, comment }),
  compute: (key, version, comment) => send(scan(key, "/compute"), "POST", { version, comment }),
};

const shown = () => new Promise((done) => {
  if (!document.hidden) done();
  else document.addEventListener("visibilitychange", () => done(shown()), { once: true });
});

// Server-sent events, read by hand: an EventSource can't send a header. Begins again when the stream breaks. Only while
// the page is seen: browsers open six connections to a server, for all tabs together.
export async function listen(onJob, onState) {
  for (;;) {
    await shown();
    const stop = new AbortController();
    const hide = () => document.hidden && stop.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      const reader = (await ask("/api/events", { signal: stop.signal })).body.pipeThrough(new TextDecoderStream()).getReader();
      onState(true);
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const events = (text + part.value).split("\n\n");
        text = events.pop();
        for (const event of events) if (event.startsWith("data: ")) onJob(JSON.parse(event.slice(6)));
      }
    } catch {
      if (!stop.signal.aborted) onState(false);
    }
    document.removeEventListener("visibilitychange", hide);
    await new Promise((done) => setTimeout(done, 1000));
  }
}
