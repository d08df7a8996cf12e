"""Which enhancing lesion of one date is which of the other: matched by place, after alignment.

Lesions of both dates are joined into groups: two belong together when they touch or lie within `REACH_MM` of each other
once the earlier date is laid over the later one. A group may hold one lesion of each date (grown, shrunk), several (it
split or merged), or of one date alone (new, gone). Matching by place rather than by size is what a reader does too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from glioscope.measure.diameters import diameters, to_mm
from glioscope.measure.midline import SPECK_ML, Midline
from glioscope.measure.one_date import split
from glioscope.measure.rano import is_measurable, percent
from glioscope.space.grid import Grid, bounding_box, cut, reorient

REACH_MM = 4.0
"""Between voxel centres: neighbours at 1 to 2 mm, and what the alignment of two dates is wrong by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesion:
    """An enhancing lesion of one date."""

    points_mm: NDArray[np.float64]
    """(n, 3), RAS+ of its own date."""
    volume_ml: float
    sizes: dict[str, Any]
    """As `diameters.diameters` returns."""
    measurable: bool

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """(3,), RAS+ of its own date."""
        return self.points_mm.mean(axis=0)


def find_lesions(mask: NDArray[np.bool_], grid: Grid) -> tuple[list[Lesion], int]:
    """Return the lesions of a mask, largest first, and how many parts are only specks (below `SPECK_ML`)."""
    if not mask.any():
        return [], 0
    box = bounding_box(mask)
    turned, grid = reorient(cut(mask, box), grid.crop(box), "RAS")
    parts = split(np.ascontiguousarray(turned))
    large = [part for part in parts if len(part) * grid.voxel_volume_ml >= SPECK_ML]
    found = []
    for part in large:
        sizes = diameters(part, grid)
        found.append(
            Lesion(
                points_mm=to_mm(part, grid),
                volume_ml=len(part) * grid.voxel_volume_ml,
                sizes=sizes,
                measurable=is_measurable(sizes, grid.spacing_mm[2]),
            )
        )
    found.sort(key=lambda lesion: -lesion.volume_ml)
    return found, len(parts) - len(large)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Lesions of both dates that are one."""

    earlier: tuple[Lesion, ...]
    later: tuple[Lesion, ...]

    @property
    def target(self) -> bool:
        """Whether RANO would follow it: a part of it was measurable on the earlier date."""
        return any(lesion.measurable for lesion in self.earlier)

    def product(self, date: str) -> float:
        """Return the sum of the products of diameters of one date ("earlier" or "later"), mm²."""
        return float(sum(lesion.sizes["product_mm2"] for lesion in self._of(date)))

    def volume(self, date: str) -> float:
        """Return the volume of one date, ml."""
        return float(sum(lesion.volume_ml for lesion in self._of(date)))

    def _of(self, date: str) -> tuple[Lesion, ...]:
        return self.earlier if date == "earlier" else self.later


def match_lesions(earlier: Sequence[Lesion], later: Sequence[Lesion], matrix: NDArray[np.float64]) -> list[Group]:
    """Return the lesions of two dates in groups, largest first; an empty list where there are none.

    Parameters
    ----------
    matrix : (4, 4)
        RAS+ millimetres of the later date to those of the earlier one.
    """
    near = _neighbours(earlier, later, matrix)
    groups: list[tuple[set[int], set[int]]] = [({n}, set()) for n in range(len(earlier))]
    for n, touched in enumerate(near):
        joined = [g for g in groups if g[0] & touched]
        groups = [g for g in groups if not g[0] & touched]
        groups.append((set().union(*(g[0] for g in joined)), {n}.union(*(g[1] for g in joined))))
    found = [
        Group(earlier=tuple(earlier[i] for i in sorted(a)), later=tuple(later[i] for i in sorted(b))) for a, b in groups
    ]
    return sorted(found, key=lambda g: -max(g.volume("earlier"), g.volume("later")))


def _neighbours(earlier: Sequence[Lesion], later: Sequence[Lesion], matrix: NDArray[np.float64]) -> list[set[int]]:
    """Return for each later lesion the numbers of the earlier ones within reach."""
    if not earlier:
        return [set() for _ in later]
    tree = cKDTree(np.concatenate([lesion.points_mm for lesion in earlier]))
    number = np.repeat(np.arange(len(earlier)), [len(lesion.points_mm) for lesion in earlier])
    near = []
    for lesion in later:
        away, which = tree.query(lesion.points_mm @ matrix[:3, :3].T + matrix[:3, 3], distance_upper_bound=REACH_MM)
        near.append({int(n) for n in np.unique(number[which[np.isfinite(away)]])})
    return near


def describe_group(name: str, group: Group, midline: Midline) -> dict[str, Any]:
    """Return a group JSON-ready.

    Parameters
    ----------
    midline : Midline
        Of the later date.

    Returns
    -------
    dict
        ``name``; ``status``: new, gone, or followed; ``target``; ``measurable_now``; ``parts``, ``volume_ml``,
        ``product_mm2`` and ``longest_mm`` by date; ``percent_volume`` and ``percent_product`` (None for a new lesion);
        ``centre_mm`` in the later scan's RAS+ mm (None where it is gone), and ``side`` there.
    """
    dates = ("earlier", "later")
    parts = {"earlier": group.earlier, "later": group.later}
    volume = {date: round(group.volume(date), 4) for date in dates}
    product = {date: round(group.product(date), 1) for date in dates}
    largest = group.later[0] if group.later else None
    change = {"volume": percent(volume["earlier"], volume["later"]), "product": percent(*product.values())}
    return {
        "name": name,
        "status": "new" if not group.earlier else "gone" if not group.later else "followed",
        "target": group.target,
        "measurable_now": any(lesion.measurable for lesion in group.later),
        "parts": {date: len(parts[date]) for date in dates},
        "volume_ml": volume,
        "product_mm2": product,
        "longest_mm": {d: max((lesion.sizes["longest_mm"] for lesion in parts[d]), default=0.0) for d in dates},
        "percent_volume": None if change["volume"] is None else round(change["volume"], 2),
        "percent_product": None if change["product"] is None else round(change["product"], 2),
        "centre_mm": None if largest is None else largest.centre_mm.round(1).tolist(),
        "side": None if largest is None else ("right" if midline.signed_mm(largest.centre_mm[None])[0] > 0 else "left"),
    }
