"""The loop: draw a batch, take a step, now and then report, validate and save."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from glioscope.errors import RunError
from glioscope.files import remove_scratch
from glioscope.training.choosing import held_out, usable
from glioscope.training.losses import build_loss
from glioscope.training.records import History, glimpses, load, row_of, save, tensorboard
from glioscope.training.samples import Samples
from glioscope.training.settings import (
    FoldFiles,
    FoldSettings,
    Progress,
    TrainingConfig,
    learning_rate,
    stage_at,
)
from glioscope.training.steps import State, begin, take_step, validate
from glioscope.training.team import ALONE, Team, device_of

log = logging.getLogger(__name__)

REPORT_STEPS = 20
"""Steps between two rows of the history, beside those that a validation brings."""


def train_fold(
    files: FoldFiles,
    config: FoldSettings,
    *,
    minutes: float | None = None,
    resume: bool = False,
    initial: Mapping[str, Tensor] | None = None,
    team: Team = ALONE,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> nn.Module:
    """Train one fold and return the network to ship.

    Parameters
    ----------
    files : FoldFiles
        Where the cases lie, which of them to train on, and where to write.
    minutes : float, optional
        Budget of wall time spent in steps; replaces ``training.steps``. How many steps that is depends on the machine's
        speed: only a budget in steps gives the same weights again.
    resume : bool
        Continue from ``last.pt`` if there is one.
    initial : mapping, optional
        Weights to start from, by their names in the network; those of deep supervision may be absent.
    team : Team
        The processes that share the training; only the first writes and calls `on_progress`.

    Raises
    ------
    ConfigError
        No training case is left, the batch cannot be shared, or the initial weights are of another network.
    CaseError
        A prepared case is gone.
    RunError
        The checkpoint does not fit, the folder cannot be written, or memory ran out.
    """
    settings = config.training
    state = begin(config, team.device or device_of(), team, initial)
    checkpoint = files.folder / "last.pt"
    if resume and checkpoint.is_file():
        load(state, checkpoint)
    facts, validation = usable(files, settings), held_out(files, settings, team)
    record = _recorder(files.folder, state) if team.first else lambda _row: None
    show = glimpses(files.folder / "samples", state) if team.first else lambda *_: None
    loss = build_loss(config.loss, config.network.outputs)
    saved = time.monotonic()
    samples = Samples(facts, files, config, team, state.device)
    with _kept(state, checkpoint, team), _closing(samples):
        while (done := _fraction(state, settings, minutes)) < 1 and not _stopped(state, settings):
            began = time.monotonic()
            stage, rate = stage_at(settings.stages, done), learning_rate(settings, done)
            factor = config.factor(stage)
            batch = samples.take(state.step, stage)
            samples.foresee(state.step + 1, stage)
            values = take_step(state, batch, rate, loss, config, team)
            state.running.append(values)
            state.seconds = team.agreed(state.seconds + time.monotonic() - began)
            now = _fraction(state, settings, minutes)
            validated = bool(files.validation) and _due(done, now, settings.validations)
            dice = None
            if validated or state.step % REPORT_STEPS == 0 or now >= 1:
                row = row_of(state, factor * config.spacing_mm, rate, len(facts) / settings.batch)
                state.running.clear()
                if validated:
                    row |= validate(state, validation, factor, loss, config.network.divisor, team, show)
                    dice = row["val_dice"]
                    _note_best(state, dice)
                record(row)
            state.whole = True
            if team.first and (validated or time.monotonic() - saved > settings.checkpoint_seconds):
                save(state, checkpoint)
                saved = time.monotonic()
            if team.first:
                on_progress(
                    Progress(
                        step=state.step,
                        fraction=min(1.0, now),
                        seconds=state.seconds,
                        loss=values[0],
                        dice=dice,
                    )
                )
    return state.average.eval()


def _recorder(folder: Path, state: State) -> Callable[[dict[str, float]], None]:
    history = History(folder / "history.csv", until_step=state.step, regions=state.regions)
    board = tensorboard(folder, state.step)

    def record(row: dict[str, float]) -> None:
        history.add(**row)
        board(row)

    return record


@contextmanager
def _closing(samples: Samples) -> Iterator[None]:
    try:
        yield
    finally:
        samples.close()


@contextmanager
def _kept(state: State, checkpoint: Path, team: Team) -> Iterator[None]:
    """Save at the end, also when interrupted, unless a step is half done: then the last checkpoint stands."""
    if team.first:
        remove_scratch(checkpoint.parent)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise RunError(
            f"{checkpoint.parent}: step {state.step} needs more memory than there is; close other programs or train "
            "with smaller windows (training.stages, patch) or a smaller training.batch, then go on with --resume"
        ) from error
    finally:
        if team.first and state.step and state.whole:
            save(state, checkpoint)


def _out_of_memory(error: Exception) -> bool:
    """Return whether this is torch's or Python's way to say so; on the processor torch has no type of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _fraction(state: State, settings: TrainingConfig, minutes: float | None) -> float:
    """Return how much of the budget is spent, from 0."""
    return state.seconds / (60 * minutes) if minutes else state.step / settings.steps


def _stopped(state: State, settings: TrainingConfig) -> bool:
    """Return whether Dice has not risen for so long that training ends early."""
    if not settings.patience or state.since_best < settings.patience:
        return False
    log.info("no better Dice in %d validations; stopped early", settings.patience)
    return True


def _due(before: float, now: float, count: int) -> bool:
    """Return whether one of `count` even marks lies between the two fractions, the last at the very end."""
    return math.floor(min(1.0, now) * count + 1e-9) > math.floor(before * count + 1e-9)


def _note_best(state: State, dice: float) -> None:
    state.since_best = 0 if dice > state.best else state.since_best + 1
    state.best = max(state.best, dice)
