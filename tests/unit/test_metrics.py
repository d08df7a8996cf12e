"""Expected values by hand on shapes of a few voxels."""

import math

import numpy as np
import pytest
from scipy import ndimage

from glioscope.errors import GeometryError
from glioscope.evaluation.metrics import (
    LesionRule,
    MaskLesions,
    RegionPair,
    border_distances,
    dice,
    dilate,
    hausdorff_95,
    iou,
    lesion_wise,
    mean_hit_share,
    merge_touching,
    one_to_one,
    overlap,
    pooled_percentile,
    precision,
    predicted_lesions,
    robust_hausdorff,
    sensitivity,
    specificity,
    surface_areas,
    surface_dice,
    surface_distances,
    voxel_accuracy,
)

ONE_MM = (1.0, 1.0, 1.0)
RULE = LesionRule(dilation=1, smallest_mm3=0)


def mask(*boxes: tuple, shape=(20, 20, 20)) -> np.ndarray:
    """Return a mask that is True in each box, given as three (start, stop) pairs."""
    out = np.zeros(shape, bool)
    for (i0, i1), (j0, j1), (k0, k1) in boxes:
        out[i0:i1, j0:j1, k0:k1] = True
    return out


def cube(start: int, edge: int, j: int = 5, k: int = 5) -> tuple:
    return ((start, start + edge), (j, j + edge), (k, k + edge))


EMPTY = mask()
FOUR = mask(((2, 6), (2, 3), (2, 3)))
SHIFTED = mask(((4, 8), (2, 3), (2, 3)))  # shares two of four voxels with FOUR


def test_overlap_counts() -> None:
    assert dice(FOUR, SHIFTED) == 0.5
    assert iou(FOUR, SHIFTED) == pytest.approx(2 / 6)
    assert sensitivity(FOUR, SHIFTED) == 0.5
    assert precision(FOUR, SHIFTED[:]) == 0.5
    assert specificity(FOUR, SHIFTED) == pytest.approx((8000 - 4 - 2) / (8000 - 4))
    assert overlap(FOUR, SHIFTED).accuracy == pytest.approx((8000 - 4) / 8000)


def test_overlap_of_empty_masks_is_undefined() -> None:
    assert math.isnan(dice(EMPTY, EMPTY))
    assert math.isnan(iou(EMPTY, EMPTY))
    assert dice(FOUR, EMPTY) == dice(EMPTY, FOUR) == 0
    assert math.isnan(sensitivity(EMPTY, FOUR))
    assert sensitivity(FOUR, EMPTY) == 0
    assert math.isnan(precision(FOUR, EMPTY))
    assert specificity(EMPTY, EMPTY) == 1
    assert math.isnan(specificity(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool)))


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        (np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), r"shape \(2, 2, 2\) but prediction mask \(2, 2, 3\)"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), "reference mask is float64"),
        (np.zeros((2, 2, 2), bool), np.zeros((2, 2), bool), "prediction mask is bool with 2 axes"),
    ],
)
def test_masks_must_be_alike(reference, prediction, message) -> None:
    with pytest.raises(GeometryError, match=message):
        dice(reference, prediction)


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, -1, 1), (1, math.nan, 1)])
def test_spacing_must_be_positive(spacing) -> None:
    with pytest.raises(GeometryError, match="three positive lengths"):
        hausdorff_95(FOUR, SHIFTED, spacing)


def test_voxel_accuracy_beside_what_keeps_it_honest() -> None:
    reference = np.zeros((2, 2, 3), np.uint8)
    prediction = reference.copy()
    reference[0, 0, :2] = 1  # one found, one missed; one false alarm among the ten others
    prediction[0, 0, 0] = prediction[1, 1, 1] = 1
    found = voxel_accuracy(reference, prediction)
    assert (found.accuracy, found.all_background, found.foreground) == (10 / 12, 10 / 12, 1 / 3)
    assert math.isnan(voxel_accuracy(reference * 0, reference * 0).foreground)
    with pytest.raises(GeometryError, match="prediction map"):
        voxel_accuracy(reference, prediction[1:])


