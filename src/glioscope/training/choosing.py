"""Which cases are trained on, how often each is drawn, whose lesions are pasted, and which are validated.

Everything that could be wrong with the cases of a training is said here, before its first step.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError
from glioscope.prepare.preprocessing import PreparedCase, PreparedFacts, load_prepared, prepared_facts
from glioscope.space.grid import Box, cut
from glioscope.training.augment import AugmentConfig
from glioscope.training.settings import FoldFiles, TrainingConfig
from glioscope.training.team import Team

log = logging.getLogger(__name__)

NOTEBOOK_WINDOW = Box((56, 56, 13), (184, 184, 141))
"""Of a 240×240×155 BraTS volume; the same voxels whether i and j are stored as LPS or RAS."""

SMALL_CORE_ML = 8.0
"""A case with a smaller core is hard."""
FAINT_CORE = 0.3
"""So is one of whose core a smaller share enhances."""
DONOR_ML = 1.0
"""Smallest lesion worth pasting."""


def usable(files: FoldFiles, settings: TrainingConfig) -> dict[str, PreparedFacts]:
    """Return the training cases with enough tumour in their window, and what is known of each.

    Raises
    ------
    ConfigError
        None is left.
    """
    facts, least = {}, settings.minimum_tumour
    for name in sorted(files.train):
        if least > 0:
            case = window_of(load_prepared(files.prepared, name), settings.window)
            assert case.reference is not None
            if case.reference[0].mean() < least:
                log.info("case %s: below %g tumour in its window; left out of training", name, least)
                continue
        facts[name] = prepared_facts(files.prepared, name)
    if not facts:
        raise ConfigError("no training case is left; lower training.minimum_tumour or give more cases")
    for region in next(iter(facts.values())).names:
        if not any(one.volumes_ml.get(region) for one in facts.values()):
            log.warning("region %s is empty in all %d training cases; the network cannot learn it", region, len(facts))
    return facts


def donors(facts: Mapping[str, PreparedFacts], config: AugmentConfig) -> list[str]:
    """Return the cases whose lesion can be pasted into any other: large enough, and it fits the smallest brain."""
    if config.paste == 0:
        return []
    smallest = np.min([one.shape for one in facts.values()], axis=0)
    found = []
    for name, one in sorted(facts.items()):
        if not one.complete or one.tumour is None or one.volumes_ml[one.names[0]] < DONOR_ML:
            continue
        if (np.array(one.tumour.shape) > smallest).any():
            size, room = (" × ".join(map(str, part)) for part in (one.tumour.shape, smallest))
            log.warning("case %s: its lesion (%s) does not fit the smallest brain (%s); not pasted", name, size, room)
            continue
        found.append(name)
    if not found:
        log.warning("no training case has a lesion of %g ml that fits; augment.paste has no effect", DONOR_ML)
    return found


def is_hard(facts: PreparedFacts) -> bool:
    """Return whether a case has a small core, or a core that hardly enhances; never of one whose core is not known."""
    core, enhancing = facts.volumes_ml.get("TC"), facts.volumes_ml.get("ET")
    if core is None or enhancing is None:
        return False
    return core < SMALL_CORE_ML or enhancing < FAINT_CORE * core


def draw_weights(facts: Sequence[PreparedFacts], settings: TrainingConfig) -> NDArray[np.float64]:
    """Return how often each case is drawn, relative to the others."""
    return np.array(
        [
            (1.0 if one.complete else settings.partial_cases) * (settings.hard_cases if is_hard(one) else 1.0)
            for one in facts
        ]
    )


def drawn_order(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the cases of one round, as many as there are, in random order.

    A case of twice the mean weight comes twice in each round, one of half of it every second round; with equal weights
    each comes once.
    """
    order = rng.permutation(len(weights))
    marks = (np.arange(len(weights)) + rng.random()) / len(weights)
    bounds = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(bounds, marks, side="right"), len(weights) - 1)[order]


def window_of(case: PreparedCase, kind: Literal["brain", "notebook"]) -> PreparedCase:
    """Return the case as it is, or its notebook window (inside a grid of another size: as far from the centre)."""
    if kind == "brain":
        return case
    centre = (np.array(case.whole.shape) - (240, 240, 155)) // 2
    start = np.array(NOTEBOOK_WINDOW.start) + centre - np.array(case.box.start)
    box = Box(tuple(int(x) for x in start), tuple(int(x) for x in start + 128))  # type: ignore[arg-type]
    assert case.reference is not None
    return replace(case, image=cut(case.image, box), reference=cut(case.reference, box))


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
