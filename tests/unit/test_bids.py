"""A data set of BIDS in, a derivative of BIDS out, which the official validator accepts; parts of a cohort."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glioscope.cli import main as glioscope
from glioscope.cli.bids import main as bids_app
from glioscope.errors import CaseError, ConfigError, RunError
from glioscope.segmentation import SegmentOptions, segment
from glioscope.segmentation.derivative import entities, write_derivative, write_group
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_labels, write_volume
from tiny import LPS, tiny_images, write_tiny_case, write_tiny_model

SUFFIXES = {"t1n": "T1w", "t1c": "ce-gadolinium_T1w", "t2w": "T2w", "t2f": "FLAIR"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for stem, seed in (("sub-01_ses-1", 1), ("sub-01_ses-2", 2), ("sub-02", 3)):
        folder = root.joinpath(*stem.split("_"), "anat")
        for code, image in tiny_images(seed=seed).items():
            write_volume(folder / f"{stem}_{SUFFIXES[code]}.nii.gz", image, Grid(image.shape, LPS))
    description = {"Name": "Made by code", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def test_segment_writes_a_derivative(dataset: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    assert glioscope(["segment", str(dataset), "-o", str(out), "--bids", "--model", str(model), "--no-report"]) == 0
    maps = {path.relative_to(out).as_posix() for path in out.rglob("*_dseg.nii.gz")}
    assert maps == {
        "sub-01/ses-1/anat/sub-01_ses-1_desc-glioma_dseg.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_desc-glioma_dseg.nii.gz",
        "sub-02/anat/sub-02_desc-glioma_dseg.nii.gz",
    }
    written = read_labels(out / "sub-02/anat/sub-02_desc-glioma_dseg.nii.gz")
    np.testing.assert_array_equal(written.data, read_labels(out / "glioscope/sub-02/segmentation.nii.gz").data)
    sidecar = json.loads((out / "sub-02/anat/sub-02_desc-glioma_dseg.json").read_text("utf-8"))
    assert sidecar["Sources"][1] == "sub-02/anat/sub-02_ce-gadolinium_T1w.nii.gz"
    assert sidecar["LabelScheme"] == "brats2023"
    table = (out / "desc-glioma_dseg.tsv").read_text("utf-8").splitlines()
    assert table[:2] == ["index\tname\tabbreviation", "0\tBackground\tBG"]
    assert "3\tEnhancing tumour\tET" in table
    assert json.loads((out / "dataset_description.json").read_text("utf-8"))["DatasetType"] == "derivative"
    assert str(tmp_path) not in "".join(path.read_text("utf-8") for path in out.glob("sub-*/**/*.json"))


def test_the_app_takes_participants_then_the_group(
    dataset: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shared = [str(dataset), str(out)]
    assert bids_app([*shared, "participant", "--participant-label", "02", "--model", str(model)]) == 0
    assert [path.name for path in out.rglob("*dseg.nii.gz")] == ["sub-02_desc-glioma_dseg.nii.gz"]
    label = ["--participant_label", "sub-01", "--session-label", "2"]
    assert bids_app([*shared, "participant", *label, "--model", str(model)]) == 0
    assert bids_app([*shared, "group"]) == 0
    rows = list(csv.DictReader((out / "group_glioma.tsv").read_text("utf-8").splitlines(), delimiter="\t"))
    assert [row["case"] for row in rows] == ["sub-01_ses-2", "sub-02"]
    assert float(rows[0]["WT_ml"]) > 0
    assert bids_app([*shared, "participant", "--participant-label", "09", "--model", str(model)]) == 2
    assert "has no participant 09" in capsys.readouterr().err


def test_the_official_validator_accepts_it(dataset: Path, tmp_path: Path, model: Path) -> None:
    beside = Path(sys.executable).parent  # where pip puts it, also in an environment that is not activated
    program = shutil.which("bids-validator-deno", path=str(beside)) or shutil.which("bids-validator")
    if program is None:
        pytest.skip("bids-validator-deno is not installed; it comes with the extra 'dev'")
    out = tmp_path / "out"
    assert bids_app([str(dataset), str(out), "participant", "--model", str(model)]) == 0
    done = subprocess.run([program, str(out), "--json"], capture_output=True, check=False, timeout=300)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("case_id", "subject", "name"),
    [
        ("sub-9_ses-post", "sub-9", "sub-9_ses-post"),
        ("UPENN-GBM-00001_21", "UPENN-GBM-00001", "sub-UPENNGBM00001_ses-21"),
        ("Patient-001_week-000-1", "Patient-001", "sub-Patient001_ses-week0001"),
        ("Brats18_2013_11_1", "2013_11", "sub-201311_ses-Brats182013111"),
        ("患者", "患者", "sub-unnamed"),
    ],
)
def test_names_of_bids_hold_letters_and_digits(case_id: str, subject: str, name: str) -> None:
    assert entities(case_id, subject) == name


def test_two_cases_of_one_name_are_refused(tmp_path: Path, model: Path) -> None:
    for case_id in ("p-1", "p1"):
        segment(write_tiny_case(tmp_path / "in", case_id), tmp_path / "out/glioscope", model=model, options=PLAIN)
    with pytest.raises(CaseError, match="cases p-1 and p1 would both be sub-p1 in BIDS"):
        write_derivative(tmp_path / "out")
    with pytest.raises(RunError, match="segment participants first"):
        write_group(tmp_path / "empty")


PLAIN = SegmentOptions(report=False)


def test_parts_of_a_cohort_are_disjoint_and_resume(tmp_path: Path, model: Path) -> None:
    for n in range(5):
        write_tiny_case(tmp_path / "in", f"p{n}", seed=n)
    (tmp_path / "in/p9").mkdir()
    (tmp_path / "in/p9/odd.nii.gz").touch()
    seen: list[str] = []
    for part in (1, 2, 3):
        options = SegmentOptions(report=False, shard=(part, 3))
        result = segment(tmp_path / "in", tmp_path / "out", model=model, options=options)
        seen += [outcome.case_id for outcome in result.outcomes]
        assert len(result.outcomes) == 2
        assert (tmp_path / f"out/cohort-{part}-of-3.csv").is_file()
    assert sorted(seen) == ["p0", "p1", "p2", "p3", "p4", "p9"]
    again = segment(tmp_path / "in", tmp_path / "out", model=model, options=SegmentOptions(report=False, shard=(2, 3)))
    assert {outcome.status for outcome in again.outcomes} == {"skipped"}
    whole = segment(tmp_path / "in", tmp_path / "out", model=model, options=PLAIN)
    assert [outcome.status for outcome in whole.outcomes] == ["skipped"] * 5 + ["failed"]
    assert len((tmp_path / "out/cohort.csv").read_text("utf-8").splitlines()) == 7


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_a_part_that_cannot_be(shard: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="the first of four is 1/4"):
        SegmentOptions(shard=shard)
