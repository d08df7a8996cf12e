"""From surfaces to signals: tissues laid over each other by the share of each voxel that they fill."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.phantom import anatomy, head, signal, tumour
from glioscope.phantom.anatomy import Brain, Person
from glioscope.phantom.fields import Field, refine, share
from glioscope.phantom.scan import GEOMETRY_MM, View
from glioscope.phantom.tumour import Focus

UPTAKE_MILLIMOLAR = {
    "blood": 1.0,
    "choroid": 0.5,
    "grey": 0.05,
    "white": 0.02,
    "skin": 0.15,
    "muscle": 0.12,
    "oedema": 0.01,
}
"""Gadolinium in healthy tissue some minutes after the injection."""
CORTEX_SPARED_MM = 3.5
"""Vasogenic oedema keeps to white matter: its edge in grey matter lies this much further in."""
FLOW_VOID = np.array([0.6, 1.0, 0.3, 0.35], np.float32)
"""Moving blood loses signal in the order of `SEQUENCES`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """A person with grown foci: the same whatever grid they are scanned on."""

    person: Person
    foci: tuple[Focus, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A painted brain on the voxels of a view's box."""

    signals: Field
    """(4, i, j, k) in the order of `SEQUENCES`, multiplied by `cover`."""
    cover: Field
    """(i, j, k): share of the voxel that the brain with its fluid fills."""
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    """(i, j, k), scheme brats2023."""


class Canvas:
    """Four signals being painted, layer over layer, over nothing: in the end multiplied by the share covered."""

    def __init__(self, scanner: signal.Scanner, table: Mapping[str, signal.Tissue], shape: tuple[int, ...]) -> None:
        self.scanner, self.table = scanner, table
        self.signals = np.zeros((4, *shape), np.float32)
        self.fluid = np.zeros(shape, np.float32)
        self.white = np.zeros(shape, np.float32)

    def lay(self, tissue: str, weight: Field, *, millimolar: float | None = None) -> None:
        """Cover what is there with a tissue, by the share of each voxel that it fills."""
        dose = UPTAKE_MILLIMOLAR.get(tissue, 0.0) if millimolar is None else millimolar
        values = signal.signals(self.table[tissue], self.scanner, contrast_millimolar=dose)
        if tissue == "blood":
            values *= FLOW_VOID
        where = _extent(weight)
        if where is None:
            return
        weight = weight[where]
        for channel, value in zip(self.signals, values, strict=True):
            part = channel[where]
            part += weight * (value - part)
        fluid = self.fluid[where]
        fluid += weight * (np.float32(tissue == "csf") - fluid)
        white = self.white[where]
        white += weight * (np.float32(tissue in ("white", "gliosis")) - white)


def paint_head(
    patient: Patient, scanner: signal.Scanner, table: Mapping[str, signal.Tissue], sight: View, *, marker: bool
) -> Field:
    """Return the signals of what surrounds the brain, (4, i, j, k): painted coarsely and refined, it has no detail."""
    standard = anatomy.bend(patient.person, sight.lattice.points)
    whole = anatomy.envelope(standard)[0]
    canvas = Canvas(scanner, table, whole.shape)
    for tissue, weight in head.head_layers(standard, whole, GEOMETRY_MM):
        canvas.lay(tissue, weight)
    if marker:
        canvas.lay(*head.marker(sight.lattice.points, GEOMETRY_MM))
    return np.stack([refine(channel, sight.shape, sight.positions) for channel in canvas.signals])


def paint_brain(
    patient: Patient, scanner: signal.Scanner, table: Mapping[str, signal.Tissue], sight: View, *, width_mm: float
) -> Picture:
    """Return the brain with its tumour, painted on the split voxels of the view and averaged to its voxels."""
    foci = patient.foci
    push = partial(tumour.mass_effect, [f.centre for f in foci], [f.plan for f in foci])
    coarse = anatomy.brain(patient.person, sight.lattice, push)
    fine = {n: refine(getattr(coarse, n), sight.shape, sight.positions) for n in Brain.__slots__}
    brain = replace(coarse, **fine)
    canvas = Canvas(scanner, table, sight.shape)
    for tissue, weight in anatomy.paint(brain, patient.person, width_mm):
        canvas.lay(tissue, weight)
    for tissue, weight in anatomy.vessels(brain, width_mm):
        canvas.lay(tissue, weight)
    labels = np.zeros(sight.shape, np.uint8)
    for focus in foci:
        levels = [refine(f, sight.shape, sight.positions) for f in tumour.sample_levels(focus, sight.lattice.points)]
        _paint_focus(canvas, labels, focus, levels, brain, width_mm)
    picture = Picture(
        signals=canvas.signals, cover=share(brain.envelope, width_mm), brain=brain.envelope < 0, labels=labels
    )
    return _averaged(picture, sight)


def _paint_focus(
    canvas: Canvas, labels: NDArray[np.uint8], focus: Focus, levels: list[Field], brain: Brain, width_mm: float
) -> None:
    """Lay oedema, solid tumour, its enhancing part and necrosis; write their labels."""
    whole, core, dead, bare, texture = levels
    whole = whole + (1 - canvas.white) * np.float32(CORTEX_SPARED_MM)
    tissue = share(brain.envelope, width_mm) * (1 - canvas.fluid)
    room = share(brain.envelope + np.float32(0.5), width_mm)
    strength = np.clip(np.float32(focus.plan.swelling) * (1 + np.float32(0.2) * texture), 0, 1)
    canvas.lay("oedema", share(whole, 3 * width_mm) * tissue * strength)
    solid = share(core, 1.6 * width_mm) * room
    canvas.lay("solid", solid)
    leak = np.clip(np.float32(0.72) + np.float32(0.28) * texture, 0.15, 1) * (1 - share(bare, 3 * width_mm))
    canvas.lay("solid", solid * leak, millimolar=focus.plan.gadolinium_millimolar)
    debris = np.clip(np.float32(0.85) - np.float32(0.2) * texture, 0.3, 1)
    canvas.lay("necrosis", share(dead, 2.2 * width_mm) * room * debris)
    inside = (brain.envelope < 0) & (brain.ventricles >= 0)
    labels[inside & (whole < 0) & (tissue > 0.5) & (labels == 0)] = 2
    centre = inside & (core < 0)
    labels[centre] = 1
    labels[centre & (dead >= 0) & (bare >= 0)] = 3


def _averaged(picture: Picture, sight: View) -> Picture:
    """Return the picture on whole voxels: thin ones averaged, the truth that of the middle one."""
    if all(f == 1 for f in sight.split):
        return picture
    middle = tuple(slice(f // 2, None, f) for f in sight.split)
    pieces = [v for pair in zip(sight.box.shape, sight.split, strict=True) for v in pair]
    return Picture(
        signals=picture.signals.reshape(4, *pieces).mean(axis=(2, 4, 6)),
        cover=picture.cover.reshape(pieces).mean(axis=(1, 3, 5)),
        brain=picture.brain[middle],
        labels=picture.labels[middle],
    )


def _extent(weight: Field) -> tuple[slice, ...] | None:
    """Return the slices that hold every voxel with weight, or None: small structures cost little."""
    ranges = []
    part: Any = weight
    for axis in range(3):
        line = np.flatnonzero(part.max(axis=tuple(a for a in range(3) if a != axis)) > 0)
        if line.size == 0:
            return None
        ranges.append(slice(int(line[0]), int(line[-1]) + 1))
        part = part[(slice(None),) * axis + (ranges[-1],)]
    return tuple(ranges)
