// What the tools change: from places to the indices of voxels. Pure; a space comes from space.js, labels are bytes.

// Places within a radius of a centre, in a plane or in all directions; always the centre itself.
export function round(space, centre, radius, flatAxis = null) {
  const reach = space.spacing.map((edge, axis) => (axis === flatAxis ? 0 : Math.floor(radius / edge)));
  const found = [];
  const [cx, cy, cz] = centre;
  for (let z = Math.max(0, cz - reach[2]); z <= Math.min(space.size[2] - 1, cz + reach[2]); z++) {
    for (let y = Math.max(0, cy - reach[1]); y <= Math.min(space.size[1] - 1, cy + reach[1]); y++) {
      for (let x = Math.max(0, cx - reach[0]); x <= Math.min(space.size[0] - 1, cx + reach[0]); x++) {
        const far = Math.hypot((x - cx) * space.spacing[0], (y - cy) * space.spacing[1], (z - cz) * space.spacing[2]);
        if (far <= radius || (x === cx && y === cy && z === cz)) found.push(space.index(x, y, z));
      }
    }
  }
  return found;
}

// Places from one to another, no more than a voxel apart, so that a quick stroke has no gaps.
export function between(from, to) {
  const steps = Math.max(1, ...from.map((n, axis) => Math.abs(to[axis] - n)));
  return Array.from({ length: steps }, (_, n) => from.map((start, axis) => Math.round(start + (to[axis] - start) * ((n + 1) / steps))));
}

const FACES = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
const ALL = [-1, 0, 1].flatMap((x) => [-1, 0, 1].flatMap((y) => [-1, 0, 1].map((z) => [x, y, z]))).filter((step) => step.some(Boolean));

// All voxels that hang together with a place and are wanted; in a plane if one is named.
export function connected(space, start, wanted, { flatAxis = null, corners = false } = {}) {
  const steps = (corners ? ALL : FACES).filter((step) => flatAxis === null || !step[flatAxis]);
  const seen = new Uint8Array(space.shape[0] * space.shape[1] * space.shape[2]);
  const found = [];
  const queue = [start];
  const first = space.index(...start);
  if (!wanted(first)) return { found, open: false };
  seen[first] = 1;
  let open = false; // whether the edge of the image was reached
  while (queue.length) {
    const place = queue.pop();
    found.push(space.index(...place));
    for (const step of steps) {
      const next = place.map((n, axis) => n + step[axis]);
      if (!space.holds(next)) {
        open = true;
        continue;
      }
      const index = space.index(...next);
      if (seen[index] || !wanted(index)) continue;
      seen[index] = 1;
      queue.push(next);
    }
  }
  return { found, open };
}

// The voxels that a click with the fill tool paints: what hangs together in the slice and has the label under it.
export function fill(space, labels, start, flatAxis) {
  const label = labels[space.index(...start)];
  return connected(space, start, (index) => labels[index] === label, { flatAxis });
}

// The island under a place: one tissue, or all tumour.
export function island(space, labels, start, anyTissue) {
  const label = labels[space.index(...start)];
  if (!label) return [];
  return connected(space, start, (index) => (anyTissue ? labels[index] > 0 : labels[index] === label), { corners: true }).found;
}

// What to change so that an island goes: it takes the label that most of its neighbours have.
export function without(space, labels, members) {
  const inside = new Set(members);
  const votes = new Float64Array(256);
  for (const index of members) {
    const place = space.place(index);
    for (const step of FACES) {
      const next = place.map((n, axis) => n + step[axis]);
      if (space.holds(next) && !inside.has(space.index(...next))) votes[labels[space.index(...next)]]++;
    }
  }
  return votes.indexOf(Math.max(...votes));
}

// The other islands of what an island is made of, to be removed when only it is to stay.
export function others(space, labels, members, anyTissue) {
  const label = labels[members[0]];
  const inside = new Set(members);
  const found = [];
  for (let index = 0; index < labels.length; index++) {
    if ((anyTissue ? labels[index] > 0 : labels[index] === label) && !inside.has(index)) found.push(index);
  }
  return found;
}

