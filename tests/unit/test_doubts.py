"""The unknown is not told as known: headers that disagree, a sequence off its place, values that no tissue has."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glioscope.cases import check_case, find_cases
from glioscope.cases.heads import coarse_head, nearly_same
from glioscope.errors import LabelError
from glioscope.phantom import PhantomConfig, phantom
from glioscope.quality import check_input
from glioscope.quality.shifts import shifts_mm
from glioscope.space.grid import Grid
from glioscope.space.orientation import doubt_of, doubts_in_words
from glioscope.space.outliers import highest_plausible
from glioscope.space.volumes import read_labels, write_volume
from tiny import LPS, tiny_images, write_tiny_case

SHEAR = np.eye(4) + np.eye(4, k=2) * [[0.2]] * np.array([[1], [0], [0], [0]])


def save(path: Path, qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int]) -> Path:
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), sform)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    nib.save(image, path)
    return path


def flip(axis: int) -> np.ndarray:
    affine = np.eye(4)
    affine[axis, axis] = -1
    return affine


def moved(mm: float) -> np.ndarray:
    affine = np.eye(4)
    affine[1, 3] = mm
    return affine


@pytest.mark.parametrize(
    ("qform", "sform", "codes", "words", "side"),
    [
        (flip(0), np.eye(4), (1, 1), "disagree on the orientation", False),
        (flip(0), np.eye(4), (1, 4), "disagree on the orientation", False),
        (flip(2), np.eye(4), (1, 2), "disagree on the orientation", True),
        (np.eye(4), np.eye(4), (0, 0), "code 0", False),
        (np.eye(4), moved(9), (1, 1), "up to 9 mm apart", True),
        (np.eye(4), moved(9), (1, 4), None, True),  # scanner and atlas: two spaces
        (np.eye(4), moved(1), (1, 1), None, True),
        (flip(0), np.eye(4), (0, 2), None, True),
        (np.eye(4), SHEAR, (1, 1), None, True),  # a qform cannot hold shear
    ],
)
def test_headers_that_do_not_say_one_thing(tmp_path, qform, sform, codes, words, side) -> None:
    doubt = doubt_of(save(tmp_path / "a.nii.gz", qform, sform, codes))
    assert (doubt is None) == (words is None)
    if doubt is not None:
        assert words in doubt.text
        assert doubt.side_known is side


def test_a_doubt_is_told_once_for_all_sequences(tmp_path) -> None:
    files = [(name, save(tmp_path / f"{name}.nii", flip(0), np.eye(4), (1, 1))) for name in ("t1n", "t2f")]
    files.append(("t2w", save(tmp_path / "t2w.nii", np.eye(4), np.eye(4), (1, 1))))
    ((doubt, text),) = doubts_in_words(files)
    assert text == f"t1n, t2f: {doubt.text}"


@pytest.mark.parametrize("codes", [(0, 0), (0, 2), (1, 0), (1, 4), (3, 3)])
def test_codes_are_written_as_they_were(tmp_path, codes) -> None:
    source = save(tmp_path / "a.nii.gz", np.eye(4), np.eye(4) if codes != (1, 4) else moved(0), codes)
    grid = Grid((3, 4, 5), nib.load(source).affine)
    write_volume(tmp_path / "b.nii.gz", np.zeros((3, 4, 5), np.uint8), grid, like=source)
    before, after = nib.load(source).header, nib.load(tmp_path / "b.nii.gz").header
    assert (int(after["qform_code"]), int(after["sform_code"])) == codes
    np.testing.assert_allclose(after.get_best_affine(), before.get_best_affine(), atol=1e-5)


def test_another_grid_gets_a_header_of_its_own(tmp_path) -> None:
    source = save(tmp_path / "a.nii.gz", np.eye(4), np.eye(4), (1, 4))
    write_volume(tmp_path / "b.nii.gz", np.zeros((3, 4, 5), np.uint8), Grid((3, 4, 5), moved(5)), like=source)
    assert int(nib.load(tmp_path / "b.nii.gz").header["sform_code"]) == 1


def test_check_names_a_doubtful_header_and_a_hot_voxel(tmp_path) -> None:
    images = tiny_images()
    images["t1c"][5, 5, 5] = -3e7
    folder = write_tiny_case(tmp_path, "p", images=images)
    image = nib.load(folder / "p-t2w.nii.gz")
    data = np.asarray(image.dataobj)
    bad = nib.Nifti1Image(data, LPS)
    bad.set_sform(LPS, 1)
    bad.set_qform(LPS @ flip(0), 1)
    nib.save(bad, folder / "p-t2w.nii.gz")
    (case,) = find_cases(folder)
    header, hot = check_case(case).problems
    assert header.startswith("t2w: qform and sform disagree on the orientation (RPS, LPS)")
    assert hot.startswith("t1c: 1 voxel is far beyond all others (up to -3e+07")


@given(factor=st.floats(0.01, 1000), place=st.integers(0, 20 * 24 * 16 - 1), sign=st.sampled_from((-1, 1)))
@settings(max_examples=25, deadline=None)
def test_a_hot_voxel_is_found_at_any_gain_and_place(factor: float, place: int, sign: int) -> None:
    image = tiny_images()["t1n"] * np.float32(factor)
    assert highest_plausible(image) is None
    image.flat[place] = sign * 1e6 * factor
    limit = highest_plausible(image)
    assert limit is not None
    assert np.count_nonzero(np.abs(image) > limit) == 1


def test_one_head_is_known_again_and_another_is_not(scans) -> None:
    """The same scan with another gain, noise, and place in its volume; and another phantom's."""
    images, _ = scans
    noise = np.random.default_rng(0).normal(0, 0.02 * images["t2w"].max(), images["t2w"].shape)
    again = np.where(images["t2w"] > 0, 1.4 * images["t2w"] + noise, 0).astype(np.float32)
    moved_again = np.roll(again, (2, -1, 1), (0, 1, 2))
    other = phantom(9, PhantomConfig(shape=(96, 112, 78), spacing_mm=(2, 2, 2))).images["t2w"]
    heads = {
        name: {"t2w": coarse_head(image, image != 0)}
        for name, image in (("a", images["t2w"]), ("b", moved_again), ("c", other))
    }
    assert nearly_same(heads, {"a": "1", "b": "2", "c": "3"}) == (("a", "b"),)
    assert nearly_same(heads, {"a": "1", "b": "1", "c": "3"}) == ()


