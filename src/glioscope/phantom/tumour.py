"""A glioma grown into a brain: where it starts, how it pushes, how it spreads, what it is made of.

Spread follows the reaction-diffusion (Fisher-KPP) model of glioma, dc/dt = div(D grad c) + rho c (1 - c), with D
several times larger in white matter than in grey and none in cerebrospinal fluid (Swanson, Alvord and Murray 2000,
Cell Prolif 33:317). The time at which the front passes gives nested surfaces; their levels are chosen for the volumes
drawn.
Mass effect is the displacement of an incompressible medium around an expanding ball, fading towards the skull.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from glioscope.phantom.anatomy import Lattice
from glioscope.phantom.fields import Field, band_noise, sample_noise

TumourKind = Literal["random", "typical", "none", "no-enhancement", "multifocal", "small"]
TUMOUR_KINDS: tuple[str, ...] = ("random", "typical", "none", "no-enhancement", "multifocal", "small")

BOX_SIDE = 40
"""Edge of the lattice that a focus grows on, in nodes; its spacing follows the volume wanted."""
_WHITE_STEP, _GREY_STEP, _GROWTH_STEP = 0.13, 0.02, 0.30
"""D dt / h² in white and grey matter (explicit scheme: stable up to 1/6) and rho dt."""
_MAX_STEPS = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One focus before it is grown: drawn, no geometry yet."""

    wt_ml: float
    core_share: float
    """TC / WT by volume."""
    necrosis_share: float
    """Necrotic core / TC by volume."""
    bare_share: float
    """Share of the rim that does not enhance: 0 all of it does, 1 none."""
    push: float
    """Mass effect: radius of the ball of pushed tissue relative to the core's radius."""
    gadolinium_millimolar: float
    swelling: float
    """How far oedema goes: 1 turns tissue into oedema altogether, little hardly shows."""
    wander: float
    """Relative spread of local diffusivity and growth: irregular shape."""


def draw_plans(rng: np.random.Generator, kind: str) -> list[Plan]:
    """Return the foci of a patient; an empty list for "none"."""
    if kind == "none":
        return []
    if kind == "random":
        kind = str(rng.choice(["typical", "no-enhancement", "multifocal", "small"], p=[0.66, 0.10, 0.13, 0.11]))
    ml = float(np.clip(np.exp(rng.normal(4.2, 0.75)), 12, 200)) if kind != "small" else float(rng.uniform(2, 9))
    plans = [_plan(rng, ml, bare=kind == "no-enhancement")]
    if kind == "multifocal":
        satellites = int(rng.integers(1, 4))
        plans += [_plan(rng, float(np.clip(ml * rng.uniform(0.05, 0.4), 2, 40)), bare=False) for _ in range(satellites)]
    return plans


def _plan(rng: np.random.Generator, wt_ml: float, *, bare: bool) -> Plan:
    return Plan(
        wt_ml=wt_ml,
        core_share=float(rng.uniform(0.35, 0.75) if bare else np.clip(rng.beta(2.2, 3.0), 0.12, 0.85)),
        necrosis_share=float(rng.choice([rng.uniform(0.25, 0.7), rng.uniform(0.0, 0.15)], p=[0.75, 0.25])),
        bare_share=1.0 if bare else float(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.2, 0.6)], p=[0.6, 0.4])),
        push=float(rng.uniform(0.2, 0.75)),
        gadolinium_millimolar=float(np.clip(np.exp(rng.normal(-1.0, 0.45)), 0.12, 0.9)),
        swelling=float(rng.uniform(0.45, 0.9)),
        wander=float(rng.uniform(0.3, 0.7)),
    )


