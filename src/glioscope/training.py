"""Training one fold, and nothing else.

Read it top to bottom: settings, a sample, a step, a validation, a checkpoint, and `train_fold`, the loop that joins
them. Chance hangs on (seed, step) alone: the case of a step, its augmentation and its dropout are drawn from
generators seeded with both, so a run continued from a checkpoint takes the very steps it would have taken.
"""

import csv
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from glioscope import augment
from glioscope.augment import AugmentConfig
from glioscope.errors import ConfigError, RunError
from glioscope.geometry import Box, cut
from glioscope.losses import Loss, LossConfig, build_loss, classes_from_regions, deep_loss
from glioscope.network import NetworkConfig, StandardUNet, build
from glioscope.preprocessing import PreparedCase, load_prepared
from glioscope.runs import has_bf16
from glioscope.volumes import atomic_path, write_text

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # the curves are in history.csv all the same
    SummaryWriter = None  # type: ignore[assignment, misc]

log = logging.getLogger(__name__)

NOTEBOOK_WINDOW = Box((56, 56, 13), (184, 184, 141))
"""Of a 240×240×155 BraTS volume; the same voxels whether i and j are stored as LPS or RAS."""

HISTORY_COLUMNS = (
    "step", "epoch", "seconds", "stage", "learning_rate", "train_loss", "train_dice", "train_accuracy",
    "val_loss", "val_dice_WT", "val_dice_TC", "val_dice_ET", "val_dice", "val_accuracy",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the training at one spacing."""

    spacing_mm: int = 1
    """A whole multiple of the network's spacing: images are averaged down to it."""
    share: float = 1.0
    """Of the whole budget of steps or minutes; the shares of all stages add up to 1."""
    scale: tuple[float, float] | None = None
    """Zoom range instead of the augmentation's own: a wide one carries weights from coarse to fine."""
    patch: tuple[int, int, int] | None = None
    """Voxels of the window; by default as large as the brain of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long and how."""

    steps: int = 8000
    """Optimiser steps, unless a budget in minutes is given."""
    stages: tuple[Stage, ...] = (Stage(),)
    """From first to last."""
    batch: int = 1
    """Samples per step."""
    window: Literal["brain", "notebook"] = "brain"
    """`notebook`: the fixed crop [56:184, 56:184, 13:141]."""
    minimum_tumour: float = 0.0
    """Training cases with a smaller share of tumour in the window are left out (the notebook: 0.01)."""
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-3
    """At its peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Cosine falls to 1 % at the end of the budget."""
    warm_up: float = 0.03
    """Share of the budget in which the rate rises linearly (cosine only)."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest gradient norm; 0 does not clip."""
    ema: float = 0.99
    """Decay per step of the mean of the weights that is validated and shipped; 0 takes the weights as they are."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the hardware multiplies it."""
    validations: int = 20
    """How often in the whole budget."""
    validation_cases: int = 6
    """Cases validated each time in training; the whole fold is predicted at the end."""
    patience: int = 0
    """Validations without a better Dice after which training stops; 0 never stops early."""
    checkpoint_seconds: float = 120.0
    """Between two checkpoints."""
    folds: int = 5
    test_share: float = 0.0
    """Share of the subjects set aside before folds are dealt, neither trained nor validated on."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isclose(sum(stage.share for stage in self.stages), 1.0, abs_tol=1e-6):
            raise ConfigError(f"training.stages have shares {[s.share for s in self.stages]}; they must add up to 1")
        if self.steps < 1 or self.batch < 1:
            raise ConfigError(f"training.steps is {self.steps} and batch {self.batch}; both must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands: handed to the caller after each step."""

    step: int
    fraction: float
    """Of the budget, 0 to 1."""
    seconds: float
    """Spent in steps, over all sessions of this run."""
    loss: float
    validated: bool
    """Whether the history has a new validation row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSettings:
    """All settings that `train_fold` needs."""

    network: NetworkConfig
    augment: AugmentConfig
    loss: LossConfig
    training: TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFiles:
    """What a fold is trained on, and where it writes."""

    folder: Path
    """Gets ``history.csv``, ``last.pt`` and a TensorBoard log."""
    prepared: Path
    """Cases as `preprocessing.save_prepared` wrote them."""
    train: tuple[str, ...]
    """Case ids."""
    validation: tuple[str, ...] = ()
    """Case ids; without any, nothing is validated."""


@dataclass(slots=True, eq=False)
class _State:
    """What a checkpoint holds, and the precision of this machine."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    precision: str
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    since_best: int = 0


def device_of(name: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """Return the device to train on: CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


# --- a sample ---------------------------------------------------------------------------------------------------------


def _window_of(case: PreparedCase, kind: Literal["brain", "notebook"]) -> PreparedCase:
    """Return the case as it is, or its notebook window (inside a grid of another size: as far from the centre)."""
    if kind == "brain":
        return case
    centre = (np.array(case.whole.shape) - (240, 240, 155)) // 2
    start = np.array(NOTEBOOK_WINDOW.start) + centre - np.array(case.box.start)
    box = Box(tuple(int(x) for x in start), tuple(int(x) for x in start + 128))  # type: ignore[arg-type]
    assert case.reference is not None
    return replace(case, image=cut(case.image, box), reference=cut(case.reference, box))


def _at_stage(case: PreparedCase, stage: Stage, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return image and regions on the device, averaged down to the stage's spacing."""
    assert case.reference is not None
    image = torch.from_numpy(np.ascontiguousarray(case.image, np.float32)).to(device)
    regions = torch.from_numpy(np.ascontiguousarray(case.reference)).to(device, torch.float32)
    if stage.spacing_mm > 1:
        image, regions = (
            functional.avg_pool3d(image, stage.spacing_mm),
            functional.avg_pool3d(regions, stage.spacing_mm),
        )
    return image, regions


def _padded(shape: Sequence[int], divisor: int) -> tuple[int, int, int]:
    i, j, k = (max(divisor, math.ceil(n / divisor) * divisor) for n in shape)
    return i, j, k


def draw_sample(
    case: PreparedCase,
    stage: Stage,
    config: AugmentConfig,
    rng: np.random.Generator,
    divisor: int,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one augmented sample: image (c, i, j, k), regions (3, i, j, k), presence (c,)."""
    image, regions = _at_stage(case, stage, device)
    shape = stage.patch or _padded(image.shape[1:], divisor)
    parameters = augment.draw(config, rng, presence=case.presence, scale=stage.scale)
    return augment.apply(image, regions, parameters, shape=shape)


# --- a step -----------------------------------------------------------------------------------------------------------


def _forward(network: nn.Module, image: Tensor, presence: Tensor, precision: str, *, deep: bool) -> list[Tensor]:
    image = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16"):
        if deep and isinstance(network, StandardUNet):
            return network.forward_deep(image, presence)
        return [network(image, presence)]


def _dice_and_accuracy(logits: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return Dice of WT, TC, ET, (3,), nan where both are empty, and voxel accuracy over four classes."""
    if logits.shape[1] == 3:
        predicted = logits > 0
        classes = classes_from_regions(predicted)
    else:
        classes = logits.argmax(1)
        predicted = torch.stack([classes > 0, (classes == 1) | (classes == 3), classes == 3], 1)
    reference = regions > 0.5
    axes = (0, 2, 3, 4)
    overlap, size = (predicted & reference).sum(axes), predicted.sum(axes) + reference.sum(axes)
    accuracy = (classes == classes_from_regions(regions)).float().mean()
    return 2 * overlap / size, accuracy  # 0 / 0 is nan


def _learning_rate(config: TrainingConfig, fraction: float) -> float:
    if config.schedule == "constant":
        return config.learning_rate
    if fraction < config.warm_up:
        return config.learning_rate * max(0.01, fraction / config.warm_up)
    falling = (fraction - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, falling))))


