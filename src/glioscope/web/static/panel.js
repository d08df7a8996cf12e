// What stands beside the pictures: measurements, flags, versions, downloads, the comparison with an earlier scan.
import { ask, make, post, when } from "./server.js";

const $ = (id) => document.getElementById(id);
export const NAMES = { t1n: "T1", t1c: "T1 contrast", t2w: "T2", t2f: "FLAIR" };
export const REGIONS = { WT: ["whole tumour", "#648fff"], TC: ["tumour core", "#dc267f"], ET: ["enhancing tumour", "#ffb000"] };
export const TISSUES = {
  NCR: "Necrotic core", NETC: "Non-enhancing core", ED: "Oedema", SNFH: "Oedema", ET: "Enhancing", RC: "Cavity", CC: "Cyst", GTV: "Tumour",
};
const MEMBERS = { NCR: ["WT", "TC"], NETC: ["WT", "TC"], ED: ["WT"], SNFH: ["WT"], ET: ["WT", "TC", "ET"] };
const FILES = {
  "dicom/segmentation.dcm": "Segmentation, DICOM SEG", "dicom/contours.dcm": "Contours, DICOM RTSTRUCT", "dicom/measurements.dcm": "Measurements, DICOM SR",
};

// The regions that hold a label, from the outermost in.
export function regionsOf(summary, value) {
  return MEMBERS[summary.scheme.labels[value]] || ["other"];
}

export function innermost(summary, value) {
  return regionsOf(summary, value).at(-1);
}

const number = (value, digits = 1) => (value === undefined || value === null ? "–" : value.toFixed(digits));

export class Panel {
  constructor(editor) {
    this.editor = editor;
    this.shown = -1;
    $("lesion").addEventListener("change", () => { if ($("lesion").value !== "") this.lesion(Number($("lesion").value)); });
    this.compare().catch((error) => editor.tell(error.message, true));
  }

  summaryOf(version) {
    return ask(`/api/cases/${this.editor.case.key}/summary.json?version=${version}`);
  }

  show() {
    this.versions();
    this.facts();
  }

  versions() {
    const { editor } = this;
    const select = $("version");
    select.replaceChildren(...[...editor.case.versions].reverse().map((v) => {
      const made = v.number === 1 ? "network" : `corrected from ${v.based_on}${v.note ? `: ${v.note}` : ""}`;
      return new Option(`Version ${v.number}, ${made} (${when(v.created)})`, v.number);
    }));
    select.value = editor.version;
    const query = `?version=${editor.version}`, path = `/api/cases/${editor.case.key}`;
    $("get-nifti").href = `${path}/segmentation.nii.gz${query}`;
    $("get-report").href = `${path}/report.html${query}&download=true`;
    $("see-report").href = `${path}/report.html${query}`;
    const written = Object.keys(editor.summary.outputs || {});
    const link = (name, text) => make("li", {}, make("a", { href: `${path}/files/${name}${query}` }, text));
    const marked = (name) => (editor.version === 1 ? name : name.replace(/\./, `.v${editor.version}.`));
    const clinical = Object.keys(FILES).filter((name) => written.includes(name) || (editor.version > 1 && editor.summary.raw?.inputs?.dicom));
    $("dicom-files").replaceChildren(...clinical.map((name) => link(marked(name), FILES[name])));
    const native = written.filter((name) => name.startsWith("native/"));
    $("native-files").replaceChildren(...native.map((name) => link(name, NAMES[name.slice(7, 10)] || name)));
    $("native").hidden = !native.length;
    $("get-csv").href = `${path}/measurements.csv`;
    $("get-json").href = `${path}/summary.json${query}`;
  }

