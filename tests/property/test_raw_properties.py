"""Volumes on other grids, for any grid: what is exact stays exact, what is carried keeps its volume and place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioscope.labels import SCHEMES
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import Box, Grid, reorient
from glioscope.space.registration import turn_about
from glioscope.space.resampling import average, from_itk, itk_transform, resample, to_itk
from glioscope.space.volumes import Volume

SCHEME = SCHEMES["brats2023"]
angles = st.tuples(*[st.floats(-180, 180)] * 3)
shifts = st.tuples(*[st.floats(-50, 50)] * 3)
edges = st.tuples(*[st.floats(0.4, 6)] * 3)
shapes = st.tuples(*[st.integers(1, 8)] * 3)
orientations = st.sampled_from(["RAS", "LPS", "PIR", "SAL", "ILP", "ASR"])


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    shape = draw(shapes)
    affine = turn_about(np.zeros(3), draw(angles), draw(shifts)) @ np.diag([*draw(edges), 1.0])
    seed = draw(st.integers(0, 999))
    return Volume(np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8), Grid(shape, affine))


@given(volumes(), orientations)
def test_another_storage_order_is_read_off_exactly(scan: Volume, codes: str) -> None:
    turned, grid = reorient(scan.data, scan.grid, codes)
    assert np.array_equal(resample(scan, grid), turned)
    assert np.array_equal(resample(scan, grid, interpolation="nearest"), turned)


@given(volumes(), st.tuples(*[st.integers(-4, 4)] * 3))
def test_a_shift_by_whole_voxels_is_exact(scan: Volume, shift: tuple[int, int, int]) -> None:
    stop = tuple(a + n for a, n in zip(shift, scan.grid.shape, strict=True))
    grid = scan.grid.crop(Box(shift, stop))  # type: ignore[arg-type]
    out = resample(scan, grid)
    for index in np.ndindex(grid.shape):
        there = tuple(np.add(index, shift))
        inside = all(0 <= t < n for t, n in zip(there, scan.grid.shape, strict=True))
        assert out[index] == (scan.data[there] if inside else 0)


@given(volumes())
def test_itk_and_back(scan: Volume) -> None:
    back = from_itk(to_itk(scan))
    assert np.array_equal(back.data, scan.data)
    assert back.grid.matches(scan.grid, tolerance_mm=1e-6)


@given(angles, shifts, shifts)
def test_itk_moves_points_as_the_matrix_does(
    degrees: tuple[float, ...], shift: tuple[float, ...], point: tuple[float, ...]
) -> None:
    matrix = turn_about(np.zeros(3), degrees, shift)
    x, y, z = (matrix @ [*point, 1])[:3]
    moved = itk_transform(matrix).TransformPoint((-point[0], -point[1], point[2]))
    assert moved == pytest.approx((-x, -y, z), abs=1e-9)


@given(volumes())
def test_labels_on_their_own_grid_are_themselves(scan: Volume) -> None:
    assert np.array_equal(carry_labels(scan, scan.grid, np.eye(4), SCHEME), scan.data)


@given(angles, shifts, edges, orientations)
def test_labels_keep_volume_and_place(
    degrees: tuple[float, ...], shift: tuple[float, ...], spacing: tuple[float, ...], codes: str
) -> None:
    """A ball of oedema around a core, on any scan that sees all of it, moved by any rigid matrix."""
    radius = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    labels = np.select([radius < 5, radius < 10], [1, 2], 0).astype(np.uint8)
    source = Grid(labels.shape, np.diag([1.0, 1, 1, 1]))
    shape = tuple(int(np.ceil(40 / s)) for s in spacing)
    matrix = turn_about([11.5] * 3, degrees, shift)
    affine = np.linalg.inv(matrix) @ turn_about(np.zeros(3), np.zeros(3), [-8.5] * 3) @ np.diag([*spacing, 1.0])
    _, target = reorient(np.broadcast_to(np.uint8(0), shape), Grid(shape, affine), codes)
    carried = carry_labels(Volume(labels, source), target, matrix, SCHEME)
    voxel = target.voxel_volume_ml
    for wanted, found in ((labels > 0, carried > 0), (labels == 1, carried == 1)):
        millilitres = wanted.sum() / 1000
        assert found.sum() * voxel == pytest.approx(millilitres, abs=0.06 * millilitres + voxel)
    centre = (matrix @ target.affine @ [*np.argwhere(carried > 0).mean(axis=0), 1])[:3]
    assert centre == pytest.approx([11.5] * 3, abs=1.0)


@given(volumes(), st.tuples(*[st.integers(1, 3)] * 3))
def test_averages_keep_the_mean_and_the_place(scan: Volume, factor: tuple[int, ...]) -> None:
    shape = tuple(n * f for n, f in zip(scan.grid.shape, factor, strict=True))
    fine = Volume(np.random.default_rng(0).random(shape, np.float32), Grid(shape, scan.grid.affine))
    blocks = average(fine, factor)
    assert blocks.grid.shape == scan.grid.shape
    assert blocks.data.mean() == pytest.approx(fine.data.mean(), rel=1e-4)
    middles = [(g.affine @ [*((np.array(g.shape) - 1) / 2), 1])[:3] for g in (fine.grid, blocks.grid)]
    assert middles[0] == pytest.approx(middles[1], abs=1e-9)
