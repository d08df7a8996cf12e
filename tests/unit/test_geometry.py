import json

import numpy as np
import pytest

from glioscope.errors import GeometryError
from glioscope.space.grid import Box, Grid, bounding_box, cut, paste, reorient

LPS_2_3_4 = np.array([[-2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])


def test_grid_tells_spacing_volume_and_orientation() -> None:
    grid = Grid((5, 6, 7), LPS_2_3_4)
    assert grid.spacing_mm == (2.0, 3.0, 4.0)
    assert grid.voxel_volume_ml == pytest.approx(0.024)
    assert grid.orientation == "LPS"
    assert grid.describe() == "shape (5, 6, 7), spacing (2, 3, 4) mm, LPS, origin (10, 20, 30) mm"


def test_grid_keeps_its_own_affine() -> None:
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 5
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((2, 2), np.eye(4), "needs three axes"),
        ((2, 0, 2), np.eye(4), "at least one voxel"),
        ((2, 2, 2), np.eye(3), "not a finite 4x4 matrix"),
        ((2, 2, 2), np.full((4, 4), np.nan), "not a finite 4x4 matrix"),
        ((2, 2, 2), np.diag([1.0, 0, 1, 1]), "singular affine"),
        ((2, 2, 2), np.diag([0.01, 0.01, 0.01, 1]), r"voxels of 0\.01 x 0\.01 x 0\.01 mm; a scan has 0\.02 to 50 mm"),
        ((2, 2, 2), np.diag([1.0, 1000, 1, 1]), "voxels of 1 x 1000 x 1 mm"),
        ((2, 2, 2), np.array([[1.0, 0, 0, 1e300], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "1e\\+300 mm in it"),
        ((1024, 1024, 600), np.eye(4), r"629 million voxels; at most 268 million are taken\. Crop"),
        ((2, 2, 2), np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular affine"),
    ],
)
def test_grid_refuses_what_is_no_grid(shape, affine, message) -> None:
    with pytest.raises(GeometryError, match=message):
        Grid(shape, affine)


def test_grids_match_within_a_tolerance_at_every_corner() -> None:
    grid = Grid((101, 5, 5), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 0.09
    assert grid.matches(Grid((101, 5, 5), moved))
    stretched = np.diag([1.0011, 1, 1, 1])  # 0.11 mm off at the far corner only
    assert not grid.matches(Grid((101, 5, 5), stretched))
    assert grid.matches(Grid((101, 5, 5), stretched), tolerance_mm=0.12)
    assert not grid.matches(Grid((100, 5, 5), np.eye(4)))


def test_a_grid_in_the_space_of_dicom_counts_to_the_left_and_to_the_back() -> None:
    grid = Grid((3, 3, 3), np.array([[2, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]))
    np.testing.assert_array_equal(grid.lps @ [1, 1, 1, 1], [-12, 17, 34, 1])  # RAS: 12, -17, 34


def test_a_grid_comes_back_from_json_as_it_was() -> None:
    grid = Grid((5, 6, 7), LPS_2_3_4 + np.array([[0, 0, 0, 1 / 3], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    again = Grid.from_dict(json.loads(json.dumps(grid.as_dict())))
    assert again.shape == grid.shape
    np.testing.assert_array_equal(again.affine, grid.affine)


def test_crop_moves_the_origin_along_the_axes() -> None:
    cropped = Grid((5, 6, 7), LPS_2_3_4).crop(Box((1, -1, 2), (3, 4, 5)))
    assert cropped.shape == (2, 5, 3)
    assert cropped.affine[:3, 3].tolist() == [8.0, 23.0, 38.0]


def test_bounding_box_by_hand() -> None:
    mask = np.zeros((6, 7, 8), bool)
    mask[1, 2, 3] = mask[3, 2, 7] = True
    assert bounding_box(mask) == Box((1, 2, 3), (4, 3, 8))
    assert bounding_box(mask, margin=2) == Box((0, 0, 1), (6, 5, 8))
    assert bounding_box(np.zeros((6, 7, 8), bool)) == Box((0, 0, 0), (6, 7, 8))


def test_cut_and_paste_reach_over_the_edge() -> None:
    line = np.arange(1, 5).reshape(4, 1, 1)
    box = Box((-1, 0, 0), (3, 1, 1))
    piece = cut(line, box, fill=-9)
    assert piece.ravel().tolist() == [-9, 1, 2, 3]
    assert paste(piece, box, (4, 1, 1)).ravel().tolist() == [1, 2, 3, 0]
    assert cut(line, Box((7, 0, 0), (9, 1, 1))).ravel().tolist() == [0, 0]


def test_cut_keeps_leading_axes() -> None:
    assert cut(np.ones((3, 4, 5, 6)), Box((0, 0, 0), (2, 2, 2))).shape == (3, 2, 2, 2)


def test_reorient_swaps_and_flips_and_says_where_voxels_went() -> None:
    affine = np.array([[0.0, -1, 0, 3], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # i to A, j to L
    array = np.arange(6).reshape(2, 3, 1)
    turned, grid = reorient(array, Grid((2, 3, 1), affine))
    assert grid.orientation == "RAS"
    assert turned.shape == (3, 2, 1)
    for i, j in np.ndindex(2, 3):
        world = affine @ (i, j, 0, 1)
        where = np.linalg.inv(grid.affine) @ world
        assert turned[tuple(where[:3].round().astype(int))] == array[i, j, 0]
