// The editor of a case: slices, tools, versions. The map that is corrected lives in bitmap.js, what tools change in
// tools.js, pictures in views.js; here they meet the page.
import { ask, bytesOf, chip, gunzip, gzip, listen, make, phraseOfCount } from "./server.js";
import { Bitmap } from "./bitmap.js";
import { ClickTool } from "./clicks.js";
import { Doubt } from "./doubt.js";
import { keyboard } from "./keys.js";
import { NAMES, REGIONS, TISSUES, Panel, innermost, regionsOf } from "./panel.js";
import { Pointer } from "./pointer.js";
import { Space, readNifti, writeNifti } from "./space.js";
import { interpolation } from "./tools.js";
import { Views } from "./views.js";

const $ = (id) => document.getElementById(id);
const WIDE = { low: 1, high: 255 };

export class Editor {
  constructor(one, reload) {
    this.case = one;
    this.reload = reload;
    this.images = {};
    this.regions = Object.fromEntries([...Object.keys(REGIONS), "other"].map((name) => [name, true]));
    this.scene = {
      space: null, image: null, labels: null, colours: new Array(256).fill(null), at: [0, 0, 0], opacity: 0.45, outline: false,
      crosshair: true, window: { ...WIDE }, heat: null, pen: null, measure: null, clicks: [],
    };
    this.closed = false;
    this.options = { tool: "look", label: 0, region: "TC", size: 4, solid: false, over: "any", brain: true, range: null, keep: false, anyTissue: false };
  }

  async open() {
    this.panel = new Panel(this);
    this.views = new Views($("stage"), this.scene, () => this.readout());
    this.controls();
    try {
      await this.load(this.case.version);
      const first = Object.keys(this.summary.inputs);
      await this.show(first.includes("t1c") ? "t1c" : first[0]);
      this.views.open();
      this.panel.firstLesion();
      await this.doubt.open();
      this.tell("");
      $("workspace").dataset.ready = "yes";
    } catch (error) {
      this.tell(error.message, true);
    }
  }

  close() {
    this.closed = true;
    $("workspace").hidden = true;
  }

  // Whether leaving would lose something.
  get unsaved() {
    return !this.closed && Boolean(this.map) && !this.map.asLoaded();
  }

  tell(text, failed = false) {
    $("view-note").textContent = text;
    $("view-note").classList.toggle("failed", failed);
  }

  say(text, failed = false) {
    $("save-note").textContent = text;
    $("save-note").classList.toggle("failed", failed);
  }

  // What the server sends.

  async file(path) {
    return readNifti(await gunzip(await bytesOf(`/api/cases/${this.case.key}/${path}`)));
  }

  // Take a version as the map to correct. Nothing changes before all of it is there.
  async load(number) {
    const summary = await this.panel.summaryOf(number);
    const labels = await this.file(`segmentation.nii.gz?view=true&version=${number}`);
    this.version = number;
    this.content = this.case.versions.find((v) => v.number === number).content;
    this.summary = summary;
    this.head = labels.head;
    this.scene.space = this.space = new Space(labels.shape, labels.affine);
    if (this.map) this.map.load(labels.data);
    else this.map = new Bitmap(labels.data);
    this.scene.labels = this.map.labels;
    this.clicks?.forget();
    this.colours();
    this.panel.show();
    this.labelChips();
    this.changed();
  }

  async show(sequence) {
    this.wanted = sequence;
    if (!this.images[sequence]) {
      this.tell(`Loading ${NAMES[sequence]}…`);
      this.images[sequence] = (await this.file(`images/${sequence}.nii.gz`)).data;
    }
    if (this.wanted !== sequence) return; // another was asked for meanwhile
    this.scene.image = this.images[sequence];
    $("workspace").dataset.sequence = sequence;
    for (const input of $("sequences").querySelectorAll("input")) input.checked = input.value === sequence;
    this.tell("");
    this.views.draw();
  }

  // Grey values that a painting limit speaks of: T1 with contrast where there is one.
  async rangeImage() {
    const code = Object.keys(this.summary.inputs).includes("t1c") ? "t1c" : Object.keys(this.summary.inputs).at(-1);
    this.images[code] ??= (await this.file(`images/${code}.nii.gz`)).data;
    return this.images[code];
  }