def _update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the mean towards the weights; early on it follows faster, so that it forgets the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - decay) if mean.is_floating_point() else mean.copy_(now)


def _optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Decay only the kernels: biases, norms and presence shifts are left free."""
    kernels = [p for p in network.parameters() if p.ndim > 2]
    others = [p for p in network.parameters() if p.ndim <= 2]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate)


# --- a validation -----------------------------------------------------------------------------------------------------


def validate(
    network: nn.Module, cases: Sequence[PreparedCase], stage: Stage, loss: Loss, divisor: int, precision: str
) -> dict[str, float]:
    """Return mean loss, Dice per region and accuracy over whole cases at the stage's spacing.

    A region that is empty in prediction and reference counts as 1, as in the challenge.
    """
    device = next(network.parameters()).device
    rows, dice = [], []
    network.eval()
    with torch.inference_mode():
        for case in cases:
            image, regions = _at_stage(case, stage, device)
            plain = augment.AugmentParameters(
                channels=(augment.ChannelChange(),) * len(image), presence=tuple(bool(p) for p in case.presence)
            )
            image, regions, presence = augment.apply(image, regions, plain, shape=_padded(image.shape[1:], divisor))
            logits = _forward(network, image[None], presence[None], precision, deep=False)[0].float()
            scores, accuracy = _dice_and_accuracy(logits, regions[None])
            dice.append(scores.nan_to_num(1.0).cpu().numpy())
            rows.append((float(loss(logits, regions[None])), float(accuracy)))
    network.train()
    mean_loss, accuracy_mean = np.mean(rows, axis=0)
    whole, core, enhancing = np.mean(dice, axis=0)
    return {
        "val_loss": float(mean_loss),
        "val_dice_WT": float(whole),
        "val_dice_TC": float(core),
        "val_dice_ET": float(enhancing),
        "val_dice": float(np.mean(dice)),
        "val_accuracy": float(accuracy_mean),
    }


# --- history and checkpoints ------------------------------------------------------------------------------------------


class History:
    """The table of a fold's training, a row per report; rewritten whole, so never half a row."""

    def __init__(self, path: Path, *, until_step: int = 0) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if until_step and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= until_step]

    def add(self, **values: float) -> None:
        """Add a row and write the file; columns not given stay empty."""
        row = dict.fromkeys(HISTORY_COLUMNS, "")
        row |= {k: str(v) if isinstance(v, int) else f"{v:.6g}" for k, v in values.items()}
        self.rows.append(row)
        lines = [",".join(HISTORY_COLUMNS), *(",".join(r[c] for c in HISTORY_COLUMNS) for r in self.rows)]
        write_text(self.path, "\n".join(lines) + "\n")


