from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import SEQUENCES, load_case
from glioscope.errors import ConfigError, ModelError
from glioscope.inference import (
    InferenceConfig,
    predict_case,
    predict_logits,
    probabilities_from_logits,
    regions_from_probabilities,
    tile_weights,
    tiles,
)
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare
from glioscope.space.grid import Box
from tiny import write_tiny_case

SMALL = InferenceConfig(patch=(8, 8, 8), divisor=4)
PRESENT = np.ones(4, bool)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": (160, 190, 160)}, r"inference.patch is \(160, 190, 160\); each edge must be a multiple of 32"),
        ({"overlap": 1.0}, "inference.overlap is 1.0; it must be at least 0 and below 1"),
        ({"mirror_axes": (3,)}, "inference.mirror_axes is"),
        ({"temperature": (1.0, 0.0, 1.0)}, "inference.temperature is"),
        ({"thresholds": (0.5, 0.5, 1.0)}, "inference.thresholds is"),
    ],
)
def test_settings_are_checked(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        InferenceConfig(**settings)


def test_each_region_has_its_numbers() -> None:
    assert InferenceConfig().of(2).thresholds == (0.5, 0.5)
    with pytest.raises(ConfigError, match=r"inference.thresholds has 2 numbers for 3 regions; give one for each"):
        InferenceConfig(thresholds=(0.5, 0.5)).of(3)


def test_an_image_that_fits_is_one_tile_around_it() -> None:
    assert tiles((6, 8, 3), SMALL) == (Box((-1, 0, 0), (7, 8, 4)),)
    fixed = InferenceConfig(patch=(8, 8, 8), divisor=4, fixed=True)
    assert tiles((6, 8, 3), fixed) == (Box((-1, 0, -2), (7, 8, 6)),)


def test_tiles_overlap_by_half_and_end_at_the_edge() -> None:
    boxes = tiles((14, 8, 8), SMALL)
    assert [(b.start[0], b.stop[0]) for b in boxes] == [(0, 8), (3, 11), (6, 14)]
    assert {b.shape for b in boxes} == {(8, 8, 8)}
    assert len(tiles((16, 16, 8), InferenceConfig(patch=(8, 8, 8), divisor=4, overlap=0))) == 4


def test_weights_are_largest_in_the_middle_and_even() -> None:
    weights = tile_weights((9, 5, 8))
    assert weights[4, 2, 3] == weights.max() == weights[4, 2, 4]
    assert weights.min() >= 1e-4
    np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1], rtol=1e-6)
    assert tile_weights((17, 1, 1))[6, 0, 0] == pytest.approx(np.exp(-0.5 * (2 / (17 / 8)) ** 2))


def test_mirror_images_are_averaged_and_turned_back() -> None:
    ramp = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1) * np.ones((4, 1, 8, 8), np.float32)
    seen = []

    def first_plane(image: np.ndarray, _presence: np.ndarray) -> np.ndarray:
        seen.append(image[0, 0, 0, 0])
        logits = np.zeros((3, *image.shape[1:]), np.float32)
        logits[:, 0] = image[0, 0, 0, 0]  # writes what it sees at i = 0, there
        return logits

    config = InferenceConfig(patch=(8, 8, 8), divisor=4, mirror_axes=(0,))
    logits = predict_logits(first_plane, ramp, PRESENT, config)
    assert seen == [0, 7]
    assert logits[0, :, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 3.5]


