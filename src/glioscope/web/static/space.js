// Where voxels lie: NIfTI as the server sends it, and its grid seen by a reader. Pure: no page is needed.
//
// A place is [x, y, z], whole numbers: x grows to the patient's right, y to the front, z upwards, however the file is
// stored. An index is the voxel's place in the file.

export const PLANES = {
  axial: { axis: 2, column: 0, row: 1, letters: ["R", "L", "A", "P"] },
  coronal: { axis: 1, column: 0, row: 2, letters: ["R", "L", "S", "I"] },
  sagittal: { axis: 0, column: 1, row: 2, letters: ["A", "P", "S", "I"] },
};
// Columns and rows run against their axes in all three: patient's left on the right, nose to the left, head on top.

export function readNifti(buffer) {
  const header = new DataView(buffer);
  if (buffer.byteLength < 352 || header.getInt32(0, true) !== 348) throw new Error("The server sent no NIfTI file.");
  if (header.getInt16(70, true) !== 2) throw new Error("The server sent voxels of an unknown kind.");
  const shape = [42, 44, 46].map((at) => header.getInt16(at, true));
  const affine = [280, 296, 312].map((at) => [0, 4, 8, 12].map((step) => header.getFloat32(at + step, true)));
  const from = header.getFloat32(108, true);
  const count = shape[0] * shape[1] * shape[2];
  if (buffer.byteLength < from + count) throw new Error("The server's file was cut off; load the page again.");
  return { shape, affine, head: buffer.slice(0, from), data: new Uint8Array(buffer, from, count) };
}

// The bytes of a NIfTI file with the head of another on the same grid.
export function writeNifti(head, data) {
  const bytes = new Uint8Array(head.byteLength + data.length);
  bytes.set(new Uint8Array(head));
  bytes.set(data, head.byteLength);
  return bytes;
}

export class Space {
  constructor(shape, affine) {
    this.shape = shape;
    this.affine = affine;
    const steps = [1, shape[0], shape[0] * shape[1]];
    const taken = [];
    this.native = [0, 1, 2].map((world) => { // the file's axis that runs along each axis of the patient
      const free = [0, 1, 2].filter((axis) => !taken.includes(axis));
      const best = free.reduce((a, b) => (Math.abs(affine[world][b]) > Math.abs(affine[world][a]) ? b : a));
      taken.push(best);
      return best;
    });
    this.turned = this.native.map((axis, world) => affine[world][axis] < 0);
    this.size = this.native.map((axis) => shape[axis]);
    this.stride = this.native.map((axis, world) => (this.turned[world] ? -steps[axis] : steps[axis]));
    this.base = this.native.reduce((sum, axis, world) => sum + (this.turned[world] ? (shape[axis] - 1) * steps[axis] : 0), 0);
    this.spacing = this.native.map((axis) => Math.hypot(...affine.map((row) => row[axis])));
    this.millilitres = this.spacing.reduce((product, edge) => product * edge, 1) / 1000;
  }

  index(x, y, z) {
    return this.base + x * this.stride[0] + y * this.stride[1] + z * this.stride[2];
  }

  place(index) {
    const [a, b] = this.shape;
    const stored = [index % a, Math.floor(index / a) % b, Math.floor(index / (a * b))];
    return this.native.map((axis, world) => (this.turned[world] ? this.shape[axis] - 1 - stored[axis] : stored[axis]));
  }

  // The voxel as the file counts it, i, j, k.
  stored(place) {
    const found = [0, 0, 0];
    this.native.forEach((axis, world) => { found[axis] = this.turned[world] ? this.shape[axis] - 1 - place[world] : place[world]; });
    return found;
  }

  holds(place) {
    return place.every((n, axis) => n >= 0 && n < this.size[axis]);
  }

  clamp(place) {
    return place.map((n, axis) => Math.min(this.size[axis] - 1, Math.max(0, Math.round(n))));
  }

  millimetres(place) {
    const ijk = this.stored(place);
    return this.affine.map((row) => row[0] * ijk[0] + row[1] * ijk[1] + row[2] * ijk[2] + row[3]);
  }

  fromMillimetres(mm) {
    const [[a, b, c], [d, e, f], [g, h, i]] = this.affine;
    const [x, y, z] = this.affine.map((row, n) => mm[n] - row[3]);
    const whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    const ijk = [
      (x * (e * i - f * h) - b * (y * i - f * z) + c * (y * h - e * z)) / whole,
      (a * (y * i - f * z) - x * (d * i - f * g) + c * (d * z - y * g)) / whole,
      (a * (e * z - y * h) - b * (d * z - y * g) + x * (d * h - e * g)) / whole,
    ];
    return this.clamp(this.native.map((axis, world) => (this.turned[world] ? this.shape[axis] - 1 - ijk[axis] : ijk[axis])));
  }
}