def radius_mm(volume_ml: float) -> float:
    """Return the radius of the ball of that volume."""
    return float((volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


def mass_effect(
    centres: Sequence[NDArray[np.float64]], plans: Sequence[Plan], points: Sequence[Field], room_mm: Field
) -> list[Field]:
    """Return where the tissue at each point was before the foci pushed it, minus the point.

    Parameters
    ----------
    points : three (...) float32
        Head coordinates.
    room_mm : (...) float32
        Depth below the brain's envelope; the displacement vanishes there, for bone does not give.

    Returns
    -------
    three (...) float32
        Millimetres; all zero without foci.
    """
    shift = [np.zeros_like(points[0]) for _ in range(3)]
    give = np.clip(room_mm * np.float32(1 / 18), 0, 1)
    give = give * give * (3 - 2 * give)
    for centre, plan in zip(centres, plans, strict=True):
        ball = np.float32(plan.push * radius_mm(plan.wt_ml * plan.core_share))
        offset = [p - np.float32(c) for p, c in zip(points, centre, strict=True)]
        r = np.sqrt(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2) + np.float32(1e-3)
        inward = r - np.cbrt(np.maximum(r**3 - ball**3, (np.float32(0.35) * r) ** 3))
        inward *= give * np.exp(-((r / np.float32(65)) ** 2)) / r
        for total, o in zip(shift, offset, strict=True):
            np.subtract(total, inward * o, out=total)
    return shift


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Focus:
    """A grown focus: nested level functions on its own RAS lattice, about millimetres, negative inside."""

    plan: Plan
    centre: NDArray[np.float64]
    corner: NDArray[np.float64]
    """Head coordinates of the first node."""
    step_mm: float
    levels: NDArray[np.float32]
    """(5, i, j, k): whole tumour, core, necrosis, bare (negative where the rim does not enhance), texture."""


Shares = Callable[[Lattice, float], tuple[Field, Field]]
"""Gives the (white, grey) shares of brain at points of a lattice of some spacing, mass effect included."""


def grow(rng: np.random.Generator, plan: Plan, centre: NDArray[np.float64], shares: Shares) -> Focus:
    """Return a focus grown from its centre until it has about the volume planned (less where it lacks room)."""
    radius = radius_mm(plan.wt_ml)
    step = (2 * (1.9 * radius + 4)) / (BOX_SIDE - 1)
    corner = centre - step * (BOX_SIDE - 1) / 2
    axes = [np.float32(c) + np.float32(step) * np.arange(BOX_SIDE, dtype=np.float32) for c in corner]
    lattice = np.meshgrid(*axes, indexing="ij")
    white, grey = shares(Lattice(points=tuple(lattice), steps=np.eye(3) * step), step)
    coarse = band_noise(rng, max(1.3 * radius, 14), spread=0.4)
    fine = band_noise(rng, max(11, 0.6 * radius), spread=0.3)
    wide, small = sample_noise(coarse, lattice), sample_noise(fine, lattice)
    wander = np.exp(np.float32(plan.wander) * (wide + np.float32(0.5) * small) - np.float32(plan.wander**2 * 0.5))
    away = np.sqrt(sum((p - np.float32(c)) ** 2 for p, c in zip(lattice, centre, strict=True)))
    wander *= np.exp(-(np.maximum(away / np.float32(radius) - np.float32(1.25), 0) ** 2) * np.float32(6))
    count = plan.wt_ml * 1000 / step**3
    arrival, last = _arrival(white, grey, wander, count)
    speed = 2 * np.sqrt(_WHITE_STEP * _GROWTH_STEP) * step
    front = (arrival * np.float32(speed)).astype(np.float32)
    whole = front - np.float32(min(_level(front, count), last * speed))
    whole = ndimage.gaussian_filter(whole, 0.6)
    core, dead = _compartments(plan, away, whole, front, (wide, small))
    rough = sample_noise(coarse, [p + np.float32(97) for p in lattice])
    bare = rough - np.float32(_normal_quantile(plan.bare_share))
    texture = sample_noise(fine, [p + np.float32(61) for p in lattice])
    levels = np.stack([whole, core, dead, bare * np.float32(radius * 0.4), texture])
    return Focus(plan=plan, centre=centre, corner=corner, step_mm=float(step), levels=levels)


def _normal_quantile(share: float) -> float:
    """Return the level below which a standard normal lies with this probability, finite at 0 and 1."""
    return float(np.clip(ndtri(share), -9, 9))


def _level(field: Field, count: float) -> float:
    """Return the level below which `count` nodes lie."""
    flat = np.sort(field, axis=None)
    return float(flat[int(np.clip(count, 1, flat.size - 1))])


def _compartments(
    plan: Plan,
    away: Field,
    whole: Field,
    front: Field,
    noise: tuple[Field, Field],
) -> tuple[Field, Field]:
    """Return core and necrosis: rounder than the front, for they follow age and blood supply, not fibre tracts."""
    radius = radius_mm(plan.wt_ml)
    wide, small = noise
    depth = (
        np.float32(0.5) * (away + front) + np.float32(0.12 * radius) * wide + np.float32(0.025 * radius + 0.3) * small
    )
    inside = np.where(whole < -0.5, depth, np.float32(1e4))
    whole_count = float((whole < 0).sum())
    core = inside - np.float32(_level(inside, whole_count * plan.core_share))
    core = np.maximum(np.minimum(core, 50), whole + np.float32(0.5))
    inner = depth + np.float32(0.05 * radius + 0.2) * sample_shift(small)
    inner = np.where(core < -0.8, inner, np.float32(1e4))
    dead = inner - np.float32(_level(inner, whole_count * plan.core_share * plan.necrosis_share))
    return core, np.maximum(np.minimum(dead, 50), core + np.float32(1.0))


def sample_shift(noise: Field) -> Field:
    """Return the noise seen from elsewhere: an independent-looking pattern for nothing."""
    return np.roll(noise[::-1], 7, axis=1)


def _arrival(white: Field, grey: Field, wander: Field, count: float) -> tuple[Field, int]:
    """Return the step at which cell density first passes one half, and the last step; nodes not reached hold more."""
    diffusion = (np.float32(_WHITE_STEP) * white + np.float32(_GREY_STEP) * grey) * np.clip(wander, 0.02, 1.25)
    tissue = np.clip(white + grey, 0, 1)
    growth = np.float32(_GROWTH_STEP) * tissue * np.clip(wander, 0.2, 1.4)
    walls = [np.minimum(diffusion[1:], diffusion[:-1]), np.minimum(diffusion[:, 1:], diffusion[:, :-1])]
    walls.append(np.minimum(diffusion[:, :, 1:], diffusion[:, :, :-1]))
    middle = BOX_SIDE // 2
    density = np.zeros_like(white)
    density[middle - 1 : middle + 1, middle - 1 : middle + 1, middle - 1 : middle + 1] = 1
    arrival = np.full_like(white, np.inf)
    arrival[density > 0.5] = 0
    reached = 8
    for step in range(1, _MAX_STEPS + 1):
        change = growth * density * (1 - density)
        for axis, wall in enumerate(walls):
            flux = np.diff(density, axis=axis)
            flux *= wall
            near = (slice(None),) * axis
            change[(*near, slice(None, -1))] += flux
            change[(*near, slice(1, None))] -= flux
        new = density + change
        passed = (new > 0.5) & (arrival == np.inf)
        late = (new[passed] - 0.5) / np.maximum(new[passed] - density[passed], 1e-6)
        arrival[passed] = step - late
        density = new
        reached += int(late.size)
        if reached > 1.6 * count:
            break
    beyond = ~np.isfinite(arrival)
    arrival[beyond] = step + np.float32(2) + 6 * (1 - density[beyond])
    return arrival, step


def sample_levels(focus: Focus, points: Sequence[Field]) -> NDArray[np.float32]:
    """Return the focus's five levels at points; 50 (far outside) beyond its lattice.

    Returns
    -------
    (5, ...) float32
    """
    index = np.stack(
        [(p - np.float32(c)) * np.float32(1 / focus.step_mm) for p, c in zip(points, focus.corner, strict=True)]
    )
    inside = np.all((index > 0) & (index < BOX_SIDE - 1), axis=0)
    out = np.full((5, *points[0].shape), 50, np.float32)
    out[4] = 0
    where = index[:, inside]
    for row, level in zip(out, focus.levels, strict=True):
        row[inside] = ndimage.map_coordinates(level, where, np.float32, order=1, mode="nearest")
    return out
