// The viewer of a case: NiiVue shows the scan with the segmentation as its drawing, so that what is seen is what the
// brush changes. The drawing is sent back as NIfTI on the grid of the case; the server measures it and keeps a version.
import { ask, make, post, reason, when } from "./server.js";

const $ = (id) => document.getElementById(id);
const NAMES = { t1n: "T1", t1c: "T1 contrast", t2w: "T2", t2f: "FLAIR" };
const KNOWN = { WT: ["whole tumour", "#648fff"], TC: ["tumour core", "#dc267f"], ET: ["enhancing tumour", "#ffb000"] };
const TISSUES = {
  NCR: "Necrotic core", NETC: "Non-enhancing core", ED: "Oedema", SNFH: "Oedema", ET: "Enhancing", RC: "Cavity", CC: "Cyst", GTV: "Tumour",
};
const FILES = {
  "dicom/segmentation.dcm": "Segmentation, DICOM SEG", "dicom/contours.dcm": "Contours, DICOM RTSTRUCT", "dicom/measurements.dcm": "Measurements, DICOM SR",
};
const state = { case: null, summary: null, version: 0, sequence: "", regions: {}, opacity: 0.5, tool: "look", label: 0, size: 3, edits: 0 };
const images = {};
let nv = null;
let reload = null;
let software = false;
let closed = false;
let grid = null;

export function close() {
  closed = true;
  $("workspace").hidden = true;
}

export async function open(one, again) {
  state.case = one;
  reload = again;
  controls();
  try {
    await showVersion(one.version);
  } catch (error) {
    tell(error.message, true);
    return;
  }
  if (!start()) return;
  try {
    await nv.attachToCanvas($("gl"));
    await choose(Object.keys(state.summary.inputs).includes("t1c") ? "t1c" : Object.keys(state.summary.inputs)[0]);
    await draw();
    nv.opts.crosshairWidth = Math.max(...nv.back.dimsRAS.slice(1, 4).map((n, axis) => n * nv.back.pixDimsRAS[axis + 1])) / 260;
    centre();
    tell("");
    $("workspace").dataset.ready = "yes";
  } catch (error) {
    tell(`The viewer could not start (${error.message}). The report shows the same.`, true);
  }
}

function tell(text, failed = false) {
  $("view-note").textContent = text;
  $("view-note").classList.toggle("failed", failed);
}

function say(text, failed = false) {
  $("save-note").textContent = text;
  $("save-note").classList.toggle("failed", failed);
}

// NiiVue, or why not.

function start() {
  const probe = document.createElement("canvas").getContext("webgl2");
  if (!probe || !window.niivue) {
    tell("This browser has no WebGL 2, which the viewer needs. The report shows the same in pictures.", true);
    $("tools").hidden = true;
    return false;
  }
  const known = probe.getExtension("WEBGL_debug_renderer_info");
  software = /swiftshader|llvmpipe|software/i.test(known ? String(probe.getParameter(known.UNMASKED_RENDERER_WEBGL)) : "");
  probe.getExtension("WEBGL_lose_context")?.loseContext();
  const { Niivue } = window.niivue;
  arrange("3");
  nv = new Niivue({
    sagittalNoseLeft: true, // as the reports have it
    backColor: [0.02, 0.025, 0.035, 1], crosshairColor: [0.61, 0.9, 1, 0.75], crosshairWidthUnit: "mm",
    show3Dcrosshair: true, multiplanarLayout: software ? 3 : 0,
    isOrientCube: false, isRadiologicalConvention: true, isColorbar: false, logLevel: "error", maxDrawUndoBitmaps: 24,
    drawOpacity: state.opacity, isResizeCanvas: true, multiplanarShowRender: software ? 0 : 2, penSize: state.size, tileMargin: 4,
    fontMinPx: 13, isDragShowsMeasurementUnits: false, dragAndDropEnabled: false, fontColor: [0.8, 0.85, 0.9, 1],
  });
  nv.setInterpolation(false);
  nv.onLocationChange = readout;
  nv.onDrawingChanged = (action) => {
    if (action === "draw") changed(1);
  };
  if (software) $("layout").querySelector("option[value='4']").textContent = "3-D (slow without a graphics card)";
  return true;
}

// Three planes in a row need little height, one plane all there is.
function arrange(layout) {
  $("gl").parentElement.classList.toggle("row", software && layout === "3");
}

// The bytes of a packed NIfTI file of the server.
async function unpacked(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await reason(answer));
  return new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function volume(sequence) {
  if (!images[sequence]) {
    const url = await unpacked(`/api/cases/${state.case.key}/images/${sequence}.nii.gz`);
    images[sequence] = await window.niivue.NVImage.loadFromUrl({ url, name: `${sequence}.nii`, colormap: "gray", cal_min: 1, cal_max: 255 });
  }
  return images[sequence];
}

