"""Reading volumes (NIfTI, MetaImage, NRRD) and writing NIfTI: checked on the way in, atomic on the way out.

A volume is a pair of an array and its `Grid`. Reading refuses what cannot be a scan (damaged, complex, colour, four
axes where three are due) with a `CaseError` that names the file. Writing puts a complete file beside the target and
renames it, so a reader never meets half a file.
"""

import gzip
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from glioscope.errors import CaseError, GeometryError, LabelError
from glioscope.files import atomic_path, require_file
from glioscope.space.grid import Grid
from glioscope.space.orientation import with_codes_of
from glioscope.space.parsed import parsed

LARGEST_VALUE = 1e18
"""Voxels beyond count as infinite: their squares would not fit float32, and no scanner writes them."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
NEARLY_WHOLE = 1e-3
"""A label so near to a whole number is that number: 0.99999 is 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An array on a grid. `data` is (i, j, k); reading gives float32, label maps uint8."""

    data: NDArray[Any]
    grid: Grid


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """Where one sequence lies: a file, and which 3-D volume of it if the file is 4-D (Decathlon)."""

    path: Path
    channel: int | None = None


def _open(path: Path, *, header_only: bool = False) -> nib.Nifti1Image:
    require_file(path)
    if path.suffix.lower() in _ITK_SUFFIXES:
        return _open_with_itk(path, header_only=header_only)
    try:
        image = parsed(path)
    except Exception as error:  # whatever the parser of foreign bytes raises, the file is to blame
        raise CaseError(
            f"{path}: not a readable NIfTI file ({_first_line(error)}); copy or convert it again"
        ) from error
    if not isinstance(image, nib.Nifti1Pair):  # Nifti1Image, Nifti2Image and .hdr/.img pairs derive from it
        raise CaseError(f"{path}: is {type(image).__name__}, not NIfTI; convert it to .nii.gz")
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise CaseError(f"{path}: voxels are {dtype}, not real numbers; export the scan as a grey-scale image")
    shape = image.shape
    if not shape or min(shape) < 1:
        raise CaseError(f"{path}: header claims shape {shape}; no MRI volume has it, the header is damaged")
    return image


_ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def _open_with_itk(path: Path, *, header_only: bool) -> nib.Nifti1Image:
    """Return MetaImage or NRRD as NIfTI in memory; of its header alone, with voxels that are all 0."""
    import SimpleITK as sitk  # large, and seldom needed

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            shape = (*reader.GetSize(), reader.GetNumberOfComponents())
            raise CaseError(f"{path}: has shape {shape}; one 3-D volume of one value a voxel is needed")
        size, spacing = reader.GetSize(), np.array(reader.GetSpacing())
        voxels = None if header_only else sitk.GetArrayFromImage(reader.Execute()).transpose(2, 1, 0)
    except RuntimeError as error:
        raise CaseError(f"{path}: cannot be read; it is damaged or not what its suffix says, copy it again") from error
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ (np.array(reader.GetDirection()).reshape(3, 3) * spacing)
    affine[:3, 3] = _LPS_TO_RAS @ np.array(reader.GetOrigin())
    if voxels is None:
        voxels = np.broadcast_to(np.uint8(0), size)
    elif voxels.dtype.itemsize == 8 and voxels.dtype.kind in "iu":
        voxels = voxels.astype(np.float64)
    return nib.Nifti1Image(voxels, affine)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _shape3(path: Path, shape: tuple[int, ...], channel: int | None) -> tuple[int, ...]:
    """Return the 3-D shape, dropping trailing axes of length 1; refuse what is not one volume."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if channel is not None:
        if len(shape) != 4 or channel >= shape[3]:
            raise CaseError(f"{path}: has shape {shape}; channel {channel} of a 4-D file was wanted")
        return shape[:3]
    if len(shape) != 3:
        raise CaseError(f"{path}: has shape {shape}; one 3-D volume is needed. Split the file into one per sequence.")
    return shape


