"""Volumes on other grids: the bridge to ITK, resampling, shrinking, transform files.

ITK counts millimetres to the left and to the back (LPS); everything outside this module counts RAS. A `Matrix` is
(4, 4) and takes millimetres of the grid that is wanted to millimetres of the volume that is there.
"""

import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.files import atomic_path
from glioscope.space.grid import FLIP, Box, Grid, cut
from glioscope.space.volumes import Volume

Matrix = NDArray[np.float64]
_SAME_VOXEL = 1e-3
"""Grids whose voxels lie this close, in voxels, coincide."""


def to_itk(volume: Volume) -> sitk.Image:
    """Return a volume as an ITK image: the same voxels in the same place."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    _place(image, volume.grid)
    return image


def _place(image: sitk.Image, grid: Grid) -> None:
    affine = grid.lps
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing_mm).ravel().tolist())


def from_itk(image: sitk.Image) -> Volume:
    """Return an ITK image as a volume."""
    shape = image.GetSize()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), Grid(shape, FLIP @ affine))


def itk_transform(matrix: Matrix) -> sitk.AffineTransform:
    """Return a RAS matrix as the ITK transform that does the same."""
    lps = FLIP @ matrix @ FLIP
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def write_transform(path: Path, matrix: Matrix) -> None:
    """Write a matrix as an ITK transform file (`.tfm`), which ITK-SNAP, 3D Slicer and ANTs read.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    with atomic_path(path) as scratch:
        sitk.WriteTransform(itk_transform(matrix), str(scratch))


def resample(
    volume: Volume,
    grid: Grid,
    matrix: Matrix | None = None,
    *,
    interpolation: Literal["linear", "nearest"] = "linear",
) -> NDArray[Any]:
    """Return a volume on another grid; 0 where it was not scanned.

    Parameters
    ----------
    volume : Volume
        (i, j, k), real, integer or boolean. Linear interpolation gives float32, nearest keeps the dtype.
    matrix : (4, 4), optional
        Millimetres of `grid` to millimetres of the volume, as `Registration` has it; without it both share a space.

    Returns
    -------
    (i, j, k)
        On `grid`. Where the grids coincide, the values themselves.
    """
    step = np.linalg.inv(volume.grid.affine) @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    exact = _read_off(volume.data, step, grid.shape)
    if exact is not None:
        return exact.astype(np.float32, copy=False) if interpolation == "linear" else exact
    kind = volume.data.dtype
    stored = np.uint8 if kind.kind == "b" else np.float32 if kind == np.float16 else kind
    data = volume.data.astype(np.float32 if interpolation == "linear" else stored, copy=False)
    linear = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.shape)
    frame = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    _place(frame, grid)
    resampler.SetOutputSpacing(frame.GetSpacing())
    resampler.SetOutputOrigin(frame.GetOrigin())
    resampler.SetOutputDirection(frame.GetDirection())
    resampler.SetInterpolator(linear)
    resampler.SetTransform(itk_transform(np.eye(4) if matrix is None else matrix))
    out = sitk.GetArrayFromImage(resampler.Execute(to_itk(Volume(data, volume.grid)))).transpose(2, 1, 0)
    return np.ascontiguousarray(out if interpolation == "linear" else out.astype(kind, copy=False))


def _read_off(data: NDArray[Any], step: Matrix, shape: tuple[int, int, int]) -> NDArray[Any] | None:
    """Return an array's voxels by flips, swaps and shifts alone, or None where they must be interpolated.

    `step` takes indices of the result to indices of `data`. ITK would leave rounding of 1e-6 in every value.
    """
    whole = np.round(step)
    turn = whole[:3, :3].astype(int)
    off = np.abs(step - whole)[:3] @ [*shape, 1]
    if (
        off.max() > _SAME_VOXEL
        or not (np.abs(turn).sum(axis=0) == 1).all()
        or not (np.abs(turn).sum(axis=1) == 1).all()
    ):
        return None
    order = np.abs(turn).argmax(axis=0)
    flips = tuple(axis for axis in range(3) if turn[order[axis], axis] < 0)
    start = [
        int(whole[order[a], 3]) if a not in flips else int(data.shape[order[a]] - 1 - whole[order[a], 3])
        for a in range(3)
    ]
    box = Box(tuple(start), tuple(a + n for a, n in zip(start, shape, strict=True)))  # type: ignore[arg-type]
    return cut(np.flip(data.transpose(order), flips), box)


def isotropic_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Return the grid of cubic voxels that covers the same field of view, its axes unturned."""
    spacing = np.array(grid.spacing_mm)
    shape = np.maximum(1, np.round(np.array(grid.shape) * spacing / spacing_mm)).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] *= spacing_mm / spacing
    middle = (np.array(grid.shape) - 1) / 2
    affine[:3, 3] = (grid.affine @ [*middle, 1])[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def shrink(volume: Volume, spacing_mm: float) -> Volume:
    """Return a volume at about `spacing_mm` per voxel edge, smoothed first so that nothing is aliased.

    Axes that are coarser already are interpolated.
    """
    ratio = spacing_mm / np.array(volume.grid.spacing_mm)
    sigma = np.where(ratio > 1, 0.5 * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0)
    smooth = ndimage.gaussian_filter(volume.data.astype(np.float32, copy=False), sigma, mode="nearest", truncate=2.5)
    grid = isotropic_grid(volume.grid, spacing_mm)
    return Volume(resample(Volume(smooth, volume.grid), grid), grid)


def average(scan: Volume, factor: tuple[int, ...]) -> Volume:
    """Return a volume whose voxels are the means of blocks of `factor` voxels; incomplete blocks at the end go."""
    factor = tuple(min(f, n) for f, n in zip(factor, scan.grid.shape, strict=True))
    if factor == (1, 1, 1):
        return scan
    shape = tuple(n // f for n, f in zip(scan.grid.shape, factor, strict=True))
    kept = scan.data[tuple(slice(0, n * f) for n, f in zip(shape, factor, strict=True))]
    blocks = kept.reshape([v for pair in zip(shape, factor, strict=True) for v in pair]).mean(axis=(1, 3, 5))
    affine = scan.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(factor) - 1) / 2)
    affine[:3, :3] *= factor
    return Volume(blocks.astype(np.float32), Grid(shape, affine))  # type: ignore[arg-type]


def corners(box: Box) -> Matrix:
    """Return the eight corners of a box of voxels, outer faces included: (8, 4) homogeneous voxel indices."""
    ends = [(a - 0.5, b - 0.5) for a, b in zip(box.start, box.stop, strict=True)]
    return np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
