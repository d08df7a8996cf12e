"""The card's numbers on cases small enough to reckon by hand."""

import numpy as np
import pytest

from glioscope.card import (
    SubsetScore,
    calibration_curve,
    calibration_error,
    expected_dice_error,
    fit_temperature,
    subset_table,
    subsets,
)
from glioscope.quality import expected_dice


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