  colours() {
    for (const value of Object.keys(this.summary.scheme.labels)) {
      const names = regionsOf(this.summary, value).filter((name) => this.regions[name]);
      const tone = names.length ? REGIONS[names.at(-1)]?.[1] || "#009e73" : null;
      this.scene.colours[value] = tone && [1, 3, 5].map((n) => parseInt(tone.slice(n, n + 2), 16));
    }
    this.views.draw();
  }

  readout() {
    const { at, space } = this.scene;
    if (!space) return;
    const [x, y, z] = space.millimetres(at);
    const value = this.map.labels[space.index(...at)], tissue = this.summary.scheme.labels[value];
    $("readout").textContent = `x ${x.toFixed(0)}, y ${y.toFixed(0)}, z ${z.toFixed(0)} mm · ${value ? TISSUES[tissue] || tissue : "no tumour"}`;
  }

  // Correcting.

  changed() {
    this.scene.labels = this.map.labels;
    const same = this.map.asLoaded();
    const workspace = $("workspace");
    workspace.dataset.different = this.map.different;
    workspace.dataset.steps = this.map.done.length;
    $("undo").disabled = this.map.done.length === 0;
    $("redo").disabled = this.map.undone.length === 0;
    $("save").disabled = $("discard").disabled = same;
    $("save").textContent = `Save as version ${this.case.version + 1}`;
    this.panel.live(same);
    this.views.draw();
    this.readout();
  }

  step(back) {
    this.clicks?.settle();
    if (!(back ? this.map.undo() : this.map.redo())) return;
    this.changed();
    this.say(this.map.asLoaded() ? "As it was loaded: nothing to save." : "");
  }

  interpolate() {
    const view = this.large();
    const found = interpolation(this.space, this.map.labels, this.options.label, view.axis).filter(this.pointer.allowed());
    const count = found.length ? this.map.change(found, this.options.label) : 0;
    this.changed();
    const tissue = this.labelName();
    this.say(count ? `${phraseOfCount(count, "voxel")} of ${tissue} drawn between ${view.plane} slices.` : `No ${view.plane} slice without ${tissue} lies between two with it.`);
  }

  labelName() {
    const tissue = this.summary.scheme.labels[this.options.label];
    return (TISSUES[tissue] || tissue).toLowerCase();
  }

  large() {
    return this.views.of(document.querySelector(".view.large").dataset.plane);
  }

  async discard() {
    if (!confirm("Drop all changes since this version was loaded?")) return;
    this.clicks?.forget();
    const { where, labels } = this.differences();
    this.map.change(where, labels);
    this.changed();
    this.say("Your changes were dropped; Undo brings them back.");
  }

  differences() {
    const where = [], labels = [];
    this.map.labels.forEach((label, n) => {
      if (label === this.map.loaded[n]) return;
      where.push(n);
      labels.push(this.map.loaded[n]);
    });
    return { where, labels };
  }

  async packed() {
    return gzip(writeNifti(this.head, this.map.labels));
  }

  async save({ branch = false } = {}) {
    if (this.map.asLoaded()) return;
    this.clicks?.settle();
    $("save").disabled = true;
    $("conflict").hidden = true;
    this.say("Measuring and saving…");
    const sent = this.map.labels.slice();
    try {
      const query = new URLSearchParams({ based_on: this.version, content: this.content, note: $("note").value.trim(), branch });
      const body = await gzip(writeNifti(this.head, sent));
      const made = await ask(`/api/cases/${this.case.key}/versions?${query}`, {
        method: "POST", headers: { "content-type": "application/octet-stream" }, body,
      });
      $("note").value = "";
      this.case = await this.reload();
      this.version = made.number;
      this.content = made.content;
      this.summary = await this.panel.summaryOf(made.number);
      this.map.saved(sent);
      this.panel.show();
      this.changed();
      this.say(`Saved as version ${made.number}: ${phraseOfCount(made.changed, "voxel")} changed. Volumes were measured anew.`);
    } catch (error) {
      $("save").disabled = this.map.asLoaded();
      if (error.status === 409) await this.conflict(error.message);
      else this.say(`${error.message} Your drawing is still here.`, true);
    }
  }

  // Somebody else was quicker: nothing is overwritten, and nothing drawn here is lost.
  async conflict(message) {
    this.say("");
    const before = this.case.version;
    try {
      this.case = await this.reload();
    } catch {
      this.case.version = before;
    }
    $("conflict-text").textContent = message;
    $("branch").hidden = !this.case.versions.some((version) => version.content === this.content);
    $("newest").textContent = this.case.version ? `Load version ${this.case.version}, drop mine` : "Load the case anew";
    $("conflict").hidden = false;
    this.panel.versions();
  }

