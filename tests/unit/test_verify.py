"""Checksums taken again: whatever changed after it was recorded is named, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from glioscope.cases import Fold, scan_cases
from glioscope.cli import main
from glioscope.errors import RunError
from glioscope.files import sha256_of, write_json
from glioscope.results.verifying import verify
from glioscope.runs import Run
from glioscope.segmentation import SegmentOptions, segment
from glioscope.settings import read_config
from tiny import write_tiny_case, write_tiny_model


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two segmented cases: `data`, `model` and `out` lie side by side."""
    write_tiny_model(tmp_path / "model")
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    segment(tmp_path / "data", tmp_path / "out", model=tmp_path / "model", options=SegmentOptions(report=False))
    return tmp_path


def found(place: Path) -> set[tuple[str, str, str]]:
    return {(check.owner, check.what, check.state) for check in verify(place).mismatches}


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def test_what_was_just_made_matches(cohort: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    result = verify(cohort / "out", progress=lambda done, total, case_id: seen.append((done, total, case_id)))
    assert result.mismatches == ()
    assert result.notes == ()
    # A case: four inputs, model.json and the two files it names, and the segmentation.
    assert len(result.checks) == 2 * 8
    assert seen == [(1, 2, "p0"), (2, 2, "p1")]


def test_a_changed_input_is_named_in_its_case_alone(cohort: Path) -> None:
    edit(cohort / "data/p1/p1-t1c.nii.gz")
    assert found(cohort / "out") == {("p1", "input t1c", "differs")}
    assert found(cohort / "out/p0") == set()


def test_a_changed_or_deleted_result_is_named(cohort: Path) -> None:
    edit(cohort / "out/p0/segmentation.nii.gz")
    (cohort / "out/p1/segmentation.nii.gz").unlink()
    assert found(cohort / "out") == {
        ("p0", "output segmentation.nii.gz", "differs"),
        ("p1", "output segmentation.nii.gz", "missing"),
    }


def test_another_model_in_its_place_is_named(cohort: Path) -> None:
    write_tiny_model(cohort / "model", name="another")
    assert found(cohort / "out") == {("p0", "model", "differs"), ("p1", "model", "differs")}
    shutil.rmtree(cohort / "model")
    assert found(cohort / "out/p0") == {("p0", "model", "missing")}


def test_weights_changed_behind_model_json_are_named(cohort: Path) -> None:
    edit(cohort / "model/network.bin")
    assert found(cohort / "model") == {("model", "model file network.bin", "differs")}
    assert found(cohort / "out/p0") == {("p0", "model file network.bin", "differs")}


def test_a_case_that_vanished_from_a_cohort_is_named(cohort: Path) -> None:
    shutil.rmtree(cohort / "out/p1")
    assert found(cohort / "out") == {("p1", "summary", "missing")}


def test_the_models_of_an_ensemble_are_held_to_their_common_checksum(cohort: Path) -> None:
    run = Run(cohort / "run")
    for fold in range(2):
        write_tiny_model(run.fold(fold) / "model", name=f"fold {fold}")
    segment(cohort / "data/p0", cohort / "both", model=run.folder, options=SegmentOptions(report=False))
    assert found(cohort / "both") == set()
    write_tiny_model(run.fold(1) / "model", name="another")
    assert found(cohort / "both") == {("p0", "model", "differs")}


def test_a_run_is_held_to_its_settings_data_and_models(cohort: Path) -> None:
    run = Run(cohort / "run")
    run.write_config("standard", read_config("standard", ["training.steps=5"]))
    cases = {
        case.case_id: {name: sha256_of(file.path) for name, file in case.sequences.items()}
        for case in scan_cases(cohort / "data")[0]
    }
    write_json(run.folder / "record.json", {"versions": {}, "dataset": str(cohort / "data"), "cases": cases})
    run.write_folds([Fold(("p0",), ("p1",))])
    write_tiny_model(run.fold(0) / "model")
    assert found(run.folder) == set()

    edit(cohort / "data/p0/p0-t2f.nii.gz")
    (cohort / "data/p1/p1-t1n.nii.gz").unlink()
    content = json.loads(run.config_file.read_text("utf-8"))
    content["settings"]["training"]["steps"] = 50
    write_json(run.config_file, content)
    edit(run.fold(0) / "model/network.xml")
    assert found(run.folder) == {
        ("run", "settings", "differs"),
        ("p0", "training data t2f", "differs"),
        ("p1", "training data t1n", "missing"),
        ("run, fold 0", "model file network.xml", "differs"),
    }


def test_other_versions_are_a_note_and_no_mismatch(cohort: Path) -> None:
    path = cohort / "out/p0/summary.json"
    summary = json.loads(path.read_text("utf-8"))
    summary["versions"]["numpy"] = "1.0"
    write_json(path, summary)
    result = verify(cohort / "out/p0")
    assert result.mismatches == ()
    assert len(result.notes) == 1
    assert result.notes[0].startswith("made with numpy 1.0, installed is ")


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no summary\.json, model\.json or run"):
        verify(tmp_path)


def test_a_damaged_record_is_refused(cohort: Path) -> None:
    """Alone it is an error; among others it is a line, and the others are held against their records all the same."""
    before = len(verify(cohort / "out").checks)
    write_json(cohort / "out/p0/summary.json", {"inputs": [], "case_id": "p0"})
    with pytest.raises(RunError, match=r"summary\.json: subject_id is missing"):
        verify(cohort / "out/p0")
    found = verify(cohort / "out")
    assert [(check.owner, check.state) for check in found.mismatches] == [("p0", "unreadable")]
    assert len(found.checks) == before // 2 + 1


def test_command(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(cohort / "out")]) == 0
    assert "16 files match" in capsys.readouterr().out
    edit(cohort / "data/p1/p1-t1c.nii.gz")
    assert main(["verify", str(cohort / "out")]) == 3
    captured = capsys.readouterr().out
    assert "p1\tinput t1c\tdiffers\t" in captured
    assert "15 files match, 1 does not" in captured
    assert main(["verify", str(cohort / "out"), "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert [entry["what"] for entry in printed["mismatches"]] == ["input t1c"]
    assert printed["checked"] == 16
