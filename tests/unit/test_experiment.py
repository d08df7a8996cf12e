"""Where a run's weights begin: a file, another model, the network in the package."""

import json
from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import Fold
from glioscope.errors import ConfigError, ModelError, RunError
from glioscope.experiment.export import calibration_cases
from glioscope.model import ModelSpec, read_model, write_model
from glioscope.prepare.preprocessing import save_prepared
from glioscope.runs import Run
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, write_tiny_case

torch = pytest.importorskip("torch")

from safetensors.numpy import load_file  # noqa: E402

from glioscope.experiment.train import TrainOptions, train  # noqa: E402
from toy_training import SMALL, toy_case  # noqa: E402


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two cases with a cube of tumour."""
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:10, 5:11, 4:10] = 2
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
        folder = write_tiny_case(tmp_path / "data", name)
        write_volume(folder / f"{name}-seg.nii.gz", labels, Grid(labels.shape, LPS))
    return tmp_path / "data"


def weights_of(run: Path, fold: int = 0) -> dict[str, np.ndarray]:
    return load_file(run / f"fold_{fold}" / "model" / "weights.safetensors")


def test_a_run_begins_from_another_model_and_goes_on_from_it(dataset: Path, tmp_path: Path) -> None:
    """At a rate of 0 nothing is learnt: what comes out is what it began from, rounded to fp16 by OpenVINO's form."""
    options = TrainOptions(overrides=(*SMALL, "training.learning_rate=1e-3", "training.steps=3"), fold=0)
    train(dataset, tmp_path / "first", options=options)
    model = tmp_path / "first" / "fold_0" / "model"
    first = weights_of(tmp_path / "first")
    spec = read_model(model)
    (model / "weights.safetensors").unlink()
    write_model(model, spec, ["network.xml", "network.bin"])  # no more than the folder in the package holds

    second = tmp_path / "second"
    train(dataset, second, options=TrainOptions(overrides=(*SMALL, "training.seed=1"), fold=0, initial=model))
    exported = [name for name in first if not name.startswith("deep_heads.")]
    for name in exported:
        np.testing.assert_array_equal(weights_of(second)[name], first[name].astype(np.float16).astype(np.float32))
    origin = json.loads((second / "record.json").read_text())["initial"]
    assert origin["place"] == str(model.resolve())

    train(dataset, second, options=TrainOptions(fold=1, resume=True))  # the next fold, told nothing of the weights
    np.testing.assert_array_equal(weights_of(second, 1)["head.weight"], weights_of(second)["head.weight"])

    (model / "model.json").write_text((model / "model.json").read_text() + "\n")
    with pytest.raises(RunError, match="no longer what this run began from"):
        train(dataset, second, options=TrainOptions(fold=1, resume=True))


def test_held_out_cases_that_the_initial_weights_know_are_named(dataset: Path, tmp_path: Path, caplog) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    train(dataset, first, options=TrainOptions(overrides=SMALL, fold=0))
    model = first / "fold_0" / "model"
    (trained,), (held_out,) = (read_model(model).record[part] for part in ("trained_on", "held_out"))
    assert "too good" not in caplog.text

    train(dataset, second, options=TrainOptions(overrides=SMALL, fold=0, initial=model))  # the same fold
    assert "too good" not in caplog.text

    train(dataset, third, options=TrainOptions(overrides=SMALL, fold=1, initial=model))  # the halves exchanged
    assert f"fold 1: the initial weights were trained on 1 of its 1 held-out cases ({trained} first)" in caplog.text
    assert read_model(third / "fold_1" / "model").record["trained_on"] == sorted([trained, held_out])


def test_weights_that_cannot_be_begun_from(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"do not fit the network: they differ in \d+ places"):
        train(dataset, tmp_path / "run", options=TrainOptions(overrides=SMALL, initial=Path("starter")))
    with pytest.raises(ModelError, match="nothing: does not exist; give"):
        train(dataset, tmp_path / "other", options=TrainOptions(overrides=SMALL, initial=tmp_path / "nothing"))
    assert not (tmp_path / "other").exists()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(ModelError, match="is not a file of safetensors"):
        train(dataset, tmp_path / "other", options=TrainOptions(overrides=SMALL, initial=damaged))


def test_int8_reads_its_ranges_from_training_cases_some_with_fewer_sequences(tmp_path: Path) -> None:
    run = Run(tmp_path)
    names = [f"case{number}" for number in range(4)]
    run.write_folds([Fold(tuple(names[:3]), (names[3],))])
    for seed in range(4):  # the held-out case is there too
        save_prepared(run.prepared, toy_case(seed))
    spec = ModelSpec(name="t", outputs="regions", divisor=4, network={})
    shown = calibration_cases(run, 0, spec)
    assert [image.shape for image, _ in shown] == [(4, 12, 16, 12)] * 3
    assert [presence.all() for _, presence in shown] == [True, True, False]
    image, presence = shown[2]
    assert 1 <= presence.sum() <= 3
    assert not image[~presence].any()
    np.testing.assert_array_equal(image[presence], toy_case(2).image[presence].astype(np.float16))  # as it is stored
    for name in names:
        (run.prepared / f"{name}.json").unlink()
    with pytest.raises(RunError, match="holds no training case of fold 0"):
        calibration_cases(run, 0, spec)


def test_a_demo_takes_no_folder_that_it_did_not_make(tmp_path: Path) -> None:
    from glioscope.experiment.demo import MARK, run_demo

    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds files that no demo made"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert MARK in (Path(__file__).parents[2] / "Makefile").read_text("utf-8")  # what `make demo` looks for
