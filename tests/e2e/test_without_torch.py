"""A machine without torch: segment, evaluate and report all the same."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.prepare.preprocessing import PreprocessingConfig
from tiny import write_tiny_model

pytestmark = pytest.mark.slow

WITHOUT_TORCH = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorboard", "safetensors", "onnx"):
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Block())
from glioscope.cli import main
sys.exit(main())
"""


def glioscope(*arguments: str | Path, expect: int = 0) -> str:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == expect, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_segment_evaluate_and_report_run_without_torch(tmp_path: Path) -> None:
    coarse = PhantomConfig(shape=(40, 40, 26), spacing_mm=(6.0, 6.0, 6.0))
    names = {case.name for case in write_phantoms(tmp_path / "data", 2, seed=3, config=coarse)}
    model = write_tiny_model(tmp_path / "model", preprocessing=PreprocessingConfig(spacing_mm=6.0))
    out, scores = tmp_path / "out", tmp_path / "scores"

    glioscope("segment", tmp_path / "data", "-o", out, "--model", model)
    assert {path.parent.name for path in out.glob("*/segmentation.nii.gz")} == names
    assert all(json.loads((out / name / "summary.json").read_text("utf-8")) for name in names)

    glioscope("evaluate", out, tmp_path / "data", "-o", scores)
    with (scores / "cases.csv").open(newline="", encoding="utf-8") as file:
        assert {row["case_id"] for row in csv.DictReader(file)} == names

    pages = [out / name / "report.html" for name in names]
    for page in pages:
        page.unlink()
    glioscope("report", out)
    assert all("<html" in page.read_text("utf-8") for page in pages)


def test_train_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    assert "glioscope[train]" in glioscope("train", tmp_path, "-o", tmp_path / "run", expect=2)
