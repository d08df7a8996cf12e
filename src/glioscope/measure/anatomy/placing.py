"""The average brain laid over a patient's: which part each voxel of a case is.

    image, brain, tumour ──place──▶ Placed: the map on the case's grid, how it fits, what is doubtful

BraTS cases lie in SRI24's space, prepared ones in the patient's own, others anywhere: every brain is laid over the map
by an affine registration, so no space is taken for granted. The map itself is what is matched: an image made of it
(white matter bright, cortex darker, fluid dark), so that the parts lie where the search believes them to be. A tumour
has no counterpart in it and counts for nothing in the search (cost-function masking).

A tumour also displaces. On request a deformable step follows (demons with symmetric forces; Vercauteren et al. 2009,
doi 10.1016/j.neuroimage.2008.10.040), the tumour masked there too. A step that folds tissue, squeezes it beyond belief
or worsens the overlap is not taken, and the result says so.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.measure.anatomy.atlas import average_brain
from glioscope.measure.anatomy.describe import Placed
from glioscope.measure.anatomy.parts import STRUCTURES, BrainMap
from glioscope.measure.midline import Midline
from glioscope.results.anatomy import Fit, Problem
from glioscope.space.affine import MINIMUM_OVERLAP, first_guess, overlap_of, stretch
from glioscope.space.grid import Grid, bounding_box
from glioscope.space.resampling import Matrix, itk_transform, shrink, to_itk
from glioscope.space.volumes import Volume

LEVELS_MM = (8.0, 4.0)
"""Voxel edges of the affine search; 2 mm would add seconds and move the parts by less than their own error."""
BEND_MM = (8.0, 4.0, 3.0)
"""Voxel edges at which the deformable step looks."""
BEND_STEPS = 40
SMOOTH_MM = 7.0
"""Standard deviation of the smoothing of the displacements: ventricles can move, gyri are not bent into each other."""
LEAST_JACOBIAN = 0.2
"""Tissue squeezed to less than a fifth at one place in a thousand is not believed."""
WORSE = 0.005
"""A bent map whose overlap is lower by more is not believed."""
CLOSING = 5
"""Voxels by which the map's brain is closed over its sulci, so that it is what a brain extraction keeps."""
_BRIGHTNESS = {"outside": 0.0, "white matter": 1.0, "corpus callosum": 1.0, "internal capsule": 1.0, "brainstem": 0.9}
_GREY, _FLUID = 0.65, 0.2

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Likeness:
    """A map as an image that can be matched with a T1."""

    image: Volume
    """(i, j, k) float32."""
    brain: Volume
    """(i, j, k) float32, 1 inside."""


@lru_cache(maxsize=2)
def _shrunk(parts: BrainMap) -> tuple[Volume, ...]:
    """Return a map's likeness on the levels of the search."""
    return tuple(shrink(likeness(parts).image, level) for level in LEVELS_MM)


@lru_cache(maxsize=2)
def likeness(parts: BrainMap) -> Likeness:
    """Return a map as an image that can be matched with a T1."""
    known = parts.structures > 0
    box = bounding_box(known)
    inside = np.zeros(parts.grid.shape, bool)
    place = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    inside[place] = _closed(known[place])
    levels = [_BRIGHTNESS.get(name, _FLUID if name in ("ventricles", "fluid") else _GREY) for name in STRUCTURES]
    image: NDArray[np.float32] = np.array(levels, np.float32)[parts.structures]
    image[inside & ~known] = _FLUID
    return Likeness(image=Volume(image, parts.grid), brain=Volume(inside.astype(np.float32), parts.grid))


def _closed(mask: Mask) -> Mask:
    """Return a mask closed over its clefts: grown and shrunk by a ball, through distances."""
    wide = np.pad(mask, CLOSING + 1)
    grown = ndimage.distance_transform_edt(~wide) <= CLOSING
    closed = ndimage.distance_transform_edt(grown) > CLOSING
    inner = slice(CLOSING + 1, -CLOSING - 1)
    return np.asarray(closed[inner, inner, inner])


