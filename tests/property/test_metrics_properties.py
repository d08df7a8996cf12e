"""What must hold for any pair of masks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from glioscope.evaluation import LabelPair, read_protocol, score_pair
from glioscope.evaluation.metrics import (
    LesionRule,
    RegionPair,
    border_distances,
    dice,
    hausdorff_95,
    lesion_wise,
    mean_hit_share,
    one_to_one,
    pooled_percentile,
    robust_hausdorff,
    surface_dice,
    surface_distances,
)
from glioscope.evaluation.scoring import tissue_codes
from glioscope.labels import SCHEMES, convert_labels

SHAPE = (7, 6, 5)
masks = hnp.arrays(bool, SHAPE, elements=st.booleans(), fill=st.just(False))
spacings = st.tuples(*[st.sampled_from((0.5, 1.0, 1.25, 2.0, 3.0))] * 3)
RULE = LesionRule(dilation=1, smallest_mm3=2)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one == other or math.isclose(one, other, rel_tol=1e-9)


def hd95_agrees(a, b, spacing_a, c, d, spacing_c, *, factor: float = 1) -> bool:
    """Whether two HD95 agree, or differ only by rounding in a share that lies exactly on 95 %."""
    if same(factor * hausdorff_95(a, b, spacing_a), hausdorff_95(c, d, spacing_c)):
        return True
    first, second = surface_distances(a, b, spacing_a), surface_distances(c, d, spacing_c)
    low, high = (factor * robust_hausdorff(first, share=s) for s in (0.95 - 1e-9, 0.95 + 1e-9))
    return low != high and low * (1 - 1e-9) <= robust_hausdorff(second) <= high * (1 + 1e-9)


def all_scores(a, b, spacing) -> list[float]:
    border = border_distances(a, b, spacing)
    return [
        dice(a, b),
        surface_dice(a, b, spacing),
        pooled_percentile(border),
        mean_hit_share(border, tolerance_mm=1),
    ]


@given(masks, masks, spacings)
def test_symmetric(a, b, spacing) -> None:
    assert all(map(same, all_scores(a, b, spacing), all_scores(b, a, spacing)))
    assert hd95_agrees(a, b, spacing, b, a, spacing)


@given(masks, masks, spacings, st.tuples(*[st.booleans()] * 3))
def test_flips_change_nothing(a, b, spacing, flipped) -> None:
    turn = tuple(slice(None, None, -1 if f else 1) for f in flipped)
    assert all(map(same, all_scores(a, b, spacing), all_scores(a[turn], b[turn], spacing)))
    assert hd95_agrees(a, b, spacing, a[turn], b[turn], spacing)


@given(masks, masks, spacings, st.permutations(range(3)))
def test_axes_may_be_swapped_with_their_spacing(a, b, spacing, order) -> None:
    c, d, turned = a.transpose(order), b.transpose(order), tuple(spacing[n] for n in order)
    assert all(map(same, all_scores(a, b, spacing), all_scores(c, d, turned)))
    assert hd95_agrees(a, b, spacing, c, d, turned)


@given(masks, masks, spacings, st.integers(1, 4))
def test_padding_changes_nothing(a, b, spacing, width) -> None:
    c, d = np.pad(a, width), np.pad(b, width)
    assert all_scores(a, b, spacing)[0] == pytest.approx(dice(c, d), nan_ok=True)
    assert all(map(same, all_scores(a, b, spacing), all_scores(c, d, spacing)))
    assert hd95_agrees(a, b, spacing, c, d, spacing)
    near, far = (lesion_wise(RegionPair(x, y, spacing), RULE) for x, y in ((a, b), (c, d)))
    assert (near.true_positives, near.false_positives) == (far.true_positives, far.false_positives)


@given(masks, masks, spacings)
def test_twice_the_spacing_twice_the_distance(a, b, spacing) -> None:
    assume(a.any() and b.any())
    doubled = tuple(2 * s for s in spacing)
    assert hd95_agrees(a, b, spacing, a, b, doubled, factor=2)
    pooled = (pooled_percentile(border_distances(a, b, s)) for s in (spacing, doubled))
    assert next(pooled) * 2 == pytest.approx(next(pooled))


@given(masks, spacings)
def test_identical_masks_are_perfect(a, spacing) -> None:
    assume(a.any())
    assert dice(a, a) == surface_dice(a, a, spacing) == 1
    assert hausdorff_95(a, a, spacing) == 0
    lesions = lesion_wise(RegionPair(a, a, spacing), LesionRule(dilation=1, smallest_mm3=0))
    assert lesions.false_positives == lesions.false_negatives == 0
    matched = one_to_one(RegionPair(a, a, spacing))
    assert (matched.recognition_quality, matched.dice, matched.hd95_mm, matched.nsd) == (1, 1, 0, 1)


@given(masks, masks, spacings)
def test_scores_stay_in_range(a, b, spacing) -> None:
    assume(a.any() and b.any())
    assert 0 <= dice(a, b) <= 1
    assert 0 <= surface_dice(a, b, spacing) <= 1
    diagonal = math.dist((0, 0, 0), [s * n for s, n in zip(spacing, SHAPE, strict=True)])
    assert 0 <= hausdorff_95(a, b, spacing) <= diagonal


def naive_lesion_wise(a, b, spacing, rule: LesionRule) -> tuple[list[tuple[float, float]], int]:
    """The definition read off word by word, with whole-volume arrays; slow and plain, for comparison."""
    s18, full = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    grown, n = ndimage.label(ndimage.binary_dilation(a, s18, rule.dilation), full)
    predicted, m = ndimage.label(b, full)
    used, scores = set(), []
    for number in range(1, n + 1):
        lesion = a & (grown == number)
        near = ndimage.binary_dilation(lesion, s18, rule.dilation)
        answers = set(np.unique(predicted[near])) - {0}
        used |= answers
        if lesion.sum() * math.prod(spacing) <= rule.smallest_mm3:
            continue
        answer = np.isin(predicted, list(answers))
        scores.append((dice(lesion, answer), hausdorff_95(lesion, answer, spacing)))
    return sorted(scores), m - len(used)


@settings(max_examples=60)
@given(
    hnp.arrays(bool, (12, 9, 8), elements=st.booleans(), fill=st.just(False)),
    hnp.arrays(bool, (12, 9, 8), elements=st.booleans(), fill=st.just(False)),
    spacings,
    st.integers(1, 3),
)
def test_lesion_wise_is_the_definition(a, b, spacing, dilation) -> None:
    rule = LesionRule(dilation=dilation, smallest_mm3=2)
    result = lesion_wise(RegionPair(a, b, spacing), rule)
    scores, false_positives = naive_lesion_wise(a, b, spacing, rule)
    assert result.false_positives == false_positives
    got = sorted((m.dice, m.hd95_mm) for m in result.matches)
    assert [d for d, _ in got] == pytest.approx([d for d, _ in scores])
    assert [h for _, h in got] == pytest.approx([h for _, h in scores])


labels_2018 = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from((0, 1, 2, 4)), fill=st.just(np.uint8(0)))


@settings(max_examples=15)
@given(labels_2018, labels_2018)
def test_renumbering_with_the_right_scheme_changes_nothing(reference, prediction) -> None:
    """ET as 4 or as 3: the same scores under every protocol, in any mixture."""
    old, new = SCHEMES["brats2018"], SCHEMES["brats2023"]
    protocols = [read_protocol(n) for n in ("whole", "brats2021", "brats2023-gli", "brats2024-gli", "brats2026")]

    def rows(first, second):
        maps = [
            tissue_codes(labels if s is old else convert_labels(labels, old, new), s)
            for labels, s in ((reference, first), (prediction, second))
        ]
        pair = LabelPair(
            case_id="a",
            reference=maps[0],
            prediction=maps[1],
            start=(0, 0, 0),
            shape=SHAPE,
            spacing_mm=(1.0, 1.0, 1.0),
            scheme=first,
        )
        return [(r.protocol, r.region, {k: repr(v) for k, v in r.scores.items()}) for r in score_pair(pair, protocols)]

    want = rows(old, old)
    assert all(rows(*schemes) == want for schemes in itertools.product((old, new), repeat=2))
