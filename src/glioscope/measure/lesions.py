"""Which enhancing lesion of one date is which of the other: matched by place, after alignment.

Lesions of both dates are joined into groups: two belong together when they touch or lie within `REACH_MM` of each other
once the earlier date is laid over the later one. A group may hold one lesion of each date (grown, shrunk), several (it
split or merged), or of one date alone (new, gone). Matching by place rather than by size is what a reader does too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from glioscope.measure.diameters import diameters, point, to_mm
from glioscope.measure.midline import SPECK_ML, Midline
from glioscope.measure.one_date import split
from glioscope.measure.rano import is_measurable, percent
from glioscope.results import Diameters
from glioscope.results.change import Both, Counts, FollowedLesion
from glioscope.space.grid import Grid, bounding_box, cut, reorient

Date = Literal["earlier", "later"]
REACH_MM = 4.0
"""Between voxel centres: neighbours at 1 to 2 mm, and what the alignment of two dates is wrong by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionPoints:
    """An enhancing lesion of one date, with its place."""

    points_mm: NDArray[np.float64]
    """(n, 3), RAS+ of its own date."""
    volume_ml: float
    sizes: Diameters
    """Of the lesion on its own."""
    measurable: bool

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """(3,), RAS+ of its own date."""
        return self.points_mm.mean(axis=0)


def find_lesions(mask: NDArray[np.bool_], grid: Grid) -> tuple[list[LesionPoints], int]:
    """Return the lesions of a mask, largest first, and how many parts are only specks (below `SPECK_ML`)."""
    if not mask.any():
        return [], 0
    box = bounding_box(mask)
    turned, grid = reorient(cut(mask, box), grid.crop(box), "RAS")
    parts = split(np.ascontiguousarray(turned))
    large = [part for part in parts if len(part) * grid.voxel_volume_ml >= SPECK_ML]
    found = []
    for part in large:
        sizes = diameters(part, grid, "ET")
        found.append(
            LesionPoints(
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

    earlier: tuple[LesionPoints, ...]
    later: tuple[LesionPoints, ...]

    @property
    def target(self) -> bool:
        """Whether RANO would follow it: a part of it was measurable on the earlier date."""
        return any(lesion.measurable for lesion in self.earlier)

    def product(self, date: Date) -> float:
        """Return the sum of the products of diameters of one date, mm²."""
        return float(sum(lesion.sizes.product_mm2 for lesion in self._of(date)))

    def volume(self, date: Date) -> float:
        """Return the volume of one date, ml."""
        return float(sum(lesion.volume_ml for lesion in self._of(date)))

    def _of(self, date: Date) -> tuple[LesionPoints, ...]:
        return self.earlier if date == "earlier" else self.later


def match_lesions(
    earlier: Sequence[LesionPoints], later: Sequence[LesionPoints], matrix: NDArray[np.float64]
) -> list[Group]:
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


def _neighbours(
    earlier: Sequence[LesionPoints], later: Sequence[LesionPoints], matrix: NDArray[np.float64]
) -> list[set[int]]:
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


def describe_group(name: str, group: Group, midline: Midline, *, inside: float | None) -> FollowedLesion:
    """Return a group as it is stored.

    Parameters
    ----------
    midline : Midline
        Of the later date.
    inside : float, optional
        Share of a new lesion that lies in what was tumour before; None of any other.
    """
    volume = Both(earlier=round(group.volume("earlier"), 4), later=round(group.volume("later"), 4))
    product = Both(earlier=round(group.product("earlier"), 1), later=round(group.product("later"), 1))
    largest = group.later[0] if group.later else None
    more_volume, more_product = percent(volume.earlier, volume.later), percent(product.earlier, product.later)
    return FollowedLesion(
        name=name,
        status="new" if not group.earlier else "gone" if not group.later else "followed",
        target=group.target,
        measurable_now=any(lesion.measurable for lesion in group.later),
        parts=Counts(earlier=len(group.earlier), later=len(group.later)),
        volume_ml=volume,
        product_mm2=product,
        longest_mm=Both(earlier=_longest(group.earlier), later=_longest(group.later)),
        percent_volume=None if more_volume is None else round(more_volume, 2),
        percent_product=None if more_product is None else round(more_product, 2),
        centre_mm=None if largest is None else point(largest.centre_mm, 1),
        side=None if largest is None else ("right" if midline.signed_mm(largest.centre_mm[None])[0] > 0 else "left"),
        share_in_earlier_tumour=inside,
    )


def _longest(lesions: Sequence[LesionPoints]) -> float:
    return max((lesion.sizes.longest_mm for lesion in lesions), default=0.0)
