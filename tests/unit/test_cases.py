from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import (
    SEQUENCES,
    Case,
    case_of_files,
    check_case,
    check_dataset,
    find_cases,
    load_case,
    make_folds,
    make_split,
    naming_scheme,
    scan_cases,
    subject_of,
    survey,
)
from glioscope.errors import CaseError, ConfigError, GeometryError, LabelError
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile, write_volume
from tiny import LPS, OLD_NAMES, tiny_images, write_tiny_case


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def files_of(case: Case) -> dict[str, str]:
    return {name: file.path.name for name, file in case.sequences.items()}


@pytest.mark.parametrize(
    ("case_id", "subject"),
    [
        ("BraTS-GLI-01234-100", "BraTS-GLI-01234"),
        ("BraTS-SSA-00002-000", "BraTS-SSA-00002"),
        ("Brats18_2013_11_1", "2013_11"),
        ("BraTS19_2013_11_1", "2013_11"),
        ("Brats17_CBICA_AXN_1", "CBICA_AXN"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00002", "BraTS2021_00002"),
        ("patient 7", "patient 7"),
    ],
)
def test_sessions_of_one_subject(case_id: str, subject: str) -> None:
    assert subject_of(case_id) == subject


def test_layout_of_2018_to_2021(tmp_path: Path) -> None:
    names = [f"X_1_{s}.nii.gz" for s in ("t1", "t1ce", "t2", "flair", "seg")]
    (case,) = find_cases(touch(tmp_path / "X_1", *names))
    assert case.case_id == "X_1"
    assert files_of(case) == dict(zip(SEQUENCES, names, strict=False))
    assert case.reference is not None
    assert case.missing == ()
    assert naming_scheme(case) == "brats2018"


def test_layout_of_2023(tmp_path: Path) -> None:
    touch(tmp_path, *[f"BraTS-GLI-00005-001/BraTS-GLI-00005-001-{s}.nii.gz" for s in ("t1n", "t1c", "t2w", "seg")])
    (case,) = find_cases(tmp_path)
    assert (case.case_id, case.subject_id) == ("BraTS-GLI-00005-001", "BraTS-GLI-00005")
    assert case.missing == ("t2f",)
    assert naming_scheme(case) == "brats2023"


def test_plain_names_take_the_folder_for_the_case(tmp_path: Path) -> None:
    touch(tmp_path, "patient/T1.nii", "patient/flair.nii", "other/t1c.nii.gz")
    cases = find_cases(tmp_path)
    assert [(c.case_id, tuple(c.sequences)) for c in cases] == [("other", ("t1c",)), ("patient", ("t1n", "t2f"))]


def test_case_355_of_2020(tmp_path: Path) -> None:
    stem = "BraTS20_Training_355"
    touch(tmp_path / stem, f"{stem}_t1.nii", f"{stem}_flair.nii", "W39_1998.09.19_Segm.nii")
    (case,) = find_cases(tmp_path)
    assert case.reference is not None
    assert case.reference.path.name == "W39_1998.09.19_Segm.nii"


def test_decathlon(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz", "imagesTs/BRATS_485.nii.gz")
    first, second = find_cases(tmp_path)
    assert {name: file.channel for name, file in first.sequences.items()} == {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 0}
    assert first.reference == VolumeFile(tmp_path / "labelsTr" / "BRATS_001.nii.gz")
    assert second.reference is None
    assert naming_scheme(second) == "msd"


def test_hidden_files_and_loops_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a/t1c.nii.gz", "a/.t2w.nii.gz")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (case,) = find_cases(tmp_path)
    assert tuple(case.sequences) == ("t1c",)


def test_two_files_for_one_sequence(tmp_path: Path) -> None:
    touch(tmp_path, "a/a-t1c.nii.gz", "a/a-t1ce.nii.gz", "b/b-t1c.nii.gz")
    cases, problems = scan_cases(tmp_path)
    assert [c.case_id for c in cases] == ["b"]
    assert problems["a"].startswith("case a: has a-t1c.nii.gz and a-t1ce.nii.gz for t1c; one file is needed")
    with pytest.raises(CaseError, match="for t1c; one file is needed"):
        find_cases(tmp_path)


def test_a_segmentation_alone_is_no_case(tmp_path: Path) -> None:
    _, problems = scan_cases(touch(tmp_path, "a/a-seg.nii.gz"))
    assert "has a segmentation but no sequence" in problems["a"]


def test_a_name_that_tells_nothing(tmp_path: Path) -> None:
    _, problems = scan_cases(touch(tmp_path, "scan/series7.nii.gz"))
    assert "has series7.nii.gz, whose name does not tell its sequence" in problems["scan"]


def test_one_id_in_two_places(tmp_path: Path) -> None:
    cases, problems = scan_cases(touch(tmp_path, "x/c/c-t1c.nii.gz", "y/c/c-t1c.nii.gz"))
    assert cases == ()
    assert "case c: occurs 2 times" in problems["c"]


def test_no_folder_and_no_case(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no such folder"):
        scan_cases(tmp_path / "absent")
    with pytest.raises(CaseError, match=r"holds no case; expected NIfTI files such as"):
        scan_cases(tmp_path)


def test_a_case_of_single_files(tmp_path: Path) -> None:
    touch(tmp_path, "p7-t1c.nii.gz", "p7-t2f.nii.gz", "odd.nii.gz")
    case = case_of_files({"t2f": tmp_path / "p7-t2f.nii.gz", "t1c": tmp_path / "p7-t1c.nii.gz"})
    assert (case.case_id, tuple(case.sequences)) == ("p7", ("t1c", "t2f"))
    mixed = case_of_files({"t1n": tmp_path / "odd.nii.gz", "t1c": tmp_path / "p7-t1c.nii.gz"})
    assert mixed.case_id == tmp_path.name
    assert case_of_files({"t1n": tmp_path / "odd.nii.gz"}, case_id="me").case_id == "me"
    with pytest.raises(CaseError, match=r"t1n: .*absent\.nii: no such file"):
        case_of_files({"t1n": tmp_path / "absent.nii"})
    with pytest.raises(CaseError, match=r"has sequence \['dwi'\]; known are t1n, t1c, t2w, t2f"):
        case_of_files({"dwi": tmp_path / "odd.nii.gz"})
    with pytest.raises(CaseError, match="has no sequence"):
        case_of_files({})


@pytest.mark.parametrize("case_id", ["..", ".", "", "a/b", "a\\b", "a\0b"])
def test_a_case_id_cannot_leave_the_output_folder(tmp_path: Path, case_id: str) -> None:
    with pytest.raises(CaseError, match="cannot name a folder"):
        Case(case_id=case_id, subject_id="s", sequences={"t1c": VolumeFile(tmp_path / "x.nii")})


def test_load_case_reads_all_and_the_reference(tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path, "p")
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[5, 5, 5] = 3
    write_volume(folder / "p-seg.nii.gz", labels, Grid(labels.shape, LPS))
    loaded = load_case(folder)
    assert tuple(loaded.images) == SEQUENCES
    np.testing.assert_array_equal(loaded.images["t2f"], tiny_images()["t2f"])
    assert loaded.reference is not None
    assert loaded.reference.sum() == 3
    assert loaded.grid.orientation == "LPS"


def test_load_case_wants_one_case(tmp_path: Path) -> None:
    write_tiny_case(tmp_path, "p")
    write_tiny_case(tmp_path, "q")
    with pytest.raises(CaseError, match="holds 2 cases; name the folder of one"):
        load_case(tmp_path)


@pytest.mark.parametrize("name", ["t2w", "seg"])
def test_grids_that_differ_are_both_described(tmp_path: Path, name: str) -> None:
    folder = write_tiny_case(tmp_path, "p")
    write_volume(
        folder / f"p-{name}.nii.gz", np.zeros((20, 24, 8), np.float32), Grid((20, 24, 8), np.diag([1, 1, 2, 1]))
    )
    what = "reference" if name == "seg" else name
    with pytest.raises(
        GeometryError, match=rf"case p: {what} has shape \(20, 24, 8\).* but t1n has shape \(20, 24, 16\)"
    ):
        load_case(folder)


def test_a_reference_that_is_a_scan(tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path, "p")
    write_volume(folder / "p-seg.nii.gz", tiny_images()["t1n"] + np.float32(0.5), Grid((20, 24, 16), LPS))
    with pytest.raises(LabelError, match="a label map has whole numbers"):
        load_case(folder)


def make_cases(tmp_path: Path, *case_ids: str) -> list[Case]:
    file = VolumeFile(tmp_path / "t1c.nii")
    return [Case(case_id=c, subject_id=subject_of(c), sequences={"t1c": file}) for c in case_ids]


def test_folds_split_by_subject_and_spread_the_volumes(tmp_path: Path) -> None:
    ids = [f"BraTS-GLI-{n:05d}-{session:03d}" for n in range(20) for session in (0, 1)]
    cases = make_cases(tmp_path, *ids)
    volumes = {c: float(int(c[10:15])) for c in ids}
    folds = make_folds(cases, count=5, seed=1, volumes_ml=volumes)
    held = [c for fold in folds for c in fold.validation]
    assert sorted(held) == sorted(ids)
    for fold in folds:
        assert not {subject_of(c) for c in fold.train} & {subject_of(c) for c in fold.validation}
        groups = sorted(int(c[10:15]) // 5 for c in fold.validation if c.endswith("000"))
        assert groups == [0, 1, 2, 3]  # one subject of each quarter of the volumes
    assert make_folds(cases, count=5, seed=1, volumes_ml=volumes) == folds
    assert make_folds(cases, count=5, seed=2) != make_folds(cases, count=5, seed=1)


def test_too_few_subjects_for_the_folds(tmp_path: Path) -> None:
    cases = make_cases(tmp_path, "BraTS-GLI-00001-000", "BraTS-GLI-00001-001")
    with pytest.raises(ConfigError, match="2 folds asked of 1 subjects"):
        make_folds(cases, count=2, seed=0)


def test_split_has_the_shares_asked_for(tmp_path: Path) -> None:
    cases = make_cases(tmp_path, *[f"p{n}" for n in range(20)])
    split = make_split(cases, validation=0.2, test=0.1, seed=0, volumes_ml={f"p{n}": float(n) for n in range(20)})
    assert {part: len(ids) for part, ids in split.items()} == {"train": 14, "validation": 4, "test": 2}
    assert sorted(c for ids in split.values() for c in ids) == sorted(c.case_id for c in cases)
    assert make_split(cases, validation=0.2, test=0.1, seed=0) != make_split(cases, validation=0.2, test=0.1, seed=1)
    with pytest.raises(ConfigError, match="together below 1"):
        make_split(cases, validation=0.5, test=0.5, seed=0)


def with_labels(folder: Path, labels: np.ndarray) -> Path:
    write_volume(folder / f"{folder.name}-seg.nii.gz", labels.astype(np.uint8), Grid(labels.shape, LPS))
    return folder


def test_check_of_a_sound_case(tmp_path: Path) -> None:
    labels = np.zeros((20, 24, 16))
    labels[2:4, 2, 2] = 3
    labels[5, 5, 5] = 1
    (case,) = find_cases(with_labels(write_tiny_case(tmp_path, "p"), labels))
    record = check_case(case)
    assert record.problems == ()
    assert (record.shape, record.spacing_mm, record.orientation) == ((20, 24, 16), (1.0, 1.0, 1.0), "LPS")
    assert record.labels == {0: 20 * 24 * 16 - 3, 1: 1, 3: 2}
    assert record.wt_ml == pytest.approx(0.003)
    low, mean, high = record.intensity["t1c"]
    assert (low, high) == (0, 400)
    image = tiny_images()["t1c"]
    assert mean == pytest.approx(image[image != 0].mean())


def test_check_names_each_problem(tmp_path: Path) -> None:
    images = tiny_images()
    images["t1n"][3, 3, 3] = np.nan
    images["t2w"][:] = 7
    images["t2f"] = images["t1c"]
    labels = np.zeros((20, 24, 16))
    labels[0, 0, 0] = 9
    (case,) = find_cases(with_labels(write_tiny_case(tmp_path, "p", images=images), labels))
    assert check_case(case).problems == (
        "t1n holds 1 voxels that are NaN or infinite",
        "t2w is constant",
        "t1c and t2f are the same image",
        "reference: has label values [9]; BraTS label maps hold 0 to 4. Check that this is a segmentation.",
    )


def test_check_of_what_cannot_be_read(tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path, "p")
    (folder / "p-t1n.nii.gz").write_bytes(b"damaged")
    (folder / "p-t2w.nii.gz").unlink()
    (case,) = find_cases(folder)
    lacks, damaged = check_case(case).problems
    assert lacks == "lacks t2w"
    assert "not a readable NIfTI file" in damaged


def test_check_of_an_empty_reference_and_the_cavity(tmp_path: Path) -> None:
    empty, cavity = np.zeros((20, 24, 16)), np.zeros((20, 24, 16))
    cavity[0, 0, :4] = (1, 2, 3, 4)
    with_labels(write_tiny_case(tmp_path, "a"), empty)
    with_labels(write_tiny_case(tmp_path, "b"), cavity)
    first, second = (check_case(c) for c in find_cases(tmp_path))
    assert first.problems == ("reference holds no tumour",)
    assert second.wt_ml == pytest.approx(0.003)  # the cavity is not tumour


def test_fingerprint_of_a_data_set(tmp_path: Path) -> None:
    write_tiny_case(tmp_path, "BraTS-GLI-00001-000", seed=1)
    write_tiny_case(tmp_path, "BraTS-GLI-00001-001", seed=2)
    write_tiny_case(tmp_path, "Brats18_copy_of_1", images=tiny_images(seed=2), names=OLD_NAMES)
    touch(tmp_path, "bad/series.nii.gz")
    told = []
    found = check_dataset(tmp_path, progress=lambda *news: told.append(news))
    assert told[-1] == (3, 3, "Brats18_copy_of_1")
    assert not found.sound
    assert found.same_subject == {"BraTS-GLI-00001": ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001")}
    assert found.same_images == (("BraTS-GLI-00001-001", "Brats18_copy_of_1"),)
    summary = found.summary()
    assert (summary["cases"], summary["subjects"], summary["unusable"], summary["with_reference"]) == (3, 2, 1, 0)
    assert summary["shapes"] == {"20×24×16": 3}
    assert summary["wt_ml"] is None
    lines = found.as_csv().splitlines()
    assert lines[1] == "BraTS-GLI-00001-000,BraTS-GLI-00001,t1n t1c t2w t2f,20×24×16,1 1 1,LPS,,,,"
    assert lines[4].startswith('bad,,,,,,,,,"case bad: has series.nii.gz')
    assert found.as_dict()["cases"][0]["case_id"] == "BraTS-GLI-00001-000"
    assert replace(found, unusable={}, same_images=()).sound


def test_a_result_beside_its_scans_hides_neither_case_nor_scan(tmp_path: Path) -> None:
    """As after `segment data -o data`: the scans are still found, and what was written is named as a result."""
    case = write_tiny_case(tmp_path, "p1")
    (case / "segmentation.nii.gz").write_bytes((case / "p1-t1c.nii.gz").read_bytes())
    (case / "summary.json").write_text('{"outputs": {"segmentation.nii.gz": "0"}}', encoding="utf-8")
    found = survey(tmp_path)
    assert [c.case_id for c in found.cases] == ["p1"]
    assert set(found.cases[0].sequences) == {"t1n", "t1c", "t2w", "t2f"}
    assert found.unused == {case / "segmentation.nii.gz": "a result of 'glioscope segment', not a scan"}
