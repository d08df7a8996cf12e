// What all pages need: asking the server, and elements made without markup, so that no name is ever taken for HTML.

// The server's answer, or an error that a person understands.
async function answerOf(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.status === 401) {
    if (!options.method) location.href = `/login?next=${encodeURIComponent(location.pathname)}`;
    throw new Error("Please log in again: the session has ended.");
  }
  if (!answer.ok) {
    const error = new Error(await reason(answer));
    error.status = answer.status;
    throw error;
  }
  return answer;
}

async function read(answer, how) {
  try {
    return await answer[how]();
  } catch {
    throw new Error("The server's answer broke off. Is it still running?");
  }
}

export async function ask(path, options = {}) {
  const answer = await answerOf(path, options);
  return answer.status === 204 ? null : read(answer, "json");
}

export async function bytesOf(path) {
  return read(await answerOf(path, {}), "arrayBuffer");
}

function through(data, stream) {
  return new Response(new Blob([data]).stream().pipeThrough(stream));
}

export function gunzip(data) {
  return through(data, new DecompressionStream("gzip")).arrayBuffer();
}

export function gzip(data) {
  return through(data, new CompressionStream("gzip")).blob();
}

export async function reason(answer) {
  try {
    return (await answer.json()).detail || `The server answered ${answer.status}.`;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

export function post(path, body) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const STATES = {
  reading: "Reading", review: "To check", queued: "Waiting", running: "Segmenting", done: "Done", failed: "Failed",
};

export function when(seconds) {
  const date = new Date(seconds * 1000);
  const today = new Date().toDateString() === date.toDateString();
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return today ? `today, ${time}` : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

export function bytes(n) {
  return n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(n / 1e3))} KB`;
}

// How far a job is, from how long such jobs usually take: never full before it is done.
export function share(work) {
  if (!work || work.state !== "running") return null;
  return work.usual_seconds ? Math.min(0.96, work.seconds / (work.usual_seconds * 1.15)) : null;
}

export function phrase(work) {
  if (!work) return "";
  if (work.state === "queued") return work.ahead ? `Waiting; ${work.ahead} before it` : "Waiting to begin";
  const step = work.step ? work.step[0].toUpperCase() + work.step.slice(1) : "Working";
  const left = work.usual_seconds ? Math.max(1, Math.round(work.usual_seconds * 1.15 - work.seconds)) : null;
  return `${step}, ${Math.round(work.seconds)} s${left !== null && work.seconds < work.usual_seconds * 1.15 ? `; about ${left} s left` : ""}`;
}

export function phraseOfCount(count, thing) {
  return `${count.toLocaleString("en-GB")} ${thing}${count === 1 ? "" : "s"}`;
}

// Controls

export function listen(id, event, act) {
  const element = document.getElementById(id);
  element.addEventListener(event, () => act(element));
}

export function chip(parent, type, group, value, text, checked, change, extra = "") {
  const input = make("input", { type, name: group, value, checked });
  input.addEventListener("change", () => change(input));
  parent.append(make("label", { class: `chip ${extra}` }, input, make("span", {}, text)));
  return input;
}
