// One case: correct the sequences, wait, look. The viewer loads once there is something to look at.
import { ask, make, phrase, post, share } from "./server.js";

const $ = (id) => document.getElementById(id);
const key = document.body.dataset.case;
const SEQUENCES = { t1n: "T1", t1c: "T1 with contrast", t2w: "T2", t2f: "FLAIR" };
let state = "";
let viewer = null;

function show(name) {
  for (const part of document.querySelectorAll("[data-state]")) {
    part.hidden = !part.dataset.state.split(" ").includes(name);
  }
}

// What the upload holds, each with the sequence it is for; corrected here.

function review(one) {
  const rows = one.scans.map((scan, n) => {
    const select = make("select", { "aria-label": `Sequence of ${scan.name}`, "data-scan": n, disabled: Boolean(scan.problem) || one.kind === "channels" });
    select.add(new Option("not used", ""));
    for (const [code, name] of Object.entries(SEQUENCES)) select.add(new Option(name, code));
    select.value = Object.entries(one.choice).find(([, place]) => place === n)?.[0] || "";
    select.addEventListener("change", check);
    return make("tr", { class: scan.problem ? "broken" : "" },
      make("th", { scope: "row" }, scan.name, scan.problem || scan.detail ? make("span", { class: "detail" }, scan.problem || scan.detail) : null),
      make("td", {}, select));
  });
  $("scans").replaceChildren(...rows);
  $("case-title").value = one.title;
  $("raw").checked = one.raw;
  $("raw").closest("p").hidden = one.kind !== "nifti";
  $("review-note").textContent = one.state === "review" ? one.message : "";
  check();
}

function choice() {
  const found = {};
  const doubled = new Set();
  for (const select of document.querySelectorAll("[data-scan]")) {
    if (!select.value) continue;
    if (select.value in found) doubled.add(select.value);
    found[select.value] = Number(select.dataset.scan);
  }
  return [found, doubled];
}

function check() {
  const [found, doubled] = choice();
  const line = $("choice-note");
  const missing = Object.keys(SEQUENCES).filter((code) => !(code in found)).map((code) => SEQUENCES[code]);
  $("start").disabled = doubled.size > 0 || missing.length === 4;
  if (doubled.size) line.textContent = `Two scans are set to ${[...doubled].map((code) => SEQUENCES[code]).join(" and ")}. Choose one.`;
  else if (missing.length === 4) line.textContent = "Choose at least one sequence.";
  else if (missing.length) line.textContent = `Without ${missing.join(", ")}: it works, less accurately; the report says what it costs.`;
  else line.textContent = "All four sequences are there.";
  line.classList.toggle("failed", $("start").disabled);
}

async function start(event) {
  event.preventDefault();
  $("start").disabled = true;
  try {
    const body = { choice: choice()[0], raw: $("raw").checked, title: $("case-title").value };
    await update(await post(`/api/cases/${key}/start`, body));
    look();
  } catch (error) {
    $("choice-note").textContent = error.message;
    $("choice-note").classList.add("failed");
    $("start").disabled = false;
  }
}

function progress(one) {
  const bar = $("progress");
  const part = share(one.work);
  if (part === null) bar.removeAttribute("value");
  else bar.value = part;
  $("progress-text").textContent = phrase(one.work);
}

async function update(one) {
  $("title").textContent = one.title;
  document.title = `${one.title}: Glioscope`;
  if (one.state !== state) {
    const before = state;
    state = one.state;
    show(state);
    if (state === "review" || state === "failed") review(one);
    if (state === "failed") $("failure").textContent = one.message;
    for (const button of [$("restore"), $("restore-failed")]) button.hidden = !one.earlier;
    if (state === "done" && viewer) location.reload();
    else if (state === "done") {
      const { open } = await import("./editor.js");
      viewer = open(one, () => ask(`/api/cases/${key}`));
      if (before) $("title").focus();
    }
  }
  if (["reading", "queued", "running"].includes(state)) progress(one);
}

async function look() {
  try {
    await update(await ask(`/api/cases/${key}`));
    $("server-note").textContent = "";
  } catch (error) {
    $("server-note").textContent = error.message;
  }
  if (["reading", "queued", "running", ""].includes(state)) setTimeout(look, 500);
}

$("review").addEventListener("submit", start);
$("back").addEventListener("click", () => location.reload());
$("restore-failed").addEventListener("click", () => $("restore").click());
$("restore").addEventListener("click", async () => {
  if (viewer?.unsaved && !confirm("Your changes are not saved. Leave them?")) return;
  try {
    await ask(`/api/cases/${key}/restore`, { method: "POST" });
    viewer?.close();
    location.reload();
  } catch (error) {
    $("server-note").textContent = error.message;
  }
});
for (const button of document.querySelectorAll("[data-act=again]")) {
  button.addEventListener("click", async () => {
    const one = await ask(`/api/cases/${key}`);
    if (viewer?.unsaved && !confirm("Your changes are not saved. Leave them?")) return;
    state = "review";
    viewer?.close();
    show("review");
    review(one);
    $("back").hidden = one.state !== "done";
    $("review-note").textContent = one.version > 1 ? "The corrected versions are put by when you segment again; they can be brought back." : "";
  });
}
for (const button of document.querySelectorAll("[data-act=delete]")) {
  button.addEventListener("click", async () => {
    if (!confirm("Delete this case with its scans and all versions? This cannot be undone.")) return;
    try {
      await ask(`/api/cases/${key}`, { method: "DELETE" });
      location.href = "/";
    } catch (error) {
      $("server-note").textContent = error.message;
    }
  });
}
look();