// Separate islands among voxels.
export function islands(space, indices) {
  const left = new Set(indices);
  const found = [];
  for (const index of indices) {
    if (!left.has(index)) continue;
    const part = connected(space, space.place(index), (n) => left.has(n), { corners: true }).found;
    for (const n of part) left.delete(n);
    found.push(part);
  }
  return found;
}

// Squared distance to the nearest 0 along a line (Felzenszwalb and Huttenlocher, Theory of Computing 2012).
function distances(values, edge) {
  const n = values.length, found = new Float64Array(n), lowest = new Int32Array(n), bound = new Float64Array(n + 1);
  const meeting = (q, p) => (values[q] - values[p] + edge * edge * (q * q - p * p)) / (2 * edge * edge * (q - p));
  bound[0] = -Infinity;
  bound[1] = Infinity;
  let k = 0;
  for (let q = 1; q < n; q++) {
    let place = meeting(q, lowest[k]);
    while (place <= bound[k]) place = meeting(q, lowest[--k]);
    lowest[++k] = q;
    bound[k] = place;
    bound[k + 1] = Infinity;
  }
  k = 0;
  for (let q = 0; q < n; q++) {
    while (bound[k + 1] < q) k++;
    found[q] = (edge * (q - lowest[k])) ** 2 + values[lowest[k]];
  }
  return found;
}

function squared(mask, width, height, edges) {
  const far = 1e12, map = Float64Array.from(mask, (inside) => (inside ? far : 0));
  for (let y = 0; y < height; y++) map.set(distances(map.subarray(y * width, (y + 1) * width), edges[0]), y * width);
  for (let x = 0; x < width; x++) {
    const line = distances(Float64Array.from({ length: height }, (_, y) => map[y * width + x]), edges[1]);
    for (let y = 0; y < height; y++) map[y * width + x] = line[y];
  }
  return map;
}

// Millimetres to the border of a shape: positive inside, negative outside.
export function signedDistance(mask, width, height, edges) {
  const inside = squared(mask, width, height, edges), outside = squared(mask.map((on) => !on), width, height, edges);
  return inside.map((d, n) => Math.sqrt(d) - Math.sqrt(outside[n]));
}

// The voxels that join slices which hold a label across slices which do not: shapes are blended by their distance to
// the border (Raya and Udupa, IEEE Trans Med Imaging 1990).
export function interpolation(space, labels, label, axis) {
  const [u, v] = [0, 1, 2].filter((other) => other !== axis);
  const width = space.size[u], height = space.size[v], edges = [space.spacing[u], space.spacing[v]];
  const at = (slice, x, y) => {
    const place = [0, 0, 0];
    place[axis] = slice;
    place[u] = x;
    place[v] = y;
    return space.index(...place);
  };
  const found = [];
  let before = null;
  for (let slice = 0; slice < space.size[axis]; slice++) {
    const mask = new Uint8Array(width * height);
    for (let n = 0; n < mask.length; n++) mask[n] = labels[at(slice, n % width, Math.floor(n / width))] === label;
    if (!mask.includes(1)) continue;
    if (before && slice - before.slice > 1) {
      const first = signedDistance(before.mask, width, height, edges), last = signedDistance(mask, width, height, edges);
      for (let between = before.slice + 1; between < slice; between++) {
        const share = (between - before.slice) / (slice - before.slice);
        for (let n = 0; n < mask.length; n++) {
          if (first[n] * (1 - share) + last[n] * share > 0) found.push(at(between, n % width, Math.floor(n / width)));
        }
      }
    }
    before = { slice, mask };
  }
  return found;
}

// What may be painted: `over` names what may be painted over, `brain` keeps to the brain, `range` to grey values.
export function allowed(labels, { over = "any", image = null, brain = false, range = null }) {
  return (index) => {
    const now = labels[index];
    if (over === "none" && now !== 0) return false;
    if (over === "tumour" && now === 0) return false;
    if (typeof over === "number" && now !== over) return false;
    if (brain && image && image[index] === 0) return false;
    return !(range && (range.image[index] < range.low || range.image[index] > range.high));
  };
}
