"""Flags on a segmentation."""

from collections.abc import Iterator, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError
from glioscope.labels import REGIONS, LabelScheme
from glioscope.results import Flag
from glioscope.space.grid import Grid, bounding_box, cut

HUGE_SHARE = 0.35
"""Of the brain: the largest of 110 tumours has 0.17."""
TINY_ML = 0.2
OUTSIDE_SHARE = 0.02
FRAGMENTS = 10
SCATTERED_SHARE = 0.05
"""More parts than this, together with this share outside the largest three: scattered. References have up to 21 parts,
nearly all specks."""
LOW_CONFIDENCE = 0.75
"""Mean probability inside a region; a calibrated network is right as often as it says."""


def check_output(
    labels: NDArray[np.integer],
    grid: Grid,
    *,
    scheme: LabelScheme,
    probabilities: NDArray[np.floating] | None = None,
    names: Sequence[str] = REGIONS,
    brain: NDArray[np.bool_] | None = None,
) -> tuple[Flag, ...]:
    """Return what is odd about a segmentation.

    Parameters
    ----------
    labels : (i, j, k) integer
        In `scheme`, on `grid`.
    probabilities : (r, i, j, k) float, optional
        On the same grid, or on any one grid of their own: only their own agreement is judged.
    names : sequence of str
        What the probabilities are of.
    brain : (i, j, k) bool, optional
        On `grid`.

    Raises
    ------
    GeometryError
        Labels or brain differ from the grid in shape.
    """
    for what, array in (("label map", labels), ("brain mask", brain)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but its grid {grid.shape}; they must agree")
    whole = np.isin(labels, scheme.regions.get("WT", tuple(scheme.meanings)))
    voxels = int(np.count_nonzero(whole))
    flags: list[Flag] = []
    if voxels == 0:
        flags.append(Flag("empty", "warning", "no tumour was found; look at the images before you believe it"))
    else:
        flags += _size(whole, voxels, grid, brain)
        if "ET" in scheme.regions and not np.isin(labels, scheme.regions["ET"]).any():
            text = "no enhancing tumour was found: right in many low-grade gliomas, else check t1c"
            flags.append(Flag("no-enhancing-tumour", "info", text))
    if probabilities is not None:
        flags += _confidence(probabilities, names)
    return tuple(flags)


def _size(whole: NDArray[np.bool_], voxels: int, grid: Grid, brain: NDArray[np.bool_] | None) -> Iterator[Flag]:
    volume = voxels * grid.voxel_volume_ml
    if volume < TINY_ML:
        yield Flag("tiny", "warning", f"the tumour has {volume:.2g} ml; findings that small are often false")
    box = bounding_box(whole)
    parts, count = cc3d.connected_components(cut(whole, box), connectivity=26, return_N=True)
    if count > FRAGMENTS:
        sizes = np.sort(np.bincount(parts.ravel())[1:])
        scattered = sizes[:-3].sum() / voxels
        text = f"the tumour falls into {count} separate parts, {scattered:.0%} of it outside the largest three"
        yield Flag("fragments", "warning" if scattered > SCATTERED_SHARE else "info", text)
    inside = int(np.count_nonzero(brain)) if brain is not None else 0
    if brain is None or not inside:
        return
    if voxels > HUGE_SHARE * inside:
        yield Flag("huge", "error", f"the tumour fills {voxels / inside:.0%} of the brain; that is not credible")
    outside = int(np.count_nonzero(whole & ~brain)) / voxels
    if outside > OUTSIDE_SHARE:
        yield Flag("outside-brain", "error", f"{outside:.0%} of the tumour lies outside the brain")


def _confidence(probabilities: NDArray[np.floating], names: Sequence[str]) -> Iterator[Flag]:
    """Flag regions whose voxels the network is, on average, unsure of, and regions it nearly saw."""
    for name, p in zip(names, probabilities, strict=True):
        inside = p[p >= 0.5]
        if inside.size and (mean := float(inside.mean(dtype=np.float64))) < LOW_CONFIDENCE:
            yield Flag(
                f"unsure-{name}", "warning", f"mean confidence inside {name} is {mean:.0%}; its outline is uncertain"
            )