def place(
    image: Volume, brain: Mask, tumour: Mask, *, deformable: bool = False, parts: BrainMap | None = None
) -> Placed:
    """Lay the map of the average brain over a case.

    Parameters
    ----------
    image : Volume
        (i, j, k) float32, a T1 if there is one; else any sequence.
    brain, tumour : (i, j, k) bool
        On the image's grid. Nothing of the skull may be in the brain.
    deformable : bool
        Bend the map as well.
    parts : BrainMap, optional
        Another map than the average brain's.

    Returns
    -------
    Placed
        Not usable where brain and map overlap by less than `MINIMUM_OVERLAP`, with the problem told; never an
        exception for a poor fit.

    Raises
    ------
    DependencyError
        No atlas is installed.
    """
    parts = average_brain() if parts is None else parts
    like = likeness(parts)
    if not brain.any():
        problem = Problem(code="brain-empty", message="the brain mask is empty, so nothing could be laid over it")
        return _unusable(parts, image.grid, 0.0, problem)
    mask = Volume(brain.astype(np.float32), image.grid)
    bare = Volume(np.where(brain, image.data, 0).astype(np.float32), image.grid)
    ignored = Volume(tumour, image.grid) if tumour.any() else None
    matrix = stretch(_shrunk(parts), bare, first_guess(like.brain, mask), ignored=ignored)
    overlap = overlap_of(like.brain, mask, matrix)
    if overlap < MINIMUM_OVERLAP:
        text = (
            f"the brain covers that of the map with a Dice of {overlap:.2f}, {MINIMUM_OVERLAP} and more is usual: "
            "nothing is told that needs the map. Look at the images: a half brain, a skull left on, another species"
        )
        return _unusable(parts, image.grid, overlap, Problem(code="map-misfit", message=text))
    back = np.asarray(np.linalg.inv(matrix), np.float64)
    bend, jacobian, problems = _bend(like, bare, mask, tumour, back) if deformable else (None, None, ())
    carried = _carry(parts, image.grid, back, bend)
    fit = Fit(
        method="affine" if bend is None else "deformable",
        source=parts.source,
        overlap=round(overlap, 4),
        usable=True,
        lacks=parts.lacks,
        smallest_jacobian=jacobian,
    )
    return Placed(parts=carried, fit=fit, middle=_middle(matrix), problems=problems)


def _unusable(parts: BrainMap, grid: Grid, overlap: float, problem: Problem) -> Placed:
    nothing = np.zeros(grid.shape, np.uint8)
    empty = BrainMap(grid=grid, structures=nothing, lobes=nothing, areas=nothing, source=parts.source)
    fit = Fit(method="affine", source=parts.source, overlap=round(overlap, 4), usable=False)
    return Placed(parts=empty, fit=fit, middle=None, problems=(problem,))


def _middle(matrix: Matrix) -> Midline:
    """Return the map's midsagittal plane (x = 0) in the case's millimetres."""
    normal = np.linalg.inv(matrix[:3, :3]).T @ np.array([1.0, 0, 0])
    return Midline(
        normal=normal / np.linalg.norm(normal), point=(matrix @ [0, -18, 8, 1])[:3], source="map of the brain"
    )


def _carry(parts: BrainMap, grid: Grid, matrix: Matrix, bend: sitk.Transform | None) -> BrainMap:
    """Return a map on another grid: the nearest voxel's part, through the bend (if any) and the matrix."""
    transform: sitk.Transform = itk_transform(matrix)
    if bend is not None:
        transform = sitk.CompositeTransform([transform, bend])
    frame = to_itk(Volume(np.zeros(grid.shape, np.uint8), grid))
    packed = _packed(parts)
    moved = sitk.GetArrayFromImage(sitk.Resample(packed, frame, transform, sitk.sitkNearestNeighbor)).transpose(2, 1, 0)
    found = {
        "structures": np.ascontiguousarray(moved & 15, np.uint8),
        "lobes": np.ascontiguousarray((moved >> 4) & 15, np.uint8),
        "areas": np.ascontiguousarray(moved >> 8, np.uint8),
    }
    return BrainMap(grid=grid, source=parts.source, lacks=parts.lacks, **found)


