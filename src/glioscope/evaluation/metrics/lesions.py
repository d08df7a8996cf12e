"""Scores lesion by lesion: which predicted lesion answers which reference lesion, and how well.

A `RegionPair` holds one region of one case: both masks, their connected components, and every surface distance once
measured, so that any number of protocols shares the work. Two ways of matching are in use:

- `lesion_wise` (BraTS 2023 to 2025): nearby components merge into lesions, a prediction counts for every lesion it
  comes close to, misses and false alarms score 0 and a penalty distance;
- `one_to_one` (BraTS 2026): components are matched in pairs that share most, and only matched pairs are scored.

Sources: Moawad et al. 2023, arXiv 2306.00838 (lesion-wise scores); Kofler et al. 2023, arXiv 2312.02608 (panoptica).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from glioscope.evaluation.metrics.components import Group, MaskLesions, OwnedSurface, belongs, dilate
from glioscope.evaluation.metrics.overlap import Mask, Overlap, check_masks
from glioscope.evaluation.metrics.surface import SurfaceDistances, mean_hit_share, nearest, pooled_percentile
from glioscope.space.grid import Spacing


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
        self._all: dict[tuple[bool, str], tuple[NDArray[np.float64], NDArray[np.intp]]] = {}

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
            sides = [side.border if border else side.elements for side in (self.reference, self.prediction)]
            own = [belongs(side, group) for side, group in zip(sides, (reference, prediction), strict=True)]
            self._measured[key] = SurfaceDistances(
                to_prediction=self._nearest(sides[0], sides[1], own[0], own[1], (border, "to prediction")),
                to_reference=self._nearest(sides[1], sides[0], own[1], own[0], (border, "to reference")),
                reference_areas=sides[0][0].areas[own[0]],
                prediction_areas=sides[1][0].areas[own[1]],
            )
        return self._measured[key]

    def _nearest(
        self,
        of: OwnedSurface,
        to: OwnedSurface,
        own: NDArray[np.bool_],
        target: NDArray[np.bool_],
        key: tuple[bool, str],
    ) -> NDArray[np.float64]:
        """Return the distance of the `own` points of one surface to the `target` points of the other.

        All points are measured against all, once. Where the nearest belongs to the target that distance stands; only
        the other points are measured again.
        """
        if key not in self._all:
            self._all[key] = nearest(of[0].points, to[0].points)
        distances, index = self._all[key]
        distances = distances[own]
        if len(to[0].points) and not target.all():
            again = ~target[index[own]]
            distances[again] = nearest(of[0].points[own][again], to[0].points[target])[0]
        return distances

    def close(self, lesion: Group, dilation: int) -> Group:
        """Return the predicted components that the dilated reference lesion touches."""
        overlapping = frozenset((np.flatnonzero(self.shared[list(lesion)].sum(axis=0))).tolist())
        if len(overlapping) == self.prediction.count:
            return overlapping
        window = self.reference.around(lesion, dilation)
        grown = dilate(self.reference.select(lesion, window), dilation)
        return frozenset(np.flatnonzero(np.bincount(self.prediction.labels[window][grown])).tolist()) - {0}


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
                hd95_mm=pair.distances(lesion, answer).hausdorff_95 if answer else math.inf,
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
