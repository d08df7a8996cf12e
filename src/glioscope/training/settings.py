"""What a training is told, and how it says where it stands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError
from glioscope.labels import RegionsConfig
from glioscope.model.network import NetworkConfig
from glioscope.training.augment import AugmentConfig
from glioscope.training.losses import LossConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the training at one spacing."""

    spacing_mm: float | None = None
    """A whole multiple of ``preprocessing.spacing_mm``, to which images are averaged down; None takes that itself."""
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
    """Samples per step: each goes through the network alone, so memory does not grow with them."""
    hard_cases: float = 1.0
    """How many times as often a hard case is drawn: one with a small core, or a core that hardly enhances."""
    partial_cases: float = 0.4
    """How many times as often a case is drawn of which only some regions are known."""
    window: Literal["brain", "notebook"] = "brain"
    """`notebook`: the fixed crop [56:184, 56:184, 13:141]."""
    minimum_tumour: float = 0.0
    """Training cases with a smaller share of tumour in the window are left out (the notebook: 0.01)."""
    optimiser: Literal["adamw", "adam", "muon"] = "adamw"
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
        for name, value in (("hard_cases", self.hard_cases), ("partial_cases", self.partial_cases)):
            if not 0 < value < math.inf:
                raise ConfigError(f"training.{name} is {value}; it must be above 0 (1 draws such cases as often)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands: handed to the caller after each step."""

    step: int
    fraction: float
    """Of the budget, 0 to 1."""
    seconds: float
    """Spent in steps, over all sessions of this run."""
    loss: float
    dice: float | None
    """Mean Dice of the validation that this step brought; None of other steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSettings:
    """All settings that `train_fold` needs."""

    network: NetworkConfig
    augment: AugmentConfig
    loss: LossConfig
    training: TrainingConfig
    sequences: tuple[str, ...] = SEQUENCES
    """What the input channels are."""
    spacing_mm: float = 1.0
    """Of the prepared cases."""
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    """What the network learns."""

    def __post_init__(self) -> None:
        if self.network.outputs == "regions" and self.loss.name != "auto":
            raise ConfigError(
                f"loss.name is '{self.loss.name}', but a network with region outputs has one loss; leave it at auto, "
                "or set network.outputs to labels"
            )
        for stage in self.training.stages:
            factor = (stage.spacing_mm or self.spacing_mm) / self.spacing_mm
            if factor < 1 or not math.isclose(factor, round(factor), rel_tol=1e-3):
                raise ConfigError(
                    f"training.stages has spacing_mm {stage.spacing_mm:g}; it must be a whole multiple of "
                    f"preprocessing.spacing_mm, {self.spacing_mm:g}"
                )

    def factor(self, stage: Stage) -> int:
        """Return how many voxels of a prepared case make one of a stage's, along each axis."""
        return round((stage.spacing_mm or self.spacing_mm) / self.spacing_mm)


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


def stage_at(stages: Sequence[Stage], fraction: float) -> Stage:
    """Return the stage that holds at a fraction of the budget."""
    passed = 0.0
    for stage in stages:
        passed += stage.share
        if fraction < passed - 1e-9:
            return stage
    return stages[-1]


def learning_rate(config: TrainingConfig, fraction: float) -> float:
    """Return the learning rate at a fraction of the budget."""
    if config.schedule == "constant":
        return config.learning_rate
    if fraction < config.warm_up:
        return config.learning_rate * max(0.01, fraction / config.warm_up)
    falling = (fraction - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, falling))))
