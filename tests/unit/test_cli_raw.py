"""What `prepare` takes as raw input, told apart by what the folder holds."""

from dataclasses import fields

import numpy as np
import pytest

from glioscope.cli import main
from glioscope.cli.sources import case_name, clinical_files, explanation, places, read_raw
from glioscope.errors import CaseError
from glioscope.results import Flag
from glioscope.results.preparation import AffineGrid, BrainRecord, Preparation, RawOrigin, SeriesRecord
from glioscope.segmentation import CaseOutcome
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from summaries import tiny_summary


def write(path, value, spacing=1.0):
    data = np.full((4, 5, 6), value, np.float32)
    data[0] = 0
    write_volume(path, data, Grid(data.shape, np.diag([spacing, spacing, spacing, 1.0])))


def test_a_folder_of_nifti_is_read_by_name_each_scan_on_its_own_grid(tmp_path):
    write(tmp_path / "t1c.nii.gz", 1)
    write(tmp_path / "flair.nii.gz", 2, spacing=3.0)
    patient = read_raw(tmp_path, {})
    assert {code: scan.grid.spacing_mm[0] for code, scan in patient.scans.items()} == {"t1c": 1.0, "t2f": 3.0}


def test_a_named_file_stands_in_for_the_one_in_the_folder(tmp_path):
    write(tmp_path / "case" / "t1c.nii.gz", 1)
    write(tmp_path / "better.nii.gz", 9)
    patient = read_raw(tmp_path / "case", {"t1c": str(tmp_path / "better.nii.gz")})
    assert patient.scans["t1c"].image.max() == 9


def test_files_alone_will_do(tmp_path):
    write(tmp_path / "anything.nii.gz", 1)
    assert list(read_raw(None, {"t2w": str(tmp_path / "anything.nii.gz")}).scans) == ["t2w"]


def test_several_cases_are_named(tmp_path):
    for name in ("t1c", "other_t1c", "brainmask_t1c"):  # a mask is no scan
        write(tmp_path / "patient" / f"{name}.nii.gz", 1)
    with pytest.raises(CaseError, match=r"holds several cases \(other, patient\); name one patient's files"):
        read_raw(tmp_path / "patient", {})


def test_nothing_given():
    with pytest.raises(CaseError, match="no scan is given"):
        read_raw(None, {})


# --- what `segment` takes ---------------------------------------------------------------------------------------------


def test_inputs_alone_are_taken_as_they_are(tmp_path):
    assert places([tmp_path], {}) == [tmp_path]
    assert places([], {"t1c": "a.nii.gz"}) == {"t1c": "a.nii.gz"}


def test_a_named_file_replaces_one_of_the_case(tmp_path):
    write(tmp_path / "p" / "p-t1c.nii.gz", 1)
    (case,) = places([tmp_path / "p"], {"t1c": "b.nii.gz", "t2f": "c.nii.gz"})
    assert {code: file.path.name for code, file in case.sequences.items()} == {"t1c": "b.nii.gz", "t2f": "c.nii.gz"}


def test_a_named_series_goes_with_the_dicom(tmp_path):
    pytest.importorskip("pydicom", reason="pydicom is not installed; it comes with the extra 'dicom'")
    import synthetic_dicom as made

    made.write_series(tmp_path / "p", made.volume((4, 5, 3)), made.grid(), made.T1)
    (case,) = places([tmp_path / "p"], {"t1c": "1"})
    assert (case.case_id, case.overrides) == ("p", {"t1c": "1"})


def test_scans_are_named_for_one_case_alone(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / f"{name}-t1c.nii.gz", 1)
    with pytest.raises(CaseError, match=r"holds several cases \(a, b\)"):
        places([tmp_path], {"t1c": "x"})


def test_clinical_files_are_listed_by_kind():
    assert clinical_files("") == ()
    assert clinical_files("SR, seg") == ("seg", "sr")


def series(name: str = "", reason: str = "") -> SeriesRecord:
    return SeriesRecord(series=name, reason=reason, description="", problems=())


def test_what_was_taken_for_what_is_said():
    grid = AffineGrid(shape=(1, 1, 1), affine_ras_mm=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))
    brain = BrainRecord(**dict.fromkeys((field.name for field in fields(BrainRecord)), None))
    preparation = Preparation(reference="t1c", grid=grid, sequences={}, brain=brain, problems=(), seconds={}, config={})
    raw = RawOrigin(
        why="it is DICOM",
        inputs={},
        patient="",
        series={"t1c": series("series 3", "its times"), "t2f": series()},
        left_out={"series 1": "a localiser"},
        preparation=preparation,
        native={},
    )
    flags = (
        Flag(code="scan-t1c", severity="warning", message="t1c: slice 3 is missing"),
        Flag(code="thick-slices", severity="info", message="thick"),
    )
    outcome = CaseOutcome.of(tiny_summary("p", raw=raw, flags=flags), "done")
    assert explanation(outcome) == [
        "p: prepared first, because it is DICOM",
        "  t1c: series 3: its times",
        "  series 1: not used: a localiser",
        "  t1c: slice 3 is missing",
    ]
    assert explanation(CaseOutcome(case_id="p", status="failed", reason="x")) == []


def test_a_prepared_case_is_named_as_segment_names_it(tmp_path):
    pytest.importorskip("pydicom", reason="pydicom is not installed; it comes with the extra 'dicom'")
    import synthetic_dicom as made

    assert case_name(None) == "case"
    write(tmp_path / "p" / "t1c.nii.gz", 1)
    assert case_name(tmp_path / "p") == "p"
    made.write_series(tmp_path / "Jane Doe", made.volume((4, 5, 3)), made.grid(), made.T1)
    assert case_name(tmp_path / "Jane Doe").startswith("P-")


def test_a_skull_is_not_stretched_over_a_brain(tmp_path, capsys):
    code = main(["prepare", str(tmp_path), "-o", str(tmp_path / "out"), "--atlas", "--brain", "none"])
    assert code == 2
    assert "--atlas needs the brain alone" in capsys.readouterr().err