def _save(state: _State, path: Path) -> None:
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "since_best": state.since_best,
    }
    with atomic_path(path) as scratch:
        torch.save(content, scratch)


def _load(state: _State, path: Path, device: torch.device) -> None:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise RunError(f"{path}: does not fit these settings ({error}); resume with those it was begun with") from error
    state.step, state.seconds = content["step"], content["seconds"]
    state.best, state.since_best = content["best"], content["since_best"]


# --- the loop ---------------------------------------------------------------------------------------------------------


def train_fold(
    files: FoldFiles,
    config: FoldSettings,
    *,
    minutes: float | None = None,
    resume: bool = False,
    initial: Path | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> nn.Module:
    """Train one fold and return the network to ship.

    Parameters
    ----------
    files : FoldFiles
        Where the cases lie, which of them to train on, and where to write.
    minutes : float, optional
        Budget of wall time spent in steps; replaces ``training.steps``.
    resume : bool
        Continue from ``last.pt`` if there is one.
    initial : Path, optional
        ``weights.safetensors`` to start from.
    device : torch device, optional
        By default CUDA where there is one.

    Raises
    ------
    ConfigError
        No training case is left.
    RunError
        The checkpoint does not fit, or the folder cannot be written.
    """
    settings = config.training
    device = device or device_of()
    state = _begin(config, device, initial)
    checkpoint = files.folder / "last.pt"
    if resume and checkpoint.is_file():
        _load(state, checkpoint, device)
    history = History(files.folder / "history.csv", until_step=state.step)
    names = _usable(files, settings)
    held_out = _held_out(files, settings)
    loss = build_loss(config.loss, config.network.outputs)
    board = _tensorboard(files.folder)
    running: list[tuple[float, float, float]] = []
    saved = time.monotonic()
    try:
        while (done := _fraction(state, settings, minutes)) < 1:
            began = time.monotonic()
            stage, rate = _stage(settings.stages, done), _learning_rate(settings, done)
            batch = _batch(names, files.prepared, stage, config, state.step, device)
            values = _step(state, batch, rate, loss, config)
            running.append(values)
            state.seconds += time.monotonic() - began
            now = _fraction(state, settings, minutes)
            validated = bool(held_out) and _due(done, now, settings.validations)
            if validated or state.step % 20 == 0 or now >= 1:
                row = _report(state, stage, rate, running, len(names) / settings.batch)
                running.clear()
                if validated:
                    row |= validate(state.average, held_out, stage, loss, config.network.divisor, state.precision)
                    _note_best(state, row["val_dice"])
                history.add(**row)
                board(row)
            if validated or time.monotonic() - saved > settings.checkpoint_seconds:
                _save(state, checkpoint)
                saved = time.monotonic()
            on_progress(
                Progress(
                    step=state.step,
                    fraction=min(1.0, now),
                    seconds=state.seconds,
                    loss=values[0],
                    validated=validated,
                )
            )
            if settings.patience and state.since_best >= settings.patience:
                log.info("no better Dice in %d validations; stopped early", settings.patience)
                break
    finally:  # also when interrupted
        if state.step:
            _save(state, checkpoint)
    return state.average.eval()


def _begin(config: FoldSettings, device: torch.device, initial: Path | None) -> _State:
    torch.manual_seed(config.training.seed)
    network = build(config.network).to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if initial is not None:
        network.load_state_dict(load_file(initial))
    average = build(config.network).to(device)
    average.load_state_dict(network.state_dict())
    precision = config.training.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or has_bf16() else "fp32"
    return _State(network=network, average=average, optimiser=_optimiser(network, config.training), precision=precision)


def _fraction(state: _State, settings: TrainingConfig, minutes: float | None) -> float:
    """Return how much of the budget is spent, from 0."""
    return state.seconds / (60 * minutes) if minutes else state.step / settings.steps


def _due(before: float, now: float, count: int) -> bool:
    """Return whether one of `count` even marks lies between the two fractions, the last at the very end."""
    return math.floor(min(1.0, now) * count + 1e-9) > math.floor(before * count + 1e-9)


def _note_best(state: _State, dice: float) -> None:
    state.since_best = 0 if dice > state.best else state.since_best + 1
    state.best = max(state.best, dice)


def _step(
    state: _State, batch: tuple[Tensor, Tensor, Tensor], rate: float, loss: Loss, config: FoldSettings
) -> tuple[float, float, float]:
    """Take one optimiser step; return loss, Dice and accuracy of the batch."""
    settings, weight = config.training, config.loss.deep_supervision
    image, regions, presence = batch
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    torch.manual_seed(settings.seed * 1_000_003 + state.step)  # dropout
    outputs = _forward(state.network, image, presence, state.precision, deep=weight > 0)
    value = deep_loss(loss, outputs, regions, weight)
    state.optimiser.zero_grad(set_to_none=True)
    value.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip or math.inf)
    if torch.isfinite(norm):
        state.optimiser.step()
    else:
        log.warning("step %d: gradient is not finite; the step is skipped", state.step)
    state.step += 1
    _update_average(state.average, state.network, settings.ema, state.step)
    with torch.no_grad():
        scores, accuracy = _dice_and_accuracy(outputs[0].float(), regions)
    return float(value.detach()), float(scores.nan_to_num(1.0).mean()), float(accuracy)


