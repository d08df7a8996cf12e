"""One rule of what is background, and of whether the skull is on."""

from dataclasses import replace

import numpy as np
import pytest

from glioscope.cases import load_case
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare
from glioscope.prepare.skull import brain_of, content, skull_on
from glioscope.space.background import background_of, foreground, with_zero_background
from glioscope.space.grid import Grid
from tiny import tiny_images, write_tiny_case

CUBE = np.zeros((10, 10, 10), np.float32)
CUBE[3:7, 3:7, 3:7] = np.arange(64, dtype=np.float32).reshape(4, 4, 4) - 20  # one voxel of it is 0
LITRE = Grid((10, 10, 10), np.diag([10.0, 10, 10, 1]))


@pytest.mark.parametrize("value", [0.0, -1.0, -1024.0, 0.1, 7.5])
def test_the_background_is_the_value_of_the_border(value):
    scan = np.where(CUBE == 0, np.float32(value), CUBE + 30)
    assert background_of(scan) == np.float32(value)
    moved = with_zero_background(scan)
    np.testing.assert_array_equal(foreground(moved), scan != np.float32(value))
    np.testing.assert_allclose(moved, scan - np.float32(value), rtol=1e-6)


def test_a_scan_with_background_0_is_not_copied():
    assert with_zero_background(CUBE) is CUBE


def test_noise_has_no_background():
    noise = np.random.default_rng(0).random((10, 10, 10), np.float32)
    assert background_of(noise) is None
    assert with_zero_background(noise) is noise
    assert content(noise).all()


def test_what_is_not_finite_has_no_part_in_it():
    scan = CUBE.copy()
    scan[0] = np.nan
    scan[:, 0] = np.inf
    assert background_of(scan) == 0
    assert background_of(np.full((3, 3, 3), np.nan)) == 0
    assert np.count_nonzero(content(scan)) == 63


def test_foreground_is_of_arrays_and_of_tensors():
    torch = pytest.importorskip("torch")
    assert torch.equal(foreground(torch.from_numpy(CUBE)), torch.from_numpy(foreground(CUBE)))


@pytest.mark.parametrize("value", [-1.0, 3.0])
def test_a_case_whose_background_is_not_0_comes_to_the_network_as_one_whose_is(tmp_path, value):
    plain = load_case(write_tiny_case(tmp_path, "plain", images=tiny_images()))
    shifted = {code: image + np.float32(value) for code, image in tiny_images().items()}
    other = load_case(write_tiny_case(tmp_path, "other", images=shifted))
    for kind in ("z-score", "min-max"):
        config = PreprocessingConfig(normalisation=kind)
        one, two = prepare(plain, config), prepare(replace(other, case=plain.case), config)
        np.testing.assert_array_equal(one.brain, two.brain)
        np.testing.assert_allclose(one.image, two.image, atol=2e-5)


def test_more_than_a_brain_is_a_skull():
    scan = np.zeros((20, 20, 20), np.float32)
    scan[2:18, 2:18, 2:18] = 5  # 4096 voxels
    one, two = (Grid(scan.shape, np.diag([edge, edge, edge, 1])) for edge in (8.0, 9.0))  # 2.10 and 2.99 litres
    assert skull_on({"t1n": scan}, one) == ""
    assert skull_on({"t1n": scan * 0, "t2w": scan - 1}, two).startswith("t2w holds 2986 ml")
    assert brain_of(scan, two) is None
    np.testing.assert_array_equal(brain_of(scan - 1, one), scan > 0)


def test_no_brain_is_outlined_where_nothing_or_everything_differs():
    assert brain_of(np.zeros((10, 10, 10), np.float32), LITRE) is None
    assert brain_of(np.random.default_rng(0).random((10, 10, 10), np.float32), LITRE) is None