  async download() {
    const name = `${this.case.title.replace(/[^\w.-]+/g, "_")}_drawing_on_v${this.version}.nii.gz`;
    const link = make("a", { href: URL.createObjectURL(await this.packed()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  async change(number) {
    if (this.unsaved && !confirm("Your changes are not saved. Leave them?")) {
      $("version").value = this.version;
      return;
    }
    try {
      await this.load(number);
      this.say("");
    } catch (error) {
      $("version").value = this.version;
      this.say(error.message, true);
    }
  }

  // Controls.

  controls() {
    const { scene } = this;
    for (const code of Object.keys(NAMES)) {
      if (code in this.case.choice) chip($("sequences"), "radio", "sequence", code, NAMES[code], false, () => this.try(() => this.show(code)));
    }
    for (const name of Object.keys(REGIONS)) {
      chip($("regions"), "checkbox", "overlay", name, name, true, (input) => { this.regions[name] = input.checked; this.colours(); }, `region ${name}`).title = REGIONS[name][0];
    }
    listen("opacity", "input", (input) => { scene.opacity = input.value / 100; this.views.draw(); });
    listen("outline", "change", (input) => { scene.outline = input.checked; this.views.draw(); });
    listen("crosshair", "change", (input) => { scene.crosshair = input.checked; this.views.compose(); });
    for (const id of ["brightness", "contrast"]) listen(id, "input", () => this.grey());
    listen("reset", "click", () => this.reset());
    listen("undo", "click", () => this.step(true));
    listen("redo", "click", () => this.step(false));
    listen("discard", "click", () => this.discard());
    listen("interpolate", "click", () => this.interpolate());
    listen("save", "click", () => this.save());
    listen("branch", "click", () => this.save({ branch: true }));
    listen("mine", "click", () => this.download());
    listen("newest", "click", () => this.newest());
    listen("version", "change", (input) => this.change(Number(input.value)));
    listen("full", "click", () => this.fullScreen());
    for (const button of document.querySelectorAll("[data-enlarge]")) {
      button.addEventListener("click", () => this.enlarge(button.dataset.enlarge));
    }
    this.pointer = new Pointer(this);
    this.clicks = new ClickTool(this);
    this.doubt = new Doubt(this);
    keyboard(this);
    window.addEventListener("beforeunload", (event) => { if (this.unsaved) event.preventDefault(); });
  }

  try(action) {
    Promise.resolve(action()).catch((error) => this.tell(error.message, true));
  }

  labelChips() {
    const parent = $("labels");
    if (parent.children.length > 1) return;
    const order = ["ED", "SNFH", "NCR", "NETC", "ET", "RC", "CC", "GTV"];
    const found = Object.entries(this.summary.scheme.labels).sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]));
    for (const [value, tissue] of found) {
      const name = TISSUES[tissue] || tissue;
      const first = tissue === "ET" || found.length === 1;
      chip(parent, "radio", "label", value, name, first, () => {
        this.options.label = Number(value);
        if (!["brush", "fill", "interpolate"].includes(this.options.tool)) this.pointer.choose("brush");
      }, `region ${innermost(this.summary, value)}`);
      $("over").add(new Option(`only ${name.toLowerCase()}`, value));
      if (first) this.options.label = Number(value);
    }
  }

  grey() {
    const bright = Number($("brightness").value), contrast = Number($("contrast").value);
    const width = 254 / 2 ** (contrast / 50), middle = 128 - bright * 1.28;
    this.scene.window = { low: middle - width / 2, high: middle + width / 2 };
    this.views.draw();
  }

  reset() {
    $("brightness").value = $("contrast").value = 0;
    this.scene.window = { ...WIDE };
    this.scene.measure = null;
    this.views.reset();
    this.views.draw();
  }

  enlarge(plane) {
    for (const view of document.querySelectorAll(".view")) view.classList.toggle("large", view.dataset.plane === plane);
    this.views.reset();
    this.views.draw();
  }

  fullScreen() {
    const root = $("editor");
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen?.().catch(() => root.classList.toggle("filled"));
  }

  newest() {
    this.map.saved(this.map.labels); // the button says that they are dropped, so the browser need not ask
    location.reload();
  }
}

export function open(one, reload) {
  const editor = new Editor(one, reload);
  window.glioscopeCase = editor; // for tests and for who wants to script the page
  editor.open();
  return editor;
}