@lru_cache(maxsize=2)
def _packed(parts: BrainMap) -> sitk.Image:
    """Return the three arrays of a map as one image, so that they are carried at once: 4, 4 and 8 bits."""
    numbers = parts.structures.astype(np.uint16) | parts.lobes.astype(np.uint16) << 4
    return to_itk(Volume(numbers | parts.areas.astype(np.uint16) << 8, parts.grid))


def _bend(
    like: Likeness, image: Volume, brain: Volume, tumour: Mask, matrix: Matrix
) -> tuple[sitk.Transform | None, float | None, tuple[Problem, ...]]:
    """Return the deformable step on the case's side of the matrix, its smallest Jacobian, and why it was not taken."""
    scaled = Volume(_scaled(image.data, brain.data > 0), image.grid)
    spared = Volume(tumour.astype(np.float32), image.grid)
    field = sitk.Image([2, 2, 2], sitk.sitkVectorFloat64)  # nowhere displaced
    for spacing_mm in BEND_MM:
        fixed = to_itk(shrink(scaled, spacing_mm))
        moving = sitk.Resample(to_itk(like.image), fixed, itk_transform(matrix), sitk.sitkLinear)
        field = _demons(fixed, moving, to_itk(shrink(spared, spacing_mm)), field, SMOOTH_MM / spacing_mm)
    jacobian = _squeeze(field, brain)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    before = _agreement(like, brain, matrix, None)
    after = _agreement(like, brain, matrix, transform)
    if jacobian < LEAST_JACOBIAN or after < before - WORSE:
        why = (
            f"bending the map squeezed tissue to {jacobian:.2f} of its size at the worst and changed the overlap from "
            f"{before:.2f} to {after:.2f}: not believed, so the map is only stretched"
        )
        return None, None, (Problem(code="bend-refused", message=why),)
    return transform, round(jacobian, 3), ()


def _scaled(data: NDArray[np.float32], brain: Mask) -> NDArray[np.float32]:
    """Return a T1 with fluid and white matter as bright as the map's likeness has them, 0 outside the brain."""
    low, high = np.percentile(data[brain], (2, 90))
    scaled = _FLUID + (1 - _FLUID) * (data - low) / max(float(high - low), 1e-6)
    return np.where(brain, np.clip(scaled, 0, 1.2), 0).astype(np.float32)


def _demons(fixed: sitk.Image, moving: sitk.Image, spared: sitk.Image, field: sitk.Image, smooth: float) -> sitk.Image:
    """Return the displacements that bring the moving image to the fixed one, on the fixed one's grid.

    Where a tumour is spared the fixed image is made equal to the moving one, so that nothing pulls there and the
    smoothing carries the tissue along with its surroundings.
    """
    frame = (fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection())
    start = sitk.DisplacementFieldTransform(sitk.Image(field))
    field = sitk.TransformToDisplacementField(start, sitk.sitkVectorFloat64, *frame)
    bent = sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(sitk.Image(field)), sitk.sitkLinear)
    masked = fixed * (1 - spared) + bent * spared
    method = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    method.SetNumberOfIterations(BEND_STEPS)
    method.SetSmoothDisplacementField(True)
    method.SetStandardDeviations(smooth)
    return method.Execute(masked, moving, field)


def _squeeze(field: sitk.Image, brain: Volume) -> float:
    """Return the thousandth of the Jacobian determinant inside the brain."""
    inside = sitk.GetArrayFromImage(sitk.Resample(to_itk(brain), field, sitk.Transform(), sitk.sitkNearestNeighbor))
    values = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    return float(np.quantile(values[inside > 0], 0.001))


def _agreement(like: Likeness, brain: Volume, matrix: Matrix, bend: sitk.Transform | None) -> float:
    """Return the Dice of brain and map's brain on a coarse grid of the case."""
    transform: sitk.Transform = itk_transform(matrix)
    if bend is not None:
        transform = sitk.CompositeTransform([transform, bend])
    coarse = shrink(brain, BEND_MM[-1])
    moved = sitk.GetArrayFromImage(sitk.Resample(to_itk(like.brain), to_itk(coarse), transform, sitk.sitkLinear))
    there, here = moved.transpose(2, 1, 0) > 0.5, coarse.data > 0.5
    return float(2 * (there & here).sum() / max(there.sum() + here.sum(), 1))