def code(*corners: tuple[int, int, int]) -> int:
    return sum(1 << (4 * i + 2 * j + k) for i, j, k in corners)


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        ([(0, 0, 0)], math.sqrt(3) / 8),  # a triangle with edges of √½
        ([(0, 0, 0), (0, 0, 1)], math.sqrt(0.5)),  # a rectangle 1 by √½
        ([(0, 0, 0), (0, 1, 1)], math.sqrt(3) / 4),  # diagonal in a face: two triangles
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)], 1.0),  # a face
        ([(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)], 0.75 * math.sqrt(3)),  # a corner's star: a hexagon
        ([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)], math.sqrt(3) / 2),  # four triangles
        ([(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)], math.sqrt(2)),  # two rectangles
        ([(1, 1, 1), (1, 0, 1), (1, 1, 0)], 0.5 + 0.375 * math.sqrt(3)),  # an L: a triangle and a quadrilateral
    ],
)
def test_surface_areas_of_known_shapes(corners, area) -> None:
    areas = surface_areas(ONE_MM)
    assert areas[code(*corners)] == pytest.approx(area, abs=1e-12)
    assert areas[255 - code(*corners)] == pytest.approx(area, abs=1e-12)


def test_surface_areas_scale_with_spacing() -> None:
    face = code((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))  # lies across i: area is edge j times edge k
    assert surface_areas((1.0, 2.0, 3.0))[face] == pytest.approx(6)
    assert surface_areas((2.0, 2.0, 2.0)) == pytest.approx(4 * surface_areas(ONE_MM))
    assert surface_areas(ONE_MM)[[0, 255]].tolist() == [0, 0]


def test_hausdorff_of_two_voxels() -> None:
    a, b = mask(cube(2, 1)), mask(cube(7, 1))
    assert hausdorff_95(a, b, ONE_MM) == 5  # far faces; near ones are 4 apart
    assert hausdorff_95(a, b, (2, 1, 1)) == 10
    assert hausdorff_95(a, a, ONE_MM) == 0


def test_distances_to_nothing() -> None:
    assert hausdorff_95(FOUR, EMPTY, ONE_MM) == hausdorff_95(EMPTY, FOUR, ONE_MM) == math.inf
    assert math.isnan(hausdorff_95(EMPTY, EMPTY, ONE_MM))
    assert surface_dice(FOUR, EMPTY, ONE_MM) == 0
    assert math.isnan(surface_dice(EMPTY, EMPTY, ONE_MM))
    for empty, score in (
        (border_distances(FOUR, EMPTY, ONE_MM), math.inf),
        (border_distances(EMPTY, EMPTY, ONE_MM), math.nan),
    ):
        assert str(pooled_percentile(empty)) == str(score)
        assert str(mean_hit_share(empty, tolerance_mm=1)) == ("0.0" if score == math.inf else "nan")


def test_mask_at_the_edge_of_the_volume_is_closed_there() -> None:
    inside = mask(((1, 3), (1, 3), (1, 3)), shape=(4, 4, 4))
    whole = np.ones((2, 2, 2), bool)
    of_inside, of_whole = surface_distances(inside, inside, ONE_MM), surface_distances(whole, whole, ONE_MM)
    assert of_inside.reference_areas.sum() == pytest.approx(of_whole.reference_areas.sum())


def test_border_voxels_pool_and_interpolate() -> None:
    a, b = mask(((2, 3), (5, 6), (5, 6))), mask(((2, 4), (5, 6), (5, 6)))
    d = border_distances(a, b, ONE_MM)  # distances 0 one way, 0 and 1 the other
    assert sorted(d.to_prediction) == [0]
    assert sorted(d.to_reference) == [0, 1]
    assert pooled_percentile(d) == pytest.approx(0.9)  # linear between 0, 0, 1 at 95 %
    assert mean_hit_share(d, tolerance_mm=0.5) == pytest.approx((1 + 0.5) / 2)


def test_share_is_of_area_not_of_elements() -> None:
    a, b = mask(cube(2, 4)), mask(cube(2, 4), cube(15, 1))
    d = surface_distances(a, b, ONE_MM)
    stray = 8 * math.sqrt(3) / 8  # the eight corners of one voxel
    assert d.prediction_areas.sum() == pytest.approx(d.reference_areas.sum() + stray)
    assert robust_hausdorff(d, share=0.9) == 0
    assert robust_hausdorff(d, share=1) == 10


