"""Left, right and the plane between: where the brain mirrors itself, and which side a tumour lies on.

The midline is no line of the image: heads lie off centre and tilted. It is the plane in which the brain's outline
mirrors itself best, found by turning and shifting a plane until the mirrored surface falls on the surface (least
squares with a soft loss, so that a bulge or a missing piece on one side counts little). Only the mask is looked at, so
that neither a tumour's brightness nor the sequence matters. A tumour that pushes the falx aside does not move this
plane: distances are to where the midline ought to be.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.measure.diameters import point, to_mm
from glioscope.results import MidlinePlane, Side
from glioscope.space.grid import Grid, bounding_box, cut

CROSSING_MM = 5.0
"""A lesion crosses the midline when it reaches this far past it on both sides; 5 mm is more than the plane's error."""
CROSSING_SHARE = 0.05
"""And holds at least this share of its volume on the lesser side."""
SPECK_ML = 0.05
"""Parts smaller than this are specks: never a lesion on a side, never a new lesion."""
_STEP_MM = 3.0
_SURFACE_POINTS = 1500
_SOFT_MM = 2.0
_FEW_VOXELS = 100
_STEPS = 15
_STILL = 0.02
"""Of a step of 0.01 radian or 0.5 mm: the plane has stopped moving."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Midline:
    """The plane between left and right, in RAS+ millimetres."""

    normal: Points
    """(3,), of length 1, towards the patient's right."""
    point: Points
    """(3,), on the plane, at the middle of the brain."""
    source: str
    """What it was found from."""
    asymmetry_mm: float | None = None
    """Mean distance of the mirrored outline from the outline; None where no brain was known."""

    def signed_mm(self, points: Points) -> Points:
        """Return the distance of points (n, 3) from the plane, positive on the patient's right."""
        return (points - self.point) @ self.normal

    def x_at(self, point: Points) -> float:
        """Return the plane's x at the y and z of a point."""
        gap = float(self.signed_mm(point[None])[0])
        return float(point[0] - gap / self.normal[0])

    @property
    def tilt_degrees(self) -> float:
        """How far the head is tilted against the scanner's left-right axis."""
        return float(np.degrees(np.arccos(np.clip(self.normal[0], -1, 1))))


def find_midline(grid: Grid, brain: NDArray[np.bool_] | None) -> Midline:
    """Return the plane in which a brain mirrors itself.

    Parameters
    ----------
    grid : Grid
        Any storage order; anisotropic or oblique.
    brain : (i, j, k) bool, optional
        Brain mask on `grid`. Without it, or where it is all but empty, the upright plane through the middle of the
        image, which is only as good as the patient's position was.
    """
    if brain is None or np.count_nonzero(brain) < _FEW_VOXELS:
        middle = to_mm((np.array([grid.shape]) - 1) / 2, grid)[0]
        return Midline(normal=np.array([1.0, 0, 0]), point=middle, source="middle of the image")
    box = bounding_box(brain, margin=1)
    mask, place = _thinned(cut(brain, box), grid.crop(box))
    outline = _Outline(mask, place)
    turns = np.radians((-15, 0, 15))
    starts = [np.array((yaw, roll, 0.0)) for yaw, roll in itertools.product(turns, turns)]
    starts.sort(key=lambda p: float(np.abs(outline.gaps(p)).mean()))
    found = min((outline.refine(start) for start in starts[:2]), key=lambda p: float(np.abs(outline.gaps(p)).mean()))
    normal = _normal(found)
    return Midline(
        normal=normal,
        point=outline.centre + found[2] * normal,
        source="symmetry of the brain",
        asymmetry_mm=float(np.abs(outline.gaps(found)).mean()),
    )


def _thinned(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.bool_], Grid]:
    """Return every n-th voxel along each axis, about `_STEP_MM` apart, with a margin of background."""
    step = [max(1, round(_STEP_MM / edge)) for edge in grid.spacing_mm]
    thin = np.pad(mask[:: step[0], :: step[1], :: step[2]], 2)
    affine = grid.affine.copy()
    affine[:3, :3] *= step
    affine[:3, 3] -= affine[:3, :3] @ np.array([2, 2, 2])
    return thin, Grid(thin.shape, affine)


def _normal(turns: Points) -> Points:
    """Return the x axis turned by a yaw and a roll, in radians."""
    yaw, roll = turns[:2]
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])


