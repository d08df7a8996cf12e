import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from glioscope.space.grid import Box, Grid, bounding_box, cut, paste, reorient

edges = st.integers(1, 7)
shapes = st.tuples(edges, edges, edges)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def grids(draw) -> Grid:
    """Any orientation, oblique, anisotropic."""
    rotation = Rotation.random(random_state=draw(st.integers(0, 2**31 - 1))).as_matrix()
    spacing = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    flips = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(np.array(spacing) * flips)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Grid(draw(shapes), affine)


@st.composite
def boxes(draw) -> Box:
    start = draw(st.tuples(*[st.integers(-5, 8)] * 3))
    size = draw(st.tuples(*[st.integers(1, 9)] * 3))
    return Box(start, tuple(a + n for a, n in zip(start, size, strict=True)))


@given(grids(), seeds)
def test_reorienting_and_back_is_exact(grid, seed) -> None:
    array = np.random.default_rng(seed).normal(size=grid.shape)
    turned, turned_grid = reorient(array, grid, "RAS")
    back, back_grid = reorient(turned, turned_grid, grid.orientation)
    np.testing.assert_array_equal(back, array)
    assert back_grid.matches(grid, tolerance_mm=1e-9)
    assert turned_grid.orientation == "RAS"


@given(grids())
def test_every_voxel_keeps_its_place_when_reoriented(grid) -> None:
    index = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turned, turned_grid = reorient(index, grid, "LSA")
    for voxel in {(0, 0, 0), tuple(n - 1 for n in grid.shape)}:
        world = grid.affine @ (*voxel, 1)
        there = np.linalg.solve(turned_grid.affine, world)[:3].round().astype(int)
        assert turned[tuple(there)] == index[voxel]


@given(grids(), seeds)
def test_spacing_and_volume_do_not_change_with_rotation_or_order(grid, seed) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.random(random_state=seed % 2**31).as_matrix()
    rotated = Grid(grid.shape, turn @ grid.affine)
    np.testing.assert_allclose(rotated.spacing_mm, grid.spacing_mm, rtol=1e-9)
    assert np.isclose(rotated.voxel_volume_ml, np.prod(grid.spacing_mm) / 1000)
    _, ordered = reorient(np.zeros(grid.shape), grid)
    np.testing.assert_allclose(sorted(ordered.spacing_mm), sorted(grid.spacing_mm), rtol=1e-9)


@given(grids(), boxes(), seeds)
def test_paste_brings_back_what_cut_took(grid, box, seed) -> None:
    array = np.random.default_rng(seed).normal(size=grid.shape)
    back = paste(cut(array, box), box, grid.shape)
    inside = np.zeros(grid.shape, bool)
    inside[tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(box.start, box.stop, strict=True))] = True
    np.testing.assert_array_equal(back, np.where(inside, array, 0))


@given(grids(), boxes())
def test_a_cropped_grid_has_the_same_voxels_in_the_same_places(grid, box) -> None:
    cropped = grid.crop(box)
    corner = np.array(box.stop) - 1
    there = cropped.affine @ (*(corner - box.start), 1)
    np.testing.assert_allclose(there, grid.affine @ (*corner, 1), atol=1e-6)


@given(shapes, seeds, st.integers(0, 3))
def test_a_bounding_box_holds_every_voxel_and_is_tight(shape, seed, margin) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.2
    assume(mask.any())
    box = bounding_box(mask, margin=margin)
    assert cut(mask, box).sum() == mask.sum()
    tight = bounding_box(mask)
    assert all(cut(mask, tight).any(axis=tuple({0, 1, 2} - {a}))[[0, -1]].all() for a in range(3))
