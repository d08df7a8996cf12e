"""Scores lesion by lesion: which predicted lesion answers which reference lesion, and how well.

A `RegionPair` holds one region of one case: both masks, their connected components, and every surface distance once
measured, so that any number of protocols shares the work. Two ways of matching are in use:

- `lesion_wise` (BraTS 2023 to 2025): nearby components merge into lesions, a prediction counts for every lesion it comes
  close to, misses and false alarms score 0 and a penalty distance;
- `one_to_one` (BraTS 2026): components are matched in pairs that share most, and only matched pairs are scored.

Sources: Moawad et al. 2023, arXiv 2306.00838 (lesion-wise scores); Kofler et al. 2023, arXiv 2312.02608 (panoptica).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from glioscope.geometry import Spacing
from glioscope.metrics.overlap import Mask, Overlap, check_masks
from glioscope.metrics.surface import (
    Surface,
    SurfaceDistances,
    border_voxels,
    distances_between,
    mean_hit_share,
    pooled_percentile,
    robust_hausdorff,
    surface_elements,
)

Group = frozenset[int]
"""Components, numbered from 1, that count as one lesion."""


def _spread(mask: Mask, axis: int) -> Mask:
    """Return the mask grown by one voxel both ways along one axis."""
    grown = mask.copy()
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    grown[tuple(ahead)] |= mask[tuple(behind)]
    grown[tuple(behind)] |= mask[tuple(ahead)]
    return grown


def dilate(mask: Mask, iterations: int) -> Mask:
    """Return an (i, j, k) mask grown by the 3×3×3 cube without its 8 corners, `iterations` times.

    That cube is the union of three 3×3 squares, one in each plane, and a square is grown axis by axis. Nothing grows in
    from outside the array.
    """
    for _ in range(iterations):
        along_i = _spread(mask, 0)
        mask = _spread(along_i, 1) | _spread(along_i, 2) | _spread(_spread(mask, 1), 2)
    return mask


class MaskLesions:
    """One mask taken apart: its 26-connected components, their lesions and their surfaces, each worked out once."""

    def __init__(self, mask: Mask, spacing_mm: Spacing) -> None:
        self.mask = mask
        self.spacing_mm = spacing_mm
        # Components are numbered in the order of their first voxel, i fastest; the 2024 rule "smallest-numbered
        # partner" depends on it, and cc3d follows the memory order.
        labels = cc3d.connected_components(np.asfortranarray(mask), connectivity=26)
        self.labels: NDArray[np.unsignedinteger[Any]] = labels
        self.count = int(labels.max()) if labels.size else 0
        self.sizes = np.bincount(labels.ravel(order="K"), minlength=self.count + 1)
        self._groups: dict[int, tuple[Group, ...]] = {}

    @cached_property
    def boxes(self) -> list[tuple[slice, slice, slice]]:
        """Bounding box of each component, component 1 first."""
        return ndimage.find_objects(self.labels.astype(np.int32))

    @property
    def whole(self) -> Group:
        """All components as one group."""
        return frozenset(range(1, self.count + 1))

    def size(self, group: Iterable[int]) -> int:
        """Return the voxel count of some components."""
        return int(self.sizes[list(group)].sum())

    def groups(self, dilation: int) -> tuple[Group, ...]:
        """Return the lesions: components whose dilations connect count as one. In the order of the dilated mask."""
        if dilation not in self._groups:
            self._groups[dilation] = self._merge(dilation)
        return self._groups[dilation]

    def _merge(self, dilation: int) -> tuple[Group, ...]:
        if self.count < 2:
            return (self.whole,) if self.count else ()
        window = _window(self.boxes, dilation + 1, self.mask.shape)
        grown = np.asfortranarray(dilate(self.mask[window], dilation))
        merged = cc3d.connected_components(grown, connectivity=26)
        pairs = np.unique(np.stack((merged[self.mask[window]], self.labels[window][self.mask[window]])), axis=1)
        return tuple(frozenset(pairs[1, pairs[0] == n].tolist()) for n in np.unique(pairs[0]))

    def select(self, group: Group, window: tuple[slice, ...]) -> Mask:
        """Return the mask of some components inside a window."""
        wanted = np.zeros(self.count + 1, bool)
        wanted[list(group)] = True
        return wanted[self.labels[window]]

    def around(self, group: Group, margin: int) -> tuple[slice, slice, slice]:
        """Return the window around some components, `margin` voxels wider but inside the array."""
        return _window([self.boxes[n - 1] for n in group], margin, self.mask.shape)

    @cached_property
    def elements(self) -> tuple[Surface, NDArray[np.integer]]:
        """Surface elements and the component that each belongs to."""
        surface = surface_elements(self.mask, self.spacing_mm)
        return surface, self._owners(surface, corners=True)

    @cached_property
    def border(self) -> tuple[Surface, NDArray[np.integer]]:
        """Border voxels and the component that each belongs to."""
        surface = border_voxels(self.mask, self.spacing_mm)
        return surface, self._owners(surface, corners=False)

    def _owners(self, surface: Surface, *, corners: bool) -> NDArray[np.integer]:
        """Return each point's component. The voxels around one corner touch, so they belong to one component."""
        if self.count < 2:
            return np.ones(len(surface.points), np.uint8)
        at = np.rint(surface.points / self.spacing_mm + (0.5 if corners else 0)).astype(np.intp)
        if not corners:
            return self.labels[tuple(at.T)]
        padded = np.pad(self.labels, 1)
        owners = np.zeros(len(at), self.labels.dtype)
        for step in np.ndindex(2, 2, 2):
            np.maximum(owners, padded[tuple((at + step).T)], out=owners)
        return owners


