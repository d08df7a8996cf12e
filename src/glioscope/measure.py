"""What a radiologist would measure: millilitres, diameters, lesions, side.

In: a label map on its own grid, in any storage order, anisotropic or oblique. Out: one plain dictionary, ready for
JSON. Nothing is resampled: lengths are taken between points in millimetres, so no orientation needs special care.

How lengths are taken. A voxel is a box, not a point: a lesion reaches half a voxel beyond the centres of its outermost
voxels. Every voxel therefore stands for the centres of its faces, and a diameter is the longest distance between two
such points — a single voxel of 1 mm has diameter 1 mm, and a digital ball of 20 mm has one of 20 mm to within a voxel.
Points and chords are those of the lesion's convex hull: a ring is measured across its hole, as with a ruler.

Source of the bidimensional measure and of "measurable": Wen et al. 2023, RANO 2.0, J Clin Oncol 41(33):5187-5199,
doi 10.1200/JCO.23.01059. Only its size rule can be computed. Whether the margins are clear, whether what is measured is
cyst, cavity or necrosis (which RANO does not measure), and whether the enhancement is tumour, remains for a reader.
"""

import math
from collections.abc import Mapping
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from glioscope.errors import GeometryError
from glioscope.geometry import Grid, bounding_box, cut, reorient
from glioscope.labels import REGIONS, LabelScheme, check_labels

RANO_DIAMETER_MM = 10.0
"""RANO 2.0: both diameters of a measurable lesion are at least this long."""
RANO_SLICES = 2
"""RANO: a measurable lesion is seen on at least this many axial slices."""
RANO_SOURCE = "RANO 2.0, Wen et al. 2023, doi 10.1200/JCO.23.01059"

Points = NDArray[np.float64]