def test_an_empty_image_has_no_outlier() -> None:
    assert highest_plausible(np.zeros((4, 4, 4), np.float32)) is None


@pytest.fixture(scope="module")
def scans():
    made = phantom(4, PhantomConfig(shape=(96, 112, 78), spacing_mm=(2, 2, 2)))
    return made.images, made.grid


def test_sequences_in_place_are_not_off(scans) -> None:
    images, grid = scans
    assert max(shifts_mm(images, grid).values()) < 1
    assert shifts_mm({"t1n": images["t1n"]}, grid) == {}


@pytest.mark.parametrize(("name", "voxels", "axis"), [("t1n", 3, 0), ("t2w", -4, 2), ("t2f", 5, 1)])
def test_a_shifted_sequence_is_found_and_how_far(scans, name: str, voxels: int, axis: int) -> None:
    images, grid = scans
    found = shifts_mm({**images, name: np.roll(images[name], voxels, axis)}, grid)
    assert max(found, key=lambda n: found[n]) == name
    assert found[name] == pytest.approx(2 * abs(voxels), abs=1.5)


def test_a_shift_is_flagged_with_its_sequence(tmp_path, scans) -> None:
    from glioscope.cases import Case, LoadedCase
    from glioscope.space.volumes import VolumeFile

    images, grid = scans
    case = Case(case_id="p", subject_id="p", sequences={n: VolumeFile(tmp_path / f"{n}.nii") for n in images})
    off = {**images, "t1c": np.roll(images["t1c"], 4, 1)}
    flags = [f for f in check_input(LoadedCase(case=case, grid=grid, images=off)) if f.code == "shifted-t1c"]
    assert "t1c lies about 8 mm off t1n, t2w, t2f" in flags[0].message


def test_labels_that_are_whole_but_for_rounding_are_read(tmp_path) -> None:
    values = np.array([0, 0.99999, 2.0004, 3], np.float32).reshape(4, 1, 1)
    write_volume(tmp_path / "a.nii.gz", values, Grid(values.shape, np.eye(4)))
    assert read_labels(tmp_path / "a.nii.gz").data.ravel().tolist() == [0, 1, 2, 3]
    write_volume(tmp_path / "b.nii.gz", values * np.float32(0.99), Grid(values.shape, np.eye(4)))
    with pytest.raises(LabelError, match="a label map has whole numbers"):
        read_labels(tmp_path / "b.nii.gz")
