// The labels that are being corrected, and the way back: every change is kept as the voxels it changed. Pure.

const MOST_KEPT = 40e6; // voxels in all changes that can be taken back: 240 MB; the oldest are let go first

export class Bitmap {
  constructor(labels) {
    this.load(labels);
  }

  // Begin with a label map; nothing can be taken back beyond it.
  load(labels) {
    this.loaded = labels.slice();
    this.labels = labels.slice();
    this.counts = new Float64Array(256);
    for (const label of labels) this.counts[label]++;
    this.different = 0; // voxels that are not as loaded
    this.done = [];
    this.undone = [];
    this.open = null;
    this.kept = 0;
    this.stamp = new Uint32Array(labels.length); // which change touched a voxel last
    this.turn = 0;
  }

  // A change may be made in several strokes of the pen; it is one step back.
  begin() {
    if (this.open) this.end();
    this.open = { where: [], before: [] };
    this.turn++;
  }

  set(index, label) {
    const now = this.labels[index];
    if (now === label) return;
    if (this.stamp[index] !== this.turn) {
      this.stamp[index] = this.turn;
      this.open.where.push(index);
      this.open.before.push(now);
    }
    this.write(index, label);
  }

  write(index, label) {
    const now = this.labels[index], first = this.loaded[index];
    this.different += (label !== first) - (now !== first);
    this.counts[now]--;
    this.counts[label]++;
    this.labels[index] = label;
  }

  // Close a change; return how many voxels it changed in the end. One that changed none is no step.
  end() {
    const { where, before } = this.open;
    this.open = null;
    const kept = [];
    for (let n = 0; n < where.length; n++) if (this.labels[where[n]] !== before[n]) kept.push(n);
    if (!kept.length) return 0;
    const change = { where: new Uint32Array(kept.length), before: new Uint8Array(kept.length), after: new Uint8Array(kept.length) };
    kept.forEach((n, to) => {
      change.where[to] = where[n];
      change.before[to] = before[n];
      change.after[to] = this.labels[where[n]];
    });
    for (const lost of this.undone) this.kept -= lost.where.length;
    this.undone = [];
    this.done.push(change);
    this.kept += kept.length;
    while (this.kept > MOST_KEPT && this.done.length > 1) this.kept -= this.done.shift().where.length;
    return kept.length;
  }

  // Change voxels at once: indices, and one label or one for each.
  change(indices, labels) {
    this.begin();
    for (let n = 0; n < indices.length; n++) this.set(indices[n], typeof labels === "number" ? labels : labels[n]);
    return this.end();
  }

  undo() {
    return this.move(this.done, this.undone, "before");
  }

  redo() {
    return this.move(this.undone, this.done, "after");
  }

  move(from, to, what) {
    if (this.open) this.end();
    const change = from.pop();
    if (!change) return false;
    for (let n = 0; n < change.where.length; n++) this.write(change.where[n], change[what][n]);
    to.push(change);
    return true;
  }

  // A map was saved: this is what "as loaded" means from now on. What was done can still be taken back.
  saved(labels) {
    this.loaded = labels.slice();
    this.different = 0;
    for (let n = 0; n < labels.length; n++) this.different += this.labels[n] !== labels[n];
  }

  asLoaded() {
    return this.different === 0;
  }

  // What differs from the map that was loaded, as runs along the file: start, length, label, start, length, label, …
  runs() {
    const found = [];
    const { labels, loaded } = this;
    for (let n = 0; n < labels.length; n++) {
      if (labels[n] === loaded[n]) continue;
      const start = n, label = labels[n];
      while (n + 1 < labels.length && labels[n + 1] === label && loaded[n + 1] !== label) n++;
      found.push(start, n + 1 - start, label);
    }
    return found;
  }

  changeRuns(runs) {
    this.begin();
    for (let n = 0; n + 2 < runs.length; n += 3) {
      for (let at = runs[n]; at < runs[n] + runs[n + 1]; at++) this.set(at, runs[n + 2]);
    }
    return this.end();
  }
}