def _batch(
    names: Sequence[str], prepared: Path, stage: Stage, config: FoldSettings, step: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the batch of a step: a function of the seed and the step alone."""
    settings = config.training
    samples = []
    for position in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, index = divmod(position, len(names))
        order = np.random.default_rng([settings.seed, 1, epoch]).permutation(len(names))
        rng = np.random.default_rng([settings.seed, 2, position])
        case = _window_of(load_prepared(prepared, names[order[index]]), settings.window)
        samples.append(draw_sample(case, stage, config.augment, rng, config.network.divisor, device))
    if settings.batch > 1:  # windows as large as each brain do not stack
        largest = tuple(int(n) for n in np.max([s[0].shape[1:] for s in samples], axis=0))
        samples = [(_grow(i, largest), _grow(r, largest), p) for i, r, p in samples]
    images, regions, presence = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(regions), torch.stack(presence)


def _grow(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    pad = [amount for n, m in zip(x.shape[:0:-1], shape[::-1], strict=True) for amount in (0, m - n)]
    return functional.pad(x, pad)


def _stage(stages: Sequence[Stage], fraction: float) -> Stage:
    passed = 0.0
    for stage in stages:
        passed += stage.share
        if fraction < passed - 1e-9:
            return stage
    return stages[-1]


def _usable(files: FoldFiles, settings: TrainingConfig) -> list[str]:
    kept = []
    for name in sorted(files.train):
        if settings.minimum_tumour > 0:
            case = _window_of(load_prepared(files.prepared, name), settings.window)
            assert case.reference is not None
            if case.reference[0].mean() < settings.minimum_tumour:
                log.info("case %s: below %g tumour in its window; left out of training", name, settings.minimum_tumour)
                continue
        kept.append(name)
    if not kept:
        raise ConfigError("no training case is left; lower training.minimum_tumour or give more cases")
    return kept


def _held_out(files: FoldFiles, settings: TrainingConfig) -> list[PreparedCase]:
    """Return the cases validated in training, evenly spread over the names."""
    names = _spread(files.validation, settings.validation_cases)
    return [_window_of(load_prepared(files.prepared, name), settings.window) for name in names]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """Return `count` of the names, evenly spread."""
    ordered = sorted(names)
    if len(ordered) <= count:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]


def _report(
    state: _State, stage: Stage, rate: float, running: Sequence[tuple[float, float, float]], steps_per_epoch: float
) -> dict[str, float]:
    loss, dice, accuracy = np.mean(running, axis=0)
    return {
        "step": state.step,
        "epoch": state.step / steps_per_epoch,
        "seconds": state.seconds,
        "stage": stage.spacing_mm,
        "learning_rate": rate,
        "train_loss": float(loss),
        "train_dice": float(dice),
        "train_accuracy": float(accuracy),
    }


def _tensorboard(folder: Path) -> Callable[[Mapping[str, float]], None]:
    """Return a function that logs a history row to TensorBoard, or to nowhere if it is not installed."""
    if SummaryWriter is None:
        return lambda _row: None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def add(row: Mapping[str, float]) -> None:
        for key, number in row.items():
            if key not in ("step", "epoch", "seconds", "stage"):
                writer.add_scalar(key, number, int(row["step"]))
        writer.flush()

    return add
