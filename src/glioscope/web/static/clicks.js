// Clicks that correct: one is sent with what was drawn around it, and the server answers with the voxels that change.
// Each click is one step back. Enter keeps it, Esc takes it back.
import { chip, phraseOfCount, post } from "./server.js";

const $ = (id) => document.getElementById(id);

export class ClickTool {
  constructor(editor) {
    this.editor = editor;
    this.pending = false;
    this.busy = false;
    for (const name of ["WT", "TC", "ET"]) {
      chip($("click-regions"), "radio", "click-region", name, name, name === editor.options.region, () => { editor.options.region = name; }, `region ${name}`);
    }
    $("accept").addEventListener("click", () => this.settle(true));
    $("take-back").addEventListener("click", () => this.takeBack());
  }

  async add(place, add) {
    const { editor } = this;
    const { map, space, options, scene } = editor;
    if (this.busy) return;
    if (!space.holds(place)) {
      editor.say("That is outside the picture; click in the brain.", true);
      return;
    }
    this.settle();
    this.busy = true;
    const begun = performance.now(), turn = map.turn;
    scene.clicks = [{ place, add }];
    editor.views.compose();
    $("stage").classList.add("waiting");
    try {
      const answer = await post(`/api/cases/${editor.case.key}/refine`, {
        content: editor.content, changes: map.runs(), clicks: [{ at: space.stored(place), region: options.region, add }],
      });
      if (map.turn !== turn) throw new Error("The drawing was changed before the answer came; click again.");
      const count = map.changeRuns(answer.runs);
      this.pending = count > 0;
      editor.changed();
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      editor.say(count ? `${phraseOfCount(count, "voxel")} ${add ? "added to" : "removed from"} ${options.region} in ${seconds} s. Enter keeps it, Esc takes it back.` : `Nothing to change: the place ${add ? "belongs to" : "is not in"} ${options.region} already.`);
      requestAnimationFrame(() => { $("workspace").dataset.click = Math.round(performance.now() - begun); });
    } catch (error) {
      scene.clicks = [];
      editor.say(`${error.message} Your drawing is as it was.`, true);
    } finally {
      this.busy = false;
      $("stage").classList.remove("waiting");
      this.buttons();
      editor.views.compose();
    }
  }

  buttons() {
    $("accept").disabled = $("take-back").disabled = !this.pending;
  }

  // Keep what the last click did.
  settle(said = false) {
    if (said && this.pending) this.editor.say("Kept. Save it as a version when all is right.");
    this.forget();
  }

  takeBack() {
    if (!this.pending) return false;
    this.editor.map.undo();
    this.forget();
    this.editor.changed();
    this.editor.say("Taken back.");
    return true;
  }

  forget() {
    this.pending = false;
    this.editor.scene.clicks = [];
    this.buttons();
    this.editor.views.compose();
  }
}