class _Outline:
    """A brain's surface, and how far its mirror image lies from it."""

    def __init__(self, mask: NDArray[np.bool_], grid: Grid) -> None:
        spacing = grid.spacing_mm
        outwards = ndimage.distance_transform_edt(~mask, spacing) - ndimage.distance_transform_edt(mask, spacing)
        self._distance = outwards.astype(np.float32)
        surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
        surface = surface[:: max(1, len(surface) // _SURFACE_POINTS)]
        self._at_rest = self._distance[tuple(surface.T)]  # about minus half a voxel, on an even surface
        self._points = to_mm(surface, grid)
        self._inverse = np.linalg.inv(grid.affine)
        self.centre = to_mm(np.argwhere(mask), grid).mean(axis=0)

    def gaps(self, plane: Points) -> Points:
        """Return the gap at each surface point, mirrored in a plane (yaw, roll, shift in mm); (n,) mm."""
        normal = _normal(plane)
        away = (self._points - self.centre) @ normal - plane[2]
        mirrored = self._points - 2 * away[:, None] * normal
        index = self._inverse[:3, :3] @ mirrored.T + self._inverse[:3, 3:]
        there = ndimage.map_coordinates(self._distance, index, np.float64, order=1, mode="nearest")
        return there - self._at_rest

    def refine(self, start: Points) -> Points:
        """Return the nearest best plane: least squares with a soft loss, by reweighting (Gauss-Newton)."""
        plane, small, widest = start, np.array([0.01, 0.01, 0.5]), np.array([0.7, 0.7, 40.0])
        for _ in range(_STEPS):
            gaps = self.gaps(plane)
            slopes = np.stack([(self.gaps(plane + s) - self.gaps(plane - s)) / 2 for s in np.diag(small)], axis=1)
            weights = 1 / np.sqrt(1 + (gaps / _SOFT_MM) ** 2)
            normal = slopes.T @ (weights[:, None] * slopes)
            step = -np.linalg.solve(normal + 1e-6 * np.trace(normal) * np.eye(3), slopes.T @ (weights * gaps))
            plane = np.clip(plane + step * small, -widest, widest)
            if np.abs(step).max() < _STILL:
                break
        return plane


def side_of(mask: NDArray[np.bool_], grid: Grid, midline: Midline) -> Side | None:
    """Return where a region lies; None where it is empty.

    Parameters
    ----------
    mask : (i, j, k) bool
        On `grid`.
    """
    if not mask.any():
        return None
    where = np.argwhere(mask)
    points = to_mm(where, grid)
    away = midline.signed_mm(points)
    right = float((away > 0).mean() + (away == 0).mean() / 2)
    centre = points.mean(axis=0)
    heavier: Literal["left", "right"] = "right" if right > 0.5 or (right == 0.5 and away.mean() >= 0) else "left"
    return Side(
        side=_side(mask, where, away, grid) or heavier,
        heavier=heavier,
        share=round(max(right, 1 - right), 4),
        centre_to_midline_mm=round(abs(float(away.mean())), 2),
        midline_x_mm=round(midline.x_at(centre), 2),
        midline=plane_of(midline),
    )


def plane_of(midline: Midline) -> MidlinePlane:
    """Return the plane as it is stored."""
    return MidlinePlane(
        source=midline.source,
        normal=point(midline.normal, 5),
        point_mm=point(midline.point, 2),
        tilt_degrees=round(midline.tilt_degrees, 2),
        asymmetry_mm=None if midline.asymmetry_mm is None else round(midline.asymmetry_mm, 2),
    )


def _side(
    mask: NDArray[np.bool_], where: NDArray[np.int64], away: Points, grid: Grid
) -> Literal["crossing", "both"] | None:
    """Return "crossing" or "both", or None where the region lies on one side."""
    if away.min() >= 0 or away.max() <= 0:
        return None
    number = cc3d.connected_components(mask, connectivity=26)[tuple(where.T)]
    parts = [away[number == n] for n in np.unique(number)]
    worth = [part for part in parts if len(part) * grid.voxel_volume_ml >= SPECK_ML] or parts
    if any(crosses(part) for part in worth):
        return "crossing"
    sides: Sequence[bool] = [bool(np.median(part) > 0) for part in worth]
    return "both" if any(sides) and not all(sides) else None


def crosses(away: Points) -> bool:
    """Return whether a part with these signed distances (n,) from the midline lies on both sides of it."""
    lesser = min(float((away > 0).mean()), float((away < 0).mean()))
    return bool(lesser >= CROSSING_SHARE and away.max() >= CROSSING_MM and away.min() <= -CROSSING_MM)