def test_dilation_is_the_cube_without_corners() -> None:
    rng = np.random.default_rng(0)
    dots = rng.random((15, 14, 13)) < 0.01
    structure = ndimage.generate_binary_structure(3, 2)
    for n in (0, 1, 3):
        want = ndimage.binary_dilation(dots, structure, iterations=n) if n else dots
        assert np.array_equal(dilate(dots, n), want)


def test_components_touch_over_corners() -> None:
    assert MaskLesions(mask(cube(2, 1), ((3, 4), (6, 7), (6, 7))), ONE_MM).count == 1
    assert MaskLesions(mask(cube(2, 1), cube(4, 1)), ONE_MM).count == 2


@pytest.mark.parametrize(("gap", "dilation", "lesions"), [(1, 0, 2), (1, 1, 1), (2, 1, 1), (3, 1, 2), (3, 2, 1)])
def test_components_merge_when_their_dilations_connect(gap, dilation, lesions) -> None:
    """Two dilations by k bridge a gap of 2k voxels, since neighbours connect."""
    found = MaskLesions(mask(cube(2, 2), cube(4 + gap, 2)), ONE_MM)
    assert len(found.groups(dilation)) == lesions


def test_lesions_missed_found_and_invented() -> None:
    reference = mask(cube(1, 3), cube(12, 3))
    prediction = mask(cube(1, 3), cube(1, 2, j=14))
    result = lesion_wise(RegionPair(reference, prediction, ONE_MM), RULE)
    assert (result.true_positives, result.false_positives, result.false_negatives) == (1, 1, 1)
    assert result.mean(lambda m: m.dice, missed=0, nothing=1) == pytest.approx(1 / 3)
    assert result.mean(lambda m: m.hd95_mm, missed=374, nothing=0) == pytest.approx(2 * 374 / 3)


def test_closeness_is_enough_to_match() -> None:
    reference, prediction = mask(cube(2, 2)), mask(cube(5, 2))  # one voxel between them
    near = lesion_wise(RegionPair(reference, prediction, ONE_MM), LesionRule(dilation=2, smallest_mm3=0))
    assert (near.true_positives, near.false_positives) == (1, 0)
    assert near.matches[0].dice == 0
    far = lesion_wise(RegionPair(reference, prediction, ONE_MM), RULE)
    assert (far.true_positives, far.false_positives, far.false_negatives) == (0, 1, 1)


def test_one_predicted_component_serves_two_lesions() -> None:
    reference = mask(cube(1, 2), cube(10, 2))
    prediction = mask(((1, 12), (5, 7), (5, 7)))
    result = lesion_wise(RegionPair(reference, prediction, ONE_MM), RULE)
    assert (result.true_positives, result.false_positives) == (2, 0)
    assert [m.dice for m in result.matches] == pytest.approx([2 * 8 / (8 + 44)] * 2)


def test_small_lesions_are_dropped_but_keep_their_match() -> None:
    """A lesion of exactly the limit is dropped; the prediction on it is no false positive."""
    rule = LesionRule(dilation=1, smallest_mm3=8)
    result = lesion_wise(RegionPair(mask(cube(2, 2)), mask(cube(2, 2)), ONE_MM), rule)
    assert (result.counted, result.false_positives) == (0, 0)
    assert result.mean(lambda m: m.dice, missed=0, nothing=1) == 1
    kept = lesion_wise(RegionPair(mask(cube(2, 2)), mask(cube(2, 2)), (1.0, 1.0, 1.1)), rule)
    assert kept.counted == 1  # 8.8 mm³


def test_false_positives_may_stay_out_of_the_denominator() -> None:
    pair = RegionPair(mask(cube(1, 3)), mask(cube(1, 3), cube(12, 2)), ONE_MM)
    rule = LesionRule(dilation=1, smallest_mm3=0, count_false_positives=False)
    result = lesion_wise(pair, rule)
    assert (result.false_positives, result.counted) == (1, 1)
    assert result.mean(lambda m: m.dice, missed=0, nothing=1) == 1


def test_predictions_merge_and_small_ones_go_only_if_the_rule_says_so() -> None:
    side = MaskLesions(mask(cube(2, 2), cube(5, 2), cube(14, 1)), ONE_MM)
    assert len(predicted_lesions(side, RULE)) == 3
    rule = LesionRule(dilation=1, smallest_mm3=0, merge_prediction=True, smallest_predicted_voxels=1)
    assert predicted_lesions(side, rule) == (frozenset({1, 2}),)


