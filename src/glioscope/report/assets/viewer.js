"use strict";
// The slice viewer of a report: three linked planes over volumes that the page carries as mosaics of axial slices.
// Voxels lie in LPS order: i to the patient's left, j to the back, k upwards. Nothing is loaded from anywhere.
(function () {
  const root = document.getElementById("viewer");
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const words = { segmentation: "segmentation", none: "no tumour", ...data.words };
  const [ni, nj, nk] = data.shape;
  const axisOf = { axial: 2, coronal: 1, sagittal: 0 };
  const columnsOf = { axial: 0, coronal: 0, sagittal: 1 };
  const rowsOf = { axial: 1, coronal: 2, sagittal: 2 };
  const state = {
    at: data.start.slice(), sequence: 0, regions: data.regions.map(() => true), overlay: true,
    layer: "segmentation", opacity: 0.4, brightness: 0, contrast: 0, lesion: -1,
  };
  const images = data.sequences.map(() => null);
  const maps = { segmentation: null, reference: null, uncertainty: null };
  const $ = (id) => document.getElementById(id);
  const rgb = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16));
  const colours = data.regions.map((region) => rgb(region.colour));
  const errors = { missed: [255, 112, 67], added: [64, 196, 255], other: [179, 136, 255] };

  async function unpack(url, divisor) {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const sheet = document.createElement("canvas");
    sheet.width = picture.width;
    sheet.height = picture.height;
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    pen.drawImage(picture, 0, 0);
    const pixels = pen.getImageData(0, 0, sheet.width, sheet.height).data;
    const volume = new Uint8Array(ni * nj * nk);
    const columns = data.tiles[0];
    for (let k = 0, to = 0; k < nk; k++) {
      const left = (k % columns) * ni, top = Math.floor(k / columns) * nj;
      for (let j = 0; j < nj; j++) {
        let from = ((top + j) * sheet.width + left) * 4;
        for (let i = 0; i < ni; i++, from += 4) {
          volume[to++] = divisor === 1 ? pixels[from] : Math.round(pixels[from] / divisor);
        }
      }
    }
    return volume;
  }

  const views = [...root.querySelectorAll(".view")].map((element) => {
    const plane = element.dataset.plane;
    const canvas = element.querySelector("canvas");
    const slider = element.querySelector("input");
    const view = {
      plane, canvas, slider, output: element.querySelector("output"), axis: axisOf[plane],
      column: columnsOf[plane], row: rowsOf[plane], flip: plane !== "axial",
      grey: document.createElement("canvas"), paint: document.createElement("canvas"),
    };
    view.width = data.shape[view.column];
    view.height = data.shape[view.row];
    for (const layer of [view.grey, view.paint]) {
      layer.width = view.width;
      layer.height = view.height;
    }
    slider.max = data.shape[view.axis] - 1;
    const letters = data.sides[plane];
    ["l", "r", "t", "b"].forEach((side, n) => { element.querySelector(".canvas ." + side).textContent = letters[n]; });
    return view;
  });

  function index(view, x, y) {
    const place = [0, 0, 0];
    place[view.axis] = state.at[view.axis];
    place[view.column] = x;
    place[view.row] = view.flip ? view.height - 1 - y : y;
    return place[0] + ni * (place[1] + nj * place[2]);
  }

  // What a voxel's overlay is: a colour, or null.
  function inkOf(voxel) {
    if (state.layer === "uncertainty") return null;
    const mine = maps.segmentation ? maps.segmentation[voxel] : 0;
    if (state.layer !== "segmentation" && !maps.reference) return null; // not read yet
    if (state.layer === "difference") {
      const truth = maps.reference[voxel];
      if (mine === truth) return null;
      return mine === 0 ? errors.missed : truth === 0 ? errors.added : errors.other;
    }
    const code = state.layer === "reference" ? maps.reference[voxel] : mine;
    for (let n = colours.length - 1; n >= 0; n--) if (state.regions[n] && code >> n & 1) return colours[n];
    return null;
  }

  function draw(view) {
    const { width, height } = view;
    const grey = new ImageData(width, height), paint = new ImageData(width, height);
    const volume = images[state.sequence];
    const gain = Math.pow(2, state.contrast / 50), lift = state.brightness * 1.28;
    const inks = new Array(width * height);
    for (let y = 0, n = 0; y < height; y++) {
      for (let x = 0; x < width; x++, n++) {
        const voxel = index(view, x, y);
        const value = volume && volume[voxel] > 2 ? (volume[voxel] - 128) * gain + 128 + lift : 0;
        grey.data[4 * n] = grey.data[4 * n + 1] = grey.data[4 * n + 2] = value;
        grey.data[4 * n + 3] = 255;
        if (!state.overlay) continue;
        if (state.layer === "uncertainty") {
          if (!maps.uncertainty) continue;
          const heat = maps.uncertainty[voxel] / 255;
          paint.data.set([255, 90 + 155 * heat, 20 + 150 * heat, 255 * Math.max(0, Math.min(1, (heat - 0.05) * 1.7)) * Math.min(1, 0.3 + state.opacity)], 4 * n);
        } else {
          inks[n] = inkOf(voxel);
        }
      }
    }
    if (state.overlay && state.layer !== "uncertainty") {
      for (let y = 0, n = 0; y < height; y++) {
        for (let x = 0; x < width; x++, n++) {
          const ink = inks[n];
          if (!ink) continue;
          const edge = (x > 0 && inks[n - 1] !== ink) || (x < width - 1 && inks[n + 1] !== ink) ||
            (y > 0 && inks[n - width] !== ink) || (y < height - 1 && inks[n + width] !== ink);
          const alpha = edge ? Math.min(1, state.opacity * 2.2) : state.opacity;
          paint.data.set([ink[0], ink[1], ink[2], 255 * alpha], 4 * n);
        }
      }
    }
    view.grey.getContext("2d").putImageData(grey, 0, 0);
    view.paint.getContext("2d").putImageData(paint, 0, 0);
    compose(view);
  }

  // Millimetres to pixels: every view at one scale, centred.
  function layout(view) {
    const ratio = window.devicePixelRatio || 1;
    const size = Math.max(1, Math.round(view.canvas.clientWidth * ratio));
    if (view.canvas.width !== size) view.canvas.width = view.canvas.height = size;
    const span = Math.max(...data.shape.map((n, axis) => n * data.spacing[axis]));
    const scale = size / span;
    const w = view.width * data.spacing[view.column] * scale, h = view.height * data.spacing[view.row] * scale;
    return { left: (size - w) / 2, top: (size - h) / 2, w, h, size, ratio };
  }

  function compose(view) {
    const pen = view.canvas.getContext("2d"), box = layout(view);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, box.size, box.size);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(view.grey, box.left, box.top, box.w, box.h);
    pen.imageSmoothingEnabled = state.layer === "uncertainty";
    pen.drawImage(view.paint, box.left, box.top, box.w, box.h);
    const row = state.at[view.row];
    const x = box.left + (state.at[view.column] + 0.5) / view.width * box.w;
    const y = box.top + ((view.flip ? view.height - 1 - row : row) + 0.5) / view.height * box.h;
    const gap = 9 * box.ratio;
    pen.strokeStyle = "rgba(155, 231, 255, .75)";
    pen.lineWidth = box.ratio;
    pen.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, box.size, y], [x, 0, x, y - gap], [x, y + gap, x, box.size]]) {
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
    }
    pen.stroke();
  }

  function nameAt(map, voxel) {
    const code = map[voxel];
    for (let n = data.regions.length - 1; n >= 0; n--) if (code >> n & 1) return data.regions[n].label;
    return words.none;
  }

  function readout() {
    const [i, j, k] = state.at;
    const mm = data.affine.map((row) => row[0] * i + row[1] * j + row[2] * k + row[3]);
    const voxel = i + ni * (j + nj * k);
    const parts = [`x ${mm[0].toFixed(0)}, y ${mm[1].toFixed(0)}, z ${mm[2].toFixed(0)} mm`];
    if (maps.segmentation) parts.push(words.segmentation + ": " + nameAt(maps.segmentation, voxel));
    if (maps.reference) parts.push("reference: " + nameAt(maps.reference, voxel));
    if (maps.uncertainty) parts.push(`uncertainty ${Math.round(maps.uncertainty[voxel] / 2.55)} %`);
    $("v-readout").textContent = parts.join(" · ");
  }

  // What the colours of the layer mean, under the pictures.
  function legend() {
    const shown = {
      difference: [["#ff7043", "missed by the segmentation"], ["#40c4ff", "not in the reference"], ["#b388ff", "tumour in both, another tissue"]],
      uncertainty: [["", "clear where the network is sure, pale yellow where it is as likely wrong as right"]],
    }[state.layer] || data.regions.map(({ colour, name, label }) => [colour, name.toLowerCase() === label ? name : `${name}, ${label}`]);
    $("v-legend").replaceChildren(...(state.overlay ? shown : []).map(([colour, text]) => {
      const item = document.createElement("li"), tone = document.createElement("i");
      if (colour) tone.style.setProperty("--tone", colour);
      else tone.className = "heat";
      item.append(tone, text);
      return item;
    }));
  }

  let pending = false;
  function refresh() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      for (const view of views) {
        view.slider.value = state.at[view.axis];
        view.slider.setAttribute("aria-valuetext", `slice ${state.at[view.axis] + 1} of ${data.shape[view.axis]}`);
        view.output.textContent = state.at[view.axis] + 1;
        draw(view);
      }
      readout();
      legend();
      root.dispatchEvent(new CustomEvent("viewer-change", { detail: state }));
    });
  }

  function move(place) {
    state.at = place.map((n, axis) => Math.max(0, Math.min(data.shape[axis] - 1, Math.round(n))));
    refresh();
  }

  function step(axis, amount) {
    const place = state.at.slice();
    place[axis] += amount;
    move(place);
  }

  async function choose(n) {
    if (n < 0 || n >= images.length) return;
    state.sequence = n;
    const radios = $("v-sequences").querySelectorAll("input");
    radios[n].checked = true;
    if (!images[n]) images[n] = await unpack(data.sequences[n].url, 1);
    refresh();
  }

  function chip(parent, type, name, text, checked, change, tone) {
    const label = document.createElement("label");
    label.className = tone ? "chip region" : "chip";
    const input = document.createElement("input");
    input.type = type;
    input.name = name;
    input.checked = checked;
    input.addEventListener("change", () => change(input.checked));
    const face = document.createElement("span");
    face.textContent = text;
    if (tone) face.style.setProperty("--tone", tone);
    label.append(input, face);
    parent.append(label);
    return input;
  }

  function toggleRegion(n) {
    const box = $("v-regions").querySelectorAll("input")[n];
    if (!box) return;
    box.checked = !box.checked;
    state.regions[n] = box.checked;
    refresh();
  }

  function showLayer(name) {
    const radio = $("v-layers").querySelector(`input[data-layer="${name}"]`);
    if (!radio) return;
    const wanted = radio.checked ? "segmentation" : name;
    $("v-layers").querySelector(`input[data-layer="${wanted}"]`).checked = true;
    state.layer = wanted;
    refresh();
  }

  function visit(n) {
    if (!data.lesions.length) return;
    state.lesion = (n + data.lesions.length) % data.lesions.length;
    $("v-lesions").value = String(state.lesion);
    move(data.lesions[state.lesion].voxel);
  }

  function reset() {
    Object.assign(state, { at: data.start.slice(), overlay: true, opacity: 0.4, brightness: 0, contrast: 0 });
    state.regions.fill(true);
    for (const box of $("v-regions").querySelectorAll("input")) box.checked = true;
    $("v-opacity").value = 40;
    $("v-brightness").value = $("v-contrast").value = 0;
    refresh();
  }

  function controls() {
    data.sequences.forEach((s, n) => chip($("v-sequences"), "radio", "v-sequence", s.label, n === state.sequence, () => choose(n)));
    data.regions.forEach((r, n) => chip($("v-regions"), "checkbox", "v-region", r.name, true, (on) => { state.regions[n] = on; refresh(); }, r.colour));
    const layers = [["segmentation", "Segmentation"]];
    if (data.reference) layers.push(["reference", "Reference"], ["difference", "Difference"]);
    if (data.uncertainty) layers.push(["uncertainty", "Uncertainty"]);
    $("v-layers").hidden = layers.length < 2;
    if (layers.length < 2) $("v-layers").style.display = "none";
    for (const [name, text] of layers) {
      chip($("v-layers"), "radio", "v-layer", text, name === "segmentation", () => { state.layer = name; refresh(); }).dataset.layer = name;
    }
    for (const name of ["opacity", "brightness", "contrast"]) {
      $("v-" + name).addEventListener("input", (event) => {
        state[name] = event.target.value / (name === "opacity" ? 100 : 1);
        refresh();
      });
    }
    data.lesions.forEach((lesion, n) => $("v-lesions").add(new Option(lesion.label, n)));
    if (!data.lesions.length) $("v-lesion-label").style.display = "none";
    $("v-lesions").addEventListener("change", (event) => visit(Number(event.target.value)));
    $("v-reset").addEventListener("click", reset);
    for (const button of document.querySelectorAll("button.go")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        visit(Number(button.dataset.lesion));
        root.scrollIntoView({ block: "start" });
        views[0].canvas.focus({ preventScroll: true });
      });
    }
  }

  function pointers(view) {
    const place = (event) => {
      const frame = view.canvas.getBoundingClientRect(), box = layout(view);
      const x = Math.floor(((event.clientX - frame.left) * box.ratio - box.left) / box.w * view.width);
      const y = Math.floor(((event.clientY - frame.top) * box.ratio - box.top) / box.h * view.height);
      const next = state.at.slice();
      next[view.column] = x;
      next[view.row] = view.flip ? view.height - 1 - y : y;
      move(next);
    };
    view.canvas.addEventListener("pointerdown", (event) => {
      view.canvas.focus({ preventScroll: true });
      view.canvas.setPointerCapture(event.pointerId);
      place(event);
    });
    view.canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) place(event); });
    view.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      step(view.axis, event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    view.slider.addEventListener("input", () => {
      const next = state.at.slice();
      next[view.axis] = Number(view.slider.value);
      move(next);
    });
    view.canvas.addEventListener("keydown", (event) => {
      const down = view.flip ? -1 : 1;
      const moves = {
        ArrowLeft: [view.column, -1], ArrowRight: [view.column, 1], ArrowUp: [view.row, -down],
        ArrowDown: [view.row, down], PageUp: [view.axis, 1], PageDown: [view.axis, -1],
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      step(...moves[event.key]);
    });
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const key = event.key.toLowerCase();
    const region = { w: "WT", t: "TC", e: "ET" }[key];
    if (/^[1-9]$/.test(key)) choose(Number(key) - 1);
    else if (region) toggleRegion(data.regions.findIndex((r) => r.name === region));
    else if (key === "o") { state.overlay = !state.overlay; refresh(); }
    else if (key === "n") visit(state.lesion + 1);
    else if (key === "r") showLayer("reference");
    else if (key === "d") showLayer("difference");
    else if (key === "u") showLayer("uncertainty");
  }

  async function start() {
    root.hidden = false;
    const preferred = data.sequences.findIndex((s) => s.name === "t1c");
    state.sequence = Math.max(0, preferred);
    controls();
    views.forEach(pointers);
    document.addEventListener("keydown", keys);
    new ResizeObserver(() => views.forEach((view) => images[state.sequence] && compose(view))).observe(root);
    const read = async (name, divisor) => { if (data[name]) maps[name] = await unpack(data[name], divisor); };
    await Promise.all([choose(state.sequence), read("segmentation", 16)]);
    refresh();
    root.dataset.ready = "yes";
    await read("reference", 16);
    await read("uncertainty", 1);
    refresh();
    for (let n = 0; n < images.length; n++) if (!images[n]) images[n] = await unpack(data.sequences[n].url, 1);
    root.dataset.ready = "all";
    root.dispatchEvent(new Event("viewer-ready"));
  }

  window.glioscopeViewer = { data, state, images, maps, move, choose, refresh };
  start().catch((error) => {
    $("v-readout").className = "readout failed";
    $("v-readout").textContent = "This browser cannot show the viewer (" + error.message + "); the pictures below show the same.";
  });
})();
