"""A batch: which cases, which window of them, how augmented. A function of the seed and the step alone.

Therefore the next batch can be drawn in a thread while the network works on this one, and nothing changes by it.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glioscope.errors import ConfigError
from glioscope.prepare.preprocessing import PreparedCase, load_prepared
from glioscope.space.grid import Box, cut
from glioscope.training import augment
from glioscope.training.settings import FoldFiles, FoldSettings, Stage, TrainingConfig
from glioscope.training.team import Team

log = logging.getLogger(__name__)

NOTEBOOK_WINDOW = Box((56, 56, 13), (184, 184, 141))
"""Of a 240×240×155 BraTS volume; the same voxels whether i and j are stored as LPS or RAS."""

COARSE_BYTES = 2 * 1024**3
"""Cases held in memory in a stage coarser than 1 mm: 150 at 2 mm. Those that do not fit are read each time."""

Sample = tuple[Tensor, Tensor, Tensor]
"""Image (c, i, j, k), regions (3, i, j, k), presence (c,); of a batch each with one axis more in front."""


def window_of(case: PreparedCase, kind: Literal["brain", "notebook"]) -> PreparedCase:
    """Return the case as it is, or its notebook window (inside a grid of another size: as far from the centre)."""
    if kind == "brain":
        return case
    centre = (np.array(case.whole.shape) - (240, 240, 155)) // 2
    start = np.array(NOTEBOOK_WINDOW.start) + centre - np.array(case.box.start)
    box = Box(tuple(int(x) for x in start), tuple(int(x) for x in start + 128))  # type: ignore[arg-type]
    assert case.reference is not None
    return replace(case, image=cut(case.image, box), reference=cut(case.reference, box))


def at_stage(case: PreparedCase, stage: Stage, device: torch.device) -> tuple[Tensor, Tensor]:
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


def padded(shape: Sequence[int], divisor: int) -> tuple[int, int, int]:
    """Return the smallest multiples of the divisor that hold the shape."""
    i, j, k = (max(divisor, math.ceil(n / divisor) * divisor) for n in shape)
    return i, j, k


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A case at a stage's spacing, before it is augmented."""

    image: Tensor
    """(c, i, j, k)."""
    regions: Tensor
    """(3, i, j, k)."""
    presence: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.nbytes + self.regions.nbytes


class Samples:
    """The samples of each step, one step drawn ahead; to be closed at the end.

    Parameters
    ----------
    names : sequence of str
        Training cases.
    """

    def __init__(
        self, names: Sequence[str], files: FoldFiles, config: FoldSettings, team: Team, device: torch.device
    ) -> None:
        self._names = names
        self._prepared = files.prepared
        self._config = config
        self._part = team.part(config.training.batch)
        self._device = device
        # One thread draws every batch, also one that was not foreseen: the same code on the same threads each time.
        self._thread = ThreadPoolExecutor(1, "samples")
        self._ahead: tuple[tuple[int, Stage], Future[list[Sample]]] | None = None
        self._coarse: dict[tuple[str, int], _Source] = {}  # by case and spacing

    def take(self, step: int, stage: Stage) -> list[Sample]:
        """Return this member's samples of a step."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != (step, stage):
            return self._thread.submit(self._draw, step, stage).result()
        return ahead[1].result()

    def foresee(self, step: int, stage: Stage) -> None:
        """Begin to draw the samples of a step that will probably be taken next."""
        self._ahead = (step, stage), self._thread.submit(self._draw, step, stage)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self, step: int, stage: Stage) -> list[Sample]:
        settings, names = self._config.training, self._names
        samples = []
        for position in (step * settings.batch + index for index in self._part):
            epoch, index = divmod(position, len(names))
            order = np.random.default_rng([settings.seed, 1, epoch]).permutation(len(names))
            rng = np.random.default_rng([settings.seed, 2, position])
            source = self._source(names[order[index]], stage)
            parameters = augment.draw(self._config.augment, rng, presence=source.presence, scale=stage.scale)
            shape = stage.patch or padded(source.image.shape[1:], self._config.network.divisor)
            samples.append(augment.apply(source.image, source.regions, parameters, shape=shape))
        return samples

    def _source(self, name: str, stage: Stage) -> _Source:
        """Read a case, or take it from memory: averaging it down costs more than a coarse sample's augmentation."""
        key = name, stage.spacing_mm
        if key in self._coarse:
            return self._coarse[key]
        case = window_of(load_prepared(self._prepared, name), self._config.training.window)
        source = _Source(*at_stage(case, stage, self._device), case.presence)
        if stage.spacing_mm > 1:
            for old in [old for old in self._coarse if old[1] != stage.spacing_mm]:
                del self._coarse[old]
            if sum(kept.size for kept in self._coarse.values()) + source.size <= COARSE_BYTES:
                self._coarse[key] = source
        return source


def stacked(samples: Sequence[Sample], batch: int, team: Team) -> Sample:
    """Return samples as one batch; windows as large as each brain are first padded to the largest of all members."""
    if batch > 1:
        own = [int(n) for n in np.max([image.shape[1:] for image, _, _ in samples], axis=0)]
        largest = team.largest(own)
        samples = [(_grown(i, largest), _grown(r, largest), p) for i, r, p in samples]
    images, regions, presence = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(regions), torch.stack(presence)


def _grown(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    pad = [amount for n, m in zip(x.shape[:0:-1], shape[::-1], strict=True) for amount in (0, m - n)]
    return functional.pad(x, pad)


def usable(files: FoldFiles, settings: TrainingConfig) -> list[str]:
    """Return the training cases with enough tumour in their window.

    Raises
    ------
    ConfigError
        None is left.
    """
    kept = []
    for name in sorted(files.train):
        if settings.minimum_tumour > 0:
            case = window_of(load_prepared(files.prepared, name), settings.window)
            assert case.reference is not None
            if case.reference[0].mean() < settings.minimum_tumour:
                log.info("case %s: below %g tumour in its window; left out of training", name, settings.minimum_tumour)
                continue
        kept.append(name)
    if not kept:
        raise ConfigError("no training case is left; lower training.minimum_tumour or give more cases")
    return kept


def held_out(files: FoldFiles, settings: TrainingConfig, team: Team) -> Sequence[PreparedCase]:
    """Return this member's share of the cases validated in training, which are evenly spread over the names."""
    names = _spread(files.validation, settings.validation_cases)
    return [window_of(load_prepared(files.prepared, name), settings.window) for name in team.share(names)]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """Return `count` of the names, evenly spread."""
    ordered = sorted(names)
    if len(ordered) <= count:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]