def test_tissues_that_touch_one_lesion_merge() -> None:
    """Three rims around one core: the two that touch it become one, the third stays."""
    rims = MaskLesions(mask(cube(2, 2), cube(8, 2), cube(15, 2)), ONE_MM)
    core = MaskLesions(mask(((4, 8), (5, 7), (5, 7))), ONE_MM)
    separate = rims.groups(0)
    merged = merge_touching(separate, rims, [(core.groups(0), core)])
    assert sorted(map(sorted, merged)) == [[1, 2], [3]]


def test_a_single_touching_pair_changes_nothing() -> None:
    rims = MaskLesions(mask(cube(2, 2), cube(15, 2)), ONE_MM)
    core = MaskLesions(mask(cube(4, 2)), ONE_MM)
    assert merge_touching(rims.groups(0), rims, [(core.groups(0), core)]) == rims.groups(0)


def test_touching_is_not_transitive() -> None:
    """A chain rim 1 - core 1 - rim 2 - core 2 - rim 3: rim 2 goes with core 1 alone, so rim 3 stays out."""
    rims = MaskLesions(mask(cube(0, 2), cube(4, 2), cube(8, 2)), ONE_MM)
    cores = MaskLesions(mask(cube(2, 2), cube(6, 2)), ONE_MM)
    merged = merge_touching(rims.groups(0), rims, [(cores.groups(0), cores)])
    assert sorted(map(sorted, merged)) == [[1, 2], [3]]


def test_one_to_one_pairs_what_shares_most() -> None:
    """One long prediction over two references answers only one of them."""
    reference = mask(cube(1, 2), cube(5, 3))
    prediction = mask(((1, 8), (5, 7), (5, 7)))
    result = one_to_one(RegionPair(reference, prediction, ONE_MM))
    assert (result.true_positives, result.false_positives, result.false_negatives) == (1, 0, 1)
    assert result.dice == pytest.approx(2 * 8 / (8 + 28))  # the other pair: 2 * 12 / (27 + 28), less
    assert result.recognition_quality == pytest.approx(2 / 3)


def test_one_to_one_of_nothing() -> None:
    both = one_to_one(RegionPair(EMPTY, EMPTY, ONE_MM))
    assert math.isnan(both.recognition_quality)
    assert math.isnan(both.dice)
    missed = one_to_one(RegionPair(FOUR, EMPTY, ONE_MM))
    assert (missed.true_positives, missed.false_negatives, missed.recognition_quality) == (0, 1, 0)
    assert math.isnan(missed.hd95_mm)


@pytest.mark.parametrize(
    ("reference", "prediction", "counts"),
    [(EMPTY, EMPTY, (0, 0, 0)), (FOUR, EMPTY, (0, 0, 1)), (EMPTY, FOUR, (0, 1, 0))],
)
def test_lesions_of_empty_masks(reference, prediction, counts) -> None:
    result = lesion_wise(RegionPair(reference, prediction, ONE_MM), RULE)
    assert (result.true_positives, result.false_positives, result.false_negatives) == counts


def test_region_pair_measures_subsets_as_if_apart() -> None:
    """Distances between some components equal those of masks that hold only these."""
    reference, prediction = mask(cube(1, 3), cube(12, 3)), mask(cube(2, 3), cube(14, 4), cube(1, 2, j=15))
    pair = RegionPair(reference, prediction, (1.0, 1.5, 2.0))
    got = pair.distances(frozenset({2}), frozenset({1, 2}))
    alone = surface_distances(mask(cube(12, 3)), prediction & ~mask(cube(1, 2, j=15)), (1.0, 1.5, 2.0))
    order = [pair.prediction.size({n}) for n in (1, 2, 3)]
    assert order == [27, 64, 8]  # by first voxel, i fastest
    assert np.sort(got.to_prediction) == pytest.approx(np.sort(alone.to_prediction))
    assert np.sort(got.to_reference) == pytest.approx(np.sort(alone.to_reference))
    assert got.hausdorff_95 == robust_hausdorff(alone)
