"""From two label maps to scores: one case under any number of protocols, each measurement taken once."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError, LabelError
from glioscope.evaluation.metrics import (
    Group,
    LesionMatch,
    RegionPair,
    SurfaceDistances,
    area_within,
    lesion_wise,
    mean_hit_share,
    merge_touching,
    one_to_one,
    predicted_lesions,
    voxel_accuracy,
)
from glioscope.evaluation.protocols import (
    SAME_TISSUE,
    TISSUES,
    LesionWiseRule,
    OneToOneRule,
    Protocol,
    Scores,
    VoxelAccuracyRule,
    WholeRegionRule,
    value_of,
)
from glioscope.labels import LabelScheme
from glioscope.space.grid import Shape3, Spacing

Status = Literal["scored", "missing", "refused"]
Empty = Literal["", "both", "reference", "prediction"]

_NSD = re.compile(r"nsd_(border_)?([0-9.]+)mm")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelPair:
    """Reference and prediction of one case as tissue codes, cropped to where either has any."""

    case_id: str
    reference: NDArray[np.uint8]
    """(i, j, k) tissue codes."""
    prediction: NDArray[np.uint8]
    start: Shape3
    """First voxel of the crop in the volume."""
    shape: Shape3
    """Of the whole volume."""
    spacing_mm: Spacing
    scheme: LabelScheme
    """Of the reference's file; tells which regions it can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionScores:
    """One row of the table: one case, protocol and region."""

    case_id: str
    protocol: str
    region: str
    status: Status = "scored"
    reason: str = ""
    """Why a case is missing or refused."""
    empty: Empty = ""
    """Which mask of this region has no voxel; scores then follow the protocol's rule."""
    reference_ml: float = math.nan
    prediction_ml: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict)
    """Metric to value; nan is undefined, inf a distance to nothing."""


def tissue_codes(labels: NDArray[np.uint8], scheme: LabelScheme) -> NDArray[np.uint8]:
    """Return (i, j, k) labels of a scheme as tissue codes, under the older tissue names."""
    table = np.zeros(256, np.uint8)
    for value, tissue in scheme.meanings.items():
        table[value] = TISSUES.index(SAME_TISSUE.get(tissue, tissue))
    return table[labels]


