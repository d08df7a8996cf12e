// Three slices of a scan with its labels on canvases of two dimensions: no graphics card is needed.
import { PLANES } from "./space.js";

const CROSSHAIR = "rgba(155, 231, 255, .75)";

export class Views {
  // `scene` says what is shown: space, image, labels, colours (label to [r, g, b] or null), at, opacity, outline,
  // window {low, high}, heat (uncertainty or null), pen {plane, place, radius} or null, measure or null.
  constructor(root, scene, changed) {
    this.scene = scene;
    this.changed = changed;
    this.views = [...root.querySelectorAll("[data-plane]")].map((element) => this.make(element));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  make(element) {
    const plane = element.dataset.plane, about = PLANES[plane];
    const canvas = element.querySelector("canvas"), slider = element.querySelector("input[type=range]");
    const view = { element, plane, ...about, canvas, slider, output: element.querySelector("output"), zoom: 1, pan: [0, 0] };
    view.grey = document.createElement("canvas");
    view.paint = document.createElement("canvas");
    about.letters.forEach((letter, n) => { element.querySelector(`.side:nth-of-type(${n + 1})`).textContent = letter; });
    slider.addEventListener("input", () => this.go(view.axis, Number(slider.value) - 1));
    return view;
  }

  of(plane) {
    return this.views.find((view) => view.plane === plane);
  }

  // Sizes change with the case: call once it is known.
  open() {
    const { size } = this.scene.space;
    for (const view of this.views) {
      view.width = size[view.column];
      view.height = size[view.row];
      for (const layer of [view.grey, view.paint]) {
        layer.width = view.width;
        layer.height = view.height;
      }
      view.slider.max = size[view.axis];
    }
    this.draw();
  }

  go(axis, slice) {
    const at = [...this.scene.at];
    at[axis] = slice;
    this.jump(at);
  }

  jump(place) {
    this.scene.at = this.scene.space.clamp(place);
    this.draw();
    this.changed();
  }

  reset() {
    for (const view of this.views) {
      view.zoom = 1;
      view.pan = [0, 0];
    }
  }

  // Slices are drawn once before the next picture, however often this is asked for.
  draw() {
    this.stale = true;
    this.compose();
  }

  compose() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      if (!this.scene.space || !this.scene.image) return;
      const begun = performance.now();
      for (const view of this.views) {
        if (this.stale) this.slice(view);
        this.picture(view);
      }
      this.stale = false;
      this.lastFrame = performance.now() - begun;
    });
  }

  slice(view) {
    const { space, image, labels, colours, at, heat, window: { low, high }, opacity, outline } = this.scene;
    const { width, height } = view;
    const grey = new ImageData(width, height), paint = new ImageData(width, height);
    const table = new Uint8ClampedArray(256);
    for (let v = 1; v < 256; v++) table[v] = ((v - low) / Math.max(1, high - low)) * 255;
    const alpha = 255 * opacity;
    const right = -space.stride[view.column];
    const start = [...at];
    start[view.column] = width - 1;
    view.edges = [];
    for (let y = 0, n = 0; y < height; y++) {
      start[view.row] = height - 1 - y;
      for (let x = 0, index = space.index(...start); x < width; x++, n++, index += right) {
        const value = table[image[index]];
        grey.data[4 * n] = grey.data[4 * n + 1] = grey.data[4 * n + 2] = value;
        grey.data[4 * n + 3] = 255;
        const colour = colours[labels[index]];
        if (heat && image[index]) {
          const doubt = heat[index] / 255;
          paint.data[4 * n] = 255;
          paint.data[4 * n + 1] = 90 + 155 * doubt;
          paint.data[4 * n + 2] = 20 + 150 * doubt;
          paint.data[4 * n + 3] = 255 * Math.max(0, Math.min(1, (doubt - 0.05) * 1.7)) * Math.min(1, 0.3 + opacity);
        } else if (!heat && colour && !outline) {
          paint.data[4 * n] = colour[0];
          paint.data[4 * n + 1] = colour[1];
          paint.data[4 * n + 2] = colour[2];
          paint.data[4 * n + 3] = alpha;
        }
      }
    }
    view.grey.getContext("2d").putImageData(grey, 0, 0);
    view.paint.getContext("2d").putImageData(paint, 0, 0);
    this.outlines(view);
    view.slider.value = at[view.axis] + 1;
    view.output.textContent = `${at[view.axis] + 1}/${space.size[view.axis]}`;
  }

  // Borders of the colours as lines between voxels, by colour.
  outlines(view) {
    const { space, labels, colours, at } = this.scene;
    const { width, height } = view;
    const lines = new Map();
    const down = -space.stride[view.row], right = -space.stride[view.column];
    const start = [...at];
    start[view.column] = width - 1;
    const add = (colour, line) => {
      if (!lines.has(colour)) lines.set(colour, []);
      lines.get(colour).push(line);
    };
    for (let y = 0; y < height; y++) {
      start[view.row] = height - 1 - y;
      for (let x = 0, index = space.index(...start); x < width; x++, index += right) {
        const mine = colours[labels[index]];
        if (!mine) continue;
        if (x === 0 || colours[labels[index - right]] !== mine) add(mine, [x, y, x, y + 1]);
        if (x === width - 1 || colours[labels[index + right]] !== mine) add(mine, [x + 1, y, x + 1, y + 1]);
        if (y === 0 || colours[labels[index - down]] !== mine) add(mine, [x, y, x + 1, y]);
        if (y === height - 1 || colours[labels[index + down]] !== mine) add(mine, [x, y + 1, x + 1, y + 1]);
      }
    }
    view.lines = lines;
  }

  // Where the slice lies on the canvas, in its pixels.
  box(view) {
    const { spacing } = this.scene.space;
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.max(1, Math.round(view.canvas.clientWidth * ratio)), high = Math.max(1, Math.round(view.canvas.clientHeight * ratio));
    if (view.canvas.width !== wide) view.canvas.width = wide;
    if (view.canvas.height !== high) view.canvas.height = high;
    const mm = [view.width * spacing[view.column], view.height * spacing[view.row]];
    const scale = Math.min(wide / mm[0], high / mm[1]) * 0.96 * view.zoom; // pixels a millimetre
    const w = mm[0] * scale, h = mm[1] * scale;
    return { left: (wide - w) / 2 + view.pan[0] * ratio, top: (high - h) / 2 + view.pan[1] * ratio, w, h, wide, high, ratio, scale };
  }

  picture(view) {
    const pen = view.canvas.getContext("2d"), box = this.box(view);
    const { heat, opacity, outline, crosshair } = this.scene;
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, box.wide, box.high);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(view.grey, box.left, box.top, box.w, box.h);
    pen.imageSmoothingEnabled = Boolean(heat);
    pen.drawImage(view.paint, box.left, box.top, box.w, box.h);
    if (!heat && view.lines) {
      pen.lineWidth = (outline ? 1.6 : 1.1) * box.ratio;
      for (const [colour, lines] of view.lines) {
        pen.strokeStyle = `rgba(${colour.join(",")}, ${outline ? 1 : Math.min(1, opacity * 2.2)})`;
        pen.beginPath();
        for (const [x0, y0, x1, y1] of lines) {
          pen.moveTo(box.left + (x0 / view.width) * box.w, box.top + (y0 / view.height) * box.h);
          pen.lineTo(box.left + (x1 / view.width) * box.w, box.top + (y1 / view.height) * box.h);
        }
        pen.stroke();
      }
    }
    if (crosshair) this.cross(view, pen, box);
    this.marks(view, pen, box);
  }

  cross(view, pen, box) {
    const [x, y] = this.point(view, this.scene.at, box), gap = 9 * box.ratio;
    pen.strokeStyle = CROSSHAIR;
    pen.lineWidth = box.ratio;
    pen.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, box.wide, y], [x, 0, x, y - gap], [x, y + gap, x, box.high]]) {
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
    }
    pen.stroke();
  }

  // The outline of the pen, clicks and a measured distance.
  marks(view, pen, box) {
    const { pen: tip, measure, clicks, at } = this.scene;
    if (tip && tip.plane === view.plane) {
      const [x, y] = this.point(view, tip.place, box);
      pen.lineWidth = 1.2 * box.ratio;
      for (const [colour, wider] of [["#000a", 1.5 * box.ratio], ["#fff", 0]]) {
        pen.strokeStyle = colour;
        pen.beginPath();
        pen.arc(x, y, Math.max(2 * box.ratio, tip.radius * box.scale) + wider, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
    for (const click of clicks || []) {
      if (Math.abs(click.place[view.axis] - at[view.axis]) > 1) continue;
      const [x, y] = this.point(view, click.place, box), arm = 5 * box.ratio;
      for (const [colour, width] of [["#000", 4], [click.add ? "#7dff9b" : "#ff8a80", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width * box.ratio;
        pen.beginPath();
        pen.moveTo(x - arm, y);
        pen.lineTo(x + arm, y);
        if (click.add) {
          pen.moveTo(x, y - arm);
          pen.lineTo(x, y + arm);
        }
        pen.stroke();
      }
    }
    if (measure && measure.plane === view.plane && Math.round(measure.from[view.axis]) === at[view.axis]) {
      const from = this.point(view, measure.from, box), to = this.point(view, measure.to, box);
      pen.strokeStyle = pen.fillStyle = "#ffe08a";
      pen.lineWidth = 1.5 * box.ratio;
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
      pen.font = `600 ${13 * box.ratio}px system-ui, sans-serif`;
      pen.shadowColor = "#000";
      pen.shadowBlur = 4 * box.ratio;
      pen.fillText(`${this.length(measure).toFixed(1)} mm`, to[0] + 8 * box.ratio, to[1] - 6 * box.ratio);
      pen.shadowBlur = 0;
    }
  }

  length({ from, to }) {
    return Math.hypot(...from.map((n, axis) => (to[axis] - n) * this.scene.space.spacing[axis]));
  }

  point(view, place, box = this.box(view)) {
    return [
      box.left + ((view.width - 0.5 - place[view.column]) / view.width) * box.w,
      box.top + ((view.height - 0.5 - place[view.row]) / view.height) * box.h,
    ];
  }

  // The place under a pointer, in parts of voxels; it may lie outside the image.
  under(view, event) {
    const bounds = view.canvas.getBoundingClientRect(), box = this.box(view);
    const x = (event.clientX - bounds.left) * box.ratio, y = (event.clientY - bounds.top) * box.ratio;
    const place = [...this.scene.at];
    place[view.column] = view.width - 0.5 - ((x - box.left) / box.w) * view.width;
    place[view.row] = view.height - 0.5 - ((y - box.top) / box.h) * view.height;
    return place;
  }

  // Nearer or farther, with what is under the pointer staying there.
  zoom(view, factor, event) {
    const bounds = view.canvas.getBoundingClientRect();
    const off = event ? [event.clientX - bounds.left - bounds.width / 2, event.clientY - bounds.top - bounds.height / 2] : [0, 0];
    const next = Math.min(12, Math.max(1, view.zoom * factor)), ratio = next / view.zoom;
    view.pan = next === 1 ? [0, 0] : view.pan.map((n, axis) => off[axis] - (off[axis] - n) * ratio);
    view.zoom = next;
    this.compose();
  }
}
