"""The card's numbers on cases small enough to reckon by hand."""

import json

import numpy as np
import pytest

from glioscope.cases import find_cases
from glioscope.errors import CaseError, ModelError
from glioscope.experiment.card import (
    SubsetScore,
    calibration_curve,
    calibration_error,
    expected_dice_error,
    fit_temperature,
    measure_card,
    subset_table,
    subsets,
)
from glioscope.quality import expected_dice
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, SHAPE, write_tiny_case, write_tiny_model


def test_four_sequences_have_fifteen_subsets_the_full_one_first():
    found = subsets(("t1n", "t1c", "t2w", "t2f"))
    assert len(found) == len(set(found)) == 15
    assert found[0] == ("t1n", "t1c", "t2w", "t2f")
    assert found[-1] == ("t2f",)


def test_temperature_of_logits_that_are_twice_too_large():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 200_000)
    truth = rng.random(honest.size) < 1 / (1 + np.exp(-honest))
    assert fit_temperature(2 * honest, truth) == pytest.approx(2.0, rel=0.03)
    assert fit_temperature(honest / 2, truth) == pytest.approx(0.5, rel=0.03)


def test_temperature_without_both_kinds_of_voxels_is_one():
    assert fit_temperature(np.ones(3), np.zeros(3, bool)) == 1
    assert fit_temperature(np.zeros(0), np.zeros(0, bool)) == 1


def test_calibration_by_hand():
    probabilities = np.array([0.15, 0.15, 0.95, 0.95])
    truth = np.array([False, True, True, True])
    curve = calibration_curve(probabilities, truth)
    assert curve == ((pytest.approx(0.15), 0.5, 2), (pytest.approx(0.95), 1.0, 2))
    assert calibration_error(probabilities, truth) == pytest.approx((2 * 0.35 + 2 * 0.05) / 4)


def test_calibration_error_without_doubt_is_undefined():
    assert np.isnan(calibration_error(np.array([0.0, 1.0]), np.array([False, True])))


def test_expected_dice_by_hand():
    probabilities = np.array([0.8, 0.6, 0.2, 0.0]).reshape(1, 2, 2)
    assert expected_dice(probabilities, probabilities > 0.5) == pytest.approx(2 * 1.4 / (1.6 + 2))


def test_expected_dice_of_an_empty_region():
    probabilities = np.array([0.3, 0.1]).reshape(1, 1, 2)
    assert expected_dice(probabilities, probabilities > 0.5) == pytest.approx(0.7)


def score(subset, value, guess):
    return SubsetScore(case_id="a", subset=subset, dice=(value,) * 3, expected=(guess,) * 3)


def test_subset_table_has_means_per_subset():
    rows = subset_table([score(("t2f",), 0.4, 0), score(("t2f",), 0.6, 0), score(("t1c",), 1.0, 0)])
    assert rows[0] == {"sequences": ["t2f"], "cases": 2, "WT": 0.5, "TC": 0.5, "ET": 0.5}
    assert rows[1]["cases"] == 1


def test_error_of_the_expected_dice():
    table = expected_dice_error([score(("t2f",), 0.4, 0.5), score(("t2f",), 0.6, 0.9), score(("t2f",), 0.8, 0.7)])
    assert table["WT"]["mean_absolute_error"] == pytest.approx((0.1 + 0.3 + 0.1) / 3, abs=1e-4)
    assert table["WT"]["spearman"] == pytest.approx(0.5)  # ranks 1 2 3 against 1 3 2


@pytest.fixture
def labelled(tmp_path):
    """Two tiny cases whose references are the bright boxes, and a focus that cannot be seen."""
    for number in (1, 2):
        case_id = f"BraTS-GLI-0000{number}-000"
        folder = write_tiny_case(tmp_path / "data", case_id, seed=number)
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:10, 5:11, 4:10] = 2
        labels[6:8, 7:9, 6:8] = 3
        labels[14:17, 15:18, 9:12] = 2
        write_volume(folder / f"{case_id}-seg.nii.gz", labels, Grid(SHAPE, LPS))
    return find_cases(tmp_path / "data")


def test_a_card_is_measured_with_the_temperatures_it_fits(tmp_path, labelled):
    """The focus it misses shows that the network is too sure of itself; its own temperatures do not matter."""
    scores, calibration = measure_card(write_tiny_model(tmp_path / "model"), labelled)
    assert len(scores) == 2 * 15
    assert scores[0].subset == ("t1n", "t1c", "t2w", "t2f")
    assert scores[0].dice[0] == pytest.approx(2 * 216 / (216 + 243))
    assert calibration.temperature[0] > 1
    sure, _ = measure_card(write_tiny_model(tmp_path / "hot", temperature=(9.0, 9.0, 9.0)), labelled)
    assert [s.expected for s in sure] == [s.expected for s in scores]


def test_a_card_needs_references(tmp_path):
    write_tiny_case(tmp_path / "data")
    with pytest.raises(CaseError, match="has no reference"):
        measure_card(write_tiny_model(tmp_path / "model"), find_cases(tmp_path / "data"))


def test_a_card_of_a_network_that_gives_labels_is_refused(tmp_path, labelled):
    model = write_tiny_model(tmp_path / "model")
    record = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(record | {"outputs": "labels"}))
    with pytest.raises(ModelError, match="gives labels; calibration is defined"):
        measure_card(model, labelled)