class PairScorer:
    """Scores of one case; regions, components and distances are shared between protocols."""

    def __init__(self, pair: LabelPair) -> None:
        self.pair = pair
        self._regions: dict[frozenset[str], RegionPair] = {}

    @cached_property
    def present(self) -> tuple[frozenset[str], frozenset[str]]:
        """Tissues that occur in the reference and in the prediction."""
        reference, prediction = (
            frozenset(TISSUES[c] for c in np.flatnonzero(np.bincount(codes.ravel(), minlength=1)) if c)
            for codes in (self.pair.reference, self.pair.prediction)
        )
        return reference, prediction

    def region(self, tissues: frozenset[str]) -> RegionPair:
        """Return the pair of masks of a union of tissues; unions with the same voxels share one."""
        key = tissues & (self.present[0] | self.present[1])
        if key not in self._regions:
            table = np.array([t in key for t in TISSUES])
            masks = (table[self.pair.reference], table[self.pair.prediction])
            self._regions[key] = RegionPair(*masks, self.pair.spacing_mm, total=math.prod(self.pair.shape))
        return self._regions[key]

    def score(self, protocol: Protocol) -> list[RegionScores]:
        """Return one row per region of a protocol.

        Raises
        ------
        LabelError
            A map holds a tissue that the protocol does not know.
        """
        for side, present in zip(("reference", "prediction"), self.present, strict=True):
            if foreign := sorted(present - protocol.known_tissues):
                raise LabelError(
                    f"case {self.pair.case_id}: {side} holds tissue {', '.join(foreign)}, which protocol "
                    f"'{protocol.name}' does not know (it has {', '.join(sorted(protocol.known_tissues))}). Choose the "
                    "protocol of that data set, or name the right scheme with --scheme."
                )
        rows = [self._row(protocol, region) for region in protocol.scored_regions(self.pair.scheme)]
        if protocol.voxel_accuracy is not None:
            rows += self._accuracy(protocol, protocol.voxel_accuracy)
        return rows

    def _row(self, protocol: Protocol, region: str) -> RegionScores:
        masks = self.region(protocol.tissues(region))
        scores: dict[str, float] = {}
        if protocol.whole_region is not None:
            scores |= self._whole(masks, protocol.whole_region)
        if protocol.lesion_wise is not None:
            scores |= self._lesions(protocol, protocol.lesion_wise, region)
        if protocol.one_to_one is not None:
            scores |= self._matched(masks, protocol.one_to_one)
        voxel_ml = math.prod(self.pair.spacing_mm) / 1000
        return RegionScores(
            case_id=self.pair.case_id,
            protocol=protocol.name,
            region=region,
            empty=_empty(masks),
            reference_ml=masks.overlap.reference * voxel_ml,
            prediction_ml=masks.overlap.prediction * voxel_ml,
            scores=scores,
        )

    def _by_rule(self, rule: Scores, metrics: Iterable[str] | None = None) -> dict[str, float]:
        return {m: value_of(v, self.pair.shape) for m, v in rule.items() if metrics is None or m in metrics}

    def _whole(self, masks: RegionPair, rule: WholeRegionRule) -> dict[str, float]:
        scores = {m: _region_score(masks, m) for m in rule.metrics}
        empty = _empty(masks)
        if empty:
            scores |= self._by_rule(getattr(rule.empty, empty), rule.metrics)
        return scores

    def _lesions(self, protocol: Protocol, rule: LesionWiseRule, region: str) -> dict[str, float]:
        masks = self.region(protocol.tissues(region))
        voxel_mm3 = math.prod(self.pair.spacing_mm)
        own = rule.of(region, voxel_mm3)
        reference: Sequence[Group] = masks.reference.groups(own.dilation)
        prediction: Sequence[Group] = predicted_lesions(masks.prediction, own)
        if region in rule.touching:
            partners = [(self.region(protocol.tissues(p)), rule.of(p, voxel_mm3)) for p in rule.touching[region]]
            reference = merge_touching(
                reference, masks.reference, [(m.reference.groups(r.dilation), m.reference) for m, r in partners]
            )
            prediction = merge_touching(
                prediction, masks.prediction, [(predicted_lesions(m.prediction, r), m.prediction) for m, r in partners]
            )
        result = lesion_wise(masks, own, reference_lesions=reference, prediction_lesions=prediction)
        missed, nothing = self._by_rule(rule.missed), self._by_rule(rule.nothing)
        scores: dict[str, float] = {}
        for metric in rule.metrics:
            score = partial(_lesion_score, masks, metric)
            scores[f"lesion_{metric}"] = result.mean(score, missed=missed[metric], nothing=nothing[metric])
        counts = {"tp": result.true_positives, "fp": result.false_positives, "fn": result.false_negatives}
        return scores | counts

    def _matched(self, masks: RegionPair, rule: OneToOneRule) -> dict[str, float]:
        result = one_to_one(masks, smallest_dice=rule.smallest_dice)
        scores: dict[str, float] = {
            "tp": result.true_positives,
            "fp": result.false_positives,
            "fn": result.false_negatives,
            "rq": result.recognition_quality,
            "sq_dsc": result.dice,
            "sq_hd95": result.hd95_mm,
            "sq_nsd": result.nsd,
        }
        if not result.true_positives:
            scores |= self._by_rule(rule.empty if _empty(masks) == "both" else rule.unmatched)
        return scores

    def _accuracy(self, protocol: Protocol, rule: VoxelAccuracyRule) -> list[RegionScores]:
        rows = []
        for name, crop in rule.crop.items():
            inside = crop.box(self.pair.shape)
            own = tuple(
                slice(max(0, s.start - a), max(0, s.stop - a)) for s, a in zip(inside, self.pair.start, strict=True)
            )
            voxels = math.prod(s.stop - s.start for s in inside)
            found = voxel_accuracy(self.pair.reference[own], self.pair.prediction[own])
            part = self.pair.reference[own].size
            scores = {  # outside the cropped arrays both maps are background, and agree
                "accuracy": _share(found.accuracy, part, voxels),
                "accuracy_all_background": _share(found.all_background, part, voxels),
                "accuracy_foreground": found.foreground,
            }
            rows.append(RegionScores(case_id=self.pair.case_id, protocol=protocol.name, region=name, scores=scores))
        return rows


