import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope import measure, report
from glioscope.cases import load_case
from glioscope.cli import main
from glioscope.errors import CaseError, GeometryError, LabelError, ModelError, RunError
from glioscope.results.stored import as_json
from glioscope.segmentation import SegmentOptions, Worker, default_model, rewrite_reports, segment, worker
from glioscope.segmentation import case as steps
from glioscope.segmentation.records import reason
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_labels, read_volume, write_volume
from tiny import LPS, OLD_NAMES, tiny_images, write_tiny_case, write_tiny_model

PLAIN = SegmentOptions(report=False, precision="fp32", threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected_labels(values: tuple[int, int] = (2, 3)) -> np.ndarray:
    """FLAIR's bright box is oedema, the bright middle of T1 with contrast enhances."""
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:10, 5:11, 4:10] = values[0]
    labels[6:8, 7:9, 6:8] = values[1]
    return labels


def test_one_case_from_folder_to_files(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    result = segment(case, tmp_path / "out", model=model, options=PLAIN)
    (outcome,) = result.with_status("done")
    folder = tmp_path / "out" / case.name
    assert {p.name for p in folder.iterdir()} == {"segmentation.nii.gz", "summary.json"}
    written = read_labels(folder / "segmentation.nii.gz")
    np.testing.assert_array_equal(written.data, expected_labels())
    assert written.grid.matches(Grid((20, 24, 16), LPS))
    assert nib.load(folder / "segmentation.nii.gz").get_data_dtype() == np.uint8

    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary == as_json(outcome.summary)
    assert summary["format"] == 1
    assert summary["measurements"]["volumes_ml"]["WT"] == pytest.approx(0.216)
    assert summary["measurements"]["volumes_ml"]["ET"] == pytest.approx(0.008)
    assert summary["scheme"] == {"name": "brats2023", "labels": {"1": "NCR", "2": "ED", "3": "ET"}}
    assert summary["engine"]["precision"] == "fp32"
    assert len(summary["inputs"]["t1n"]["sha256"]) == len(summary["model"]["sha256"]) == 64
    assert set(summary["seconds"]) == {"read", "prepare", "predict", "write", "measure", "check"}
    assert not (tmp_path / "out" / "cohort.csv").exists()


OBLIQUE = np.array([[0.0, -0.6, 0.8, 5], [1, 0, 0, -7], [0, 0.8, 0.6, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE], ids=["RAS", "oblique"])
def test_the_result_lies_on_the_grid_of_the_input(tmp_path: Path, model: Path, affine: np.ndarray) -> None:
    case = write_tiny_case(tmp_path, affine=affine)
    segment(case, tmp_path / "out", model=model, options=PLAIN)
    written = read_labels(tmp_path / "out" / case.name / "segmentation.nii.gz")
    assert written.grid.matches(Grid((20, 24, 16), affine))
    np.testing.assert_array_equal(written.data, expected_labels())


def test_names_of_2021_bring_the_labels_of_their_year(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path, "BraTS2021_00002", names=OLD_NAMES)
    segment(str(case), str(tmp_path / "out"), model=str(model), options=PLAIN)
    written = read_labels(tmp_path / "out" / case.name / "segmentation.nii.gz")
    np.testing.assert_array_equal(written.data, expected_labels((2, 4)))


def test_decathlon_file_and_labels(tmp_path: Path, model: Path) -> None:
    images = tiny_images()
    stacked = np.stack([images[s] for s in ("t2f", "t1n", "t1c", "t2w")], axis=-1)
    (tmp_path / "imagesTs").mkdir()
    nib.save(nib.Nifti1Image(stacked, LPS), tmp_path / "imagesTs" / "BRATS_485.nii.gz")
    segment(tmp_path, tmp_path / "out", model=model, options=PLAIN)
    written = read_labels(tmp_path / "out" / "BRATS_485" / "segmentation.nii.gz")
    np.testing.assert_array_equal(written.data, expected_labels((1, 3)))


def test_a_scheme_can_be_named(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    segment(case, tmp_path / "out", model=model, options=SegmentOptions(report=False, scheme="brats2018"))
    labels = read_labels(tmp_path / "out" / case.name / "segmentation.nii.gz").data
    np.testing.assert_array_equal(labels, expected_labels((2, 4)))
    with pytest.raises(LabelError, match="'brats1066' is not known"):
        segment(case, tmp_path / "out", model=model, options=SegmentOptions(scheme="brats1066"))


def test_single_files_and_a_missing_sequence(tmp_path: Path, model: Path) -> None:
    folder = write_tiny_case(tmp_path, "p")
    result = segment(
        {"t1c": folder / "p-t1c.nii.gz", "t2f": folder / "p-t2f.nii.gz"}, tmp_path / "out", model=model, options=PLAIN
    )
    (outcome,) = result.outcomes
    assert outcome.summary is not None
    assert outcome.summary.missing_sequences == ("t1n", "t2w")
    assert {"missing-t1n", "missing-t2w"} <= {flag.code for flag in outcome.summary.flags}


def test_the_card_tells_what_a_missing_sequence_costs(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    full = {"sequences": ["t1n", "t1c", "t2w", "t2f"], "WT": 0.9, "TC": 0.8, "ET": 0.7}
    less = {"sequences": ["t1n", "t1c", "t2f"], "WT": 0.85, "TC": 0.79, "ET": 0.69}
    (model / "card.json").write_text(json.dumps({"subsets": [full, less]}))
    case = write_tiny_case(tmp_path, "p")
    (case / "p-t2w.nii.gz").unlink()
    (outcome,) = segment(case, tmp_path / "out", model=model, options=PLAIN).outcomes
    assert outcome.summary is not None
    (flag,) = [f for f in outcome.summary.flags if f.code == "missing-t2w"]
    assert "0.85" in flag.message or "0.05" in flag.message
    (model / "card.json").write_text("{ half")
    with pytest.raises(ModelError, match=r"card\.json: is damaged"):
        segment(case, tmp_path / "out", model=model, options=PLAIN)


def test_a_second_run_passes_over_what_is_done(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    segment(case, tmp_path / "out", model=model, options=PLAIN)
    file = tmp_path / "out" / case.name / "segmentation.nii.gz"
    before = file.stat().st_mtime_ns

    def again(options: SegmentOptions = PLAIN, model: Path = model) -> str:
        return segment(case, tmp_path / "out", model=model, options=options).outcomes[0].status

    assert again() == "skipped"
    assert file.stat().st_mtime_ns == before
    assert again(SegmentOptions(report=False, save_probabilities=True)) == "done"  # asks for more than there is
    assert again() == "skipped"
    assert again(SegmentOptions(report=False, mirror=True)) == "done"
    assert again(SegmentOptions(report=False, scheme="msd")) == "done"
    assert again() == "done"
    assert again(SegmentOptions(report=False, overwrite=True)) == "done"
    assert again(model=write_tiny_model(tmp_path / "other", name="other")) == "done"
    write_tiny_case(tmp_path, seed=9)
    assert again() == "done"
    (file.parent / "summary.json").write_text("{ half")
    assert again() == "done"
    file.unlink()
    assert again() == "done"


def test_probabilities_are_written_on_request(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    segment(case, tmp_path / "out", model=model, options=SegmentOptions(report=False, save_probabilities=True))
    folder = tmp_path / "out" / case.name
    probability = read_volume(folder / "probability-WT.nii.gz").data
    np.testing.assert_array_equal(probability >= 0.5, expected_labels() > 0)
    assert probability[0, 0, 0] == 0
    assert {"probability-TC.nii.gz", "probability-ET.nii.gz"} <= {p.name for p in folder.iterdir()}


def test_a_cohort_with_a_bad_case_goes_on(tmp_path: Path, model: Path) -> None:
    data = tmp_path / "data"
    for n in range(3):
        write_tiny_case(data, f"BraTS-GLI-0000{n}-000", seed=n)
    (data / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t2w.nii.gz").write_bytes(b"damaged")
    (data / "BraTS-GLI-00009-000").mkdir()
    (data / "BraTS-GLI-00009-000" / "scan.nii.gz").touch()
    news = []
    result = segment(data, tmp_path / "out", model=model, options=PLAIN, progress=lambda *n: news.append(n))
    assert [o.status for o in result.outcomes] == ["done", "failed", "done", "failed"]
    assert [n[:2] for n in news] == [(2, 4), (3, 4), (4, 4)]
    table = rows(tmp_path / "out" / "cohort.csv")
    assert [row["status"] for row in table] == ["done", "failed", "done", "failed"]
    assert float(table[0]["WT_ml"]) == pytest.approx(0.216)
    first, second = rows(tmp_path / "out" / "failures.csv")
    assert first["case_id"] == "BraTS-GLI-00001-000"
    assert "not a readable NIfTI file" in first["reason"]
    assert "does not tell its sequence" in second["reason"]

    write_tiny_case(data, "BraTS-GLI-00001-000", seed=1)
    (data / "BraTS-GLI-00009-000" / "scan.nii.gz").unlink()
    mended = segment(data, tmp_path / "out", model=model, options=PLAIN)
    assert [o.status for o in mended.outcomes] == ["skipped", "done", "skipped"]
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_a_defect_in_one_case_is_named_and_the_others_go_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    true_measure, calls = measure.measure, []

    def fragile(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("by zero")
        return true_measure(*args, **kwargs)

    monkeypatch.setattr(measure, "measure", fragile)
    first, second = segment(tmp_path / "data", tmp_path / "out", model=model, options=PLAIN).outcomes
    assert first.reason.startswith("defect, please report: ZeroDivisionError: by zero (test_segmentation.py:")
    assert second.status == "done"
    calls.clear()
    with pytest.raises(ZeroDivisionError):
        segment(tmp_path / "data" / "p0", tmp_path / "out", model=model, options=PLAIN)


def test_out_of_memory_is_said_in_words() -> None:
    assert reason(MemoryError()).startswith("not enough memory")


def test_the_only_case_raises_its_own_error(tmp_path: Path, model: Path) -> None:
    folder = write_tiny_case(tmp_path / "data", "p")
    (folder / "p-t1ce.nii.gz").touch()
    with pytest.raises(CaseError, match=r"case p: has p-t1c\.nii\.gz and p-t1ce\.nii\.gz for t1c"):
        segment(tmp_path / "data", tmp_path / "out", model=model, options=PLAIN)
    (folder / "p-t1ce.nii.gz").unlink()
    write_volume(folder / "p-t2f.nii.gz", np.zeros((4, 4, 4), np.float32), Grid((4, 4, 4), LPS))
    with pytest.raises(GeometryError, match="all must share one grid"):
        segment(tmp_path / "data", tmp_path / "out", model=model, options=replace(PLAIN, raw=False))
    assert not (tmp_path / "out" / "p" / "segmentation.nii.gz").exists()


def test_one_case_in_two_inputs(tmp_path: Path, model: Path) -> None:
    folders = [write_tiny_case(tmp_path / place, "p") for place in ("a", "b")]
    with pytest.raises(CaseError, match="case p: lies in two of the inputs"):
        segment(folders, tmp_path / "out", model=model, options=PLAIN)


def test_an_output_that_cannot_be_written_ends_the_run(tmp_path: Path, model: Path) -> None:
    for n in range(3):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        segment(tmp_path / "data", tmp_path / "out", model=model, options=PLAIN)


def test_an_interrupted_cohort_keeps_what_was_done(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    true_predict, calls = steps.predict_case, []

    def interrupted(*args: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return true_predict(*args, **named)

    monkeypatch.setattr(steps, "predict_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment(tmp_path / "data", tmp_path / "out", model=model, options=PLAIN)
    assert [row["case_id"] for row in rows(tmp_path / "out" / "cohort.csv")] == ["p0"]
    assert (tmp_path / "out" / "p1" / "summary.json").is_file()  # was being written: completed
    assert not (tmp_path / "out" / "p2").exists()
    monkeypatch.setattr(steps, "predict_case", true_predict)
    result = segment(tmp_path / "data", tmp_path / "out", model=model, options=PLAIN)
    assert [o.status for o in result.outcomes] == ["skipped", "skipped", "done", "done"]


def test_a_report_that_fails_does_not_cost_the_segmentation(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no pictures today")

    monkeypatch.setattr(report, "write_case_report", broken)
    case = write_tiny_case(tmp_path)
    (outcome,) = segment(case, tmp_path / "out", model=model).outcomes
    assert outcome.summary is not None
    (flag,) = [f for f in outcome.summary.flags if f.code == "report-failed"]
    assert "no pictures today" in flag.message
    assert (tmp_path / "out" / case.name / "segmentation.nii.gz").is_file()


def test_pages_of_a_cohort_and_again_from_disk(tmp_path: Path, model: Path) -> None:
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    segment(tmp_path / "data", tmp_path / "out", model=model)
    pages = sorted((tmp_path / "out").rglob("*.html"))
    assert [p.relative_to(tmp_path / "out").as_posix() for p in pages] == [
        "index.html",
        "p0/report.html",
        "p1/report.html",
    ]
    for page in pages:
        page.unlink()
    assert sorted(rewrite_reports(tmp_path / "out").pages) == pages
    assert all("<html" in page.read_text("utf-8") for page in pages)
    with pytest.raises(RunError, match=r"holds no summary\.json of a segmented case"):
        rewrite_reports(tmp_path / "data")


@pytest.mark.slow
def test_a_summary_that_cannot_be_read_costs_its_own_case_alone(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is damaged is made anew; one of a later format is refused and stays as it is. So do the pages."""
    for n in range(3):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    out = tmp_path / "out"
    segment(tmp_path / "data", out, model=model)
    (out / "p0" / "summary.json").write_text('{"case_id": "p0"', encoding="utf-8")
    later = json.loads((out / "p1" / "summary.json").read_text("utf-8")) | {"format": 2, "whole_body": {}}
    (out / "p1" / "summary.json").write_text(json.dumps(later), encoding="utf-8")
    for page in out.rglob("*.html"):
        page.unlink()
    assert main(["report", str(out)]) == 3
    said = capsys.readouterr().err
    assert "p0: failed:" in said
    assert "format is 2, of a later Glioscope" in said
    assert [page.parent.name for page in out.rglob("report.html")] == ["p2"]
    table = (out / "index.html").read_text("utf-8")
    assert "3 cases, 1 to check, 2 failed" in table or "3 cases, 2 failed" in table
    assert main(["report", str(out / "p0")]) == 2
    assert re.fullmatch(r"glioscope: .*p0/summary\.json: is damaged.*\n", capsys.readouterr().err.splitlines(True)[-1])
    result = segment(tmp_path / "data", out, model=model)
    status = {outcome.case_id: outcome.status for outcome in result.outcomes}
    assert status == {"p0": "done", "p1": "failed", "p2": "skipped"}
    assert "p1/summary.json: format is 2" in (out / "failures.csv").read_text("utf-8")
    assert json.loads((out / "p1" / "summary.json").read_text("utf-8")) == later


def test_a_failing_cohort_page_is_only_logged(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_folder: Path) -> None:
        raise ValueError("no page")

    monkeypatch.setattr(report, "write_cohort_report", broken)
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    result = segment(tmp_path / "data", tmp_path / "out", model=model)
    assert len(result.with_status("done")) == 2
    assert "no page" in caplog.text


def test_a_package_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "segmentation" / "worker.py"))
    with pytest.raises(ModelError, match="this installation has no network; name one with --model FOLDER"):
        segment(tmp_path, tmp_path / "out")
    write_tiny_model(tmp_path / "models" / "starter")
    assert default_model() == tmp_path / "models" / "starter"


def test_a_network_of_labels(tmp_path: Path) -> None:
    """Softmax outputs go through the same files: the most probable label is written."""
    from glioscope.model import ModelSpec, write_model
    from tiny import write_tiny_network

    weights = np.zeros((4, 4), np.float32)
    weights[2, 3], weights[3, 1] = 4, 8  # bright FLAIR: oedema; brighter T1 with contrast: enhancing
    write_tiny_network(tmp_path / "model", weights, np.array([0, -50, -4, -20]))
    spec = ModelSpec(name="l", outputs="labels", divisor=4, network={}, inference={"patch": (32, 32, 32)})
    write_model(tmp_path / "model", spec, ["network.xml", "network.bin"])
    case = write_tiny_case(tmp_path)
    segment(case, tmp_path / "out", model=tmp_path / "model", options=PLAIN)
    written = read_labels(tmp_path / "out" / case.name / "segmentation.nii.gz").data
    np.testing.assert_array_equal(written, expected_labels())


def test_a_worker_keeps_its_model_from_call_to_call(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_load, loads = worker.load_ensemble, []

    def counted(*args: object, **kwargs: object) -> object:
        loads.append(1)
        return true_load(*args, **kwargs)

    monkeypatch.setattr(worker, "load_ensemble", counted)
    cases = [load_case(write_tiny_case(tmp_path / "data", f"p{n}", seed=n)).case for n in range(3)]
    one = Worker(tmp_path / "out", model=model, options=PLAIN)
    assert list(one.segment([])) == []
    assert not loads
    assert [o.status for o in one.segment(cases[:2])] == ["done", "done"]
    (tmp_path / "data" / "p2" / "p2-t1c.nii.gz").write_bytes(b"damaged")
    (failed,) = one.segment(cases[2:])
    assert "not a readable NIfTI file" in failed.reason
    with pytest.raises(CaseError, match="not a readable NIfTI file"):
        list(one.segment(cases[2:], strict=True))
    assert len(loads) == 1
    assert not (tmp_path / "out" / "cohort.csv").exists()
