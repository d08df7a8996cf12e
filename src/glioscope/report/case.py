"""The report of one case."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import LoadedCase
from glioscope.labels import LabelScheme
from glioscope.volumes import write_text


def write_case_report(
    path: Path,
    loaded: LoadedCase,
    labels: NDArray[np.uint8],
    scheme: LabelScheme,
    summary: Mapping[str, Any],
    *,
    reference: NDArray[np.uint8] | None = None,
    uncertainty: NDArray[np.floating] | None = None,
) -> None:
    """Write one self-contained page about a segmented case.

    Parameters
    ----------
    labels, reference : (i, j, k) uint8
        On the case's own grid, in `scheme`. Without `reference`, the case's own is used where it has one.
    summary : mapping
        What stands in `summary.json`; see the module's docstring.
    uncertainty : (i, j, k) float, optional
        In [0, 1], as `quality.uncertainty` gives it, on the case's own grid.
    """
    write_text(path, f"<!doctype html><title>{loaded.case.case_id}</title>")
