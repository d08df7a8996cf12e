"""Moving volumes between grids, and finding how two scans of one head lie."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from glioscope.phantom import PhantomConfig, phantom
from glioscope.results.preparation import registration_record
from glioscope.space.grid import Box, Grid
from glioscope.space.registration import Registration, RegistrationConfig, head_mask, register, turn_about
from glioscope.space.resampling import (
    average,
    corners,
    from_itk,
    isotropic_grid,
    itk_transform,
    resample,
    shrink,
    to_itk,
    write_transform,
)
from glioscope.space.volumes import Volume

pytestmark = pytest.mark.slow

OBLIQUE = turn_about([5.0, -3.0, 2.0], [10.0, -20.0, 30.0], [7.0, 0.0, -4.0]) @ np.diag([-1.0, 2.0, 3.0, 1.0])
SHEARED = np.array([[2.0, 0.3, 0.0, -5.0], [0.0, 1.0, 0.1, 4.0], [0.0, 0.0, 3.0, 9.0], [0.0, 0.0, 0.0, 1.0]])


def volume(affine: np.ndarray, shape: tuple[int, int, int] = (5, 6, 7), seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).random(shape, np.float32), Grid(shape, affine))


def head(shift_mm: tuple[float, float, float] = (0, 0, 0), degrees: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    """A head-like object with no symmetry, at 4 mm: an ellipsoid, dark inside with bright and grey lumps."""
    grid = Grid((52, 60, 50), np.array([[4.0, 0, 0, -104], [0, 4, 0, -120], [0, 0, 4, -100], [0, 0, 0, 1]]))
    index = np.indices(grid.shape).reshape(3, -1)
    world = (grid.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    moved = turn_about(np.zeros(3), degrees, shift_mm)
    x, y, z = (np.linalg.inv(moved) @ np.vstack([world, np.ones(world.shape[1])]))[:3]
    image = np.zeros(index.shape[1], np.float32)
    for centre, radii, value in (
        ((0, 0, 0), (78, 95, 80), 3.0),
        ((0, 0, 0), (70, 87, 72), 1.0),
        ((25, 20, 10), (20, 30, 25), 2.0),
        ((-30, -25, 20), (15, 12, 30), 0.2),
        ((10, -50, -30), (35, 20, 18), 2.5),
    ):
        inside = sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)) < 1
        image[inside] = value
    return Volume(ndimage.gaussian_filter(image.reshape(grid.shape), 0.7), grid)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED, np.diag([-1.0, -1.0, 1.0, 1.0])])
def test_itk_sees_each_voxel_where_the_affine_puts_it(affine: np.ndarray) -> None:
    scan = volume(affine)
    image = to_itk(scan)
    for index in ((0, 0, 0), (4, 0, 0), (1, 2, 3), (4, 5, 6)):
        x, y, z = (affine @ [*index, 1])[:3]
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx((-x, -y, z))
        assert image[index] == scan.data[index]


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED])
def test_to_itk_and_back_is_the_same_volume(affine: np.ndarray) -> None:
    scan = volume(affine)
    back = from_itk(to_itk(scan))
    assert np.array_equal(back.data, scan.data)
    assert back.grid.matches(scan.grid, tolerance_mm=1e-6)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED])
def test_resampling_onto_its_own_grid_changes_nothing(affine: np.ndarray) -> None:
    scan = volume(affine)
    assert resample(scan, scan.grid) == pytest.approx(scan.data, abs=1e-5)


def test_matrix_takes_the_wanted_grid_to_the_volume() -> None:
    scan = Volume(np.zeros((5, 5, 5), np.float32), Grid((5, 5, 5), np.eye(4)))
    scan.data[3, 2, 1] = 1
    matrix = turn_about(np.zeros(3), np.zeros(3), [2.0, 0.0, -1.0])  # (1, 2, 2) of the wanted grid lies at (3, 2, 1)
    moved = resample(scan, scan.grid, matrix)
    assert np.argwhere(moved > 0.5).tolist() == [[1, 2, 2]]


def test_what_was_not_scanned_is_zero() -> None:
    scan = Volume(np.ones((2, 2, 2), np.float32), Grid((2, 2, 2), np.eye(4)))
    wide = Grid((4, 2, 2), np.eye(4))
    assert resample(scan, wide)[:, 0, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_nearest_keeps_the_dtype(dtype: type) -> None:
    scan = Volume(np.eye(4)[:, :, None].repeat(4, 2).astype(dtype), Grid((4, 4, 4), np.eye(4)))
    out = resample(scan, scan.grid, interpolation="nearest")
    assert out.dtype == dtype
    assert np.array_equal(out, scan.data)


def test_isotropic_grid_covers_the_same_field() -> None:
    grid = Grid((10, 20, 4), OBLIQUE)  # 10 × 40 × 12 mm
    cubic = isotropic_grid(grid, 2.0)
    assert cubic.shape == (5, 20, 6)
    assert cubic.spacing_mm == pytest.approx((2, 2, 2))
    ends = [Box((0, 0, 0), g.shape) for g in (grid, cubic)]
    assert corners(ends[0]) @ grid.affine.T == pytest.approx(corners(ends[1]) @ cubic.affine.T)


def test_average_takes_means_of_blocks_in_place() -> None:
    scan = Volume(np.arange(8, dtype=np.float32).reshape(4, 2, 1), Grid((4, 2, 1), np.diag([1.0, 2, 3, 1])))
    blocks = average(scan, (2, 1, 1))
    assert blocks.data[:, :, 0].tolist() == [[1, 2], [5, 6]]
    assert blocks.grid.spacing_mm == (2, 2, 3)
    assert (blocks.grid.affine @ [0, 0, 0, 1])[:3].tolist() == [0.5, 0, 0]
    assert average(scan, (1, 1, 1)) is scan


def test_shrink_keeps_a_smooth_image() -> None:
    x = np.linspace(0, 1, 40, dtype=np.float32)
    ramp = Volume(np.broadcast_to(x[:, None, None], (40, 40, 40)).copy(), Grid((40, 40, 40), np.eye(4)))
    small = shrink(ramp, 4.0)
    assert small.grid.shape == (10, 10, 10)
    assert small.data[5, 5, 5] == pytest.approx(x[20:24].mean(), abs=0.01)


def test_transform_file_is_what_itk_programs_read(tmp_path: Path) -> None:
    matrix = turn_about([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [10.0, -20.0, 30.0])
    write_transform(tmp_path / "scan.tfm", matrix)
    x, y, z = (matrix @ [4.0, 5.0, 6.0, 1.0])[:3]
    transform = sitk.ReadTransform(str(tmp_path / "scan.tfm"))
    assert transform.TransformPoint((-4.0, -5.0, 6.0)) == pytest.approx((-x, -y, z))
    assert itk_transform(matrix).TransformPoint((-4.0, -5.0, 6.0)) == pytest.approx((-x, -y, z))


def test_turn_about_keeps_its_centre_but_for_the_shift() -> None:
    matrix = turn_about([1.0, 2.0, 3.0], [0.0, 0.0, 90.0], [0.0, 0.0, 5.0])
    assert (matrix @ [1, 2, 3, 1])[:3] == pytest.approx([1, 2, 8])
    assert (matrix @ [2, 2, 3, 1])[:3] == pytest.approx([1, 3, 8])  # x turns towards y


def test_head_mask_finds_what_is_brighter_than_air() -> None:
    scan = head()
    assert (head_mask(scan.data) == (scan.data > 0.5)).mean() > 0.99
    assert not head_mask(np.full((4, 4, 4), 7.0, np.float32)).any()


@pytest.mark.parametrize(
    ("shift_mm", "degrees"),
    [((0, 0, 0), (0, 0, 0)), ((20, -20, 15), (20, 15, -20)), ((-18, 6, 20), (-20, -20, 20))],
)
def test_known_displacements_are_recovered(shift_mm: tuple[float, ...], degrees: tuple[float, ...]) -> None:
    still, moved = head(), head(shift_mm, degrees)  # type: ignore[arg-type]
    other = Volume(moved.data * np.exp(-moved.data), moved.grid)  # another contrast: bright is dark, air stays dark
    found = register(still, other, RegistrationConfig(levels_mm=(4.0,)))
    points = np.c_[np.random.default_rng(0).uniform(-60, 60, (100, 3)), np.ones(100)]
    known = turn_about(np.zeros(3), degrees, shift_mm)
    assert np.linalg.norm((points @ (found.matrix - known).T)[:, :3], axis=1).mean() < 2  # half a voxel
    assert found.problems == ()
    assert found.quality is not None
    assert found.quality.coverage > 0.9


@pytest.mark.long
@pytest.mark.parametrize(("pose", "turn"), [((20, -20, 20), (-20, 20, 20)), ((-20, 13, 5), (20, -4, -20))])
def test_a_phantom_scanned_twice_is_found_within_a_millimetre(
    pose: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    """T1 with contrast, and T2 in 5 mm slices after the patient moved as far as is promised."""
    still = phantom(3, PhantomConfig(shape=(128, 140, 108), spacing_mm=(1.8, 1.8, 1.8), orientation="RAS", skull=True))
    thick = PhantomConfig(shape=(240, 240, 40), spacing_mm=(1, 1, 5), skull=True, pose_mm=pose, pose_degrees=turn)
    moved = phantom(3, thick)
    found = register(Volume(still.images["t1c"], still.grid), Volume(moved.images["t2w"], moved.grid))
    points = np.c_[np.argwhere(still.brain), np.ones(still.brain.sum())] @ still.grid.affine.T
    known = turn_about(np.zeros(3), turn, pose)
    assert np.linalg.norm((points @ (found.matrix - known).T)[:, :3], axis=1).mean() < 1
    assert found.problems == ()


def test_the_same_scans_give_the_same_matrix() -> None:
    config = RegistrationConfig(levels_mm=(4.0,), start_degrees=0, samples=2000)
    one, other = (register(head(), head((8, 0, 0)), config).matrix for _ in range(2))
    assert one == pytest.approx(other, abs=1e-6)


def test_a_mask_says_where_to_look() -> None:
    still, moved = head(), head((8, -4, 0))
    mask = still.data > 0
    found = register(still, moved, RegistrationConfig(levels_mm=(4.0,), start_degrees=0), mask=mask)
    assert found.matrix[:3, 3] == pytest.approx([8, -4, 0], abs=0.5)


def test_scans_that_have_nothing_in_common_are_doubtful() -> None:
    noise = Volume(np.random.default_rng(0).random((52, 60, 50), np.float32), head().grid)
    found = register(head(), noise, RegistrationConfig(levels_mm=(4.0,), start_degrees=0))
    assert any("doubtful" in text for text in found.problems)


def test_a_constant_image_cannot_be_aligned() -> None:
    scan = head()
    flat = Volume(np.full(scan.grid.shape, 3.0, np.float32), scan.grid)
    found = register(scan, flat)
    assert np.array_equal(found.matrix, np.eye(4))
    assert found.problems
    assert found.quality is None


def test_a_registration_is_recorded_in_plain_numbers() -> None:
    record = registration_record(Registration(matrix=np.eye(4), problems=("odd",)))
    assert asdict(record) == {
        "matrix_ras_mm": ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
        "quality": None,
        "problems": ("odd",),
    }