let choosing = Promise.resolve();
function choose(sequence) {
  choosing = choosing.then(async () => {
    if (!state.summary.inputs[sequence]) return;
    tell(`Loading ${NAMES[sequence]}…`);
    const wanted = await volume(sequence);
    const drawn = nv.drawBitmap;
    if (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    nv.addVolume(wanted);
    if (drawn) {
      nv.drawBitmap = drawn;
      nv.refreshDrawing(true);
    }
    state.sequence = $("workspace").dataset.sequence = sequence;
    for (const input of $("sequences").querySelectorAll("input")) input.checked = input.value === sequence;
    tell("");
  });
  return choosing;
}

// The segmentation as NiiVue's drawing.

async function draw() {
  const url = await unpacked(`/api/cases/${state.case.key}/segmentation.nii.gz?view=true&version=${state.version}`);
  const map = await window.niivue.NVImage.loadFromUrl({ url, name: "segmentation.nii" });
  if (!nv.loadDrawing(map)) throw new Error("the segmentation lies on another grid than the scan");
  grid = map;
  nv.setDrawOpacity(state.opacity);
  colours();
  nv.setDrawingEnabled(false);
  state.edits = 0;
  changed(0);
}

// Each label in the colour of the innermost region that is switched on and holds it.
function colours() {
  const { labels } = state.summary.scheme;
  const table = { R: [0], G: [0], B: [0], A: [0], labels: ["none"] };
  const highest = Math.max(...Object.keys(labels).map(Number));
  for (let value = 1; value <= highest; value++) {
    const names = regionsOf(value).filter((name) => state.regions[name]);
    const colour = names.length ? KNOWN[names[names.length - 1]]?.[1] || "#009e73" : "#000000";
    [table.R, table.G, table.B].forEach((channel, c) => channel.push(parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16)));
    table.A.push(names.length ? 255 : 0);
    table.labels.push(labels[value] || "");
  }
  nv.setDrawColormap(table);
}

const MEMBERS = { NCR: ["WT", "TC"], NETC: ["WT", "TC"], ED: ["WT"], SNFH: ["WT"], ET: ["WT", "TC", "ET"] };
function regionsOf(value) {
  return MEMBERS[state.summary.scheme.labels[value]] || ["other"];
}

function centre() {
  const { lesions } = state.summary.measurements;
  const first = ["ET", "TC", "WT"].map((name) => lesions?.[name]?.[0]).find(Boolean);
  if (first) jump(first.centroid_mm);
}

function jump(mm) {
  nv.scene.crosshairPos = nv.mm2frac(mm);
  nv.drawScene();
  nv.createOnLocationChange?.();
}

function readout(data) {
  if (!data?.mm) return;
  const [x, y, z] = data.mm;
  const [dx, dy, dz] = [0, 1, 2].map((axis) => nv.back.dimsRAS[axis + 1]);
  const [i, j, k] = data.vox;
  let name = "";
  if (nv.drawBitmap && i >= 0 && j >= 0 && k >= 0 && i < dx && j < dy && k < dz) {
    const value = nv.drawBitmap[i + dx * (j + dy * k)];
    const tissue = state.summary.scheme.labels[value];
    name = value ? TISSUES[tissue] || tissue : "no tumour";
  }
  $("readout").textContent = `x ${x.toFixed(0)}, y ${y.toFixed(0)}, z ${z.toFixed(0)} mm${name ? ` · ${name}` : ""}`;
}

// Correcting.

function changed(step) {
  state.edits = Math.max(0, state.edits + step);
  $("workspace").dataset.edits = state.edits;
  $("undo").disabled = state.edits === 0;
  $("save").disabled = state.edits === 0;
  $("discard").disabled = state.edits === 0;
  $("save").textContent = `Save as version ${state.case.version + 1}`;
  if (step > 0) say("");
}

function tool(name) {
  state.tool = name;
  for (const input of $("tool").querySelectorAll("input")) input.checked = input.value === name;
  const drawing = name !== "look";
  nv.setDrawingEnabled(drawing);
  if (drawing) nv.setPenValue(name === "erase" ? 0 : state.label, $("fill").checked && name === "brush");
  nv.opts.penSize = state.size;
  $("gl").classList.toggle("drawing", drawing);
}

function undo() {
  if (!state.edits) return;
  nv.drawUndo();
  changed(-1);
  if (!state.edits) say("Back to what was loaded.");
}

async function packed(data) {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}

