"""A machine without torch: segment, evaluate and report all the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.runs import ModelSpec, write_model

pytestmark = pytest.mark.slow

WITHOUT_TORCH = """
import sys
for name in ("torch", "tensorboard", "safetensors", "onnx"):
    sys.modules[name] = None
from glioscope.cli import main
sys.exit(main())
"""


def write_threshold_model(folder: Path) -> Path:
    """A network of one layer: bright FLAIR is whole tumour, brighter is core, bright T1 with contrast enhances."""
    image = ops.parameter([1, 4, -1, -1, -1], np.float32, name="image")
    presence = ops.parameter([1, 4], np.float32, name="presence")
    weights = np.zeros((3, 4, 1, 1, 1), np.float32)
    weights[0, 3] = weights[1, 3] = weights[2, 1] = 4.0
    bias = np.array([-4.0, -6.0, -6.0], np.float32).reshape(1, 3, 1, 1, 1)
    convolved = ops.convolution(image, weights, [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1])
    unused = ops.multiply(ops.reduce_sum(presence, np.array([0, 1])), np.float32(0))
    logits = ops.add(ops.add(convolved, bias), unused)
    for node, name in ((image, "image"), (presence, "presence"), (logits, "logits")):
        node.output(0).get_tensor().set_names({name})
    folder.mkdir()
    openvino.save_model(openvino.Model([logits], [image, presence]), folder / "network.xml")
    spec = ModelSpec(name="threshold", outputs="regions", divisor=1, network={})
    write_model(folder, spec, ["network.xml", "network.bin"])
    return folder


def glioscope(*arguments: str | Path) -> str:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_segment_evaluate_and_report_run_without_torch(tmp_path: Path) -> None:
    config = PhantomConfig(shape=(80, 96, 80), spacing_mm=(2.0, 2.0, 2.0))
    cases = write_phantoms(tmp_path / "data", 2, seed=3, config=config)
    model = write_threshold_model(tmp_path / "model")

    glioscope("segment", tmp_path / "data", "-o", tmp_path / "out", "--model", model)
    for case in cases:
        summary = json.loads((tmp_path / "out" / case.name / "summary.json").read_text("utf-8"))
        assert summary
        assert (tmp_path / "out" / case.name / "segmentation.nii.gz").is_file()

    glioscope("evaluate", tmp_path / "out", tmp_path / "data", "-o", tmp_path / "scores")
    rows = (tmp_path / "scores" / "cases.csv").read_text("utf-8").splitlines()
    assert all(any(case.name in row for row in rows) for case in cases)

    page = tmp_path / "out" / cases[0].name / "report.html"
    page.unlink()
    glioscope("report", tmp_path / "out")
    assert "<html" in page.read_text("utf-8")


def test_train_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "train", str(tmp_path), "-o", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "glioscope[train]" in result.stdout + result.stderr
