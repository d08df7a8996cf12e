"""A training that is killed goes on to the very weights it would have had; one that is shared takes the same course."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, SHAPE, write_tiny_case

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[1] / "toy_training.py"


def run(program: str, folder: Path, *numbers: int) -> Any:
    command = [sys.executable, str(PROGRAM), program, str(folder), *map(str, numbers)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=1200)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_kills(folder: Path, kills: int, steps: int) -> None:
    found = run("killed", folder, kills, steps)
    assert len(found["killed_at"]) == kills
    assert found["killed_at"][-1] < steps, "the last kill came too late to prove anything"
    assert found["different"] == []
    assert found["history"]
    assert found["left_over"] == []


def test_a_training_killed_three_times_ends_in_the_same_bits(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=3, steps=40)


@pytest.mark.long
def test_a_training_killed_twenty_times_ends_in_the_same_bits(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=20, steps=320)


def test_two_processes_follow_the_loss_of_one_with_the_same_batch(tmp_path: Path) -> None:
    found = run("shared", tmp_path, 2, 12)
    alone, shared = found["alone"], found["shared"]
    assert [row["step"] for row in shared] == [row["step"] for row in alone] == ["4", "8", "12"]
    for one, two in zip(alone, shared, strict=True):
        for column in ("train_loss", "train_dice", "val_loss", "val_dice", "val_accuracy"):
            assert float(two[column]) == pytest.approx(float(one[column]), rel=2e-3, abs=1e-4), (one["step"], column)


SMALL = ("network.widths=[4,8]", "network.blocks=[1,1]", "training.batch=2", "training.precision=fp32")
SHORT = ("training.steps=6", "training.validations=2", "training.folds=3")


@pytest.mark.long
def test_torchrun_trains_as_one_process_does(tmp_path: Path) -> None:
    """The commands that a user types: the same curve, one run folder, and every line printed once."""
    for n in range(6):
        case = write_tiny_case(tmp_path / "data", f"BraTS-GLI-{n:05d}-000", seed=n)
        reference = np.zeros(SHAPE, np.uint8)
        reference[4:10, 5:11, 4:10], reference[6:8, 7:9, 6:8] = 2, 3
        write_volume(case / f"{case.name}-seg.nii.gz", reference, Grid(SHAPE, LPS))
    options = [word for setting in (*SMALL, *SHORT) for word in ("--set", setting)]
    several = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "glioscope"]
    rows, printed = {}, {}
    for name, program in (("one", ["glioscope"]), ("two", several)):
        command = [sys.executable, "-m", *program, "train", "data", "-o", name, "--no-validate", *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0, result.stderr
        printed[name] = result.stdout.replace(name, "run")
        with (tmp_path / name / "fold_0" / "history.csv").open(newline="", encoding="utf-8") as file:
            rows[name] = list(csv.DictReader(file))
    assert printed["one"] == printed["two"]
    for one, two in zip(rows["one"], rows["two"], strict=True):
        for column in ("step", "train_loss", "val_loss", "val_accuracy"):
            assert float(two[column]) == pytest.approx(float(one[column]), rel=2e-3), (one["step"], column)
