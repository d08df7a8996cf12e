"""Whether the skull is still on: one rule for all rooms.

A scan without skull has one value all around, and what differs from it is no more than a brain has room for. Where the
brain has been found already, `prepare.brain.looks_stripped` looks closer: nothing but that brain may be there.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from glioscope.space.background import background_of
from glioscope.space.grid import Grid

HEAD_ML = 2400.0
"""What differs from the background and is more than this is no brain alone; a large brain has 1.9 litres."""
_FULL = 0.98
"""A field of view with less background than the rest shows no outline of a brain."""


def content(image: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where a scan (i, j, k) holds anything: finite, and not its background's value."""
    value = background_of(image)
    return np.isfinite(image) if value is None else np.isfinite(image) & (image != value)


def skull_on(images: Mapping[str, NDArray[np.floating]], grid: Grid) -> str:
    """Return which scan holds more than a brain, in words; nothing if none does.

    Parameters
    ----------
    images : mapping
        Sequence code to scan (i, j, k), on `grid`; NaN and infinity count as background.
    """
    for name, image in images.items():
        volume = np.count_nonzero(image != background_of(image)) * grid.voxel_volume_ml
        if volume > HEAD_ML:  # few scans come so far, and to look for NaN takes as long again
            volume = np.count_nonzero(content(image)) * grid.voxel_volume_ml
        if volume > HEAD_ML:
            return f"{name} holds {volume:.0f} ml that are not background, more than a brain: the skull is on"
    return ""


def brain_of(image: NDArray[np.floating], grid: Grid) -> NDArray[np.bool_] | None:
    """Return where a scan without skull holds the brain (i, j, k); None with a skull, or where nothing is outlined."""
    inside = content(image)
    share = float(inside.mean())
    whole = share * inside.size * grid.voxel_volume_ml > HEAD_ML
    return None if whole or share > _FULL or not share else inside
