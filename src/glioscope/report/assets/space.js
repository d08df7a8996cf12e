"use strict";
// The 3-D view: NiiVue draws the brain that the slice viewer has read, with the tumour inside. It is unpacked and
// started only when asked for; where WebGL 2 or decompression are not there, the slices and still pictures remain.
(function () {
  const button = document.getElementById("v-space");
  const box = document.getElementById("v-space-box");
  const packed = document.getElementById("niivue-packed");
  if (!button || !packed) return;
  const viewer = window.glioscopeViewer;

  // Why 3-D is out of reach here, or "". Drawn by the processor instead of a graphics card, a frame takes minutes.
  function obstacle() {
    if (typeof DecompressionStream !== "function") return "This browser is too old for the 3-D view";
    const pen = document.createElement("canvas").getContext("webgl2");
    if (!pen) return "This browser has no WebGL 2 for the 3-D view";
    const known = pen.getExtension("WEBGL_debug_renderer_info");
    const name = known ? String(pen.getParameter(known.UNMASKED_RENDERER_WEBGL)) : "";
    pen.getExtension("WEBGL_lose_context")?.loseContext();
    return /swiftshader|llvmpipe|software/i.test(name) ? "This browser has no graphics card for the 3-D view" : "";
  }

  const reason = obstacle();
  if (reason) {
    button.disabled = true;
    button.title = reason + "; the slices show the same.";
    return;
  }
  let view = null;

  async function library() {
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    return window.niivue;
  }

  // A NIfTI-1 file in memory: 352 bytes of header, then one byte a voxel.
  function nifti(voxels) {
    const { shape, spacing, affine } = viewer.data;
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

  // One step per region, in its colour; hidden regions give way to what lies around them.
  function tumour() {
    const { maps, state, data } = viewer;
    const source = state.layer === "reference" ? maps.reference : maps.segmentation;
    const table = new Uint8Array(256);
    for (let code = 0; code < 256; code++) {
      for (let n = data.regions.length - 1; n >= 0 && !table[code]; n--) {
        if (code >> n & 1 && state.regions[n] && state.overlay) table[code] = n + 1;
      }
    }
    return source.map((code) => table[code]);
  }

  function colours() {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0] };
    const regions = viewer.data.regions;
    regions.forEach((region, n) => {
      [map.R, map.G, map.B].forEach((channel, c) => channel.push(parseInt(region.colour.slice(1 + 2 * c, 3 + 2 * c), 16)));
      map.A.push(region.name === "WT" ? 70 : 255);
      map.I.push(Math.round(255 * (n + 1) / regions.length));
    });
    return map;
  }

  async function start(canvas) {
    const { Niivue, NVImage } = await library();
    const nv = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: false, logLevel: "error", isResizeCanvas: true });
    await nv.attachToCanvas(canvas);
    nv.setSliceType(nv.sliceTypeRender);
    nv.addColormap("glioscope", colours());
    const { images, state, data } = viewer;
    const brain = await NVImage.loadFromUrl({ url: nifti(images[state.sequence]), name: "brain.nii", colormap: "gray", cal_min: 40, cal_max: 250, opacity: 1 });
    const lesion = await NVImage.loadFromUrl({ url: nifti(tumour()), name: "tumour.nii", colormap: "glioscope", cal_min: 0, cal_max: data.regions.length, opacity: 1 });
    nv.addVolume(brain);
    nv.addVolume(lesion);
    nv.overlayOutlineWidth = 0;
    nv.setInterpolation(false);
    nv.setRenderAzimuthElevation(200, 20);
    await nv.setVolumeRenderIllumination(0.4);
    nv.setClipPlane([0.05, 0, 90]);
    nv.setClipPlane([2, 0, 0]);
    nv.opts.renderOverlayBlend = 1;
    nv.setOpacity(0, 0.25);
    nv.drawScene();
    return { nv, lesion };
  }

  button.addEventListener("click", async () => {
    box.hidden = !box.hidden;
    button.setAttribute("aria-pressed", String(!box.hidden));
    if (box.hidden || view) return;
    const note = document.getElementById("v-space-note");
    note.textContent = "Building the 3-D view…";
    try {
      view = viewer.space = await start(box.querySelector("canvas"));
      note.textContent = "Drag to turn, scroll to come nearer. Switch WT off to see the core inside it.";
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
      view.lesion.img = tumour();
      view.nv.updateGLVolume();
    };
  })());
})();
