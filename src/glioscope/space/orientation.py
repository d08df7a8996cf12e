"""What a NIfTI header says of where an image lies, and whether it says one thing.

A header holds two affines, qform and sform, each with a code. Readers differ in which they believe; where the two
disagree, or neither has a code, no one knows which side is left. Here the sform is believed, as nibabel does, and the
doubt is told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from glioscope.files import is_nifti
from glioscope.space.parsed import parsed

FAR_MM = 2.0
"""Corners of one image that qform and sform place further apart than this are told of."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is unsure about a header."""

    text: str
    side_known: bool
    """Whether left and right are told all the same."""


def doubt_of(path: Path) -> Doubt | None:
    """Return what is unsure about where a NIfTI file's image lies; None if nothing is, or it is no such file.

    A qform cannot hold shear, so where both have one code only what moves a corner by `FAR_MM` counts; with other codes
    they may name two spaces, and then only directions that differ count.
    """
    if not is_nifti(path) or not path.is_file():
        return None
    try:
        image = parsed(path)
        header = image.header
        return _doubt(*_codes(header), header.get_qform(), header.get_sform(), image.shape[:3])
    except Exception:  # noqa: BLE001 (a damaged header is named when the image is read)
        return None


def _codes(header: Any) -> tuple[int, int]:
    return int(header["qform_code"]), int(header["sform_code"])


def _doubt(
    qcode: int, scode: int, qform: NDArray[np.float64], sform: NDArray[np.float64], shape: Iterable[int]
) -> Doubt | None:
    if qcode == scode == 0:
        return Doubt("qform and sform have code 0: nothing says how the image lies, nor which side is left", False)
    if 0 in (qcode, scode):
        return None
    orders = ["".join(map(str, nib.aff2axcodes(affine))) for affine in (qform, sform)]
    if orders[0] != orders[1]:
        sure = _same_side(qform, sform)
        side = "" if sure else ", so which side is left is not known"
        return Doubt(f"qform and sform disagree on the orientation ({orders[0]}, {orders[1]}){side}", sure)
    apart = _apart_mm(qform, sform, shape)
    far = qcode == scode and apart > FAR_MM
    return (
        Doubt(f"qform and sform place the image up to {apart:.0f} mm apart; the sform was believed", True)
        if far
        else None
    )


def _same_side(qform: NDArray[np.float64], sform: NDArray[np.float64]) -> bool:
    """Return whether one direction in the image is "to the right" in both, within 45 degrees."""
    right = [np.linalg.inv(affine[:3, :3])[:, 0] for affine in (qform, sform)]  # voxel steps that go to the right
    first, second = (step / np.linalg.norm(step) for step in right)
    return bool(first @ second > np.cos(np.pi / 4))


def _apart_mm(a: NDArray[np.float64], b: NDArray[np.float64], shape: Iterable[int]) -> float:
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape))).reshape(3, -1)
    return float(np.linalg.norm((a - b)[:3, :3] @ corners + (a - b)[:3, 3:], axis=0).max())


def doubts_in_words(files: Iterable[tuple[str, Path]]) -> tuple[tuple[Doubt, str], ...]:
    """Return each doubt once with its sentence, which names the sequences that it is about.

    Parameters
    ----------
    files : iterable of (str, Path)
        Sequence code and file.
    """
    found: dict[Doubt, list[str]] = {}
    for name, path in files:
        if doubt := doubt_of(path):
            found.setdefault(doubt, []).append(name)
    return tuple((doubt, f"{', '.join(names)}: {doubt.text}") for doubt, names in found.items())


def with_codes_of(image: nib.Nifti1Image, source: Path) -> nib.Nifti1Image:
    """Return an image with the header's forms and codes of another file on the same grid, as they were.

    The file's own are kept where the source is no NIfTI file or its sform (or qform) is not the image's affine.
    """
    if not is_nifti(source):
        return image
    try:
        header = parsed(source).header
        codes = _codes(header)
        if not np.allclose(header.get_best_affine(), image.affine, atol=1e-3):
            return image
        if codes[1] or codes[0]:
            image.set_sform(header.get_sform() if codes[1] else image.affine, code=codes[1])
            image.set_qform(header.get_qform(), code=codes[0])
        else:
            image.set_sform(None, code=0)
            image.set_qform(image.affine, code=0)
    except Exception:  # noqa: BLE001 (a header that cannot be copied is written anew)
        return image
    return image
