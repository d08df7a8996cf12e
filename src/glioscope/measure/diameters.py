"""Lengths of one lesion: longest axial diameter, its perpendicular, longest in any direction.

A voxel is a box, not a point: a lesion reaches half a voxel beyond the centres of its outermost voxels. Every voxel
therefore stands for the centres of its faces, and a diameter is the longest distance between two such points — a
single voxel of 1 mm has diameter 1 mm, and a digital ball of 20 mm has one of 20 mm to within a voxel. Points and
chords are those of the lesion's convex hull: a ring is measured across its hole, as with a ruler.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from glioscope.geometry import Grid

Points = NDArray[np.float64]


def to_mm(indices: NDArray[Any], grid: Grid) -> Points:
    """Return voxel indices (n, 3), fractions allowed, as RAS+ millimetres (n, 3)."""
    return indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def diameters(voxels: NDArray[np.int64], grid: Grid) -> dict[str, Any]:
    """Return the diameters of one lesion.

    The longest diameter lies on the axial slice (storage slice nearest to axial) where the lesion's outline encloses
    the largest area, necrosis inside it included; the perpendicular is the longest chord at right angles to it there.

    Parameters
    ----------
    voxels : (n, 3) int
        Of one lesion, at least one, on a grid stored as RAS.

    Returns
    -------
    dict
        ``longest_mm``, ``perpendicular_mm``, ``product_mm2``, ``maximum_3d_mm`` (anywhere in the lesion); the ends of
        the first two as pairs of RAS+ points, ``slices`` the number of axial slices on which the lesion is seen.
    """
    outline = _face_centres(voxels[voxels[:, 2] == _largest_slice(voxels)], axes=(0, 1))
    points = to_mm(outline, grid)
    basis = np.linalg.qr(grid.affine[:3, :2])[0]  # two unit vectors that span the slice
    longest, crossing = _cross(points @ basis)
    origin = points[0] - basis @ (basis.T @ points[0])  # what the plane's coordinates leave out
    first, second = np.linalg.norm(longest[1] - longest[0]), np.linalg.norm(crossing[1] - crossing[0])
    return {
        "longest_mm": round(float(first), 2),
        "perpendicular_mm": round(float(second), 2),
        "product_mm2": round(float(first * second), 1),
        "maximum_3d_mm": round(_farthest(to_mm(_face_centres(_surface(voxels), axes=(0, 1, 2)), grid)), 2),
        "longest_ends_mm": (longest @ basis.T + origin).round(2).tolist(),
        "perpendicular_ends_mm": (crossing @ basis.T + origin).round(2).tolist(),
        "slices": len(np.unique(voxels[:, 2])),
    }


def _largest_slice(voxels: NDArray[np.int64]) -> int:
    """Return k of the slice whose outline encloses the largest area; of equals the lowest.

    Areas are those of the convex hull, in voxels: a thin ring has the same few voxels on many slices, and the one
    across its middle is wanted. A slice is looked at only if its bounding box could hold more than the best so far.
    """
    ordered = voxels[np.argsort(voxels[:, 2], kind="stable")]
    levels, starts = np.unique(ordered[:, 2], return_index=True)
    slices = np.split(ordered[:, :2], starts[1:])
    boxes = [float(np.prod(np.ptp(s, axis=0) + 1)) for s in slices]
    best, area = 0, -1.0
    for n in np.argsort(-np.array(boxes), kind="stable"):
        if boxes[n] <= area:
            break
        enclosed = _hull_area(slices[n])
        if enclosed > area or (enclosed == area and n < best):
            best, area = int(n), enclosed
    return int(levels[best])


def _hull_area(places: NDArray[np.int64]) -> float:
    """Return the area of the convex hull of pixels (n, 2), whole pixels included."""
    corners = (places[:, None, :] + np.array([(a, b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)])).reshape(-1, 2)
    return float(ConvexHull(corners).volume)  # scipy calls the area of a plane hull its volume


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
