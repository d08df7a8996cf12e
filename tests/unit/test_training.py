"""The loop on toy cases: it learns, stops where told, and continues to the same bytes."""

import csv
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioscope.errors import CaseError, ConfigError, RunError  # noqa: E402
from glioscope.model.network import NetworkConfig  # noqa: E402
from glioscope.prepare.preprocessing import PreparedCase, save_prepared  # noqa: E402
from glioscope.runs import Glimpse  # noqa: E402
from glioscope.space.grid import Box, Grid  # noqa: E402
from glioscope.training import FoldFiles, Stage, TrainingConfig, train_fold  # noqa: E402
from glioscope.training import records as training_records  # noqa: E402
from glioscope.training import steps as training_steps  # noqa: E402
from glioscope.training.augment import OFF, AugmentConfig  # noqa: E402
from glioscope.training.choosing import usable, window_of  # noqa: E402
from glioscope.training.losses import LossConfig  # noqa: E402
from glioscope.training.muon import UPDATE_RMS, Muon, orthogonal  # noqa: E402
from glioscope.training.samples import Samples  # noqa: E402
from glioscope.training.settings import learning_rate, stage_at  # noqa: E402
from glioscope.training.team import ALONE, Team  # noqa: E402
from toy_training import SETTINGS, history_of, save_toys, toy_case  # noqa: E402


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return save_toys(tmp_path_factory.mktemp("prepared"))


def train(folder, prepared, settings=SETTINGS, **options):
    files = FoldFiles(folder=folder, prepared=prepared, train=("case0", "case1"), validation=("case2",))
    return train_fold(files, settings, **options)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_same_seed_same_bytes_and_resume_is_uninterrupted(tmp_path, prepared, optimiser):
    training = replace(SETTINGS.training, optimiser=optimiser)
    settings = replace(SETTINGS, augment=AugmentConfig(elastic=0.5), training=training)
    whole = train(tmp_path / "whole", prepared, settings)

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path / "cut", prepared, settings, on_progress=stop)
    beyond = tmp_path / "cut" / "samples" / "case2" / "000005.npz"
    beyond.write_bytes(b"of a step after the checkpoint")
    resumed = train(tmp_path / "cut", prepared, settings, resume=True)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    for run in ("whole", "cut"):
        assert sorted(p.name for p in beyond.parents[3].glob(f"{run}/samples/*/*")) == ["000003.npz", "000006.npz"]
    kept = [(tmp_path / run / "samples" / "case2" / "000006.npz").read_bytes() for run in ("whole", "cut")]
    assert kept[0] == kept[1]


def test_each_validation_keeps_the_slice_with_most_tumour(tmp_path, prepared):
    train(tmp_path, prepared)
    case = toy_case(2)
    seen = Glimpse.read(tmp_path / "samples" / "case2" / "000003.npz")
    k = int(np.count_nonzero(case.reference, axis=(0, 1, 2)).argmax())
    assert (seen.reference == case.reference[..., k]).all()  # (12, 16) needs no padding
    assert np.allclose(seen.image, case.image[..., k], atol=0.01)
    assert seen.prediction.shape == seen.reference.shape
    assert seen.spacing_mm == 1
    with pytest.raises(RunError, match="is damaged"):
        Glimpse.read(tmp_path / "history.csv")


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
    train(tmp_path, prepared, replace(SETTINGS, training=training), resume=True, on_progress=seen.append)
    assert seen[-1].step == 6  # and a run that has stopped stays so


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
    window = window_of(case, "notebook")
    assert window.image.shape == (3, 128, 128, 128)
    assert np.argwhere(window.reference[0]).tolist() == [[0, 4, 0]]  # [56:184, 56:184, 13:141]


def test_a_stage_is_in_millimetres():
    """Of a network at 3 mm, 6 mm are two voxels; what is no whole number of voxels is refused."""
    coarse = replace(
        SETTINGS, spacing_mm=3.0, training=TrainingConfig(stages=(Stage(spacing_mm=6, share=0.5), Stage(share=0.5)))
    )
    assert [coarse.factor(stage) for stage in coarse.training.stages] == [2, 1]
    for spacing in (2.0, 4.0):
        with pytest.raises(ConfigError, match=rf"has spacing_mm {spacing:g}; it must be a whole multiple of .* 3"):
            replace(SETTINGS, spacing_mm=3.0, training=TrainingConfig(stages=(Stage(spacing_mm=spacing),)))