def _window(boxes: Iterable[tuple[slice, ...]], margin: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    boxes = list(boxes)
    i, j, k = (
        slice(max(0, min(b[a].start for b in boxes) - margin), min(shape[a], max(b[a].stop for b in boxes) + margin))
        for a in range(3)
    )
    return i, j, k


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionRule:
    """How a year's protocol makes lesions out of components and which of them count."""

    dilation: int
    """Iterations within which components merge and a prediction counts as close."""
    smallest_mm3: float
    """Reference lesions of this volume or less are dropped."""
    merge_prediction: bool = False
    """Whether predicted components merge by dilation as the reference's do (2024)."""
    smallest_predicted_voxels: float = 0
    """Predicted lesions of this many voxels or fewer are deleted first (2024)."""
    count_false_positives: bool = True
    """Whether false positives enter the denominator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionMatch:
    """One reference lesion and the predicted components that answer it."""

    reference: Group
    prediction: Group
    """Empty if the lesion was missed."""
    volume_mm3: float
    dice: float
    hd95_mm: float
    """inf if the lesion was missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionWise:
    """Lesion-wise result of one region of one case."""

    matches: tuple[LesionMatch, ...]
    """Reference lesions that count, matched or missed."""
    false_positives: int
    counted: int
    """Denominator: lesions that count, and false positives where the rule counts them."""
    false_positives_counted: int

    @property
    def true_positives(self) -> int:
        """Lesions that count and were found."""
        return sum(bool(m.prediction) for m in self.matches)

    @property
    def false_negatives(self) -> int:
        """Lesions that count and were missed."""
        return len(self.matches) - self.true_positives

    def mean(self, score: Callable[[LesionMatch], float], *, missed: float, nothing: float) -> float:
        """Return the mean of a score over lesions and false positives.

        Parameters
        ----------
        score : callable
            Score of a matched lesion.
        missed : float
            Score of a missed lesion and of a false positive.
        nothing : float
            The result where there is neither lesion nor false positive to count.
        """
        if not self.counted:
            return nothing
        scores = [score(m) if m.prediction else missed for m in self.matches]
        scores += [missed] * self.false_positives_counted
        return math.fsum(scores) / self.counted


@dataclass(frozen=True, slots=True, kw_only=True)
class OneToOne:
    """One-to-one matching of components, and the quality of the matched pairs."""

    true_positives: int
    false_positives: int
    false_negatives: int
    recognition_quality: float
    """F1 of the components; nan if neither mask has any."""
    dice: float
    """Mean over matched pairs; nan if there is none."""
    hd95_mm: float
    """Mean over matched pairs, border voxels, both directions pooled; nan if there is none."""
    nsd: float
    """Mean over matched pairs, border voxels, tolerance the shortest voxel edge; nan if there is none."""


class RegionPair:
    """One region of one case: reference and prediction, and what was measured between them."""

    def __init__(self, reference: Mask, prediction: Mask, spacing_mm: Spacing, *, total: int | None = None) -> None:
        """Take both masks.

        Parameters
        ----------
        reference, prediction : (i, j, k) bool
            May be cropped to the tumour with a margin of one voxel more than any dilation asked of it.
        spacing_mm : 3 floats > 0
        total : int, optional
            Voxels of the uncropped volume, for specificity; the masks' own size if left out.
        """
        check_masks(reference, prediction)
        self.reference = MaskLesions(reference, spacing_mm)
        self.prediction = MaskLesions(prediction, spacing_mm)
        self.spacing_mm = spacing_mm
        self.total = reference.size if total is None else total
        self._measured: dict[tuple[Group, Group, bool], SurfaceDistances] = {}

    @cached_property
    def shared(self) -> NDArray[np.int64]:
        """(reference component, prediction component) voxel counts of the overlap; row and column 0 are unused."""
        both = self.reference.mask & self.prediction.mask
        width = self.prediction.count + 1
        code = self.reference.labels[both].astype(np.int64) * width + self.prediction.labels[both]
        return np.bincount(code, minlength=(self.reference.count + 1) * width).reshape(-1, width)

    @property
    def overlap(self) -> Overlap:
        """Voxel counts of the whole region."""
        return Overlap(
            both=int(self.shared.sum()),
            reference=self.reference.size(self.reference.whole),
            prediction=self.prediction.size(self.prediction.whole),
            total=self.total,
        )

    def dice(self, reference: Group, prediction: Group) -> float:
        """Return the Dice score of some components of each side."""
        both = self.shared[np.ix_(list(reference), list(prediction))].sum()
        return float(2 * both / (self.reference.size(reference) + self.prediction.size(prediction)))

    def distances(
        self, reference: Group | None = None, prediction: Group | None = None, *, border: bool = False
    ) -> SurfaceDistances:
        """Return the surface distances between some components of each side, all if left out.

        Parameters
        ----------
        border : bool
            Between border voxels; else between surface elements.
        """
        reference = self.reference.whole if reference is None else reference
        prediction = self.prediction.whole if prediction is None else prediction
        key = (reference, prediction, border)
        if key not in self._measured:
            self._measured[key] = distances_between(
                _surface_of(self.reference, reference, border), _surface_of(self.prediction, prediction, border)
            )
        return self._measured[key]

    def close(self, lesion: Group, dilation: int) -> Group:
        """Return the predicted components that the dilated reference lesion touches."""
        overlapping = frozenset((np.flatnonzero(self.shared[list(lesion)].sum(axis=0))).tolist())
        if len(overlapping) == self.prediction.count:
            return overlapping
        window = self.reference.around(lesion, dilation)
        grown = dilate(self.reference.select(lesion, window), dilation)
        return frozenset(np.unique(self.prediction.labels[window][grown]).tolist()) - {0}


def _surface_of(side: MaskLesions, group: Group, border: bool) -> Surface:
    surface, owners = side.border if border else side.elements
    if len(group) == side.count:
        return surface
    wanted = np.zeros(side.count + 1, bool)
    wanted[list(group)] = True
    chosen = wanted[owners]
    return Surface(points=surface.points[chosen], areas=surface.areas[chosen])


def touching(one: MaskLesions, other: MaskLesions) -> set[tuple[int, int]]:
    """Return the pairs (component of one, component of other) that lie within one dilation of each other.

    Both masks are on the same array.
    """
    if not one.count or not other.count:
        return set()
    i, j, k = np.nonzero(dilate(one.mask, 1) & other.mask)
    theirs = other.labels[i, j, k].astype(np.int64)
    padded = np.pad(one.labels, 1)
    found: set[tuple[int, int]] = set()
    for di, dj, dk in np.ndindex(3, 3, 3):
        if di != 1 and dj != 1 and dk != 1:
            continue  # the corners of the cube are not part of the dilation
        mine = padded[i + di, j + dj, k + dk]
        hit = mine > 0
        if hit.any():
            code = np.unique(mine[hit].astype(np.int64) * (other.count + 1) + theirs[hit])
            found.update(zip(*(part.tolist() for part in np.divmod(code, other.count + 1)), strict=True))
    return found


def merge_touching(
    lesions: Sequence[Group], own: MaskLesions, others: Iterable[tuple[Sequence[Group], MaskLesions]]
) -> tuple[Group, ...]:
    """Merge lesions of one tissue that touch the same lesion of another (BraTS 2024).

    For each other tissue in turn: if two or more pairs (lesion, other lesion) touch, every lesion goes with the
    first of its partners, and lesions with one partner become one. The rule is not transitive, and it is the official
    one: a single touching pair changes nothing, and a lesion that joins two partners joins only the first.

    Parameters
    ----------
    lesions : sequence of groups
        Lesions of `own`.
    others : iterable of (lesions, mask)
        Tissues to look at, in the official order; their lesions are those merged by dilation alone.
    """
    merged = list(lesions)
    for partners, mask in others:
        contacts = touching(own, mask)
        owner = {component: n for n, group in enumerate(partners) for component in group}
        pairs = set()
        for n, group in enumerate(merged):
            pairs |= {(n, owner[b]) for a, b in contacts if a in group and b in owner}
        if len(pairs) < 2:
            continue
        first = {n: min(p for m, p in pairs if m == n) for n, _ in pairs}
        joined = [frozenset().union(*(merged[n] for n in first if first[n] == p)) for p in sorted(set(first.values()))]
        merged = [group for n, group in enumerate(merged) if n not in first] + joined
    return tuple(merged)


def predicted_lesions(side: MaskLesions, rule: LesionRule) -> tuple[Group, ...]:
    """Return the lesions of a predicted mask under a rule: merged and cleared of small ones if it says so."""
    groups = side.groups(rule.dilation) if rule.merge_prediction else tuple(frozenset({n}) for n in sorted(side.whole))
    return tuple(g for g in groups if side.size(g) > rule.smallest_predicted_voxels)


def lesion_wise(
    pair: RegionPair,
    rule: LesionRule,
    *,
    reference_lesions: Sequence[Group] | None = None,
    prediction_lesions: Sequence[Group] | None = None,
) -> LesionWise:
    """Score a region lesion by lesion.

    Parameters
    ----------
    reference_lesions, prediction_lesions : sequence of groups, optional
        Lesions already merged across tissues (`merge_touching`); else the rule makes them.

    Returns
    -------
    LesionWise
        No matches and no false positives if both masks are empty.
    """
    if reference_lesions is None:
        reference_lesions = pair.reference.groups(rule.dilation)
    if prediction_lesions is None:
        prediction_lesions = predicted_lesions(pair.prediction, rule)
    owner = {component: group for group in prediction_lesions for component in group}
    voxel_mm3 = math.prod(pair.spacing_mm)
    used: set[Group] = set()
    matches = []
    for lesion in reference_lesions:
        answers = {owner[c] for c in pair.close(lesion, rule.dilation) if c in owner}
        used |= answers
        volume = pair.reference.size(lesion) * voxel_mm3
        if volume <= rule.smallest_mm3:
            continue
        answer: Group = frozenset().union(*answers)
        matches.append(
            LesionMatch(
                reference=lesion,
                prediction=answer,
                volume_mm3=volume,
                dice=pair.dice(lesion, answer),
                hd95_mm=robust_hausdorff(pair.distances(lesion, answer)) if answer else math.inf,
            )
        )
    false_positives = len(prediction_lesions) - len(used)
    counted = false_positives if rule.count_false_positives else 0
    return LesionWise(
        matches=tuple(matches),
        false_positives=false_positives,
        counted=len(matches) + counted,
        false_positives_counted=counted,
    )


def one_to_one(pair: RegionPair, *, smallest_dice: float = 1e-6) -> OneToOne:
    """Match the components of both masks one to one so that the sum of their Dice scores is largest.

    Parameters
    ----------
    smallest_dice : float
        Pairs of this Dice score or less stay unmatched.
    """
    a, b = pair.reference, pair.prediction
    table = 2 * pair.shared[1:, 1:] / (a.sizes[1:, None] + b.sizes[None, 1:])
    rows, columns = linear_sum_assignment(table, maximize=True)
    matched = [(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if table[r, c] > smallest_dice]
    distances = [pair.distances(frozenset({r + 1}), frozenset({c + 1}), border=True) for r, c in matched]
    tolerance = min(pair.spacing_mm)
    found = len(matched)
    return OneToOne(
        true_positives=found,
        false_positives=b.count - found,
        false_negatives=a.count - found,
        recognition_quality=2 * found / (a.count + b.count) if a.count + b.count else math.nan,
        dice=_mean(float(table[m]) for m in matched),
        hd95_mm=_mean(pooled_percentile(d) for d in distances),
        nsd=_mean(mean_hit_share(d, tolerance_mm=tolerance) for d in distances),
    )


def _mean(values: Iterable[float]) -> float:
    """Return the mean; nan of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan
