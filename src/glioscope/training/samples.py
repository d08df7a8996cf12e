"""A batch: which cases, which window of them, how augmented. A function of the seed and the step alone.

Therefore the next batch can be drawn in a thread while the network works on this one, and nothing changes by it.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glioscope.prepare.preprocessing import PreparedCase, PreparedFacts, load_prepared
from glioscope.training import augment
from glioscope.training.augment import Traits
from glioscope.training.choosing import donors, draw_weights, drawn_order, window_of
from glioscope.training.lesions import Lesion, lesion_of
from glioscope.training.settings import FoldFiles, FoldSettings, Stage
from glioscope.training.team import Team

COARSE_BYTES = 2 * 1024**3
"""Cases held in memory in a stage coarser than 1 mm: 150 at 2 mm. Those that do not fit are read each time."""
CARD_SHARE = 0.6
"""Of a card's free memory, for cases held there at any spacing: 110 cases at 1 mm are 3 GB."""


MINIMUM_ENHANCING_ML = 0.5
"""Enhancement below this is not taken away: hardly anything would change."""


class Sample(NamedTuple):
    """What the network gets of a case, and what it should say."""

    image: Tensor
    """(c, i, j, k)."""
    regions: Tensor
    """(r, i, j, k), 0 or 1."""
    presence: Tensor
    """(c,), 0 or 1."""
    known: Tensor | None
    """(r,), 1 where `regions` tells the truth; None where it does everywhere."""


def averaged(case: PreparedCase, factor: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return image and regions on the device, blocks of `factor` voxels along each axis averaged."""
    assert case.reference is not None
    image = torch.from_numpy(np.ascontiguousarray(case.image, np.float32)).to(device)
    regions = torch.from_numpy(np.ascontiguousarray(case.reference)).to(device, torch.float32)
    if factor > 1:
        image, regions = functional.avg_pool3d(image, factor), functional.avg_pool3d(regions, factor)
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
    """(r, i, j, k)."""
    presence: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.nbytes + self.regions.nbytes

    def halved(self) -> "_Source":
        """Return it as the file holds it: images are float16 there, references are yes or no."""
        return _Source(self.image.half(), self.regions.bool(), self.presence)

    def full(self) -> "_Source":
        """Return it as it is augmented."""
        return _Source(self.image.float(), self.regions.float(), self.presence)


class Samples:
    """The samples of each step, one step drawn ahead; to be closed at the end.

    On a card the thread that draws has a stream of its own, so that its work runs beside the network's.

    Parameters
    ----------
    facts : mapping
        Training cases with what is known of each.
    """

    def __init__(
        self,
        facts: Mapping[str, PreparedFacts],
        files: FoldFiles,
        config: FoldSettings,
        team: Team,
        device: torch.device,
    ) -> None:
        self._names = sorted(facts)
        self._facts = facts
        self._donors = donors(facts, config.augment)
        self._weights = draw_weights([facts[name] for name in self._names], config.training)
        self._prepared = files.prepared
        self._config = config
        self._part = team.part(config.training.batch)
        self._device = device
        # One thread draws every batch, also one that was not foreseen: the same code on the same threads each time.
        self._thread = ThreadPoolExecutor(1, "samples")
        self._ahead: tuple[tuple[int, Stage], Future[list[Sample]]] | None = None
        self._kept: dict[tuple[str, int], _Source] = {}  # by case and spacing
        self._lesions: dict[tuple[str, int], Lesion | None] = {}
        self._on_card = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._on_card else None
        self._room = int(CARD_SHARE * torch.cuda.mem_get_info(device)[0]) if self._on_card else COARSE_BYTES

    def take(self, step: int, stage: Stage) -> list[Sample]:
        """Return this member's samples of a step."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != (step, stage):
            samples = self._thread.submit(self._draw, step, stage).result()
        else:
            samples = ahead[1].result()
        if self._on_card:  # their memory is the other stream's, which must not take it back while this one reads
            for part in (part for sample in samples for part in sample if part is not None):
                part.record_stream(torch.cuda.current_stream(self._device))
        return samples

    def foresee(self, step: int, stage: Stage) -> None:
        """Begin to draw the samples of a step that will probably be taken next."""
        self._ahead = (step, stage), self._thread.submit(self._draw, step, stage)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self, step: int, stage: Stage) -> list[Sample]:
        if self._stream is None:
            return [self._sample(step * self._config.training.batch + index, stage) for index in self._part]
        with torch.cuda.stream(self._stream):
            samples = [self._sample(step * self._config.training.batch + index, stage) for index in self._part]
            self._stream.synchronize()
        return samples

    def _sample(self, position: int, stage: Stage) -> Sample:
        seed = self._config.training.seed
        epoch, index = divmod(position, len(self._names))
        name = self._names[drawn_order(self._weights, np.random.default_rng([seed, 1, epoch]))[index]]
        source = self._source(name, stage).full()
        traits = self._traits(name, source.presence, stage)
        rng = np.random.default_rng([seed, 2, position])
        parameters = augment.draw(self._config.augment, rng, traits, scale=stage.scale)
        lesion = self._lesion(parameters.paste.donor, stage) if parameters.paste else None
        shape = stage.patch or padded(source.image.shape[1:], self._config.network.divisor)
        image, regions, presence = augment.apply(source.image, source.regions, parameters, shape=shape, lesion=lesion)
        return Sample(image, regions, presence, self._known(name))

    def _traits(self, name: str, presence: NDArray[np.bool_], stage: Stage) -> Traits:
        facts = self._facts[name]
        return Traits(
            presence=presence,
            sequences=self._config.sequences,
            enhancing=facts.names.index("ET") if facts.volumes_ml.get("ET", 0) > MINIMUM_ENHANCING_ML else None,
            donors=[donor for donor in self._donors if donor != name] if facts.complete else (),
            spacing_mm=self._config.factor(stage) * self._config.spacing_mm,
        )

    def _known(self, name: str) -> Tensor | None:
        facts = self._facts[name]
        if facts.complete:
            return None
        return torch.tensor([float(region in facts.known) for region in facts.names], device=self._device)

    def _source(self, name: str, stage: Stage) -> _Source:
        """Read a case, or take it from memory: averaging it down costs more than a coarse sample's augmentation."""
        factor = self._config.factor(stage)
        key = name, factor
        if key in self._kept:
            return self._kept[key]
        case = window_of(load_prepared(self._prepared, name), self._config.training.window)
        source = _Source(*averaged(case, factor, self._device), case.presence)
        if self._on_card or factor > 1:
            for old in [old for old in self._kept if old[1] != factor]:
                del self._kept[old]
            kept = source if factor > 1 else source.halved()
            if sum(held.size for held in self._kept.values()) + kept.size <= self._room:
                self._kept[key] = kept
        return source

    def _lesion(self, name: str, stage: Stage) -> Lesion | None:
        """Return the lesion of a donor; in a coarse stage it is kept, and the case is not needed again for it."""
        factor = self._config.factor(stage)
        key = name, factor
        if key in self._lesions:
            return self._lesions[key]
        source = self._source(name, stage).full()
        lesion = lesion_of(source.image, source.regions)
        if self._on_card or factor > 1:
            for old in [old for old in self._lesions if old[1] != factor]:
                del self._lesions[old]
            self._lesions[key] = lesion
        return lesion