def _share(inner: float, part: int, voxels: int) -> float:
    if not voxels:
        return math.nan
    return ((inner * part if part else 0) + voxels - part) / voxels


def _empty(masks: RegionPair) -> Empty:
    if masks.reference.count and masks.prediction.count:
        return ""
    if masks.reference.count or masks.prediction.count:
        return "prediction" if masks.reference.count else "reference"
    return "both"


def _region_score(masks: RegionPair, metric: str) -> float:
    if metric in ("dice", "iou", "sensitivity", "specificity", "precision"):
        return float(getattr(masks.overlap, metric))
    if metric == "hd95":
        return masks.distances().hausdorff_95
    if match := _NSD.fullmatch(metric):
        return _nsd(masks.distances(border=bool(match[1])), match)
    raise ConfigError(
        f"metric '{metric}' is not known; a region has dice, iou, sensitivity, specificity, precision, "
        "hd95, nsd_1mm, nsd_border_1mm"
    )


def _lesion_score(masks: RegionPair, metric: str, match: LesionMatch) -> float:
    if metric == "dice":
        return match.dice
    if metric == "hd95":
        return match.hd95_mm
    if nsd := _NSD.fullmatch(metric):
        return _nsd(masks.distances(match.reference, match.prediction, border=bool(nsd[1])), nsd)
    raise ConfigError(f"metric '{metric}' is not known; a lesion has dice, hd95, nsd_1mm, nsd_border_1mm")


def _nsd(distances: SurfaceDistances, match: re.Match[str]) -> float:
    """Return NSD as the metric's name says: by area of surface elements, or nnU-Net's mean of border-voxel shares."""
    tolerance = float(match[2])
    if match[1]:
        return mean_hit_share(distances, tolerance_mm=tolerance)
    return area_within(distances, tolerance_mm=tolerance)


def score_pair(pair: LabelPair, protocols: Iterable[Protocol]) -> list[RegionScores]:
    """Score one case under several protocols.

    Raises
    ------
    LabelError
        A map holds a tissue that a protocol does not know.
    """
    scorer = PairScorer(pair)
    return [row for protocol in protocols for row in scorer.score(protocol)]


def score_missing(pair: LabelPair, protocols: Iterable[Protocol], *, status: Status, reason: str) -> list[RegionScores]:
    """Return the rows of a case without a usable prediction: each protocol's penalty for every metric it lists.

    Counts stay those of an empty prediction: every lesion of the reference is a false negative.

    Parameters
    ----------
    pair : LabelPair
        Its prediction, if there is one, is taken as empty.
    """
    rows = []
    scorer = PairScorer(replace(pair, prediction=np.zeros_like(pair.prediction)))
    for protocol in protocols:
        for row in scorer.score(protocol):
            penalty = {m: value_of(v, pair.shape) for m, v in protocol.missing.items() if m in row.scores}
            rows.append(
                RegionScores(
                    case_id=row.case_id,
                    protocol=row.protocol,
                    region=row.region,
                    status=status,
                    reason=reason,
                    reference_ml=row.reference_ml,
                    scores={**row.scores, **penalty},
                )
            )
    return rows