def test_eight_views_of_three_axes() -> None:
    calls = []

    def count(image: np.ndarray, _presence: np.ndarray) -> np.ndarray:
        calls.append(1)
        return image[:3]

    config = InferenceConfig(patch=(8, 8, 8), divisor=4, mirror_axes=(0, 1, 2))
    image = np.random.default_rng(0).normal(size=(4, 8, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(predict_logits(count, image, PRESENT, config), image[:3], rtol=1e-5, atol=1e-6)
    assert len(calls) == 8


def test_region_probabilities_by_hand() -> None:
    logits = np.array([0, np.log(3), -200], np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(probabilities_from_logits(logits, "regions").ravel(), [0.5, 0.75, 0], atol=1e-6)
    warm = probabilities_from_logits(logits, "regions", (1, 2, 1))
    assert warm[1, 0, 0, 0] == pytest.approx(np.sqrt(3) / (1 + np.sqrt(3)))


def test_label_probabilities_by_hand() -> None:
    logits = np.log(np.array([4, 2, 1, 1], np.float32)).reshape(4, 1, 1, 1)  # 1/2, 1/4, 1/8, 1/8
    np.testing.assert_allclose(probabilities_from_logits(logits, "labels").ravel(), [1 / 2, 3 / 8, 1 / 8], rtol=1e-6)


def test_labels_are_decided_by_the_most_probable_one() -> None:
    """Whole tumour has 0.6, but background is the most probable single label: no tumour."""
    logits = np.log(np.array([[0.4, 0.2, 0.2, 0.2], [0.1, 0.2, 0.1, 0.6], [0.1, 0.2, 0.5, 0.2]])).T
    probabilities = probabilities_from_logits(logits.astype(np.float32).reshape(4, 3, 1, 1), "labels")
    regions = regions_from_probabilities(probabilities, InferenceConfig(), voxel_ml=0.001, outputs="labels")
    assert regions[..., 0, 0].T.tolist() == [[False] * 3, [True] * 3, [True, False, False]]


def test_regions_are_nested_and_cut_at_their_thresholds() -> None:
    probabilities = np.array([[0.5, 0.4, 0.2], [0.2, 0.1, 0.6], [0.9, 0.29, 0.1]], np.float32).T.reshape(3, 3, 1, 1)
    config = InferenceConfig(thresholds=(0.5, 0.3, 0.5))
    regions = regions_from_probabilities(probabilities, config, voxel_ml=0.001)
    assert regions[..., 0, 0].T.tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_specks_go_with_all_that_is_in_them() -> None:
    probabilities = np.zeros((3, 6, 6, 6), np.float32)
    probabilities[:, 0, 0, 0] = 1
    probabilities[:, 3:6, 3:6, 3:6] = 1
    regions = regions_from_probabilities(probabilities, InferenceConfig(minimum_lesion_ml=(0.01, 0, 0)), voxel_ml=0.002)
    assert not regions[:, 0, 0, 0].any()
    assert regions.sum() == 3 * 27


@pytest.mark.parametrize(("voxel_ml", "kept"), [(0.001, 0), (0.0270, 27)])
def test_a_part_is_small_by_its_volume_not_its_voxels(voxel_ml: float, kept: int) -> None:
    """27 voxels are 0.027 ml at 1 mm and 0.729 ml at 3 mm; the limit of 0.5 ml lies between."""
    probabilities = np.zeros((3, 6, 6, 6), np.float32)
    probabilities[0, 3:6, 3:6, 3:6] = 1
    config = InferenceConfig(minimum_lesion_ml=(0.5, 0, 0))
    assert regions_from_probabilities(probabilities, config, voxel_ml=voxel_ml)[0].sum() == kept


def test_a_part_of_just_the_limit_stays() -> None:
    probabilities = np.zeros((3, 10, 10, 10), np.float32)
    probabilities[0, :5] = 1  # 500 voxels of 1 mm: 0.5 ml
    config = InferenceConfig(minimum_lesion_ml=(0.5, 0, 0))
    assert regions_from_probabilities(probabilities, config, voxel_ml=0.001)[0].sum() == 500
    probabilities[0, 0, 0, 0] = 0
    assert regions_from_probabilities(probabilities, config, voxel_ml=0.001)[0].sum() == 0


def test_small_parts_of_inner_regions_fall_to_the_region_around_them() -> None:
    """A speck of core in oedema becomes oedema, a speck of enhancement in core becomes core; whole tumour stays."""
    probabilities = np.zeros((3, 8, 8, 8), np.float32)
    probabilities[0] = 1
    probabilities[1, :4] = 1
    probabilities[1, 6, 6, 6] = 1
    probabilities[2, 0, 0, 0] = probabilities[2, 3, :4, :4] = probabilities[2, 6, 6, 6] = 1
    config = InferenceConfig(minimum_lesion_ml=(0.0, 0.01, 0.005))
    whole, core, enhancing = regions_from_probabilities(probabilities, config, voxel_ml=0.001)
    assert (whole.sum(), core.sum(), enhancing.sum()) == (512, 256, 16)


def test_nothing_stays_nothing() -> None:
    config = InferenceConfig(minimum_lesion_ml=(0.5, 0.5, 0.5))
    assert not regions_from_probabilities(np.zeros((3, 4, 4, 4), np.float32), config, voxel_ml=0.001).any()


def test_predict_case_knows_the_presence(tmp_path: Path) -> None:
    prepared = prepare(load_case(write_tiny_case(tmp_path)), PreprocessingConfig())
    seen = []

    def model(image: np.ndarray, presence: np.ndarray) -> np.ndarray:
        seen.append((image.shape, presence.tolist()))
        return image[[3, 3, 1]]

    probabilities = predict_case(model, prepared, "regions", InferenceConfig(patch=(32, 32, 32), divisor=4))
    assert seen == [((4, 16, 20, 12), [True] * len(SEQUENCES))]
    np.testing.assert_allclose(probabilities[2], 1 / (1 + np.exp(-prepared.image[1])), rtol=1e-5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda image: image[:2], "model returned 2 channels; outputs 'regions' have 3"),
        (lambda image: image[:3, :4], r"model returned logits of shape \(3, 4, 20, 12\) for an image of shape"),
        (lambda image: image[:3] * np.nan, "BraTS-GLI-00001-000: the model returned NaN or infinity"),
    ],
)
def test_a_model_that_misbehaves_is_named(tmp_path: Path, answer, message) -> None:
    prepared = prepare(load_case(write_tiny_case(tmp_path)), PreprocessingConfig())
    with pytest.raises(ModelError, match=message):
        predict_case(lambda image, _: answer(image), prepared, "regions", InferenceConfig(divisor=4))
