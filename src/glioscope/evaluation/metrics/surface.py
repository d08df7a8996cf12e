"""Scores that measure distance: how far apart the surfaces of two masks lie.

Two definitions of "surface" are in use and give different numbers, so each function says which it follows:

- **Surface elements** (surface-distance, BraTS from 2023): a mask's surface is cut where it passes between the eight
  voxels around a voxel *corner*; each such element has an area in mm², and shares are shares of area.
- **Border voxels** (nnU-Net, MedPy, panoptica, BraTS 2026): a mask's surface is its voxels with a face neighbour
  outside; each counts once, however large its face.

Sources: Nikolov et al. 2021, doi 10.2196/26151 (surface elements); Lorensen and Cline 1987, doi 10.1145/37402.37422;
Isensee et al. 2021, doi 10.1038/s41592-020-01008-z (border voxels).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from glioscope.errors import GeometryError
from glioscope.evaluation.metrics.overlap import Mask, check_masks
from glioscope.space.grid import Spacing, bounding_box, cut

Point = tuple[int, int, int]
_CORNERS: tuple[Point, ...] = tuple((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """The surface of one mask as points with weights."""

    points: NDArray[np.float64]
    """(n, 3) positions in millimetres from the centre of voxel (0, 0, 0), along i, j, k."""
    areas: NDArray[np.float64]
    """(n,) area of each element in mm²; 1 for border voxels, which have none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceDistances:
    """For each surface point of one mask the distance to the other mask's surface, both ways round."""

    to_prediction: NDArray[np.float64]
    """(n,) mm, from the reference's surface points; inf if the prediction is empty."""
    to_reference: NDArray[np.float64]
    """(m,) mm, from the prediction's surface points; inf if the reference is empty."""
    reference_areas: NDArray[np.float64]
    """(n,) mm²."""
    prediction_areas: NDArray[np.float64]
    """(m,) mm²."""

    @cached_property
    def hausdorff_95(self) -> float:
        """`robust_hausdorff` at 95 %, worked out once."""
        return robust_hausdorff(self)


# --- areas of surface elements -------------------------------------------------------------------------------------


def _connected(corners: frozenset[Point]) -> list[frozenset[Point]]:
    """Split corners of a cube into groups joined by edges."""
    left, groups = set(corners), []
    while left:
        group = {left.pop()}
        while grown := {c for c in left if any(sum(a != b for a, b in zip(c, g, strict=True)) == 1 for g in group)}:
            group |= grown
            left -= grown
        groups.append(frozenset(group))
    return groups


def _outline(group: frozenset[Point]) -> NDArray[np.float64]:
    """Return the closed polygon, (vertex, 3), that cuts a group of corners from the rest of the unit cube.

    Its vertices are the midpoints of the edges that leave the group. Each face of the cube that the polygon crosses
    holds two of them, so walking from face to face gives their order.
    """
    midpoints = []
    for corner, axis in itertools.product(sorted(group), range(3)):
        other = list(corner)
        other[axis] = 1 - other[axis]
        if tuple(other) not in group:
            midpoints.append((np.array(corner) + np.array(other)) / 2)
    path = [midpoints.pop(0)]
    while midpoints:
        shared = [((path[-1] == m) & (m != 0.5)).any() for m in midpoints]
        path.append(midpoints.pop(shared.index(True)))
    return np.array(path)


def _triangulations(first: int, last: int) -> Iterator[list[Point]]:
    """Yield every way to cut the polygon of vertices `first` to `last` into triangles."""
    if last - first < 2:
        yield []
        return
    for middle in range(first + 1, last):
        for left in _triangulations(first, middle):
            for right in _triangulations(middle, last):
                yield [*left, *right, (first, middle, last)]


