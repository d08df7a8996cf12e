"""The parts of a phantom's brain: what lies where, known exactly, for tests of whatever names places.

    seed, PhantomConfig ──phantom_parts──▶ PhantomParts: masks of structures, lobes and areas on the phantom's grid

Structures come from the surfaces that the phantom is painted from, the mass effect of its tumour included. Lobes and
eloquent areas are laid down by planes in the standard head: plausible, and not a real atlas. Nothing is taken from
anybody's scan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.phantom import anatomy, tumour
from glioscope.phantom.anatomy import Brain, Person
from glioscope.phantom.fields import Field, refine
from glioscope.phantom.painting import Patient
from glioscope.phantom.patient import draw_patient
from glioscope.phantom.scan import PhantomConfig, View, grid_of, view
from glioscope.space.grid import paste

CENTRAL_Y, OCCIPITAL_Y = -25.0, -68.0
"""Standard head: the frontal lobe ends behind here, the occipital begins."""
GAP_MM = 10.0
"""White matter whose distances to pallidum or putamen and to caudate or thalamus add up to less is capsule."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhantomParts:
    """What lies where in a phantom."""

    structures: Mapping[str, Mask]
    """By name, each (i, j, k); no two overlap, and together they fill the brain."""
    lobes: Mapping[str, Mask]
    """By name; no two overlap, and together they fill the brain."""
    areas: Mapping[str, Mask]
    """Eloquent cortex by name."""
    midline_mm: NDArray[np.float32]
    """(i, j, k): signed distance from the bent midline, positive on the patient's right; 0 outside the brain's box."""


def phantom_parts(seed: int, config: PhantomConfig | None = None) -> PhantomParts:
    """Return the parts of the phantom that `phantom` makes of the same seed and configuration."""
    config = config or PhantomConfig()
    head, growth = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)[:2])
    patient = draw_patient(head, growth, config.tumour)
    grid = grid_of(config)
    sight = view(grid, config)
    brain, standard = _refined(patient, sight)
    middle = tuple(slice(f // 2, None, f) for f in sight.split)

    def whole(field: NDArray) -> NDArray:
        return paste(np.ascontiguousarray(field[middle]), sight.box, grid.shape)

    structures = {name: whole(mask) for name, mask in _structures(brain, patient.person).items()}
    spot = tuple(whole(axis) for axis in standard)
    lobes = _lobes(structures, spot)
    return PhantomParts(
        structures=MappingProxyType(structures),
        lobes=MappingProxyType(lobes),
        areas=MappingProxyType(_areas(structures, lobes, spot)),
        midline_mm=whole(brain.midline),
    )


def _refined(patient: Patient, sight: View) -> tuple[Brain, list[Field]]:
    """Return the surfaces, and where each voxel's tissue lies in the standard head, on the view's voxels."""
    foci = patient.foci
    push = partial(tumour.mass_effect, [f.centre for f in foci], [f.plan for f in foci])
    coarse = anatomy.brain(patient.person, sight.lattice, push)
    fine = {n: refine(getattr(coarse, n), sight.shape, sight.positions) for n in Brain.__slots__}
    points = sight.lattice.points
    standard = anatomy.bend(patient.person, points)
    shift = push(points, -coarse.envelope)
    moved = [s + d for s, d in zip(standard, shift, strict=True)]
    return replace(coarse, **fine), [refine(field, sight.shape, sight.positions) for field in moved]


def _structures(b: Brain, person: Person) -> dict[str, Mask]:
    """Return exclusive masks: what is painted later covers what was there before, as in `anatomy.paint`."""
    inside = b.envelope < 0
    surface = anatomy.grey_surface(b, person)
    lentiform = np.minimum(b.pallidum, b.striatum)
    gap = np.maximum(lentiform, 0) + np.maximum(b.thalamus, 0)
    layers = {
        "cortex": surface < 0,
        "white matter": surface < -person.cortex_mm,
        "internal capsule": (surface < -person.cortex_mm) & (gap < GAP_MM),
        "cerebellum": b.cerebellum < 0,
        "brainstem": b.brainstem < -1,
        "corpus callosum": b.callosum < 0,
        "thalamus": b.thalamus < 0,
        "basal ganglia": lentiform < 0,
        "ventricles": b.ventricles < 0,
    }
    found: dict[str, Mask] = {}
    free = inside.copy()
    for name, mask in reversed(layers.items()):
        found[name] = mask & free
        free &= ~mask
    return found | {"fluid": free}


def _lobes(structures: Mapping[str, Mask], spot: tuple[NDArray, ...]) -> dict[str, Mask]:
    x, y, z = np.abs(spot[0]), spot[1], spot[2]
    inside = np.logical_or.reduce(list(structures.values()))
    rise = -1 - 0.5 * y
    deep = ("corpus callosum", "internal capsule", "thalamus", "basal ganglia", "ventricles")
    rules = {
        "cerebellum": structures["cerebellum"],
        "brainstem": structures["brainstem"],
        "deep": np.logical_or.reduce([structures[name] for name in deep]),
        "insula": (x > 30) & (x < 44) & (np.abs(y - 1) < 17) & (np.abs(z - rise - 3) < 9),
        "occipital": y < OCCIPITAL_Y,
        "temporal": (x > 16) & (z < rise),
        "parietal": y < CENTRAL_Y,
        "frontal": np.ones_like(inside),
    }
    found: dict[str, Mask] = {}
    free = inside.copy()
    for name, mask in rules.items():
        found[name] = mask & free
        free &= ~mask
    return found


def _areas(structures: Mapping[str, Mask], lobes: Mapping[str, Mask], spot: tuple[NDArray, ...]) -> dict[str, Mask]:
    x, y, z = spot
    cortex = structures["cortex"]
    left = x < 0
    return {
        "motor": cortex & lobes["frontal"] & (y < CENTRAL_Y + 13) & (z > 10),
        "sensory": cortex & lobes["parietal"] & (y > CENTRAL_Y - 13) & (z > 10),
        "vision": cortex & lobes["occipital"] & (np.abs(x) < 14),
        "speech, motor": cortex & lobes["frontal"] & left & (x < -35) & (y > 5) & (y < 28) & (z < 25),
        "speech, receptive": cortex & lobes["temporal"] & left & (y < CENTRAL_Y) & (y > -55),
    }
