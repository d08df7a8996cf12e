"""The pixels of one volume: each frame with its own rescaling, padding taken for the background that it is.

SimpleITK's GDCM decodes every compressed transfer syntax met in practice and applies one rescaling a file. Enhanced
files may have one for each frame; those are read as stored, and every frame is rescaled by its own.
"""

import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from glioscope.dicom.slices import Frame, Stack
from glioscope.errors import CaseError

_DECODED = ("1.2", "1.2.1", "1.2.1.99", "1.2.2", "1.2.5", "1.2.4.50", "1.2.4.51", "1.2.4.57", "1.2.4.70", "1.2.4.80",
            "1.2.4.81", "1.2.4.90", "1.2.4.91")  # fmt: skip
"""Ends of the UIDs of transfer syntaxes that GDCM decodes: plain, deflated, RLE, JPEG, JPEG-LS, JPEG 2000."""
_SYNTAX_ROOT = "1.2.840.10008."


def read_image(stack: Stack) -> NDArray[np.float32]:
    """Read the pixels (i, j, k) of a volume; missing slices are interpolated between their neighbours.

    Raises
    ------
    CaseError
        A slice cannot be decoded, or is not of the size that its header says.
    """
    columns, rows, count = stack.shape
    image = np.zeros((count, rows, columns), np.float32)
    padded = np.zeros(image.shape, bool)
    pixels: dict[Path, NDArray[Any]] = {}
    as_stored = _own_rescaling(stack)
    for k, frame in enumerate(stack.frames):
        if frame is None:
            continue
        if frame.path not in pixels:
            pixels = {frame.path: _stored(frame) if as_stored else _pixels(frame.path, frame)}  # one file at a time
        slices = pixels[frame.path]
        if frame.number >= len(slices) or slices.shape[1:] != (rows, columns):
            raise CaseError(f"pixels of a slice have shape {slices.shape[1:]}, its header says {(rows, columns)}")
        slope, intercept = _rescaling(frame)
        plane = slices[frame.number]
        padded[k] = _padding(frame, (plane - intercept) / slope if not as_stored else plane)
        image[k] = plane * slope + intercept if as_stored else plane
    if padded.any() and not padded.all():
        image[padded] = min(0.0, float(image[~padded].min()))
    present = [k for k, frame in enumerate(stack.frames) if frame is not None]
    for below, above in pairwise(present):
        for k in range(below + 1, above):
            share = (k - below) / (above - below)
            image[k] = (1 - share) * image[below] + share * image[above]
    return image.transpose(2, 1, 0)


def _rescaling(frame: Frame) -> tuple[float, float]:
    """Return slope and intercept of a frame; a slope of 0 is none."""
    intercept = frame.tags.number("RescaleIntercept")
    return frame.tags.number("RescaleSlope") or 1.0, 0.0 if intercept is None else intercept


def _own_rescaling(stack: Stack) -> bool:
    """Return whether frames of one file are rescaled differently."""
    found: dict[Path, set[tuple[float, float]]] = {}
    for frame in stack.frames:
        if frame is not None:
            found.setdefault(frame.path, set()).add(_rescaling(frame))
    return any(len(pairs) > 1 for pairs in found.values())


def _padding(frame: Frame, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels that the header declares to be no signal: a value, or a range of them, as stored."""
    first, last = frame.tags.number("PixelPaddingValue"), frame.tags.number("PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(stored.shape, bool)
    bits = int(frame.tags.number("BitsAllocated") or 16)
    signed = frame.tags.number("PixelRepresentation") == 1
    ends = sorted(_wrapped(end, bits, signed=signed) for end in (first, first if last is None else last))
    return (stored > ends[0] - 0.5) & (stored < ends[1] + 0.5)


def _wrapped(value: float, bits: int, *, signed: bool) -> float:
    """Return a padding value as pixels of this kind hold it: some scanners write -2000 as 63536, and the reverse."""
    if signed and value >= 2 ** (bits - 1):
        return value - 2**bits
    return value + 2**bits if value < 0 and not signed else value


def _stored(frame: Frame) -> NDArray[Any]:
    """Return (frames, rows, columns) as stored, whatever the codec: the file is decoded without its rescaling."""
    import pydicom

    with tempfile.TemporaryDirectory(prefix="glioscope-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Path(folder) / "stored.dcm"
        try:
            with pydicom.config.disable_value_validation():
                one = pydicom.dcmread(frame.path, force=True)
                for place in (
                    one,
                    *one.get("SharedFunctionalGroupsSequence", ()),
                    *one.PerFrameFunctionalGroupsSequence,
                ):
                    for keyword in ("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept"):
                        if keyword in place:
                            delattr(place, keyword)
                one.save_as(plain)
        except Exception as error:  # whatever the parser of foreign bytes raises, the file is what is damaged
            raise CaseError("a file of many frames cannot be read; it is damaged, copy it again") from error
        return _pixels(plain, frame)


def _pixels(path: Path, frame: Frame) -> NDArray[Any]:
    """Return (frames, rows, columns), rescaled as the file says."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise CaseError(_undecodable(frame)) from error
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels


def _undecodable(frame: Frame) -> str:
    meta = getattr(frame.header, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta else None
    if syntax is None or str(syntax).removeprefix(_SYNTAX_ROOT) in _DECODED:
        return "pixels of a slice cannot be decoded; the file is damaged, copy it again"
    name = getattr(syntax, "name", str(syntax))
    named = f"{name} ({syntax})" if name != str(syntax) else str(syntax)
    return (
        f"pixels are in transfer syntax {named}, which is not decoded here; decompress the series first (export it as "
        "'Explicit VR Little Endian')"
    )