async function save() {
  $("save").disabled = true;
  say("Measuring and saving…");
  try {
    const bytes = await nv.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
    if (!(bytes instanceof Uint8Array)) throw new Error("The drawing cannot be read back from the viewer.");
    const query = new URLSearchParams({ based_on: state.version, note: $("note").value.trim() });
    const answer = await fetch(`/api/cases/${state.case.key}/versions?${query}`, {
      method: "POST", headers: { "content-type": "application/octet-stream" }, body: await packed(bytes),
    });
    if (!answer.ok) {
      const error = new Error(await reason(answer));
      error.status = answer.status;
      throw error;
    }
    const made = await answer.json();
    $("note").value = "";
    state.case = await reload();
    await showVersion(made.number);
    state.edits = 0;
    nv.drawClearAllUndoBitmaps();
    nv.drawAddUndoBitmap();
    changed(0);
    say(`Saved as version ${made.number}: ${made.changed.toLocaleString("en-GB")} voxels changed. Volumes were measured anew.`);
  } catch (error) {
    say(error.message, true);
    $("save").disabled = false;
    if (error.status === 409) {
      state.case = await reload();
      versions();
    }
  }
}

// Versions, measurements, downloads.

async function showVersion(number) {
  state.version = number;
  state.summary = await ask(`/api/cases/${state.case.key}/summary.json?version=${number}`);
  versions();
  facts();
}

async function switchVersion(number) {
  if (state.edits && !confirm("Your changes are not saved. Leave them?")) {
    $("version").value = state.version;
    return;
  }
  await showVersion(number);
  await draw();
}

function versions() {
  const select = $("version");
  select.replaceChildren(...[...state.case.versions].reverse().map((v) => {
    const what = v.number === 1 ? "network" : `corrected${v.note ? `: ${v.note}` : ""}`;
    return new Option(`Version ${v.number}, ${what} (${when(v.created)})`, v.number);
  }));
  select.value = state.version;
  const query = `?version=${state.version}`;
  const path = `/api/cases/${state.case.key}`;
  $("get-nifti").href = `${path}/segmentation.nii.gz${query}`;
  $("get-report").href = `${path}/report.html${query}&download=true`;
  $("see-report").href = `${path}/report.html${query}`;
  const written = Object.keys(state.summary.outputs || {});
  const link = (name, text) => make("li", {}, make("a", { href: `${path}/files/${name}` }, text));
  $("dicom-files").replaceChildren(...written.filter((name) => name in FILES).map((name) => link(name, FILES[name])));
  const native = written.filter((name) => name.startsWith("native/"));
  $("native-files").replaceChildren(...native.map((name) => link(name, NAMES[name.slice(7, 10)] || name)));
  $("native").hidden = !native.length;
  $("get-csv").href = `${path}/measurements.csv`;
  $("get-json").href = `${path}/summary.json${query}`;
}

const number = (value, digits = 1) => (value === undefined || value === null ? "–" : value.toFixed(digits));

function facts() {
  const { measurements, flags, predicted_dice: expected } = state.summary;
  const volumes = measurements.volumes_ml || {};
  const rows = Object.entries(volumes).filter(([name]) => name in KNOWN).map(([name, ml]) =>
    make("div", { class: `fact ${name}` }, make("dt", {}, make("i", { class: `swatch ${name}` }), `${name}, ${KNOWN[name][0]}`),
      make("dd", {}, number(ml), make("small", {}, " ml"), expected?.[name] !== undefined ? make("span", { class: "below" }, `expected Dice ${number(expected[name], 2)}`) : null)));
  const { diameters, side } = measurements;
  if (diameters) {
    rows.push(make("div", { class: "fact" }, make("dt", {}, `Diameters, ${diameters.region}`),
      make("dd", {}, `${number(diameters.longest_mm, 0)} × ${number(diameters.perpendicular_mm, 0)}`, make("small", {}, " mm"))));
  }
  if (side) rows.push(make("div", { class: "fact" }, make("dt", {}, "Side"), make("dd", {}, side.side)));
  $("facts").replaceChildren(...rows);
  const list = (flags || []).map((flag) => make("li", { class: ["error", "warning"].includes(flag.severity) ? flag.severity : "info" }, flag.message));
  $("flags").replaceChildren(...(list.length ? list : [make("li", { class: "none" }, "No quality flags.")]));
  const jumps = ["ET", "TC", "WT"].map((name) => [name, measurements.lesions?.[name] || []]).find(([, found]) => found.length);
  const select = $("lesion");
  select.replaceChildren(new Option("lesion…", ""));
  (jumps?.[1] || []).slice(0, 12).forEach((lesion, n) => select.add(new Option(`${jumps[0]} ${n + 1}: ${number(lesion.volume_ml, 2)} ml`, n)));
  select.onchange = () => { if (select.value !== "") jump(jumps[1][select.value].centroid_mm); };
  select.disabled = !jumps;
}

// Controls.

function chip(parent, type, group, value, text, checked, change, extra = "") {
  const input = make("input", { type, name: group, value, checked });
  input.addEventListener("change", () => change(input));
  parent.append(make("label", { class: `chip ${extra}` }, input, make("span", {}, text)));
  return input;
}