def measure(
    labels: NDArray[np.integer], grid: Grid, scheme: LabelScheme, *, brain: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return volumes, diameters, lesions and side of a segmented tumour.

    Parameters
    ----------
    labels : (i, j, k) integer
        Label map in `scheme`, on `grid`.
    grid : Grid
        Any storage order; spacing may be anisotropic, axes oblique.
    scheme : LabelScheme
        What the values mean.
    brain : (i, j, k) bool, optional
        Brain mask on the same grid. The midline is then the middle of the brain, else the middle of the grid.

    Returns
    -------
    dict
        ``volumes_ml`` by region (WT, TC, ET and what else the scheme has), ``tissues_ml`` by label (NCR, ED, ET…);
        ``lesions``: per region a list, largest first, of 26-connected parts with ``volume_ml`` and ``centroid_mm``
        (x, y, z in RAS+ mm); ``lesion_count`` per region; ``diameters``: of the lesion with the largest product (see
        `_diameters`), None when there is no tumour; ``measurable``: RANO's size rule; ``side``.
        An empty map gives zeros, empty lists and None, never NaN.

    Raises
    ------
    GeometryError
        Map (or brain mask) and grid differ in shape.
    LabelError
        The map holds a value that the scheme does not know.
    """
    for what, array in (("label map", labels), ("brain mask", brain)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but its grid {grid.shape}; they must agree")
    midline = _midline_x(grid, brain)
    box = bounding_box(labels > 0)
    labels, grid = cut(labels, box), grid.crop(box)
    check_labels(labels, scheme)
    labels, grid = reorient(labels, grid, "RAS")
    masks = {name: np.isin(labels, values) for name, values in scheme.regions.items()}
    parts = {name: _lesions(mask, grid) for name, mask in masks.items()}
    target = _target_region(masks)
    measured = [_diameters(part, grid, target) for part in _split(masks[target])] if target else []
    largest = max(measured, key=lambda d: (d["product_mm2"], d["maximum_3d_mm"]), default=None)
    return {
        "scheme": scheme.name,
        "volumes_ml": {name: round(_ml(mask, grid), 4) for name, mask in masks.items()},
        "tissues_ml": {name: round(_ml(labels == v, grid), 4) for v, name in sorted(scheme.meanings.items())},
        "lesion_count": {name: len(found) for name, found in parts.items()},
        "lesions": parts,
        "diameters": largest,
        "measurable": _measurable(measured, target, grid),
        "side": _side(masks, grid, midline),
    }


def _ml(mask: NDArray[np.bool_], grid: Grid) -> float:
    return int(np.count_nonzero(mask)) * grid.voxel_volume_ml


def _target_region(masks: Mapping[str, NDArray[np.bool_]]) -> str | None:
    """Return the region whose diameters are taken: ET, else TC, else WT, else any; None when all are empty."""
    order = (*reversed(REGIONS), *(name for name in masks if name not in REGIONS))
    return next((name for name in order if name in masks and masks[name].any()), None)


def _to_mm(indices: NDArray[Any], grid: Grid) -> Points:
    """Return voxel indices (n, 3), fractions allowed, as RAS+ millimetres (n, 3)."""
    return indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def _lesions(mask: NDArray[np.bool_], grid: Grid) -> list[dict[str, Any]]:
    """Return volume and centroid of each 26-connected part, largest first."""
    if not mask.any():
        return []
    found = cc3d.statistics(cc3d.connected_components(mask, connectivity=26))
    counts = found["voxel_counts"][1:].astype(np.int64)
    centres = _to_mm(np.asarray(found["centroids"][1:], np.float64), grid)
    order = np.argsort(-counts, kind="stable")
    return [
        {
            "volume_ml": round(float(counts[n] * grid.voxel_volume_ml), 4),
            "centroid_mm": [round(float(x), 2) for x in centres[n]],
        }
        for n in order
    ]


def _split(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the voxel indices (n, 3) of each 26-connected part."""
    parts = cc3d.connected_components(mask, connectivity=26)
    indices = np.argwhere(parts)
    number = parts[tuple(indices.T)]
    order = np.argsort(number, kind="stable")
    edges = np.flatnonzero(np.diff(number[order])) + 1
    return np.split(indices[order], edges)


def _diameters(voxels: NDArray[np.int64], grid: Grid, region: str) -> dict[str, Any]:
    """Return the diameters of one lesion.

    The longest diameter lies on the axial slice (storage slice nearest to axial) where the lesion's area is largest;
    the perpendicular is the longest chord at right angles to it on that slice.

    Parameters
    ----------
    voxels : (n, 3) int
        Of one lesion, on a grid stored as RAS.

    Returns
    -------
    dict
        ``longest_mm``, ``perpendicular_mm``, ``product_mm2``, ``maximum_3d_mm`` (anywhere in the lesion); the ends of
        the first two as pairs of RAS+ points, ``slices`` the number of axial slices on which the lesion is seen.
    """
    areas = np.bincount(voxels[:, 2])
    top = int(areas.argmax())
    outline = _face_centres(voxels[voxels[:, 2] == top], axes=(0, 1))
    points = _to_mm(outline, grid)
    basis = np.linalg.qr(grid.affine[:3, :2])[0]  # two unit vectors that span the slice
    longest, crossing = _cross(points @ basis)
    origin = points[0] - basis @ (basis.T @ points[0])  # what the plane's coordinates leave out
    first, second = np.linalg.norm(longest[1] - longest[0]), np.linalg.norm(crossing[1] - crossing[0])
    return {
        "region": region,
        "longest_mm": round(float(first), 2),
        "perpendicular_mm": round(float(second), 2),
        "product_mm2": round(float(first * second), 1),
        "maximum_3d_mm": round(_farthest(_to_mm(_face_centres(_surface(voxels), axes=(0, 1, 2)), grid)), 2),
        "longest_ends_mm": (longest @ basis.T + origin).round(2).tolist(),
        "perpendicular_ends_mm": (crossing @ basis.T + origin).round(2).tolist(),
        "slices": int(np.count_nonzero(areas)),
    }


def _surface(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first and last voxel of each run along i: all that a convex hull can touch, and far fewer."""
    keys = voxels[:, 1] * (int(voxels[:, 2].max()) + 1) + voxels[:, 2]
    order = np.lexsort((voxels[:, 0], keys))
    keys, ordered = keys[order], voxels[order]
    change = np.flatnonzero(np.diff(keys))
    return ordered[np.unique(np.concatenate([[0], change, change + 1, [len(keys) - 1]]))]


def _face_centres(voxels: NDArray[np.int64], *, axes: tuple[int, ...]) -> Points:
    """Return the centres of the voxels' faces along `axes`, as fractional indices (m, 3)."""
    steps = np.zeros((2 * len(axes), 3))
    for n, axis in enumerate(axes):
        steps[2 * n, axis], steps[2 * n + 1, axis] = -0.5, 0.5
    return (voxels[:, None, :] + steps).reshape(-1, 3)


def _hull(points: Points) -> Points:
    """Return the corners of the convex hull, or the points themselves where they span no volume."""
    unique = np.unique(points.round(9), axis=0)
    try:
        return unique[ConvexHull(unique).vertices]
    except (QhullError, ValueError):
        return unique


def _farthest(points: Points) -> float:
    corners = _hull(points)
    return float(cdist(corners, corners).max())


def _cross(points: Points) -> tuple[Points, Points]:
    """Return the ends of the longest distance between points (n, 2), and of the longest chord at right angles to it.

    The length of a chord through a convex outline, as its place moves along the first diameter, is concave and
    piecewise linear between corners; so its maximum is met at a corner.
    """
    corners = _hull(points)
    distances = cdist(corners, corners)
    a, b = np.unravel_index(int(distances.argmax()), distances.shape)
    along = (corners[b] - corners[a]) / distances[a, b]
    across = np.array([-along[1], along[0]])
    s, t = corners @ along, corners @ across
    above, below = _chain(s, t), _chain(s, -t)
    high, low = np.interp(s, *above), -np.interp(s, *below)
    at = int((high - low).argmax())
    ends = np.stack([s[at] * along + low[at] * across, s[at] * along + high[at] * across])
    return corners[[a, b]], ends


def _chain(s: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper boundary of a convex outline as a function of s, by the monotone chain."""
    chain: list[tuple[float, float]] = []
    for n in np.lexsort((t, s)):
        point = (float(s[n]), float(t[n]))
        while chain and chain[-1][0] == point[0]:  # t ascends: the later of two points above one s is the higher
            chain.pop()
        while len(chain) >= 2 and _turns_left(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    places, heights = np.array(chain).T
    return places, heights


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0


def _measurable(measured: list[dict[str, Any]], target: str | None, grid: Grid) -> dict[str, Any]:
    """Return whether an enhancing lesion meets RANO's size rule, the rule in words, and how many lesions do."""
    thickness = grid.spacing_mm[2]
    least = max(RANO_DIAMETER_MM, 2 * thickness if thickness > 5 else 0.0)  # thick slices: twice the thickness
    passing = [d for d in measured if d["perpendicular_mm"] >= least and d["slices"] >= RANO_SLICES]
    enhancing = target == "ET"
    rule = (
        f"an enhancing lesion with two perpendicular diameters of at least {least:g} mm, "
        f"seen on at least {RANO_SLICES} axial slices"
    )
    if not enhancing:
        reason = "no enhancing tumour was found"
    elif passing:
        reason = f"{len(passing)} enhancing lesion{'s' if len(passing) > 1 else ''} of that size"
    else:
        best = max(measured, key=lambda d: d["perpendicular_mm"])
        reason = f"the best enhancing lesion has {best['longest_mm']:.1f} × {best['perpendicular_mm']:.1f} mm"
        reason += f" on {best['slices']} slice{'s' if best['slices'] > 1 else ''}"
    return {
        "by_size": bool(enhancing and passing),
        "lesions": len(passing) if enhancing else 0,
        "rule": rule,
        "reason": reason,
        "not_judged": "clear margins; necrosis and cysts inside the outline, which are measured with it here",
        "source": RANO_SOURCE,
    }


def _midline_x(grid: Grid, brain: NDArray[np.bool_] | None) -> float:
    """Return x of the midline in mm: the median of the brain's voxels, else the middle of the grid."""
    if brain is None or not brain.any():
        return float(_to_mm((np.array([grid.shape]) - 1) / 2, grid)[0, 0])
    step = max(1, round((brain.size / 500_000) ** (1 / 3)))  # half a million voxels tell the median well enough
    found = np.argwhere(brain[::step, ::step, ::step]) * step
    found = found if len(found) else np.argwhere(brain)
    return float(np.median(_to_mm(found, grid)[:, 0]))


def _side(masks: Mapping[str, NDArray[np.bool_]], grid: Grid, midline: float) -> dict[str, Any] | None:
    """Return where the whole tumour lies: the side that holds more of it, the share there, the centre's distance."""
    mask = masks.get("WT", next(iter(masks.values())))
    if not mask.any():
        return None
    x = _to_mm(np.argwhere(mask), grid)[:, 0] - midline
    right = float((x > 0).mean() + (x == 0).mean() / 2)
    centre = float(x.mean())
    return {
        "side": "right" if right > 0.5 or (math.isclose(right, 0.5) and centre >= 0) else "left",
        "share": round(max(right, 1 - right), 4),
        "centre_to_midline_mm": round(abs(centre), 2),
        "midline_x_mm": round(midline, 2),
    }
