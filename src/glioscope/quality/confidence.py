"""From probabilities to doubt: per voxel, and per region."""

import numpy as np
from numpy.typing import NDArray


def uncertainty(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how unsure each voxel is: the largest binary entropy over the regions, in bits.

    Parameters
    ----------
    probabilities : (region, i, j, k) float
        In [0, 1], calibrated for the numbers to mean what they say.

    Returns
    -------
    (i, j, k) float32
        0 where every region is certain, 1 where one of them is a coin toss.
    """
    # entropy falls with the distance from a half, so only the least certain region needs its logarithm
    nearest = np.abs(np.asarray(probabilities, np.float32) - np.float32(0.5)).min(axis=0)
    p = np.clip(np.float32(0.5) - nearest, np.float32(1e-7), np.float32(0.5))
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * (nearest < 0.5)


def expected_dice(probabilities: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Return the Dice that a region would have if its probabilities were true.

    Were each voxel tumour with its stated chance, the overlap would be the sum of the chances inside the region, and
    the size of the truth the sum of all chances. How far the guess is off is measured on held-out cases and stands on
    the model's card.

    Parameters
    ----------
    probabilities : (i, j, k)
        Of one region; calibrated, or the guess is too bright.
    region : (i, j, k) bool
        The region as decided.

    Returns
    -------
    float
        In [0, 1]. For an empty region the chance that there truly is none of it, taken as 1 minus the largest
        probability.
    """
    if not region.any():
        return float(1 - probabilities.max(initial=0.0))
    inside = float(probabilities[region].sum(dtype=np.float64))
    return 2 * inside / (float(probabilities.sum(dtype=np.float64)) + float(region.sum()))


def margin(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how far the least certain region of each voxel is from a coin toss.

    Returns
    -------
    (i, j, k) float32
        ``|2 p - 1|``, the smallest over the regions: 1 where every region is certain, 0 at a coin toss.
    """
    return (2 * np.abs(np.asarray(probabilities, np.float32) - np.float32(0.5))).min(axis=0)
