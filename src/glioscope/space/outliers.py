"""Values that no tissue has: a broken voxel a thousand times brighter than the brain spoils every mean."""

import numpy as np
from numpy.typing import NDArray

TIMES = 30.0
"""So many times the 99th percentile is far out: no tissue, vessel or fluid comes near it."""
_SAMPLE = 13
"""Every so many voxels are looked at for the percentile; no axis of a scan repeats with it."""


def far_out(name: str, image: NDArray[np.float32], limit: float) -> str:
    """Return in words how many voxels of a sequence lie beyond `highest_plausible`, and the furthest value."""
    with np.errstate(invalid="ignore"):
        beyond = np.abs(image) > limit
    count = int(np.count_nonzero(beyond & np.isfinite(image)))
    furthest = max(image[beyond & np.isfinite(image)], key=abs)
    voxels = "voxel is" if count == 1 else "voxels are"
    return f"{name}: {count} {voxels} far beyond all others (up to {furthest:.3g}, where {limit:.3g} is plausible)"


def highest_plausible(image: NDArray[np.float32]) -> float | None:
    """Return the value beyond which, up or down, voxels of a scan are no signal; None if none is beyond.

    Parameters
    ----------
    image : (i, j, k)
        Background 0; NaN and infinity have no part in it.
    """
    sample = np.abs(image.ravel(order="K")[::_SAMPLE])
    sample = sample[np.isfinite(sample) & (sample > 0)]
    if not sample.size:
        return None
    limit = TIMES * float(np.percentile(sample, 99))
    if limit == 0:
        return None
    beyond = max(float(np.nanmax(image)), -float(np.nanmin(image))) > limit
    return limit if beyond else None
