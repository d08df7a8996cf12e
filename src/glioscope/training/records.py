"""What a training leaves on disk: the history, slices of validated cases, the checkpoint, a TensorBoard log."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from glioscope.errors import RunError
from glioscope.files import atomic_path, csv_text, remove_scratch, write_text
from glioscope.labels import REGIONS
from glioscope.runs import Glimpse
from glioscope.training.steps import Show, State, mean_of

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # the curves are in history.csv all the same
    SummaryWriter = None  # type: ignore[assignment, misc]

HISTORY_COLUMNS = (
    "step", "epoch", "seconds", "stage", "learning_rate", "train_loss", "train_dice", "train_accuracy", "val_loss",
)  # fmt: skip
"""Then ``val_dice_WT`` and so on for each region learnt, ``val_dice`` and ``val_accuracy``."""


class History:
    """The table of a fold's training, a row per report; rewritten whole, so never half a row."""

    def __init__(self, path: Path, *, until_step: int = 0, regions: tuple[str, ...] = REGIONS) -> None:
        self.path = path
        self.columns = (*HISTORY_COLUMNS, *(f"val_dice_{name}" for name in regions), "val_dice", "val_accuracy")
        self.rows: list[dict[str, str]] = []
        if until_step and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= until_step]

    def add(self, **values: float) -> None:
        """Add a row and write the file; columns not given stay empty."""
        row = dict.fromkeys(self.columns, "")
        row |= {k: str(v) if isinstance(v, int) else f"{v:.6g}" for k, v in values.items()}
        self.rows.append(row)
        write_text(self.path, csv_text(self.columns, ([row[c] for c in self.columns] for row in self.rows)))


def glimpses(folder: Path, state: State) -> Show:
    """Return a function that keeps the axial slice of a validated case where the reference has most tumour.

    What a run wrote beyond the step it goes on from is removed first, as from its history.
    """
    for kept in folder.glob("*/*.npz"):
        if not kept.stem.isdigit() or int(kept.stem) > state.step:
            kept.unlink()
    for place in folder.glob("*/"):
        remove_scratch(place)

    def show(case_id: str, spacing_mm: float, image: Tensor, reference: Tensor, prediction: Tensor) -> None:
        k = int(reference.sum((0, 1, 2)).argmax())  # inner regions count again
        image, reference, prediction = (part[..., k].cpu() for part in (image, reference, prediction))
        made = Glimpse(
            image=image.half().numpy(),
            prediction=prediction.bool().numpy(),
            reference=reference.bool().numpy(),
            spacing_mm=spacing_mm,
        )
        made.write(folder / case_id / f"{state.step:06}.npz")

    return show


def row_of(state: State, spacing_mm: float, rate: float, steps_per_epoch: float) -> dict[str, float]:
    """Return the row of the history that sums up the steps since the last one."""
    loss, dice, accuracy = (mean_of(column) for column in zip(*state.running, strict=True))
    return {
        "step": state.step,
        "epoch": state.step / steps_per_epoch,
        "seconds": state.seconds,
        "stage": spacing_mm,
        "learning_rate": rate,
        "train_loss": float(loss),
        "train_dice": float(dice),
        "train_accuracy": float(accuracy),
    }


def save(state: State, path: Path) -> None:
    """Write a checkpoint, complete and on the disk before it takes the place of the last one.

    Raises
    ------
    RunError
        The disk is full, or the folder cannot be written.
    """
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "since_best": state.since_best,
        "running": state.running,
    }
    try:
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (RuntimeError, OSError) as error:  # torch wraps the system's error in one of its own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path}: step {state.step} cannot be saved ({first}); free space, then go on from the last checkpoint "
            "with --resume"
        ) from error


def load(state: State, path: Path) -> None:
    """Continue from a checkpoint.

    Raises
    ------
    RunError
        It was made with other settings, or is damaged.
    """
    try:
        content = torch.load(path, map_location=state.device, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise RunError(f"{path}: does not fit these settings ({error}); resume with those it was begun with") from error
    state.step, state.seconds = content["step"], content["seconds"]
    state.best, state.since_best = content["best"], content["since_best"]
    state.running = [tuple(values) for values in content.get("running", [])]


def tensorboard(folder: Path, step: int) -> Callable[[Mapping[str, float]], None]:
    """Return a function that logs a history row to TensorBoard, or to nowhere if it is not installed."""
    if SummaryWriter is None:
        return lambda _row: None
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(row: Mapping[str, float]) -> None:
        for key, number in row.items():
            if key not in ("step", "epoch", "seconds", "stage"):
                writer.add_scalar(key, number, int(row["step"]))
        writer.flush()

    return add
