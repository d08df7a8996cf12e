// The mouse, pen or finger in a slice, and what the chosen tool makes of it.
import { chip, listen, phraseOfCount } from "./server.js";
import { allowed, between, fill, island, islands, others, round, without } from "./tools.js";

const $ = (id) => document.getElementById(id);
export const TOOLS = {
  look: "Look", click: "Click", brush: "Brush", erase: "Eraser", fill: "Fill", island: "Island", distance: "Distance",
};
const PAINTS = ["brush", "erase", "fill"];

export class Pointer {
  constructor(editor) {
    this.editor = editor;
    this.stroke = null;
    for (const [name, text] of Object.entries(TOOLS)) {
      chip($("tool"), "radio", "tool", name, text, name === "look", () => this.choose(name));
    }
    const { options } = editor;
    listen("size", "input", (input) => this.size(Number(input.value)));
    listen("solid", "change", (input) => { options.solid = input.checked; });
    listen("over", "change", (input) => { options.over = /^\d+$/.test(input.value) ? Number(input.value) : input.value; });
    listen("brain", "change", (input) => { options.brain = input.checked; });
    listen("limit", "change", () => this.limits());
    for (const id of ["low", "high"]) listen(id, "input", () => this.limits());
    listen("any-tissue", "change", (input) => { options.anyTissue = input.checked; });
    for (const input of document.querySelectorAll("[name=island]")) {
      input.addEventListener("change", () => { options.keep = input.value === "keep"; });
    }
    for (const view of editor.views.views) this.watch(view);
    this.size(options.size);
    this.choose("look");
  }

  choose(name) {
    const { editor } = this;
    this.finish();
    editor.options.tool = name;
    for (const input of $("tool").querySelectorAll("input")) input.checked = input.value === name;
    for (const part of document.querySelectorAll("[data-tools]")) part.hidden = !part.dataset.tools.split(" ").includes(name);
    $("stage").dataset.tool = name;
    editor.scene.pen = null;
    editor.views.compose();
  }

  size(value) {
    const { options } = this.editor;
    options.size = Math.min(40, Math.max(1, value));
    $("size").value = options.size;
    $("size-value").textContent = `${options.size} mm`;
    if (this.editor.scene.pen) {
      this.editor.scene.pen.radius = options.size / 2;
      this.editor.views.compose();
    }
  }

  async limits() {
    const { editor } = this;
    const [low, high] = [Number($("low").value), Number($("high").value)].sort((a, b) => a - b);
    $("limit-value").textContent = `${low} to ${high} %`;
    if (!$("limit").checked) {
      editor.options.range = null;
      return;
    }
    try {
      editor.options.range = { image: await editor.rangeImage(), low: low * 2.55, high: high * 2.55 };
    } catch (error) {
      $("limit").checked = false;
      editor.tell(error.message, true);
    }
  }

  allowed() {
    const { options, map, scene } = this.editor;
    return allowed(map.labels, { ...options, image: scene.image });
  }