  facts() {
    const { measurements, flags } = this.editor.summary;
    const volumes = measurements.volumes_ml || {};
    const unsure = this.editor.summary.not_measurable || {};
    const withWhat = this.editor.summary.missing_sequences.includes("t1c") ? "without T1 with contrast" : "with these sequences";
    const rows = Object.entries(volumes).filter(([name]) => name in REGIONS).map(([name, ml]) =>
      make("div", { class: `fact ${name}` }, make("dt", {}, make("i", { class: `swatch ${name}` }), `${name}, ${REGIONS[name][0]}`),
        name in unsure
          ? make("dd", { class: "unsure" }, make("small", {}, `not measurable ${withWhat}`), make("span", { class: "below" }, `mean Dice ${number(unsure[name], 2)} with these sequences`))
          : make("dd", {}, make("b", { id: `ml-${name}` }, number(ml)), make("small", {}, " ml"))));
    const { diameters, side } = measurements;
    if (diameters && !(diameters.region in unsure)) {
      rows.push(make("div", { class: "fact" }, make("dt", {}, `Diameters, ${diameters.region}`),
        make("dd", {}, `${number(diameters.longest_mm, 0)} × ${number(diameters.perpendicular_mm, 0)}`, make("small", {}, " mm"))));
    }
    if (side) rows.push(make("div", { class: "fact" }, make("dt", {}, "Side"), make("dd", {}, side.side)));
    $("facts").replaceChildren(...rows);
    const list = (flags || []).map((flag) => make("li", { class: ["error", "warning"].includes(flag.severity) ? flag.severity : "info" }, flag.message));
    $("flags").replaceChildren(...(list.length ? list : [make("li", { class: "none" }, "No quality flags.")]));
    this.lesions();
  }

  // Volumes while one paints.
  live(same) {
    const { editor } = this;
    for (const name of Object.keys(REGIONS)) {
      const place = $(`ml-${name}`);
      if (!place) continue;
      let voxels = 0;
      for (const value of Object.keys(editor.summary.scheme.labels)) if (regionsOf(editor.summary, value).includes(name)) voxels += editor.map.counts[value];
      const kept = editor.summary.measurements.volumes_ml[name];
      const drawn = voxels * editor.space.millilitres + this.outside(name);
      place.textContent = number(same ? kept : drawn);
      place.title = same ? "" : `${number(kept)} ml in version ${editor.version}`;
    }
    $("facts").classList.toggle("unsaved", !same);
    $("unsaved").hidden = same;
  }

  // Tumour outside the part around the brain that is shown and edited: none in all usual cases.
  outside(name) {
    const { editor } = this;
    if (this.measured !== editor.content) {
      this.measured = editor.content;
      this.beyond = {};
    }
    if (this.beyond[name] === undefined) {
      let voxels = 0;
      for (const label of editor.map.loaded) if (label && regionsOf(editor.summary, label).includes(name)) voxels++;
      const missing = editor.summary.measurements.volumes_ml[name] - voxels * editor.space.millilitres;
      this.beyond[name] = Math.abs(missing) < 0.01 ? 0 : missing;
    }
    return this.beyond[name];
  }

  lesions() {
    const found = this.editor.summary.measurements.lesions || {};
    const [name, list] = ["ET", "TC", "WT"].map((region) => [region, found[region] || []]).find(([, rows]) => rows.length) || ["", []];
    this.list = list.slice(0, 12);
    this.shown = -1;
    const select = $("lesion");
    select.replaceChildren(new Option("lesion…", ""));
    this.list.forEach((lesion, n) => select.add(new Option(`${name} ${n + 1}: ${number(lesion.volume_ml, 2)} ml`, n)));
    select.disabled = !this.list.length;
  }

  lesion(n) {
    this.shown = n;
    $("lesion").value = n;
    this.editor.views.jump(this.editor.space.fromMillimetres(this.list[n].centroid_mm));
  }

  nextLesion() {
    if (this.list.length) this.lesion((this.shown + 1) % this.list.length);
  }

  firstLesion() {
    const { editor } = this;
    if (this.list.length) this.lesion(0);
    else editor.views.jump(editor.space.size.map((n) => n / 2));
    $("lesion").value = "";
    this.shown = -1;
  }

  // An earlier scan of the same patient.

  async compare() {
    const key = this.editor.case.key;
    const [server, list] = await Promise.all([ask("/api/status"), ask("/api/cases?limit=500")]);
    const others = list.cases.filter((one) => one.state === "done" && one.key !== key);
    $("compare").hidden = !server.can_compare || !others.length;
    for (const one of others) $("earlier").add(new Option(`${one.title} (${when(one.created)})`, one.key));
    $("compare-start").addEventListener("click", async () => {
      const earlier = $("earlier").value, path = `/api/cases/${key}/change`, note = $("compare-note");
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
}
