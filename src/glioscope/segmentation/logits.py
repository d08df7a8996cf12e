"""The network's logits of a case, kept small: what clicks are answered from, and where it doubts.

Calibrated logits of WT, TC and ET in whole eighths from -16 to 16, around the brain, on the grid of the case's files.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError, GeometryError
from glioscope.files import atomic_path
from glioscope.prepare.preprocessing import PreparedCase, restore
from glioscope.space.grid import Box, Grid, bounding_box, cut

LOGIT_STEPS = 8
"""Of one unit."""
FILE = "logits.npz"
"""Name in a case's folder."""


def logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return probabilities of any shape as logits in `LOGIT_STEPS`, cut off at -16 and 16."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.clip(np.round(LOGIT_STEPS * np.log(p / (1 - p))), -127, 127).astype(np.int8)


def write_logits(path: Path, probabilities: NDArray[np.float32], prepared: PreparedCase) -> None:
    """Write a case's logits around the brain, on the grid of its files: what clicks are answered from."""
    box = bounding_box(restore(prepared.brain, prepared), margin=4)
    whole = restore(probabilities, prepared)
    kept = logits_of(cut(whole, box))
    with atomic_path(path) as scratch, scratch.open("wb") as file:
        np.savez(file, logits=kept, start=np.array(box.start), shape=np.array(whole.shape[1:]))


def read_logits(path: Path, grid: Grid, box: Box | None = None) -> NDArray[np.int8]:
    """Return logits (3, i, j, k) on a grid, or on a part of it; -16 where none were kept.

    Raises
    ------
    CaseError
        The file is absent or damaged.
    GeometryError
        It belongs to another grid.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            kept, start, shape = stored["logits"], stored["start"], tuple(stored["shape"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise CaseError(f"{path}: the network's logits cannot be read ({error}); segment the case again") from error
    if shape != grid.shape:
        raise GeometryError(f"{path}: belongs to a grid of {shape} voxels, the case has {grid.shape}")
    box = box or Box((0, 0, 0), grid.shape)
    i, j, k = (int(n) for n in start)
    moved = Box(
        (box.start[0] - i, box.start[1] - j, box.start[2] - k), (box.stop[0] - i, box.stop[1] - j, box.stop[2] - k)
    )
    return cut(kept, moved, fill=-127)


def probabilities_of(logits: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the probabilities that logits in `LOGIT_STEPS` stand for."""
    table = (1 / (1 + np.exp(-np.arange(-128, 128) / LOGIT_STEPS))).astype(np.float32)
    return table[logits.astype(np.int16) + 128]