  watch(view) {
    const { canvas } = view;
    const { editor } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => this.down(view, event));
    canvas.addEventListener("pointermove", (event) => this.move(view, event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.finish());
    canvas.addEventListener("pointerleave", () => {
      editor.scene.pen = null;
      editor.views.compose();
    });
    canvas.addEventListener("dblclick", () => { if (editor.options.tool === "look") editor.enlarge(view.plane); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) editor.views.zoom(view, event.deltaY < 0 ? 1.15 : 1 / 1.15, event);
      else editor.views.go(view.axis, editor.scene.at[view.axis] + (event.deltaY < 0 ? 1 : -1));
    }, { passive: false });
  }

  down(view, event) {
    const { editor } = this;
    if (!editor.scene.image || this.stroke) return;
    view.canvas.focus({ preventScroll: true });
    view.canvas.setPointerCapture(event.pointerId);
    const tool = editor.options.tool, from = [event.clientX, event.clientY];
    const place = editor.views.under(view, event);
    const button = event.button === 0 && !event.shiftKey ? "left" : event.button === 2 && !event.shiftKey ? "right" : "middle";
    if (button === "middle") this.stroke = { kind: "pan", view, from, pan: [...view.pan] };
    else if (tool === "click") this.once(() => editor.clicks.add(rounded(place), button === "left" && !event.altKey));
    else if (button === "right") this.stroke = { kind: "grey", from, values: ["brightness", "contrast"].map((id) => Number($(id).value)) };
    else if (tool === "distance") {
      editor.scene.measure = { plane: view.plane, from: place, to: place };
      this.stroke = { kind: "distance", view };
    } else if (tool === "brush" || tool === "erase") {
      editor.clicks.settle();
      editor.map.begin();
      this.stroke = { kind: "paint", view, last: null, allowed: this.allowed() };
      this.paint(view, place);
    } else if (tool === "fill") this.once(() => this.fill(view, rounded(place)));
    else if (tool === "island") this.once(() => this.island(rounded(place)));
    else {
      this.stroke = { kind: "look", view };
      editor.views.jump(place);
    }
  }

  once(act) {
    if (this.editor.options.tool !== "click") this.editor.clicks.settle();
    act();
  }

  move(view, event) {
    const { editor, stroke } = this;
    if (!editor.scene.image) return;
    const place = editor.views.under(view, event);
    if (["brush", "erase"].includes(editor.options.tool)) {
      editor.scene.pen = { plane: view.plane, place, radius: editor.options.size / 2 };
      editor.views.compose();
    }
    if (!stroke || (stroke.view && stroke.view !== view)) return;
    if (stroke.kind === "pan") {
      view.pan = stroke.pan.map((n, axis) => n + (axis ? event.clientY - stroke.from[1] : event.clientX - stroke.from[0]));
      editor.views.compose();
    } else if (stroke.kind === "grey") {
      $("contrast").value = stroke.values[1] + (event.clientX - stroke.from[0]) / 2;
      $("brightness").value = stroke.values[0] - (event.clientY - stroke.from[1]) / 2;
      editor.grey();
    } else if (stroke.kind === "distance") {
      editor.scene.measure.to = place;
      $("readout").textContent = `${editor.views.length(editor.scene.measure).toFixed(1)} mm`;
      editor.views.compose();
    } else if (stroke.kind === "paint") {
      for (const part of event.getCoalescedEvents?.() || [event]) this.paint(view, editor.views.under(view, part));
    } else if (stroke.kind === "look") editor.views.jump(place);
  }

  paint(view, place) {
    const { editor, stroke } = this;
    const { options, map, space } = editor;
    const to = rounded(place), label = options.tool === "erase" ? 0 : options.label;
    const path = stroke.last ? between(stroke.last, to) : [to];
    stroke.last = to;
    for (const centre of path) {
      for (const index of round(space, centre, options.size / 2, options.solid ? null : view.axis)) {
        if (stroke.allowed(index)) map.set(index, label);
      }
    }
    editor.views.draw();
  }

  finish() {
    const { editor, stroke } = this;
    this.stroke = null;
    if (stroke?.kind !== "paint") return;
    editor.map.end();
    editor.say("");
    editor.changed();
  }

  fill(view, start) {
    const { editor } = this;
    if (!editor.space.holds(start)) return;
    const { found, open } = fill(editor.space, editor.map.labels, start, view.axis);
    if (open) {
      editor.say("The outline is open here: filling would reach the edge of the picture. Close it with the brush first.", true);
      return;
    }
    const count = editor.map.change(found.filter(this.allowed()), editor.options.label);
    editor.changed();
    editor.say(count ? `${phraseOfCount(count, "voxel")} filled.` : "There is nothing to fill here.");
  }

  island(start) {
    const { editor } = this;
    const { map, space, options } = editor;
    const members = space.holds(start) ? island(space, map.labels, start, options.anyTissue) : [];
    if (!members.length) {
      editor.say("There is no tumour under the pointer.", true);
      return;
    }
    const removed = options.keep ? islands(space, others(space, map.labels, members, options.anyTissue)) : [members];
    const becomes = removed.map((part) => (options.anyTissue ? 0 : without(space, map.labels, part)));
    map.begin();
    removed.forEach((part, n) => part.forEach((index) => map.set(index, becomes[n])));
    const count = map.end();
    editor.changed();
    const what = options.keep ? "The others were removed" : "Removed";
    editor.say(count ? `${what}: ${phraseOfCount(removed.length, "island")}, ${phraseOfCount(count, "voxel")}.` : "There is no other island.");
  }
}

function rounded(place) {
  return place.map(Math.round);
}
