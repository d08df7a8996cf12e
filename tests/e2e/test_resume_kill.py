"""A training that is killed goes on to the very weights it would have had; one that is shared takes the same course."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    check_kills(tmp_path, kills=20, steps=640)


def test_two_processes_follow_the_loss_of_one_with_the_same_batch(tmp_path: Path) -> None:
    found = run("shared", tmp_path, 2, 12)
    alone, shared = found["alone"], found["shared"]
    assert [row["step"] for row in shared] == [row["step"] for row in alone] == ["4", "8", "12"]
    for one, two in zip(alone, shared, strict=True):
        for column in ("train_loss", "train_dice", "val_loss", "val_dice", "val_accuracy"):
            assert float(two[column]) == pytest.approx(float(one[column]), rel=2e-3, abs=1e-4), (one["step"], column)
