"""Lengths of one lesion: longest axial diameter, its perpendicular, longest in any direction.

A voxel is a box, not a point: a lesion reaches half a voxel beyond the centres of its outermost voxels. Every voxel
therefore stands for the centres of its faces, and a diameter is the longest distance between two such points — a
single voxel of 1 mm has diameter 1 mm, and a digital ball of 20 mm has one of 20 mm to within a voxel. Points and
chords are those of the lesion's convex hull: a ring is measured across its hole, as with a ruler.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.results import Diameters, Ends, Point
from glioscope.space.grid import Grid

Points = NDArray[np.float64]


def to_mm(indices: NDArray[Any], grid: Grid) -> Points:
    """Return voxel indices (n, 3), fractions allowed, as RAS+ millimetres (n, 3)."""
    return indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def point(place: Points, digits: int) -> Point:
    """Return a place (3,) as it is stored, rounded to so many digits."""
    x, y, z = place.round(digits).tolist()
    return x, y, z


def diameters(voxels: NDArray[np.int64], grid: Grid, region: str) -> Diameters:
    """Return the diameters of one lesion.

    The longest diameter lies on the axial slice (storage slice nearest to axial) where the lesion's outline encloses
    the largest area, necrosis inside it included; the perpendicular is the longest chord at right angles to it there.

    Parameters
    ----------
    voxels : (n, 3) int
        Of one lesion, at least one, on a grid stored as RAS.
    region : str
        What the lesion is a part of.
    """
    voxels = _surface(voxels)
    outline = _face_centres(voxels[voxels[:, 2] == _largest_slice(voxels)], axes=(0, 1))
    points = to_mm(outline, grid)
    basis = np.linalg.qr(grid.affine[:3, :2])[0]  # two unit vectors that span the slice
    longest, crossing = _cross(points @ basis)
    origin = points[0] - basis @ (basis.T @ points[0])  # what the plane's coordinates leave out
    first, second = np.linalg.norm(longest[1] - longest[0]), np.linalg.norm(crossing[1] - crossing[0])
    return Diameters(
        region=region,
        longest_mm=round(float(first), 2),
        perpendicular_mm=round(float(second), 2),
        product_mm2=round(float(first * second), 1),
        maximum_3d_mm=round(_farthest(_face_centres(voxels, axes=(0, 1, 2)), grid), 2),
        longest_ends_mm=_ends(longest @ basis.T + origin),
        perpendicular_ends_mm=_ends(crossing @ basis.T + origin),
        slices=len(np.unique(voxels[:, 2])),
    )


def _ends(points: Points) -> Ends:
    """Return two points (2, 3), rounded to hundredths."""
    first, second = (point(row, 2) for row in points)
    return first, second


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
    corners = places[:, None, :] + np.array([(a, b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)])
    above, below = _outline(corners.reshape(-1, 2))
    return float(np.trapezoid(above[:, 1], above[:, 0]) - np.trapezoid(below[:, 1], below[:, 0]))


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


def _farthest(places: Points, grid: Grid) -> float:
    """Return the longest distance in mm between places (n, 3), fractional indices.

    An end is no nearer to the middle than the longest distance found so far minus the radius, and it is a corner of the
    outline on every plane through it. All others are left out, the latter plane by plane along each axis on the index
    grid, where arithmetic is exact.
    """
    points = to_mm(places, grid)
    radii = np.linalg.norm(points - points.mean(axis=0), axis=1)
    found = np.linalg.norm(points - points[radii.argmax()], axis=1).max()
    places = places[radii >= found - radii.max() - 1e-6]
    for axis in (2, 1, 0):
        places = places[np.argsort(places[:, axis], kind="stable")]
        starts = np.flatnonzero(np.diff(places[:, axis])) + 1
        others = [n for n in range(3) if n != axis]
        planes = [
            np.insert(_hull(plane[:, others]), axis, plane[0, axis], axis=1) for plane in np.split(places, starts)
        ]
        places = np.concatenate(planes)
    corners = to_mm(places, grid)
    return max(float(np.linalg.norm(corners - corner, axis=1).max()) for corner in corners)


def _cross(points: Points) -> tuple[Points, Points]:
    """Return the ends of the longest distance between points (n, 2), and of the longest chord at right angles to it.

    The length of a chord through a convex outline, as its place moves along the first diameter, is concave and
    piecewise linear between corners; so its maximum is met at a corner.
    """
    corners = _hull(points.round(9))
    distances = np.linalg.norm(corners[:, None] - corners, axis=-1)
    a, b = np.unravel_index(int(distances.argmax()), distances.shape)
    along = (corners[b] - corners[a]) / distances[a, b]
    across = np.array([-along[1], along[0]])
    turned = corners @ np.stack([along, across], axis=1)
    above, below = _outline(turned)
    s = turned[:, 0]
    high, low = np.interp(s, *above.T), np.interp(s, *below.T)
    at = int((high - low).argmax())
    ends = np.stack([s[at] * along + low[at] * across, s[at] * along + high[at] * across])
    return corners[[a, b]], ends


def _hull(points: Points) -> Points:
    """Return the corners of the convex hull of points (n, 2)."""
    return np.unique(np.concatenate(_outline(points)), axis=0)


def _outline(points: Points) -> tuple[Points, Points]:
    """Return the upper and the lower boundary of the convex hull of points (n, 2), by ascending first axis."""
    return _chain(points), _chain(points * (1, -1)) * (1, -1)


def _chain(points: Points) -> Points:
    """Return the upper boundary of the convex hull by the monotone chain (Andrew 1979)."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    highest = ordered[np.append(np.diff(ordered[:, 0]) > 0, True)]  # at each place along the first axis
    chain: list[tuple[float, float]] = []
    for point in highest.tolist():
        while len(chain) >= 2 and _turns_left(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return np.array(chain)


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0