function controls() {
  const inputs = Object.values(state.case.choice).length ? state.case.choice : {};
  for (const code of Object.keys(NAMES)) {
    if (code in inputs) chip($("sequences"), "radio", "sequence", code, NAMES[code], false, () => choose(code));
  }
  for (const name of Object.keys(KNOWN)) {
    state.regions[name] = true;
    chip($("regions"), "checkbox", "region", name, name, true, (input) => { state.regions[name] = input.checked; colours(); }, `region ${name}`).title = KNOWN[name][0];
  }
  state.regions.other = true;
  $("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    nv?.setDrawOpacity(state.opacity);
  });
  $("layout").addEventListener("change", (event) => {
    arrange(event.target.value);
    if (nv) nv.opts.isOrientCube = event.target.value === "4";
    nv?.setSliceType(Number(event.target.value));
  });
  for (const [value, text] of [["look", "Look"], ["brush", "Brush"], ["erase", "Eraser"]]) {
    chip($("tool"), "radio", "tool", value, text, value === "look", () => tool(value));
  }
  $("size").addEventListener("input", (event) => {
    state.size = Number(event.target.value);
    $("size-value").textContent = `${state.size} voxel${state.size > 1 ? "s" : ""}`;
    if (nv) nv.opts.penSize = state.size;
  });
  $("fill").addEventListener("change", () => tool(state.tool));
  $("undo").addEventListener("click", undo);
  $("discard").addEventListener("click", async () => {
    await draw();
    tool(state.tool);
    say("Your changes were dropped.");
  });
  $("save").addEventListener("click", save);
  $("version").addEventListener("change", (event) => switchVersion(Number(event.target.value)));
  document.addEventListener("keydown", keys);
  window.addEventListener("beforeunload", (event) => { if (state.edits && !closed) event.preventDefault(); });
  labels();
  compare();
}

async function labels() {
  const summary = await ask(`/api/cases/${state.case.key}/summary.json`);
  const order = ["ED", "SNFH", "NCR", "NETC", "ET", "RC", "CC", "GTV"];
  const found = Object.entries(summary.scheme.labels).sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]));
  for (const [value, tissue] of found) {
    const inner = (MEMBERS[tissue] || ["other"]).at(-1);
    const input = chip($("labels"), "radio", "label", value, TISSUES[tissue] || tissue, false, () => {
      state.label = Number(value);
      tool("brush");
    }, `region ${inner}`);
    if (tissue === "ET" || found.length === 1) {
      input.checked = true;
      state.label = Number(value);
    }
  }
}

function keys(event) {
  if (closed || !nv || event.altKey || /^(SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.target.tagName === "INPUT" && event.target.type === "text") return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z" && state.edits) {
      event.preventDefault();
      undo();
    }
    return;
  }
  const sequence = Object.keys(NAMES).filter((code) => code in state.case.choice)[Number(key) - 1];
  const region = { w: "WT", t: "TC", e: "ET" }[key];
  if (sequence) choose(sequence);
  else if (region) {
    const input = $("regions").querySelector(`input[value=${region}]`);
    input.checked = state.regions[region] = !input.checked;
    colours();
  } else if (key === "l") tool("look");
  else if (key === "b") tool("brush");
  else if (key === "x") tool("erase");
  else if (key === "+" || key === "-") {
    $("size").value = state.size + (key === "+" ? 1 : -1);
    $("size").dispatchEvent(new Event("input"));
  }
}

// An earlier scan of the same patient.

async function compare() {
  const [server, list] = await Promise.all([ask("/api/status"), ask("/api/cases?limit=500")]);
  const others = list.cases.filter((one) => one.state === "done" && one.key !== state.case.key);
  $("compare").hidden = !server.can_compare || !others.length;
  for (const one of others) $("earlier").add(new Option(`${one.title} (${when(one.created)})`, one.key));
  $("compare-start").addEventListener("click", async () => {
    const earlier = $("earlier").value;
    const path = `/api/cases/${state.case.key}/change`;
    const note = $("compare-note");
    try {
      let job = await post(path, { earlier });
      while (["queued", "running"].includes(job.state)) {
        note.textContent = job.state === "queued" ? "Waiting…" : "Comparing…";
        await new Promise((done) => setTimeout(done, 700));
        job = await ask(`${path}/${earlier}`);
      }
      if (job.state === "done") note.replaceChildren(make("a", { href: `${path}/${earlier}/page`, target: "_blank", rel: "noopener" }, "Open the comparison"));
      else note.textContent = job.message;
    } catch (error) {
      note.textContent = error.message;
    }
  });
}

// For tests and for who wants to script the page.
window.glioscopeCase = { state, get nv() { return nv; } };