def _normals(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area vectors, (triangle, 3), of the triangulation with the largest total area."""
    best = np.zeros((0, 3))
    for triangles in _triangulations(0, len(polygon) - 1):
        a, b, c = (polygon[list(i)] for i in zip(*triangles, strict=True))
        vectors = np.cross(b - a, c - a) / 2
        if np.linalg.norm(vectors, axis=1).sum() > np.linalg.norm(best, axis=1).sum() + 1e-9:
            best = vectors
    return best


@cache
def _normals_of_code() -> tuple[NDArray[np.float64], ...]:
    """Return for each of the 256 codes the area vectors of its triangles on the unit cube.

    Bit b of a code tells whether corner b of `_CORNERS` is inside the mask. The smaller side is cut off, each of its
    edge-connected groups by a surface of its own; inside and outside are treated alike.
    """
    table = []
    for code in range(256):
        inside = frozenset(c for b, c in enumerate(_CORNERS) if code >> b & 1)
        smaller = inside if len(inside) <= 4 else frozenset(_CORNERS) - inside
        parts = [_normals(_outline(group)) for group in _connected(smaller)]
        table.append(np.concatenate([np.zeros((0, 3)), *parts]))
    return tuple(table)


@cache
def surface_areas(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the area in mm² of the surface element of each of the 256 neighbourhoods of a voxel corner.

    The marching-cubes polygons through edge midpoints, each triangulated so that its area is largest. That rule gives
    the areas of the surface-distance library (Nikolov et al. 2021) for every code and every spacing.

    Parameters
    ----------
    spacing_mm : 3 floats > 0
        Voxel edge lengths along i, j, k.

    Returns
    -------
    (256,) float64
        Codes 0 and 255 have no surface and area 0.
    """
    si, sj, sk = spacing_mm
    scale = np.array((sj * sk, si * sk, si * sj))
    areas = np.array([np.linalg.norm(n * scale, axis=1).sum() for n in _normals_of_code()])
    areas.setflags(write=False)
    return areas


# --- surfaces and distances ----------------------------------------------------------------------------------------


def _check_spacing(spacing_mm: Spacing) -> Spacing:
    si, sj, sk = (float(s) for s in spacing_mm)
    if not all(math.isfinite(s) and s > 0 for s in (si, sj, sk)):
        raise GeometryError(f"spacing is {tuple(spacing_mm)} mm; three positive lengths are needed")
    return si, sj, sk


def surface_elements(mask: Mask, spacing_mm: Spacing) -> Surface:
    """Return the surface elements of a mask, at voxel corners, with their areas; no points for an empty mask.

    Parameters
    ----------
    mask : (i, j, k) bool
        Beyond the array lies background, so a mask that touches its edge is closed there.
    """
    spacing_mm = _check_spacing(spacing_mm)
    if not mask.any():
        return Surface(points=np.zeros((0, 3)), areas=np.zeros(0))
    box = bounding_box(mask)
    padded = np.pad(cut(mask, box), 1).view(np.uint8)
    shape = tuple(n - 1 for n in padded.shape)
    codes = np.zeros(shape, np.uint8)
    for bit, (i, j, k) in enumerate(_CORNERS):
        codes |= padded[i : i + shape[0], j : j + shape[1], k : k + shape[2]] << np.uint8(bit)
    at = np.flatnonzero((codes != 0) & (codes != 255))
    points = np.stack(np.unravel_index(at, shape), axis=1) + (np.array(box.start) - 0.5)
    return Surface(points=points * spacing_mm, areas=surface_areas(spacing_mm)[codes.ravel()[at]])


def border_voxels(mask: Mask, spacing_mm: Spacing) -> Surface:
    """Return the voxels of a mask that have a face neighbour outside it; no points for an empty mask.

    Parameters
    ----------
    mask : (i, j, k) bool
        Beyond the array lies background.
    """
    spacing_mm = _check_spacing(spacing_mm)
    if not mask.any():
        return Surface(points=np.zeros((0, 3)), areas=np.zeros(0))
    box = bounding_box(mask)
    piece = cut(mask, box)
    points = np.argwhere(piece & ~ndimage.binary_erosion(piece)) + np.array(box.start)
    return Surface(points=points * np.array(spacing_mm), areas=np.ones(len(points)))


def nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return for each (n, 3) point the distance to the nearest of (m, 3) others and its index; inf where m is 0.

    A tree over surface points, in place of a distance transform of the whole box: the same distances, in about a
    third of the time for tumours of usual size (0.1 s against 0.4 s for 50,000 points both ways).
    """
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), math.inf), np.zeros(len(points), np.intp)
    distances, index = cKDTree(others, balanced_tree=False, compact_nodes=False).query(points)
    return distances, index


def distances_between(reference: Surface, prediction: Surface) -> SurfaceDistances:
    """Measure two surfaces against each other, once, for every score that needs it."""
    return SurfaceDistances(
        to_prediction=nearest(reference.points, prediction.points)[0],
        to_reference=nearest(prediction.points, reference.points)[0],
        reference_areas=reference.areas,
        prediction_areas=prediction.areas,
    )


# --- scores --------------------------------------------------------------------------------------------------------


def _undefined(d: SurfaceDistances) -> float | None:
    """Return nan if both surfaces are empty, inf if one is, else None."""
    empty = (len(d.to_prediction) == 0) + (len(d.to_reference) == 0)
    return (None, math.inf, math.nan)[empty]


def _area_quantile(distances: NDArray[np.float64], areas: NDArray[np.float64], share: float) -> float:
    order = np.lexsort((areas, distances))
    cumulative = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order[min(int(np.searchsorted(cumulative, share)), len(order) - 1)]])


def robust_hausdorff(d: SurfaceDistances, *, share: float = 0.95) -> float:
    """Return the distance in mm within which `share` of each surface's area lies from the other, the larger of both.

    The first distance at which the cumulated area reaches the share; nothing is interpolated. inf if exactly one mask
    is empty, nan if both are.
    """
    undefined = _undefined(d)
    if undefined is not None:
        return undefined
    return max(
        _area_quantile(d.to_prediction, d.reference_areas, share),
        _area_quantile(d.to_reference, d.prediction_areas, share),
    )


def pooled_percentile(d: SurfaceDistances, *, percent: float = 95) -> float:
    """Return a percentile, linearly interpolated, of the distances of both directions taken together.

    The HD95 of MedPy, panoptica and BraTS 2026 when given border voxels. inf if exactly one mask is empty, nan if both.
    """
    undefined = _undefined(d)
    if undefined is not None:
        return undefined
    return float(np.percentile(np.concatenate((d.to_prediction, d.to_reference)), percent))


def area_within(d: SurfaceDistances, *, tolerance_mm: float) -> float:
    """Return the share of both surfaces' area that lies within a tolerance of the other surface.

    Normalised surface Dice (NSD) of Nikolov et al. 2021. 0 if exactly one mask is empty, nan if both are.
    """
    total = d.reference_areas.sum() + d.prediction_areas.sum()
    if total == 0:
        return math.nan
    near = (
        d.reference_areas[d.to_prediction <= tolerance_mm].sum()
        + d.prediction_areas[d.to_reference <= tolerance_mm].sum()
    )
    return float(near / total)


def mean_hit_share(d: SurfaceDistances, *, tolerance_mm: float) -> float:
    """Return the normalised surface Dice of nnU-Net: tp/(tp + (fp + fn)/2) with tp the mean of both hit shares.

    Each surface counts alike, however large: the two shares of points within the tolerance are averaged. 0 if exactly
    one mask is empty, nan if both are.
    """
    undefined = _undefined(d)
    if undefined is not None:
        return math.nan if math.isnan(undefined) else 0.0
    found = float(np.mean(d.to_prediction <= tolerance_mm))
    right = float(np.mean(d.to_reference <= tolerance_mm))
    return (found + right) / 2


def surface_distances(reference: Mask, prediction: Mask, spacing_mm: Spacing) -> SurfaceDistances:
    """Return the distances between the surface elements of two (i, j, k) boolean masks."""
    check_masks(reference, prediction)
    return distances_between(surface_elements(reference, spacing_mm), surface_elements(prediction, spacing_mm))


def border_distances(reference: Mask, prediction: Mask, spacing_mm: Spacing) -> SurfaceDistances:
    """Return the distances between the border voxels of two (i, j, k) boolean masks."""
    check_masks(reference, prediction)
    return distances_between(border_voxels(reference, spacing_mm), border_voxels(prediction, spacing_mm))


def hausdorff_95(reference: Mask, prediction: Mask, spacing_mm: Spacing) -> float:
    """Return the 95 % Hausdorff distance in mm by surface elements, as BraTS from 2023 measures it.

    Parameters
    ----------
    reference, prediction : (i, j, k) bool
    spacing_mm : 3 floats > 0
        Voxel edge lengths along i, j, k.

    Returns
    -------
    float
        Millimetres; inf if exactly one mask is empty, nan if both are.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.zeros((2, 8, 4, 4), bool)
    >>> a[1, 1, 1] = b[6, 1, 1] = True
    >>> hausdorff_95(a, b, (1, 1, 1))
    5.0
    """
    return robust_hausdorff(surface_distances(reference, prediction, spacing_mm))


def surface_dice(reference: Mask, prediction: Mask, spacing_mm: Spacing, *, tolerance_mm: float = 1.0) -> float:
    """Return the normalised surface Dice (NSD) by surface elements: 0 if exactly one mask is empty, nan if both are."""
    return area_within(surface_distances(reference, prediction, spacing_mm), tolerance_mm=tolerance_mm)
