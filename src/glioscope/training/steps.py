"""What a training changes with each step, the step itself, and a validation."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import torch
from torch import Tensor, nn

from glioscope.errors import ConfigError
from glioscope.labels import REGIONS
from glioscope.machine import processor
from glioscope.model.network import NetworkConfig, StandardUNet, build
from glioscope.prepare.preprocessing import PreparedCase
from glioscope.training import augment
from glioscope.training.intensities import ChannelChange
from glioscope.training.losses import Loss, classes_from_regions, deep_loss
from glioscope.training.muon import Muon
from glioscope.training.samples import Sample, averaged, padded
from glioscope.training.settings import FoldSettings
from glioscope.training.team import Team

log = logging.getLogger(__name__)

SHOWN_CASES = 2
"""Validated cases of which a slice is kept each time."""
Show = Callable[[str, float, Tensor, Tensor, Tensor], None]
"""Keeps what was seen of a case: its id, spacing in mm, image (c, i, j, k), reference and prediction (3, i, j, k)."""


@dataclass(slots=True, eq=False)
class State:
    """What a checkpoint holds, and what follows from it on this machine."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    outputs: nn.Module
    """The network as a step calls it."""
    precision: str
    regions: tuple[str, ...] = REGIONS
    """What the network learns."""
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    since_best: int = 0
    running: list[tuple[float, float, float]] = field(default_factory=list)
    """Loss, Dice and accuracy of each step since the last row of the history."""
    whole: bool = True
    """False while a step is being taken: what is saved then could not be continued to the same weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.network.parameters()).device


def begin(config: FoldSettings, device: torch.device, team: Team, initial: Mapping[str, Tensor] | None) -> State:
    """Return a fresh state; its weights come from the seed, or are given.

    Raises
    ------
    ConfigError
        The given weights are of another network.
    """
    torch.manual_seed(config.training.seed)
    network = build(config.network).to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if initial is not None:
        _start_from(network, initial)
    average = build(config.network).to(device)
    average.load_state_dict(network.state_dict())
    precision = config.training.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or processor().has_bf16 else "fp32"
    deep = config.loss.deep_supervision > 0
    all_used = deep or not isinstance(network, StandardUNet)
    return State(
        network=network,
        average=average,
        optimiser=_optimiser(network, config),
        outputs=team.parallel(_Outputs(network, precision, deep=deep), all_used=all_used),
        precision=precision,
        regions=config.regions.names,
    )


def _start_from(network: nn.Module, initial: Mapping[str, Tensor]) -> None:
    """Load weights; heads of deep supervision may be absent, as no exported network has them."""
    own = network.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | initial.keys()
        if not (name in own and name in initial and own[name].shape == initial[name].shape)
        and not (name.startswith("deep_heads.") and name not in initial)
    )
    if wrong:
        raise ConfigError(
            f"the initial weights do not fit the network: they differ in {len(wrong)} places, {wrong[0]} first; "
            "train with the [network] settings that they were trained with"
        )
    network.load_state_dict(dict(initial), strict=False)


def _optimiser(network: nn.Module, config: FoldSettings) -> torch.optim.Optimizer:
    """Decay only the kernels: biases, norms and presence shifts are left free."""
    rate, decay = config.training.learning_rate, config.training.weight_decay
    parameters = list(network.parameters())
    if config.training.optimiser == "muon":
        inner = [p.ndim > 2 and not _at_an_end(p, config.network) for p in parameters]
        outer = [not kernel for kernel in inner]
        return Muon(compress(parameters, inner), compress(parameters, outer), lr=rate, weight_decay=decay)
    kernels = [p for p in parameters if p.ndim > 2]
    others = [p for p in parameters if p.ndim <= 2]
    groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.training.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def _at_an_end(kernel: nn.Parameter, config: NetworkConfig) -> bool:
    """Return whether a kernel reads the image or gives the network's outputs."""
    return kernel.shape[1] == config.sequences or kernel.shape[0] == config.output_channels


