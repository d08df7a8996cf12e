// The first page: files in, and the list of cases.
import { STATES, ask, bytes, make, phrase, reason, share, when } from "./server.js";

const $ = (id) => document.getElementById(id);
const zone = $("drop");
let sending = null;

// Files of a drop, folders walked through; each with its path below what was dropped.
async function dropped(items) {
  const entries = [], found = [];
  for (const item of items) { // all of them now: after the first wait the list is empty
    const entry = item.webkitGetAsEntry?.(), file = item.getAsFile();
    if (entry) entries.push(entry);
    else if (file) found.push([file, file.name]);
  }
  async function walk(entry, path) {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push([file, path + entry.name]);
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!part.length) break;
        for (const child of part) await walk(child, `${path}${entry.name}/`);
      }
    }
  }
  for (const entry of entries) await walk(entry, "");
  return found;
}

function say(text, failed = false) {
  const line = $("upload-note");
  line.textContent = text;
  line.classList.toggle("failed", failed);
  line.setAttribute("role", failed ? "alert" : "status");
}

function send(files) {
  if (sending) return;
  if (!files.length) return say("There was no file in it.", true);
  const form = new FormData();
  form.append("title", $("title").value.trim());
  let total = 0;
  for (const [file, path] of files) {
    form.append("files", file, path);
    total += file.size;
  }
  const request = (sending = new XMLHttpRequest());
  const bar = $("upload-bar");
  request.open("POST", "/api/uploads");
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    bar.value = event.loaded / event.total;
    say(event.loaded < event.total
      ? `Uploading ${files.length} file${files.length > 1 ? "s" : ""}: ${bytes(event.loaded)} of ${bytes(event.total)}`
      : "Looking at the files…");
  });
  request.addEventListener("loadend", async () => {
    sending = null;
    zone.classList.remove("busy");
    $("cancel").hidden = bar.hidden = true;
    const status = request.status;
    if (status === 201) {
      const cases = JSON.parse(request.responseText);
      if (cases.length === 1) location.href = `/cases/${cases[0].key}`;
      else {
        say(`${cases.length} patients were recognised. Check each, then segment.`);
        refresh();
      }
    } else if (status === 401) location.href = "/login";
    else if (status) say(await reason(new Response(request.responseText, { status })), true);
    else say(request.wasCancelled ? "Cancelled; nothing was kept." : "The upload was cut off; nothing was kept. Send it again.", true);
  });
  request.addEventListener("abort", () => { request.wasCancelled = true; });
  zone.classList.add("busy");
  bar.value = 0;
  $("cancel").hidden = bar.hidden = false;
  say(`Uploading ${files.length} file${files.length > 1 ? "s" : ""}, ${bytes(total)}`);
  request.send(form);
}

const chosen = (input) => [...input.files].map((file) => [file, file.webkitRelativePath || file.name]);

for (const id of ["choose-files", "choose-folder"]) {
  const input = $(id);
  input.addEventListener("change", () => {
    send(chosen(input));
    input.value = "";
  });
  $(`${id}-button`).addEventListener("click", () => input.click());
}
$("cancel").addEventListener("click", () => sending?.abort());
let depth = 0;
for (const [name, step] of [["dragenter", 1], ["dragleave", -1]]) {
  document.addEventListener(name, () => {
    depth = Math.max(0, depth + step);
    zone.classList.toggle("over", depth > 0);
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  depth = 0;
  zone.classList.remove("over");
  try {
    send(await dropped(event.dataTransfer.items));
  } catch (error) {
    say(`The files cannot be read: ${error.message}`, true);
  }
});

// The list

function volumes(result) {
  const found = result.volumes_ml || {};
  return ["WT", "TC", "ET"].map((name) => make("td", { class: "n" }, found[name] === undefined ? "–" : found[name].toFixed(1)));
}

function line(one) {
  const pill = make("span", { class: `state ${one.state}` }, STATES[one.state]);
  const status = make("td", {}, pill);
  if (one.work) {
    const part = share(one.work);
    status.append(make("span", { class: "small" }, ` ${phrase(one.work)}`));
    if (one.work.state === "running") {
      status.append(make("progress", { max: 1, value: part === null ? undefined : part, "aria-label": `Progress of ${one.title}` }));
    }
  } else if (one.state === "failed") status.append(make("span", { class: "small" }, ` ${one.message}`));
  else if (one.state === "review") status.append(make("span", { class: "small" }, ` ${one.message || "Look at the sequences, then start"}`));
  else if (one.result.flags) status.append(make("span", { class: "small" }, ` ${one.result.flags} flag${one.result.flags > 1 ? "s" : ""}`));
  if (one.version > 1) status.append(make("span", { class: "small" }, `${one.result.flags ? " ·" : ""} version ${one.version}`));
  return make("tr", { "data-key": one.key },
    make("th", { scope: "row" }, make("a", { href: `/cases/${one.key}` }, one.title)),
    status, ...volumes(one.result),
    make("td", { class: "when" }, make("time", { datetime: new Date(one.created * 1000).toISOString() }, when(one.created))),
  );
}

let shown = "";
async function refresh() {
  try {
    const found = await ask("/api/cases?limit=200");
    $("list-note").textContent = "";
    const text = JSON.stringify(found);
    if (text !== shown) {
      shown = text;
      const wanted = $("search").value.trim().toLowerCase();
      const cases = found.cases.filter((one) => one.title.toLowerCase().includes(wanted));
      const focused = document.activeElement?.closest?.("tr[data-key]")?.dataset.key;
      $("cases").replaceChildren(...cases.map(line));
      if (focused) document.querySelector(`tr[data-key="${focused}"] a`)?.focus();
      $("empty").hidden = found.cases.length > 0;
      $("list").hidden = $("find").hidden = $("all-csv").hidden = found.cases.length === 0;
      $("count").textContent = `${found.total} case${found.total === 1 ? "" : "s"}${found.waiting ? `, ${found.waiting} under way` : ""}`;
    }
  } catch (error) {
    $("list-note").textContent = error.message;
  }
}

$("search").addEventListener("input", () => { shown = ""; refresh(); });
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 1500);
