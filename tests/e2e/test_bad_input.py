"""What a tired user hands in: each gets one line that names the case and the remedy, and the right exit code."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, tiny_images, write_tiny_case, write_tiny_model

pytestmark = pytest.mark.slow

CASE = "BraTS-GLI-00001-000"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def glioscope(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glioscope", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def segment(data: Path, output: Path, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return glioscope("segment", data, "-o", output, "--model", model, "--no-report", *more)


def file(case: Path, sequence: str) -> Path:
    return case / f"{case.name}-{sequence}.nii.gz"


def doubled(case: Path) -> None:
    (case / f"{case.name}-t1ce.nii.gz").write_bytes(file(case, "t1c").read_bytes())


def other_grid(case: Path) -> None:
    write_volume(file(case, "t2w"), tiny_images()["t2w"], Grid((20, 24, 16), np.diag([1.0, 1, 2, 1])))


def truncated(case: Path) -> None:
    path = file(case, "t1n")
    path.write_bytes(path.read_bytes()[:-600])


def constant(case: Path) -> None:
    write_volume(file(case, "t2f"), np.full((20, 24, 16), 7, np.float32), Grid((20, 24, 16), LPS))


def four_axes(case: Path) -> None:
    image = np.stack([tiny_images()["t1n"]] * 3, axis=-1)
    nib.save(nib.Nifti1Image(image, LPS), file(case, "t1n"))


def colours(case: Path) -> None:
    voxels = np.zeros((20, 24, 16), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(voxels, LPS), file(case, "t1n"))


def empty_file(case: Path) -> None:
    file(case, "t1n").write_bytes(b"")


def only_a_segmentation(case: Path) -> None:
    for sequence in ("t1n", "t1c", "t2w", "t2f"):
        file(case, sequence).unlink()
    write_volume(file(case, "seg"), np.zeros((20, 24, 16), np.uint8), Grid((20, 24, 16), LPS))


DAMAGE = [
    (doubled, r"case CASE: has .*t1c\.nii\.gz and .*t1ce\.nii\.gz for t1c; one file is needed"),
    (other_grid, r"case CASE: t2w has shape .*spacing \(1, 1, 2\) mm.* but t1n has .*; all must share one grid"),
    (truncated, r"CASE-t1n\.nii\.gz: (voxels cannot be read|not a readable NIfTI).*copy it again"),
    (constant, r"case CASE: t2f is constant \(7\)"),
    (four_axes, r"CASE-t1n\.nii\.gz: has shape \(20, 24, 16, 3\); one 3-D volume is needed"),
    (colours, r"CASE-t1n\.nii\.gz: voxels are .*, not real numbers"),
    (empty_file, r"CASE-t1n\.nii\.gz: not a readable NIfTI file"),
    (only_a_segmentation, r"case CASE: has a segmentation but no sequence"),
]


def test_bad_cases_among_good_ones(tmp_path: Path, model: Path) -> None:
    """The good ones are done; each bad one is a row with its reason."""
    for damage, _ in DAMAGE:
        damage(write_tiny_case(tmp_path / "data", damage.__name__.replace("_", "")))
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"good{n}", seed=n)
    answer = segment(tmp_path / "data", tmp_path / "out", model, "--no-raw")
    assert answer.returncode == 3, answer.stderr
    assert "2 segmented, 0 already done, 8 failed" in answer.stdout
    assert "Traceback" not in answer.stderr
    written = sorted(p.parent.name for p in (tmp_path / "out").rglob("segmentation.nii.gz"))
    assert written == ["good0", "good1"]
    with (tmp_path / "out" / "failures.csv").open(encoding="utf-8") as table:
        reasons = {row["case_id"]: row["reason"] for row in csv.DictReader(table)}
    for damage, message in DAMAGE:
        case_id = damage.__name__.replace("_", "")
        assert re.search(message.replace("CASE", case_id), reasons.pop(case_id))
    assert not reasons


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_case_alone_is_one_line(
    tmp_path: Path, model: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(write_tiny_case(tmp_path / "data", CASE))
    answer = segment(tmp_path / "data" / CASE, tmp_path / "out", model, "--no-raw")
    assert answer.returncode == 2
    assert re.fullmatch(rf"glioscope: .*{message.replace('CASE', CASE)}.*\n", answer.stderr)
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_nan_counts_as_background_and_a_missing_sequence_is_flagged(tmp_path: Path, model: Path) -> None:
    images = tiny_images()
    images["t1n"][3:5, 3:5, 3:5] = np.nan
    case = write_tiny_case(tmp_path, CASE, images=images)
    file(case, "t2w").unlink()
    done = segment(case, tmp_path / "out", model)
    assert done.returncode == 0, done.stderr
    assert "missing-t2w" in done.stderr
    assert "missing-t2w" in (tmp_path / "out" / CASE / "summary.json").read_text("utf-8")


def test_an_empty_folder(tmp_path: Path, model: Path) -> None:
    (tmp_path / "data").mkdir()
    for answer in (segment(tmp_path / "data", tmp_path / "out", model), glioscope("check", tmp_path / "data")):
        assert answer.returncode == 2
        assert re.fullmatch(r"glioscope: .*data: holds no case; expected NIfTI files such as .*\n", answer.stderr)


def test_an_output_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path, CASE)
    (tmp_path / "out").write_text("a file is in the way")
    answer = segment(case, tmp_path / "out", model)
    assert answer.returncode == 2
    assert re.search(r"out/.*: cannot be written \(.*\); choose another output folder", answer.stderr)


def test_a_wrong_and_a_damaged_model(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path, CASE)
    wrong = segment(case, tmp_path / "out", tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "has no model.json" in wrong.stderr
    damaged = write_tiny_model(tmp_path / "damaged")
    with (damaged / "network.bin").open("ab") as weights:
        weights.write(b"x")
    answer = segment(case, tmp_path / "out", damaged)
    assert answer.returncode == 2
    assert "network.bin: its checksum differs from model.json" in answer.stderr


def test_labels_that_no_scheme_knows(tmp_path: Path) -> None:
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:8, 4:8, 4:8] = 7
    for place in ("pred", "ref"):
        write_volume(tmp_path / place / "p.nii.gz", labels, Grid(labels.shape, LPS))
    answer = glioscope("evaluate", tmp_path / "pred", tmp_path / "ref", "-o", tmp_path / "out")
    assert answer.returncode == 2
    assert re.search(r"glioscope: .*label.* 7", answer.stderr)
    assert "Traceback" not in answer.stderr


LISTENING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("glioscope", run_name="__main__")
"""
"""Tests may run as a shell's background job, which ignores Ctrl-C and hands that down to what it starts."""


def test_an_interrupted_cohort_goes_on(tmp_path: Path, model: Path) -> None:
    """Ctrl-C after the first case: code 130, nothing half-written, and the same command does the rest."""
    for n in range(40):
        write_tiny_case(tmp_path / "data", f"p{n:02d}", seed=n)
    command = [sys.executable, "-c", LISTENING, "segment", str(tmp_path / "data"), "-o", str(tmp_path / "out")]
    command += ["--model", str(model), "--no-report"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "p00" / "summary.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr is not None
        message = process.stderr.read()
    assert process.returncode == 130, message
    assert "glioscope: interrupted; what was done is kept" in message
    done = sorted(p.parent.name for p in (tmp_path / "out").rglob("summary.json"))
    assert 1 <= len(done) < 40
    assert not [p for p in (tmp_path / "out").rglob(".*") if p.is_file()]
    again = segment(tmp_path / "data", tmp_path / "out", model)
    assert again.returncode == 0
    assert f"{40 - len(done)} segmented, {len(done)} already done, 0 failed" in again.stdout
