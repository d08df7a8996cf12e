"""restore(prepare(x)) is x, for any storage order and any tilt."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from glioscope.cases import Case, LoadedCase
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare, restore
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile


@st.composite
def oblique_cases(draw):
    shape = tuple(draw(st.integers(4, 9)) for _ in range(3))
    turn = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    flips = np.diag([draw(st.sampled_from((-1.0, 1.0))) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = turn @ flips
    affine[:3, 3] = [draw(st.floats(-100, 100)) for _ in range(3)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.uniform(1, 2, shape).astype(np.float32)
    image[rng.random(shape) < 0.5] = 0
    image[1, 2, 3] = 3
    image[2, 2, 3] = 4
    labels = np.where(image > 0, rng.choice([0, 1, 2, 4], shape), 0).astype(np.uint8)
    case = Case(case_id="x", subject_id="x", sequences={"t1c": VolumeFile(Path("x"))}, scheme="brats2018")
    return LoadedCase(case=case, grid=Grid(shape, affine), images={"t1c": image}, reference=labels)


@given(oblique_cases())
def test_labels_survive_the_round_trip_voxel_for_voxel(case):
    prepared = prepare(case, PreprocessingConfig())
    whole, core, enhancing = restore(prepared.reference, prepared)
    np.testing.assert_array_equal(whole, case.reference > 0)
    np.testing.assert_array_equal(core, np.isin(case.reference, (1, 4)))
    np.testing.assert_array_equal(enhancing, case.reference == 4)


@given(oblique_cases())
def test_network_sees_ras_and_the_place_of_a_voxel_in_space_is_kept(case):
    prepared = prepare(case, PreprocessingConfig())
    assert prepared.grid.orientation == "RAS"
    index = np.argwhere(case.images["t1c"] == 4)[0]
    place = case.grid.affine[:3, :3] @ index + case.grid.affine[:3, 3]
    seen = np.unravel_index(prepared.image[1].argmax(), prepared.grid.shape)
    np.testing.assert_allclose(prepared.grid.affine[:3, :3] @ seen + prepared.grid.affine[:3, 3], place, atol=1e-4)
