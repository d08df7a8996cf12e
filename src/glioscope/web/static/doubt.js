// Where the network was unsure: an overlay, and a walk from one doubtful place to the next.
import { ask, listen } from "./server.js";

const $ = (id) => document.getElementById(id);

export class Doubt {
  constructor(editor) {
    this.editor = editor;
    this.there = false;
    this.shown = -1;
    listen("doubt", "change", (input) => editor.try(() => this.show(input.checked)));
    listen("next-doubt", "click", () => this.next());
  }

  // Whether this case has it: those segmented by an older version have not.
  async open() {
    try {
      this.places = await ask(`/api/cases/${this.editor.case.key}/doubts`);
      this.there = true;
    } catch (error) {
      if (!error.status) throw error;
    }
    $("doubt-chip").hidden = !this.there;
    $("next-doubt").hidden = !this.there || !this.places.length;
  }

  async show(on) {
    const { editor } = this;
    if (on && !this.image) this.image = (await editor.file("uncertainty.nii.gz")).data;
    editor.scene.heat = on && $("doubt").checked ? this.image : null;
    editor.views.draw();
  }

  next() {
    const { editor } = this;
    if (!this.places.length) return;
    this.shown = (this.shown + 1) % this.places.length;
    const { at_mm: at, volume_ml: volume } = this.places[this.shown];
    editor.views.jump(editor.space.fromMillimetres(at));
    editor.say(`Doubtful place ${this.shown + 1} of ${this.places.length}: ${volume.toFixed(2)} ml.`);
  }
}