def test_settings_without_effect_are_refused():
    with pytest.raises(ConfigError, match="network with region outputs has one loss"):
        replace(SETTINGS, loss=LossConfig(name="dice+focal"))
    for setting, value in (("widths", (4, 8)), ("blocks", (2, 2))):
        with pytest.raises(ConfigError, match=rf"network\.{setting} is .*, but 'original' has"):
            NetworkConfig(name="original", **{setting: value})
    assert NetworkConfig(name="original").divisor == 16


def test_stages_follow_their_shares():
    stages = (Stage(spacing_mm=2, share=0.6), Stage(share=0.4))
    assert [stage_at(stages, f).spacing_mm for f in (0, 0.59, 0.6, 1)] == [2, 2, None, None]


def test_learning_rate_rises_falls_and_ends_at_one_per_cent():
    config = TrainingConfig(learning_rate=1.0, warm_up=0.1)
    assert learning_rate(config, 0.05) == pytest.approx(0.5)
    assert learning_rate(config, 0.1) == pytest.approx(1.0)
    assert learning_rate(config, 0.55) == pytest.approx(0.505)
    assert learning_rate(config, 1.0) == pytest.approx(0.01)
    assert math.isclose(learning_rate(replace(config, schedule="constant"), 0.9), 1.0)


def test_shares_must_add_up():
    with pytest.raises(ConfigError, match=r"shares \[0.5, 0.4\]; they must add up to 1"):
        TrainingConfig(stages=(Stage(share=0.5), Stage(share=0.4)))


def test_a_step_that_was_half_done_is_not_saved(tmp_path, prepared, monkeypatch):
    """Interrupted between the weights and their mean, the last whole step is what can be continued exactly."""
    whole = train(tmp_path / "whole", prepared)
    update, calls = training_steps._update_average, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        update(*arguments)

    monkeypatch.setattr(training_steps, "_update_average", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", prepared)
    resumed = train(tmp_path / "cut", prepared, resume=True)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert history_of(tmp_path / "whole") == history_of(tmp_path / "cut")


def test_a_full_disk_is_said_and_the_last_checkpoint_stands(tmp_path, prepared, monkeypatch):
    """The system's own error, from a device that is always full."""

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.step == 3:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path, prepared, on_progress=stop)
    before = (tmp_path / "last.pt").read_bytes()
    save = torch.save

    def full(content, file):
        with open("/dev/full", "wb") as device:  # noqa: PTH123
            save(content, device)

    monkeypatch.setattr(training_records.torch, "save", full)
    with pytest.raises(RunError, match=r"last\.pt: step 6 cannot be saved \(.*free space, then go on .* --resume"):
        train(tmp_path, prepared, resume=True)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [path.name for path in tmp_path.glob(".last*")] == []
    monkeypatch.undo()
    train(tmp_path, prepared, resume=True)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("... can't allocate memory")])
def test_too_little_memory_is_said_and_the_run_can_go_on(tmp_path, prepared, monkeypatch, error):
    def greedy(*_):
        raise error

    seen = []

    def watch(progress):
        seen.append(progress.step)
        if progress.step == 2:
            monkeypatch.setattr(training_steps, "deep_loss", greedy)

    with pytest.raises(RunError, match=r"needs more memory than there is.*--resume"):
        train(tmp_path, prepared, on_progress=watch)
    monkeypatch.undo()
    train(tmp_path, prepared, resume=True, on_progress=lambda p: seen.append(p.step))
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_vanished_data_folder_is_said_and_the_run_can_go_on(tmp_path, prepared):
    copy = tmp_path / "prepared"
    shutil.copytree(prepared, copy)
    seen = []

    def remove(progress):
        seen.append(progress.step)
        if progress.step == 2:
            shutil.rmtree(copy)

    with pytest.raises(CaseError, match=r"case case\d: its prepared form in .* cannot be read"):
        train(tmp_path / "fold", copy, on_progress=remove)
    shutil.copytree(prepared, copy)
    train(tmp_path / "fold", copy, resume=True, on_progress=lambda p: seen.append(p.step))
    assert seen in ([1, 2, 3, 4, 5, 6], [1, 2, 2, 3, 4, 5, 6])  # the sample of step 3 may have been drawn ahead


