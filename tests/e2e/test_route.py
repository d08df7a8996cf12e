"""The whole route by the command line on synthetic patients: train, validate, compare, export, segment, report."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.cases import find_cases
from glioscope.experiment.cost import measure_cost
from glioscope.phantom import PhantomConfig, write_phantoms

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SMALL = [
    *("--set", "preprocessing.spacing_mm=6.0", "--set", "training.folds=4", "--set", "training.validations=2"),
    *("--set", "training.validation_cases=2", "--set", "training.window=brain", "--set", "training.minimum_tumour=0"),
]
STANDARD = [
    *("--set", "network.widths=[8, 16]", "--set", "network.blocks=[1, 1]", "--set", "training.steps=40"),
    *("--set", "training.stages=[{share = 1.0}]", "--set", "training.learning_rate=1e-2"),
]


def glioscope(*arguments: str | Path, expect: int = 0) -> str:
    command = [sys.executable, "-m", "glioscope", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == expect, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def route(tmp_path_factory):
    """A folder with a data set and two trained, validated runs."""
    folder = tmp_path_factory.mktemp("route")
    grid = PhantomConfig(shape=(40, 40, 26), spacing_mm=(6.0, 6.0, 6.0), orientation="LPS")
    write_phantoms(folder / "data", 8, layout="brats2021", config=grid)
    glioscope("train", folder / "data", "-o", folder / "standard", *SMALL, *STANDARD)
    glioscope(
        "train", folder / "data", "-o", folder / "original", "--config", "original", *SMALL, "--set", "training.steps=4"
    )
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_training_lowers_the_loss_and_writes_all_curves(route):
    history = rows_of(route / "standard" / "fold_0" / "history.csv")
    assert float(history[-1]["train_loss"]) < float(history[0]["train_loss"])
    validated = [row for row in history if row["val_loss"]]
    assert len(validated) == 2
    assert all(row["train_accuracy"] and row["val_accuracy"] and row["val_dice_WT"] for row in validated)
    assert (route / "standard" / "fold_0" / "curves.png").stat().st_size > 5000


def test_every_held_out_case_is_scored_and_no_other(route):
    folds = json.loads((route / "standard" / "folds.json").read_text(encoding="utf-8"))
    scored = {row["case_id"] for row in rows_of(route / "standard" / "fold_0" / "evaluation" / "cases.csv")}
    assert scored == set(folds[0]["validation"])
    assert scored.isdisjoint(folds[0]["train"])
    assert sorted(case for fold in folds for case in fold["validation"]) == sorted(
        folds[0]["train"] + folds[0]["validation"]
    )


def test_a_run_can_be_repeated_from_its_folder(route):
    record = json.loads((route / "standard" / "record.json").read_text(encoding="utf-8"))
    assert len(record["cases"]) == 8
    assert all(len(digest) == 64 for case in record["cases"].values() for digest in case.values())
    config = json.loads((route / "standard" / "config.json").read_text(encoding="utf-8"))
    assert config["settings"]["training"]["steps"] == 40
    assert len(config["sha256"]) == 64


def test_cost_is_measured_in_a_process_of_its_own(route):
    cost = json.loads((route / "standard" / "fold_0" / "cost.json").read_text(encoding="utf-8"))
    assert 0 < cost["network_seconds"] < cost["seconds"]
    assert cost["peak_memory_mb"] > 50


def test_cost_of_a_case_that_shares_its_folder_with_others(route, tmp_path):
    """Names the case's files: given their folder, `segment` would take all cases in it."""
    for file in (route / "data").rglob("*.nii.gz"):
        shutil.copy(file, tmp_path / file.name)
    case = find_cases(tmp_path)[1]
    assert measure_cost(route / "standard" / "fold_0" / "model", case).case_id == case.case_id


def test_a_run_has_a_page(route):
    page = (route / "standard" / "report.html").read_text(encoding="utf-8")
    assert "<html" in page


def test_runs_are_compared(route):
    glioscope("compare", route / "original", route / "standard", "-o", route / "comparison")
    page = (route / "comparison" / "comparison.html").read_text(encoding="utf-8")
    assert "original" in page
    assert "standard" in page


def test_an_existing_run_is_not_overwritten(route):
    told = glioscope("train", route / "data", "-o", route / "standard", expect=2)
    assert "continue it with --resume" in told


def test_the_exported_network_segments_in_the_input_s_scheme(route):
    glioscope("export", route / "standard", "-o", route / "model")
    case = sorted((route / "data").iterdir())[0]
    glioscope("segment", case, "-o", route / "out", "--model", route / "model", "--no-report")
    image = nib.load(route / "out" / case.name / "segmentation.nii.gz")
    reference = nib.load(case / f"{case.name}_seg.nii.gz")
    assert image.shape == reference.shape
    np.testing.assert_allclose(image.affine, reference.affine)
    assert set(np.unique(np.asarray(image.dataobj))) <= {0, 1, 2, 4}


def test_one_network_on_every_case_holds_nothing_out(route):
    glioscope(
        "train", route / "data", "-o", route / "all", "--fold", "none", *SMALL, *STANDARD, "--set", "training.steps=2"
    )
    record = json.loads((route / "all" / "fold_0" / "model" / "model.json").read_text(encoding="utf-8"))["record"]
    assert len(record["trained_on"]) == 8
    assert record["held_out"] == []


def test_a_test_part_is_set_aside_and_scored_by_all_folds_together(route):
    settings = [*SMALL, *STANDARD, "--set", "training.steps=2", "--set", "training.folds=2"]
    run = route / "tested"
    glioscope(
        "train", route / "data", "-o", run, "--fold", "all", "--no-validate", "--test", *settings,
        "--set", "training.test_share=0.25",
    )  # fmt: skip
    test = set(json.loads((run / "test.json").read_text(encoding="utf-8")))
    folds = json.loads((run / "folds.json").read_text(encoding="utf-8"))
    assert len(test) == 2
    assert all(test.isdisjoint(fold["train"] + fold["validation"]) for fold in folds)
    assert {row["case_id"] for row in rows_of(run / "test_evaluation" / "cases.csv")} == test
    summary = json.loads((run / "test" / min(test) / "summary.json").read_text(encoding="utf-8"))
    assert len(summary["model"]["members"]) == 2
    assert summary["engine"]["description"].startswith("2 networks")