class _Outputs(nn.Module):
    """The network with every output a loss wants behind one `forward`, which is what DDP can follow."""

    def __init__(self, network: nn.Module, precision: str, *, deep: bool) -> None:
        super().__init__()
        self.network = network
        self._precision = precision
        self._deep = deep

    def forward(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Return logits, the finest first."""
        return forward(self.network, image, presence, self._precision, deep=self._deep)


def forward(network: nn.Module, image: Tensor, presence: Tensor, precision: str, *, deep: bool) -> list[Tensor]:
    """Return the logits of a batch, with `deep` also the coarser ones of a network that has them."""
    image = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16"):
        if deep and isinstance(network, StandardUNet):
            return network.forward_deep(image, presence)
        return [network(image, presence)]


def take_step(
    state: State, samples: Sequence[Sample], rate: float, loss: Loss, config: FoldSettings, team: Team
) -> tuple[float, float, float]:
    """Take one optimiser step; return the mean loss, Dice and accuracy of the whole batch.

    The step is along the mean of the gradients of the samples, each of which goes through the network alone.

    From the first change of a weight on `state.whole` is False; the caller sets it again when all that belongs to the
    step is done.
    """
    settings = config.training
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    torch.manual_seed(settings.seed * 1_000_003 + state.step + (team.rank << 40))  # dropout
    state.optimiser.zero_grad(set_to_none=True)
    rows = [_gradient(state, sample, loss, config.loss.deep_supervision, len(samples)) for sample in samples]
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip or math.inf)
    state.whole = False
    if torch.isfinite(norm):
        state.optimiser.step()
    else:
        log.warning("step %d: gradient is not finite; the step is skipped", state.step)
    state.step += 1
    _update_average(state.average, state.network, settings.ema, state.step)
    mean, dice, accuracy = (mean_of(column) for column in zip(*team.collected(rows), strict=True))
    return mean, dice, accuracy


def _gradient(state: State, sample: Sample, loss: Loss, deep: float, count: int) -> tuple[float, float, float]:
    """Add a sample's part of the gradient; return its loss, Dice of the regions known, and accuracy."""
    regions, known = sample.regions[None], None if sample.known is None else sample.known[None]
    outputs = state.outputs(sample.image[None], sample.presence[None])
    value = deep_loss(loss, outputs, regions, deep, known)
    (value / count).backward()  # DDP averages over the members
    with torch.no_grad():
        scores, accuracy, _ = _dice_and_accuracy(outputs[0].float(), regions)
        scores = scores.nan_to_num(1.0)
        if known is None:
            return float(value.detach()), float(scores.mean()), float(accuracy)
        return float(value.detach()), float((scores * known[0]).sum() / known.sum()), math.nan


def mean_of(values: Iterable[float]) -> float:
    """Return the mean of what is not nan; nan if that is nothing."""
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def _update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the mean towards the weights; early on it follows faster, so that it forgets the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - decay) if mean.is_floating_point() else mean.copy_(now)


def _dice_and_accuracy(logits: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Dice of each region, (r,), nan where both are empty, voxel accuracy, and the regions.

    A voxel is right if its class is: background, NCR, ED or ET; of other regions than WT, TC, ET, if every region is.
    """
    classes = None
    if logits.shape[1] == regions.shape[1]:
        predicted = logits > 0
        if len(REGIONS) == regions.shape[1]:
            classes = classes_from_regions(predicted)
    else:
        classes = logits.argmax(1)
        predicted = torch.stack([classes > 0, (classes == 1) | (classes == 3), classes == 3], 1)
    reference = regions > 0.5
    axes = (0, 2, 3, 4)
    overlap, size = (predicted & reference).sum(axes), predicted.sum(axes) + reference.sum(axes)
    right = (predicted == reference).all(1) if classes is None else classes == classes_from_regions(regions)
    accuracy = right.float().mean()
    return 2 * overlap / size, accuracy, predicted  # 0 / 0 is nan


def validate(
    state: State,
    cases: Sequence[PreparedCase],
    factor: int,
    loss: Loss,
    divisor: int,
    team: Team,
    show: Show,
) -> dict[str, float]:
    """Return mean loss, Dice per region and accuracy of the mean weights, over whole cases, averaged by `factor`.

    Each member has its share of the cases, and all get the same means. A region that is empty in prediction and
    reference counts as 1, as in the challenge. The first cases are given to `show`.
    """
    network, rows = state.average.eval(), []
    names = state.regions
    with torch.inference_mode():
        for number, case in enumerate(cases):
            image, regions = averaged(case, factor, state.device)
            plain = augment.AugmentParameters(
                channels=(ChannelChange(),) * len(image), presence=tuple(bool(p) for p in case.presence)
            )
            image, regions, presence = augment.apply(image, regions, plain, shape=padded(image.shape[1:], divisor))
            logits = forward(network, image[None], presence[None], state.precision, deep=False)[0].float()
            scores, accuracy, predicted = _dice_and_accuracy(logits, regions[None])
            dice = scores.nan_to_num(1.0).tolist()
            rows.append((float(loss(logits, regions[None], None)), *dice, float(accuracy)))
            if number < SHOWN_CASES:
                show(case.case_id, factor * case.grid.spacing_mm[0], image, regions, predicted[0])
    network.train()
    mean_loss, *dice_means, accuracy_mean = (float(x) for x in np.mean(team.collected(rows), axis=0))
    return {
        "val_loss": mean_loss,
        **{f"val_dice_{name}": mean for name, mean in zip(names, dice_means, strict=True)},
        "val_dice": sum(dice_means) / len(dice_means),
        "val_accuracy": accuracy_mean,
    }
