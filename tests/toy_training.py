"""Toy cases to train on in seconds, and programs that kill a training or share it between processes.

Run as a program it prints JSON. Processes are forked from one that has torch loaded already: to load it for each would
take longer than all their steps.
"""

import csv
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from glioscope.model.network import NetworkConfig
from glioscope.prepare.preprocessing import PreparedCase, save_prepared
from glioscope.space.grid import Box, Grid
from glioscope.training import FoldFiles, FoldSettings, Progress, Team, TrainingConfig, train_fold
from glioscope.training.augment import AugmentConfig
from glioscope.training.losses import LossConfig

SETTINGS = FoldSettings(
    network=NetworkConfig(widths=(4, 8), blocks=(1, 1)),
    augment=AugmentConfig(),
    loss=LossConfig(),
    training=TrainingConfig(steps=6, validations=2, validation_cases=1, precision="fp32", checkpoint_seconds=1e9),
)


SMALL = (
    "network.widths=[4, 8]",
    "network.blocks=[1, 1]",
    "training.steps=1",
    "training.folds=2",
    "training.learning_rate=0.0",
    "training.precision=fp32",
)
"""Settings, as on the command line, of a run that ends at once."""


def toy_case(seed: int, shape: tuple[int, int, int] = (12, 16, 12)) -> PreparedCase:
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


def save_toys(folder: Path, count: int = 3) -> Path:
    """Save toy cases, every second of them of another size."""
    for seed in range(count):
        save_prepared(folder, toy_case(seed, (12, 16, 12) if seed % 2 == 0 else (16, 12, 16)))
    return folder


def history_of(folder: Path) -> list[dict[str, str]]:
    """The rows of a history, without the seconds, which no two runs share."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def forked(work: Callable[[], None]) -> int:
    """Do the work in a process of its own and return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def finished(process: int) -> None:
    _, status = os.waitpid(process, 0)
    assert status == 0, status


def killed_training(folder: Path, kills: int, steps: int) -> dict[str, object]:
    """Train without a break, and with `kills` SIGKILLs at random moments; say what came out different."""
    prepared = save_toys(folder / "prepared", 4)
    training = replace(SETTINGS.training, steps=steps, validations=steps // 8, checkpoint_seconds=0.0)
    settings = replace(SETTINGS, training=training, augment=AugmentConfig(elastic=0.5))

    def train(name: str, on_progress: Callable[[Progress], None] = lambda _: None) -> None:
        files = FoldFiles(folder=folder / name, prepared=prepared, train=("case0", "case1"), validation=("case2",))
        train_fold(files, settings, resume=True, on_progress=on_progress)

    finished(forked(lambda: train("whole")))
    dice, killed_at = random.Random(kills), []
    for _ in range(kills):
        reader, writer = os.pipe()
        process = forked(lambda end=writer: train("cut", lambda p: os.write(end, b"%d\n" % p.step) and None))  # type: ignore[misc]
        os.close(writer)
        with os.fdopen(reader) as lines:
            for _ in range(dice.randint(1, steps // (kills + 1))):
                last = lines.readline()
            time.sleep(dice.uniform(0, 0.1))  # anywhere in the next steps: computing, averaging, saving
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            killed_at.append(int((lines.read() or last).split()[-1]))
    finished(forked(lambda: train("cut")))
    whole, cut = (torch.load(folder / name / "last.pt", weights_only=True) for name in ("whole", "cut"))
    parts = ("network", "average", "optimiser", "step", "best", "since_best", "running")
    return {
        "killed_at": killed_at,
        "different": [part for part in parts if not same(whole[part], cut[part])],
        "history": history_of(folder / "whole") == history_of(folder / "cut"),
        "left_over": sorted(path.name for path in (folder / "cut").glob(".*")),
    }


def same(a: object, b: object) -> bool:
    """Whether two parts of a checkpoint are equal, bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)  # type: ignore[arg-type]
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)  # type: ignore[attr-defined, index]
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type, call-overload]
    return a == b


def shared_training(folder: Path, members: int, steps: int) -> dict[str, object]:
    """Train alone and in several processes with the same batches; return both histories."""
    prepared = save_toys(folder / "prepared", 5)
    training = replace(SETTINGS.training, steps=steps, batch=members, validations=3, validation_cases=3)
    settings = replace(SETTINGS, training=training)

    def train(name: str, team: Team) -> None:
        files = FoldFiles(
            folder=folder / name,
            prepared=prepared,
            train=("case0", "case1"),
            validation=("case2", "case3", "case4"),
        )
        train_fold(files, settings, team=team)

    def member(rank: int) -> None:
        store = f"file://{folder / 'store'}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=members)
        train("shared", Team(rank=rank, count=members, device=torch.device("cpu")))
        distributed.destroy_process_group()

    finished(forked(lambda: train("alone", Team(device=torch.device("cpu")))))
    for process in [forked(lambda rank=rank: member(rank)) for rank in range(members)]:  # type: ignore[misc]
        finished(process)
    return {name: history_of(folder / name) for name in ("alone", "shared")}


if __name__ == "__main__":
    torch.set_num_threads(1)
    program = {"killed": killed_training, "shared": shared_training}[sys.argv[1]]
    sys.stdout.write(json.dumps(program(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
