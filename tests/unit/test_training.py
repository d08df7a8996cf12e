"""The loop on toy cases: it learns, stops where told, and continues to the same bytes."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioscope.augment import OFF, AugmentConfig  # noqa: E402
from glioscope.errors import ConfigError, RunError  # noqa: E402
from glioscope.geometry import Box, Grid  # noqa: E402
from glioscope.losses import LossConfig  # noqa: E402
from glioscope.network import NetworkConfig  # noqa: E402
from glioscope.preprocessing import PreparedCase, save_prepared  # noqa: E402
from glioscope.training import (  # noqa: E402
    FoldFiles,
    FoldSettings,
    Stage,
    TrainingConfig,
    _learning_rate,
    _stage,
    _window_of,
    train_fold,
)

SETTINGS = FoldSettings(
    network=NetworkConfig(widths=(4, 8), blocks=(1, 1)),
    augment=AugmentConfig(),
    loss=LossConfig(),
    training=TrainingConfig(steps=6, validations=2, validation_cases=1, precision="fp32", checkpoint_seconds=1e9),
)


def toy_case(seed: int, shape=(12, 16, 12)) -> PreparedCase:
    """A bright ball in noise: WT, TC and ET are its shells."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    distance = np.linalg.norm(index - np.array(rng.uniform(4, 8, 3))[:, None, None, None], axis=0)
    reference = np.stack([distance < 4, distance < 3, distance < 2])
    image = rng.normal(0, 0.3, (4, *shape)) + reference.sum(0)
    grid = Grid(shape, np.eye(4))
    return PreparedCase(
        case_id=f"case{seed}",
        image=image.astype(np.float32),
        presence=np.ones(4, bool),
        brain=np.ones(shape, bool),
        grid=grid,
        box=Box((0, 0, 0), shape),
        whole=grid,
        native=grid,
        reference=reference,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    for seed in range(3):
        save_prepared(folder, toy_case(seed))
    return folder


def train(folder, prepared, settings=SETTINGS, **options):
    files = FoldFiles(folder=folder, prepared=prepared, train=("case0", "case1"), validation=("case2",))
    return train_fold(files, settings, **options)


@pytest.mark.slow
def test_same_seed_same_bytes_and_resume_is_uninterrupted(tmp_path, prepared):
    settings = replace(SETTINGS, augment=AugmentConfig(elastic=0.5))
    whole = train(tmp_path / "whole", prepared, settings)

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path / "cut", prepared, settings, on_progress=stop)
    resumed = train(tmp_path / "cut", prepared, settings, resume=True)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_history_has_training_and_validation_of_loss_dice_and_accuracy(tmp_path, prepared):
    train(tmp_path, prepared)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert all(row[name] for row in rows for name in row)
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in rows)


@pytest.mark.slow
def test_it_learns_a_bright_ball(tmp_path, prepared):
    training = replace(SETTINGS.training, steps=60, learning_rate=1e-2, ema=0.9)
    train(tmp_path, prepared, replace(SETTINGS, augment=OFF, training=training))
    with (tmp_path / "history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["val_dice_WT"]) > 0.8


@pytest.mark.slow
def test_the_notebooks_network_trains_on_the_same_loop(tmp_path, prepared):
    network = NetworkConfig(name="original", outputs="labels", widths=(16, 32, 64, 128, 256), blocks=(1,) * 5)
    settings = replace(
        SETTINGS,
        network=network,
        augment=OFF,
        loss=LossConfig(name="dice+focal", deep_supervision=0),
        training=replace(SETTINGS.training, steps=2, optimiser="adam", schedule="constant", ema=0, clip=0),
    )
    assert torch.isfinite(train(tmp_path, prepared, settings).head.weight).all()


def test_a_budget_in_minutes_ends_the_run(tmp_path, prepared):
    seen = []
    train(tmp_path, prepared, minutes=1e-6, on_progress=seen.append)
    assert [p.step for p in seen] == [1]
    assert seen[0].fraction == 1


@pytest.mark.slow
def test_early_stop(tmp_path, prepared):
    training = replace(SETTINGS.training, steps=40, validations=20, learning_rate=1e-12, warm_up=0, patience=2)
    seen = []
    train(tmp_path, prepared, replace(SETTINGS, training=training), on_progress=seen.append)
    assert seen[-1].step == 6  # the first validation is the best, two more are no better


def test_checkpoint_of_other_settings_is_refused(tmp_path, prepared):
    train(tmp_path, prepared)
    other = replace(SETTINGS, network=NetworkConfig(widths=(4, 4), blocks=(1, 1)))
    with pytest.raises(RunError, match=r"last.pt: does not fit these settings"):
        train(tmp_path, prepared, other, resume=True)


def test_no_case_left_is_said(tmp_path, prepared):
    settings = replace(SETTINGS, training=replace(SETTINGS.training, minimum_tumour=0.99))
    with pytest.raises(ConfigError, match="no training case is left"):
        train(tmp_path, prepared, settings)


def test_batches_of_unequal_brains_are_padded_to_one_size(tmp_path):
    save_prepared(tmp_path, toy_case(0))
    save_prepared(tmp_path, toy_case(1, shape=(16, 12, 20)))
    settings = replace(SETTINGS, training=replace(SETTINGS.training, steps=1, batch=2))
    files = FoldFiles(folder=tmp_path / "fold", prepared=tmp_path, train=("case0", "case1"))
    network = train_fold(files, settings)
    assert torch.isfinite(network.head.weight).all()


def test_notebook_window_of_a_brats_volume():
    whole = Grid((240, 240, 155), np.eye(4))
    box = Box((50, 60, 10), (190, 180, 150))
    reference = np.zeros((3, *box.shape), bool)
    reference[:, 6, 0, 3] = True  # voxel (56, 60, 13) of the volume
    case = PreparedCase(
        case_id="a", image=np.ones((3, *box.shape), np.float32), presence=np.ones(3, bool),
        brain=np.ones(box.shape, bool),
        grid=whole.crop(box), box=box, whole=whole, native=whole, reference=reference,
    )  # fmt: skip
    window = _window_of(case, "notebook")
    assert window.image.shape == (3, 128, 128, 128)
    assert np.argwhere(window.reference[0]).tolist() == [[0, 4, 0]]  # [56:184, 56:184, 13:141]


def test_stages_follow_their_shares():
    stages = (Stage(spacing_mm=2, share=0.6), Stage(share=0.4))
    assert [_stage(stages, f).spacing_mm for f in (0, 0.59, 0.6, 1)] == [2, 2, 1, 1]


def test_learning_rate_rises_falls_and_ends_at_one_per_cent():
    config = TrainingConfig(learning_rate=1.0, warm_up=0.1)
    assert _learning_rate(config, 0.05) == pytest.approx(0.5)
    assert _learning_rate(config, 0.1) == pytest.approx(1.0)
    assert _learning_rate(config, 0.55) == pytest.approx(0.505)
    assert _learning_rate(config, 1.0) == pytest.approx(0.01)
    assert math.isclose(_learning_rate(replace(config, schedule="constant"), 0.9), 1.0)


def test_shares_must_add_up():
    with pytest.raises(ConfigError, match=r"shares \[0.5, 0.4\]; they must add up to 1"):
        TrainingConfig(stages=(Stage(share=0.5), Stage(share=0.4)))
