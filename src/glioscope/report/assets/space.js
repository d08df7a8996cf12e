"use strict";
// The 3-D view: NiiVue draws the brain that the slice viewer has read, with the tumour inside. It is unpacked and
// started only when asked for; where WebGL 2 or decompression are not there, the slices and still pictures remain.
(function () {
  const button = document.getElementById("v-space");
  const box = document.getElementById("v-space-box");
  const packed = document.getElementById("niivue-packed");
  if (!button || !packed) return;
  const viewer = window.glioscopeViewer;

  // Drawn by the processor instead of a graphics card: every second voxel and a smaller picture have to do.
  let coarse = false;

  // Why 3-D is out of reach here, or "".
  function obstacle() {
    if (typeof DecompressionStream !== "function") return "This browser is too old for the 3-D view";
    const pen = document.createElement("canvas").getContext("webgl2");
    if (!pen) return "This browser has no WebGL 2 for the 3-D view";
    const known = pen.getExtension("WEBGL_debug_renderer_info");
    const name = known ? String(pen.getParameter(known.UNMASKED_RENDERER_WEBGL)) : "";
    pen.getExtension("WEBGL_lose_context")?.loseContext();
    coarse = /swiftshader|llvmpipe|software/i.test(name);
    return "";
  }

  // Asked once the slices are there: to start WebGL takes some tenths of a second, and the first view comes first.
  document.getElementById("viewer").addEventListener("viewer-ready", () => {
    const reason = obstacle();
    button.disabled = Boolean(reason);
    button.title = reason && reason + "; the slices show the same.";
  });
  let view = null;

  async function library() {
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    return window.niivue;
  }

  // Every voxel, or every second along each axis.
  function thinned(voxels) {
    if (!coarse) return voxels;
    const [ni, nj, nk] = viewer.data.shape, [mi, mj, mk] = viewer.data.shape.map((n) => Math.ceil(n / 2));
    const found = new Uint8Array(mi * mj * mk);
    for (let k = 0, to = 0; k < mk; k++) {
      for (let j = 0; j < mj; j++) for (let i = 0; i < mi; i++) found[to++] = voxels[2 * i + ni * (2 * j + nj * 2 * k)];
    }
    return found;
  }

  // A NIfTI-1 file in memory: 352 bytes of header, then one byte a voxel.
  function nifti(whole) {
    const step = coarse ? 2 : 1, voxels = thinned(whole);
    const shape = viewer.data.shape.map((n) => Math.ceil(n / step)), spacing = viewer.data.spacing.map((mm) => mm * step);
    const affine = viewer.data.affine.map((row) => [...row.slice(0, 3).map((mm) => mm * step), row[3]]);
    const buffer = new ArrayBuffer(352 + voxels.length);
    const head = new DataView(buffer);
    head.setInt32(0, 348, true);
    [3, ...shape, 1, 1, 1, 1].forEach((n, i) => head.setInt16(40 + 2 * i, n, true));
    head.setInt16(70, 2, true);
    head.setInt16(72, 8, true);
    [1, ...spacing, 1, 1, 1, 1].forEach((n, i) => head.setFloat32(76 + 4 * i, n, true));
    head.setFloat32(108, 352, true);
    head.setFloat32(112, 1, true);
    head.setUint8(123, 2);
    head.setInt16(254, 2, true);
    affine.flat().forEach((n, i) => head.setFloat32(280 + 4 * i, n, true));
    [0x6e, 0x2b, 0x31, 0].forEach((n, i) => head.setUint8(344 + i, n));
    new Uint8Array(buffer, 352).set(voxels);
    return buffer;
  }

  // The whole tumour is glass around its core: a layer of its own, since a layer has one opacity.
  const shell = viewer.data.regions[0]?.name === "WT" ? 1 : 0;

  // One step per region, in its colour; hidden regions give way to what lies around them.
  function tumour(wanted) {
    const { maps, state, data } = viewer;
    const source = state.layer === "reference" ? maps.reference : maps.segmentation;
    const table = new Uint8Array(256);
    for (let code = 0; code < 256; code++) {
      for (let n = data.regions.length - 1; n >= 0 && !table[code]; n--) {
        if (code >> n & 1 && state.regions[n] && state.overlay) table[code] = n + 1;
      }
    }
    return source.map((code) => (wanted(table[code]) ? table[code] : 0));
  }
  const glass = () => tumour((value) => value <= shell);
  const solid = () => tumour((value) => value > shell);

  // One layer: all of a picture of the voxels, in a colour map.
  function layer(NVImage, name, voxels, colormap, low, high) {
    return NVImage.loadFromUrl({ url: nifti(voxels), name, colormap, cal_min: low, cal_max: high, opacity: 1 });
  }

  function colours() {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0] };
    const regions = viewer.data.regions;
    regions.forEach((region, n) => {
      [map.R, map.G, map.B].forEach((channel, c) => channel.push(parseInt(region.colour.slice(1 + 2 * c, 3 + 2 * c), 16)));
      map.A.push(255);
      map.I.push(Math.round(255 * (n + 1) / regions.length));
    });
    return map;
  }

  async function start(canvas) {
    const { Niivue, NVImage } = await library();
    const nv = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: true, logLevel: "error", isResizeCanvas: true });
    await nv.attachToCanvas(canvas);
    nv.setSliceType(nv.sliceTypeRender);
    nv.addColormap("glioscope", colours());
    const { images, state, data } = viewer;
    const count = data.regions.length;
    const brain = await layer(NVImage, "brain.nii", images[state.sequence], "gray", 40, 250);
    const around = await layer(NVImage, "around.nii", glass(), "glioscope", 0, count);
    const inside = await layer(NVImage, "inside.nii", solid(), "glioscope", 0, count);
    for (const volume of [brain, around, inside]) nv.addVolume(volume);
    nv.overlayOutlineWidth = 0;
    nv.setInterpolation(false);
    nv.setRenderAzimuthElevation(200, 20);
    await nv.setVolumeRenderIllumination(0.4);
    nv.setClipPlane([2, 0, 0]);
    nv.setScale(1.2);
    nv.setOpacity(1, 0.08);
    nv.setOpacity(0, 0.5);
    return { nv, around, inside };
  }

  button.addEventListener("click", async () => {
    box.hidden = !box.hidden;
    button.setAttribute("aria-pressed", String(!box.hidden));
    if (box.hidden || view) return;
    const note = document.getElementById("v-space-note");
    note.textContent = coarse ? "Building the 3-D view without a graphics card: this takes a while…" : "Building the 3-D view…";
    box.classList.toggle("coarse", coarse);
    await new Promise((done) => setTimeout(done, 50)); // so that the note is seen
    try {
      view = viewer.space = await start(box.querySelector("canvas"));
      note.textContent = "Drag to turn, scroll to come nearer. Regions are switched above.";
      box.dataset.ready = "yes";
    } catch (error) {
      note.textContent = "The 3-D view could not start here (" + error.message + "); the slices show the same.";
    }
  });

  document.getElementById("viewer").addEventListener("viewer-change", (() => {
    let last = "";
    return () => {
      if (!view || box.hidden) return;
      const { regions, overlay, layer } = viewer.state;
      const now = JSON.stringify([regions, overlay, layer]);
      if (now === last) return;
      last = now;
      view.around.img = thinned(glass());
      view.inside.img = thinned(solid());
      view.nv.updateGLVolume();
    };
  })());
})();
