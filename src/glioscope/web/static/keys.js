// Every key of the editor in one table: what `?` shows is what works.
import { make } from "./server.js";
import { NAMES } from "./panel.js";

const $ = (id) => document.getElementById(id);
const TYPED = "input[type=text], input[type=search], select, textarea";

function table(editor) {
  const { options, pointer, clicks, views } = editor;
  const codes = Object.keys(NAMES).filter((code) => code in editor.case.choice);
  const press = (id) => () => $(id).click();
  const turn = (steps) => () => {
    const view = document.activeElement?.closest?.("[data-plane]");
    const { axis } = view ? views.of(view.dataset.plane) : editor.large();
    views.go(axis, editor.scene.at[axis] + steps);
  };
  const overlay = (name) => () => $("regions").querySelector(`input[value=${name}]`).click();
  const tool = (name) => () => pointer.choose(name);
  return [
    ["Slices", [
      ["↑|↓", "next, previous slice (of the picture last clicked)", { ArrowUp: turn(1), ArrowDown: turn(-1) }],
      ["Page Up|Page Down", "ten slices", { PageUp: turn(10), PageDown: turn(-10) }],
      ["A", "axial large", { a: () => editor.enlarge("axial") }],
      ["S", "coronal large", { s: () => editor.enlarge("coronal") }],
      ["D", "sagittal large", { d: () => editor.enlarge("sagittal") }],
      ["N", "next lesion", { n: () => editor.panel.nextLesion() }],
      ...(editor.doubt.there ? [["Q", "next doubtful place", { q: () => editor.doubt.next() }]] : []),
    ]],
    ["Picture", [
      [codes.map((_, n) => n + 1).join("|"), "sequence", Object.fromEntries(codes.map((code, n) => [n + 1, () => editor.try(() => editor.show(code))]))],
      ["←|→", "previous, next sequence", { ArrowLeft: () => sequence(editor, codes, -1), ArrowRight: () => sequence(editor, codes, 1) }],
      ["W|T|E", "whole tumour, core, enhancing on or off", { w: overlay("WT"), t: overlay("TC"), e: overlay("ET") }],
      ["O", "outlines only", { o: press("outline") }],
      ...(editor.doubt.there ? [["U", "uncertainty", { u: press("doubt") }]] : []),
      ["H", "crosshair", { h: press("crosshair") }],
      ["R", "brightness, contrast, zoom as at first", { r: press("reset") }],
      ["G", "full screen", { g: press("full") }],
    ]],
    ["Correct", [
      ["L", "look", { l: tool("look") }],
      ["C", "click", { c: tool("click") }],
      ["B", "brush", { b: tool("brush") }],
      ["X", "eraser", { x: tool("erase") }],
      ["F", "fill", { f: tool("fill") }],
      ["I", "island", { i: tool("island") }],
      ["M", "distance", { m: tool("distance") }],
      ["+|−", "size of brush and eraser", { "+": () => pointer.size(options.size + 1), "=": () => pointer.size(options.size + 1), "-": () => pointer.size(options.size - 1) }],
      ["V", "brush flat or as a ball", { v: press("solid") }],
      ["Enter", "keep what the last click did", { Enter: () => (clicks.pending ? clicks.settle(true) : false) }],
      ["Esc", "take back what the last click did", { Escape: () => clicks.takeBack() }],
      ["Ctrl Z", "undo", {}],
      ["Ctrl Y|Ctrl Shift Z", "redo", {}],
      ["?", "these keys", { "?": () => help(editor) }],
    ]],
    ["Mouse in a picture", [
      ["wheel", "slices", {}],
      ["Ctrl wheel", "zoom", {}],
      ["Shift drag|middle drag", "move the picture", {}],
      ["right drag", "brightness and contrast", {}],
      ["double click", "enlarge (with Look)", {}],
    ]],
  ];
}

function sequence(editor, codes, step) {
  const now = codes.indexOf(editor.wanted);
  editor.try(() => editor.show(codes[(now + step + codes.length) % codes.length]));
}

function help(editor) {
  const box = $("keys");
  if (box.open) {
    box.close();
    return;
  }
  $("key-list").replaceChildren(...table(editor).map(([title, rows]) => make("section", {}, make("h3", {}, title),
    make("dl", {}, ...rows.flatMap(([keys, what]) => [make("dt", {}, ...keys.split("|").map((key) => make("kbd", {}, key))), make("dd", {}, what)])))));
  box.showModal();
}

export function keyboard(editor) {
  $("show-keys").addEventListener("click", () => help(editor));
  $("close-keys").addEventListener("click", () => $("keys").close());
  document.addEventListener("keydown", (event) => {
    if (editor.closed || event.altKey || event.target.matches(TYPED) || ($("keys").open && event.key !== "?")) return;
    if (event.target.matches("input[type=range]") && /^(Arrow|Page)/.test(event.key)) return;
    if (event.key === "Enter" && event.target.matches("button, a, summary")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      editor.step(key === "z" && !event.shiftKey);
      return;
    }
    for (const [, rows] of table(editor)) {
      for (const [, , actions] of rows) {
        if (!(key in actions)) continue;
        if (actions[key]() !== false) event.preventDefault();
        return;
      }
    }
  });
}