def _grid(path: Path, shape: tuple[int, ...], image: nib.Nifti1Image) -> Grid:
    try:
        return Grid(cast(tuple[int, int, int], shape), image.affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error


def read_grid(file: VolumeFile | Path) -> Grid:
    """Return the grid of a file from its header alone."""
    file = VolumeFile(file) if isinstance(file, Path) else file
    image = _open(file.path, header_only=True)
    return _grid(file.path, _shape3(file.path, image.shape, file.channel), image)


def read_volume(file: VolumeFile | Path, *, dtype: Any = np.float32) -> Volume:
    """Read one volume.

    Parameters
    ----------
    file : VolumeFile or Path
        `.nii` or `.nii.gz`.
    dtype : numpy dtype
        Of the result; scaling (`scl_slope`) is applied first.

    Returns
    -------
    Volume
        (i, j, k) in the file's own storage order. NaN and infinity are kept; `preprocessing` judges them. Values
        beyond `LARGEST_VALUE` become infinite.

    Raises
    ------
    CaseError
        The file is missing, truncated, not NIfTI, not real-valued or not one volume.
    GeometryError
        The affine is singular, not finite, or not a scan's; there are more than `geometry.MAX_VOXELS`.
    """
    file = VolumeFile(file) if isinstance(file, Path) else file
    image = _open(file.path)
    shape = _shape3(file.path, image.shape, file.channel)
    grid = _grid(file.path, shape, image)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            data = _voxels(file, image, dtype).reshape(shape)
    except MemoryError as error:
        raise CaseError(
            f"{file.path}: not enough memory for {grid.describe()}; close other programs or use a larger machine"
        ) from error
    except Exception as error:  # as in _open
        raise CaseError(
            f"{file.path}: voxels cannot be read ({_first_line(error)}); the file is truncated or damaged, "
            "copy it again"
        ) from error
    if not -LARGEST_VALUE <= data.min() <= data.max() <= LARGEST_VALUE:  # or NaN
        data = np.where(np.abs(data) > LARGEST_VALUE, np.copysign(data.dtype.type(np.inf), data), data)
    return Volume(data, grid)


def _voxels(file: VolumeFile, image: nib.Nifti1Image, dtype: Any) -> NDArray[Any]:
    """Return the voxels, scaled; of a compressed file its checksum is read too, which nibabel alone leaves out.

    Without that, one wrong bit in a `.nii.gz` gives other voxels and no error.
    """
    if not file.path.name.lower().endswith(".gz") or "header" in image.file_map:
        return _part(image.dataobj, file.channel, dtype)
    known: Any = image.dataobj  # where the voxels lie: the header is not parsed again
    with gzip.open(file.path) as stream:
        spec = (known.shape, known.dtype, known.offset, known.slope, known.inter)
        data = _part(ArrayProxy(stream, spec), file.channel, dtype)
        end = 64 * 1024**2 + math.prod(image.shape) * image.get_data_dtype().itemsize
        while stream.tell() < end and stream.read(1024**2):  # the checksum stands at the end
            pass
    return data


def _part(voxels: Any, channel: int | None, dtype: Any) -> NDArray[Any]:
    return np.asarray(voxels if channel is None else voxels[..., channel], dtype)


def read_volumes(files: Sequence[VolumeFile]) -> list[Volume]:
    """Read several volumes side by side in threads (decompression releases the interpreter lock)."""
    if len(files) < 2:
        return [read_volume(f) for f in files]
    with ThreadPoolExecutor(max_workers=min(len(files), os.cpu_count() or 1)) as pool:
        return list(pool.map(read_volume, files))


def read_labels(file: VolumeFile | Path) -> Volume:
    """Read a label map as uint8.

    Raises
    ------
    LabelError
        A value is not a whole number from 0 to 255. Float files are accepted whose values are whole but for what a
        scaled or resampled copy loses (`NEARLY_WHOLE`).
    """
    path = file.path if isinstance(file, VolumeFile) else file
    volume = read_volume(file, dtype=np.float32)
    data = volume.data
    labels = np.zeros(data.shape, np.uint8)
    with np.errstate(invalid="ignore"):
        np.copyto(labels, data, casting="unsafe", where=(data >= 0) & (data <= 255))
    odd = labels != data
    if odd.any():  # nearly whole, or no label map
        with np.errstate(invalid="ignore"):
            near = np.rint(data)
            mended = odd & (np.abs(data - near) <= NEARLY_WHOLE) & (near >= 0) & (near <= 255)
        labels[mended] = near[mended]
        odd &= ~mended
    if odd.any():
        raise LabelError(
            f"{path}: {int(odd.sum())} voxels hold values such as {data[odd][0]:g}; a label map has whole numbers "
            "from 0 to 255. Is this a scan or a probability map?"
        )
    return Volume(labels, volume.grid)


def write_volume(path: Path, data: NDArray[Any], grid: Grid, *, like: Path | None = None) -> None:
    """Write an array as NIfTI-1 in its own dtype, complete or not at all.

    Parameters
    ----------
    data : (i, j, k)
        Must have the grid's shape. Boolean is written as uint8.
    like : Path, optional
        A NIfTI file on this grid: its qform, sform and their codes are written as they are there.

    Raises
    ------
    GeometryError
        Array and grid differ in shape.
    RunError
        The file cannot be written.
    """
    if data.shape != grid.shape:
        raise GeometryError(f"{path.name}: array has shape {data.shape} but its grid {grid.shape}")
    stored = data.astype(np.uint8) if data.dtype == bool else data
    image = nib.Nifti1Image(stored, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)  # the nearest rigid form; sform keeps the exact affine
    if like is not None:
        image = with_codes_of(image, like)
    with atomic_path(path) as scratch:
        nib.save(image, scratch)
