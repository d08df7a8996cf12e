"""What of a scan is background: one rule, and one function, for every room.

    scan as it lies on disk ──with_zero_background──▶ its background is exactly 0 ──foreground──▶ mask

Background is the one value that most of the border of the field of view has. Most programs write 0 there, some -1, some
the lowest of z-scored values. `load_case` makes it 0, so that normalisation, augmentation, flags and pictures need ask
no more than whether a voxel is 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 0.5
"""A value that less of the border has is not a background but noise, or the head itself."""


def _border(image: NDArray[Any]) -> NDArray[Any]:
    """Return the voxels of the six outer faces; slices, since np.take would copy the whole image first."""
    return np.concatenate([image[(slice(None),) * axis + (end,)].ravel() for axis in range(3) for end in (0, -1)])


def background_of(image: NDArray[np.floating]) -> float | None:
    """Return the value of the background, or None where the border has no one value: it cuts the head, or is noise.

    Parameters
    ----------
    image : (i, j, k)
        As read. Voxels that are NaN or infinite count as background and have no part in its value; where all of the
        border is such, the value is 0.
    """
    border = _border(image)
    finite = border[np.isfinite(border)]
    if finite.size == 0:
        return 0.0
    value = np.median(finite)
    return float(value) if np.count_nonzero(finite == value) >= _MOST * finite.size else None


def with_zero_background(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a scan counted from its background, which is 0 then; the scan itself where it is, or where there is none.

    Parameters
    ----------
    image : (i, j, k)
        NaN and infinity stay what they are. One that is constant keeps its value, for messages to name.
    """
    value = background_of(image)
    return image - np.float32(value) if value and (image != value).any() else image


def foreground(image: Any) -> Any:
    """Return where an image is not background.

    Parameters
    ----------
    image : (..., i, j, k) array or tensor
        With background 0, without NaN: as `load_case` and the steps after it have it.

    Returns
    -------
    (..., i, j, k) bool
        Of the same kind.
    """
    return image != 0