def assert_same(one, two):
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_members_of_a_team_draw_the_batch_between_them(tmp_path):
    files = FoldFiles(folder=tmp_path, prepared=save_toys(tmp_path, 4), train=tuple(f"case{n}" for n in range(4)))
    settings = replace(SETTINGS, training=replace(SETTINGS.training, batch=4))
    drawn = []
    for team in (ALONE, Team(rank=0, count=2), Team(rank=1, count=2)):
        samples = Samples(usable(files, settings.training), files, settings, team, torch.device("cpu"))
        drawn.append(samples.take(5, Stage()))
        samples.foresee(6, Stage())  # what is drawn ahead is what would be drawn then, and only for that step
        assert torch.equal(samples.take(5, Stage())[0][0], drawn[-1][0][0])
        samples.foresee(6, Stage())
        ahead = samples.take(6, Stage())
        assert torch.equal(samples.take(6, Stage())[0][0], ahead[0][0])
        samples.close()
    alone, first, second = drawn
    assert len(alone) == 4
    for one, two in zip(alone, [*first, *second], strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("room", [0, 20_000, 1024**3])  # bytes: for none, for two, for all four
def test_samples_from_memory_are_those_from_the_file(tmp_path, monkeypatch, room):
    files = FoldFiles(folder=tmp_path, prepared=save_toys(tmp_path, 4), train=tuple(f"case{n}" for n in range(4)))
    settings = replace(SETTINGS, augment=AugmentConfig())
    coarse = Stage(spacing_mm=2, patch=(16, 16, 16))
    monkeypatch.setattr("glioscope.training.samples.COARSE_BYTES", room)
    kept = Samples(usable(files, settings.training), files, settings, ALONE, torch.device("cpu"))
    for step in (0, 1, 2, 3, 4, 5, 6, 7):  # the second epoch is of cases seen before
        fresh = Samples(usable(files, settings.training), files, settings, ALONE, torch.device("cpu"))
        for one, two in zip(kept.take(step, coarse), fresh.take(step, coarse), strict=True):
            assert_same(one, two)
        fresh.close()
    kept.close()


def test_a_batch_that_cannot_be_shared_is_refused():
    assert [list(Team(rank=r, count=2).part(4)) for r in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match=r"training.batch is 3 but 2 processes share it; .*--set training.batch=2"):
        Team(rank=1, count=2).part(3)


def test_every_case_is_some_members():
    shares = [Team(rank=r, count=3).share("abcdefg") for r in range(3)]
    assert shares == ["adg", "be", "cf"]


def test_kernels_of_one_shape_change_together_as_each_would_alone():
    rng = torch.Generator().manual_seed(1)
    shapes = [(6, 5, 3, 3, 3), (6, 5, 3, 3, 3), (40, 3, 1, 1, 1), (6, 5, 3, 3, 3), (40, 3, 1, 1, 1)]
    values = [torch.randn(shape, generator=rng) for shape in shapes]
    gradients = [[torch.randn(shape, generator=rng) for shape in shapes] for _ in range(3)]
    together = [torch.nn.Parameter(value.clone()) for value in values]
    alone = [torch.nn.Parameter(value.clone()) for value in values]
    optimisers = [
        Muon(together, [], lr=0.1, weight_decay=0.1),
        *(Muon([p], [], lr=0.1, weight_decay=0.1) for p in alone),
    ]
    for step in gradients:
        for index, gradient in enumerate(step):
            together[index].grad, alone[index].grad = gradient.clone(), gradient.clone()
        together[1].grad = alone[1].grad = None  # one of a shape may be without
        for optimiser in optimisers:
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_muon_steps_are_orthogonal_in_kernels_and_adams_elsewhere():
    rng = torch.Generator().manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(6, 5, 3, 3, 3, generator=rng))
    tall = torch.nn.Parameter(torch.randn(40, 3, 1, 1, 1, generator=rng))
    bias = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    still = torch.nn.Parameter(torch.ones(2))
    optimiser = Muon([kernel, tall], [bias, still], lr=0.1, weight_decay=0.5)
    before = {p: p.detach().clone() for p in (kernel, tall, bias)}
    kernel.grad = torch.randn(kernel.shape, generator=rng).to(memory_format=torch.channels_last_3d)
    tall.grad = torch.randn(tall.shape, generator=rng)
    bias.grad = torch.tensor([1e-3, -10.0])
    optimiser.step()
    for p, longest in ((kernel, 135), (tall, 40)):
        change = (before[p] * (1 - 0.1 * 0.5) - p.detach()).flatten(1) / (0.1 * UPDATE_RMS * longest**0.5)
        # With the first gradient the momentum is parallel to it, and the nearest orthogonal matrix is U Vᵗ.
        u, _, v = torch.linalg.svd(p.grad.flatten(1), full_matrices=False)
        assert torch.linalg.svdvals(change).sub(0.95).abs().max() < 0.27
        assert torch.nn.functional.cosine_similarity(change.ravel(), (u @ v).ravel(), dim=0) > 0.97
    assert torch.allclose(before[bias] - bias.detach(), torch.tensor([0.1, -0.1]), atol=1e-5)  # Adam's first step
    assert torch.equal(still.detach(), torch.ones(2))
    assert orthogonal(torch.zeros(3, 4)).abs().max() == 0
