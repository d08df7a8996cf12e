"""A margin around the tumour, for research on radiotherapy: geometry, not a plan.

    tumour, brain, map ──grow──▶ GTV and CTV masks

The gross tumour volume (GTV) is the tumour core, or all of the tumour where no core was segmented. The clinical target
volume (CTV) is what lies within the margin in a straight line and can be reached from the GTV through brain: the
brain's surface cuts it, and so do falx and tentorium, between the halves of the cerebrum and between cerebrum and
cerebellum. Callosum, thalami and brainstem join the two sides, so they are no barrier. Where the map does not fit, only
the brain's surface cuts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.errors import ConfigError
from glioscope.labels import LabelScheme
from glioscope.measure.anatomy.describe import Placed
from glioscope.measure.midline import Midline, crosses
from glioscope.space.grid import Grid, bounding_box, cut, paste

MARGINS_MM = (1.0, 40.0)
"""Margins outside are refused."""
COMMISSURES = ("corpus callosum", "brainstem", "thalamus", "ventral diencephalon")
"""Where the two sides are joined: here the falx is no barrier."""
INFRATENTORIAL = ("cerebellum", "brainstem")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """Volumes for planning research, on the case's grid."""

    gtv: Mask
    """(i, j, k): the tumour core, or the whole tumour without one; empty without a tumour."""
    ctv: Mask
    """(i, j, k): the GTV and what lies within the margin, cut."""
    margin_mm: float
    cut_by: tuple[str, ...]
    """Of brain surface, falx and tentorium those that cut the margin where they meet it."""

    def told(self) -> str:
        """Return one sentence for a person."""
        if not self.gtv.any():
            return "a margin was asked for, but nothing was segmented: geometry, not a plan"
        cut_by = ", ".join(self.cut_by)
        return f"a margin of {self.margin_mm:g} mm round the tumour, cut by {cut_by}: geometry, not a plan"


def grow(
    labels: NDArray[np.integer],
    scheme: LabelScheme,
    brain: Mask,
    grid: Grid,
    *,
    margin_mm: float,
    placed: Placed | None = None,
    midline: Midline | None = None,
) -> Target:
    """Return GTV and CTV.

    Parameters
    ----------
    labels : (i, j, k) integer
        In `scheme`, on `grid`. An empty map gives two empty masks.
    brain : (i, j, k) bool
        On `grid`.
    margin_mm : float
        Millimetres, within `MARGINS_MM`.
    placed : Placed, optional
        The map of the brain on `grid`; without it, or where it does not fit, tentorium and falx do not cut.
    midline : Midline, optional
        Without it the falx does not cut.

    Raises
    ------
    ConfigError
        The margin is outside `MARGINS_MM`.
    """
    low, high = MARGINS_MM
    if not low <= margin_mm <= high:
        raise ConfigError(f"margin is {margin_mm:g} mm; it must be {low:g} to {high:g} mm")
    gtv = np.isin(labels, scheme.regions.get("TC", tuple(scheme.meanings)))
    gtv = gtv if gtv.any() else np.isin(labels, scheme.regions.get("WT", tuple(scheme.meanings)))
    if not gtv.any():
        return Target(gtv=gtv, ctv=gtv.copy(), margin_mm=margin_mm, cut_by=())
    reach = [int(np.ceil(margin_mm / edge)) + 1 for edge in grid.spacing_mm]
    box = bounding_box(gtv, margin=max(reach))
    seed, free = cut(gtv, box), cut(brain | gtv, box)
    small = grid.crop(box)
    cutters = ["brain surface"]
    if placed is not None and placed.fit.usable:
        parts = placed.parts.crop(box)
        below = parts.of(*INFRATENTORIAL)
        stem = parts.of("brainstem")
        above = free & ~below
        if not (seed & below).any():
            free = free & (above | stem)
            cutters.append("tentorium")
        elif not (seed & above & ~stem).any():
            free = free & (below | seed)
            cutters.append("tentorium")
        if midline is not None:
            free, cut_here = _by_falx(seed, free, parts.of(*COMMISSURES), small, midline)
            cutters += ["falx"] if cut_here else []
    ctv = _within(seed, free, margin_mm, small.spacing_mm)
    return Target(gtv=gtv, ctv=paste(ctv, box, grid.shape), margin_mm=margin_mm, cut_by=tuple(cutters))


def _by_falx(seed: Mask, free: Mask, joined: Mask, grid: Grid, midline: Midline) -> tuple[Mask, bool]:
    """Return what is free without the other side's hemisphere, unless the tumour itself lies on both sides."""
    where = np.indices(grid.shape).reshape(3, -1).T
    away = midline.signed_mm(where @ grid.affine[:3, :3].T + grid.affine[:3, 3]).reshape(grid.shape)
    if crosses(away[seed]):
        return free, False
    side = np.sign(np.median(away[seed]))
    return free & ((away * side >= 0) | joined | seed), True


def _within(seed: Mask, free: Mask, margin_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return what lies within the margin in a straight line and can be reached through what is free."""
    near = (ndimage.distance_transform_edt(~seed, sampling=spacing_mm) <= margin_mm) & (free | seed)
    reached = ndimage.binary_propagation(seed, mask=near, structure=ndimage.generate_binary_structure(3, 1))
    return np.asarray(reached, bool)
