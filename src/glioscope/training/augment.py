"""Augmentation in two steps: `draw` all chance from a seeded generator, then `apply` it without any.

    tumours (`lesions`) ──▶ window, rotation, zoom: one resampling ──▶ each sequence (`intensities`) ──▶ brain cut

Applying is deterministic and runs on the image's device, so one code serves CPU and CUDA and a sample can be replayed
from its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glioscope.cases import SEQUENCES
from glioscope.training.intensities import ChannelChange, change_channel
from glioscope.training.lesions import Lesion, Paste, cut_tightly, paste_lesion, take_enhancement

Range = tuple[float, float]

HOSPITAL_SUBSETS = (
    ("t2f",), ("t1c",), ("t1c", "t2f"), ("t1n", "t1c", "t2f"), ("t1n", "t2w", "t2f"), ("t1c", "t2w", "t2f"),
    ("t2w", "t2f"), ("t1n", "t1c"),
)  # fmt: skip
"""Sequences that come together where some are lacking: protocols without T2 or T1, studies without contrast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How often and how far; a chance of 0 switches a change off."""

    flip: float = 0.5
    """Chance of mirroring left and right; the other axes are never mirrored, brains stand upright."""
    spatial: float = 0.7
    """Chance of rotating and scaling."""
    rotate_degrees: float = 20.0
    """Largest rotation about each axis."""
    scale: Range = (0.8, 1.25)
    """Zoom: above 1 the brain grows."""
    elastic: float = 0.0
    """Chance of a smooth random displacement."""
    elastic_mm: float = 4.0
    """Standard deviation of that displacement at its control points, 32 voxels apart."""
    gamma: float = 0.3
    """Chance, per sequence, of a power law on intensities."""
    contrast: float = 0.3
    """Chance, per sequence, of another contrast and brightness."""
    bias: float = 0.2
    """Chance, per sequence, of a smooth multiplicative field."""
    noise: float = 0.15
    """Chance, per sequence, of Gaussian noise."""
    blur: float = 0.15
    """Chance, per sequence, of a Gaussian blur."""
    low_resolution: float = 0.15
    """Chance, per sequence, of losing resolution along one axis, as thick slices do."""
    thick_slices: float = 0.12
    """Chance that all sequences were taken in slices of 3 to 6 mm along one axis."""
    misregister: float = 0.12
    """Chance, per sequence, of lying a little off the others."""
    misregister_mm: float = 1.5
    """Farthest that a sequence lies off along each axis."""
    curve: float = 0.15
    """Chance, per sequence, of any rising curve of intensities, as exports with other windows have."""
    saturate: float = 0.06
    """Chance, per sequence, of intensities cut off above, as 8-bit exports do."""
    tight_brain: float = 0.1
    """Chance of a brain cut too tightly on half of its surface, by 2 to 5 mm."""
    paste: float = 0.3
    """Chance of the lesion of another training case, laid where it lay there."""
    unenhance: float = 0.06
    """Chance, in a case that enhances, of taking the enhancement away."""
    drop_sequences: float = 0.25
    """Chance of showing a proper subset of the sequences."""
    hospital_subsets: float = 0.5
    """Share of those that are subsets which hospitals have; the others are drawn evenly from all."""


OFF = AugmentConfig(
    flip=0, spatial=0, gamma=0, contrast=0, bias=0, noise=0, blur=0, low_resolution=0, thick_slices=0, misregister=0,
    curve=0, saturate=0, tight_brain=0, paste=0, unenhance=0, drop_sequences=0,
)  # fmt: skip
"""No change at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traits:
    """What the chances of a case depend on."""

    presence: NDArray[np.bool_]
    """(channel,) which sequences it has; at least one stays."""
    sequences: tuple[str, ...] = SEQUENCES
    """What the channels are."""
    enhancing: int | None = None
    """The region that enhances, if there is enhancement that could be taken away; else None."""
    donors: Sequence[str] = ()
    """Cases whose lesion may be pasted into this one."""
    spacing_mm: float = 1.0
    """Of its voxels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentParameters:
    """Everything drawn for one sample."""

    paste: Paste | None = None
    unenhance: tuple[int, int, int] | None = None
    """Channels of T1 without and with contrast, and the region that enhances."""
    flip: bool = False
    matrix: tuple[tuple[float, ...], ...] | None = None
    """(3, 3) output voxel offset to input voxel offset, rotation times zoom; None for the identity."""
    shift: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Where the window lies in the room it has, 0 to 1 along each axis."""
    elastic: tuple[float, int] | None = None
    """(standard deviation in mm, seed)."""
    channels: tuple[ChannelChange, ...] = ()
    presence: tuple[bool, ...] = ()
    """Sequences shown, of those that are there."""
    tight_brain: tuple[int, int] | None = None
    """(voxels, seed)."""


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation about i, then j, then k."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [x for x in range(3) if x != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw(
    config: AugmentConfig, rng: np.random.Generator, traits: Traits, *, scale: Range | None = None
) -> AugmentParameters:
    """Draw one sample's parameters.

    Parameters
    ----------
    rng : numpy Generator
        The only source of chance.
    scale : pair, optional
        Overrides ``config.scale``.
    """
    paste, unenhance = _draw_paste(config, rng, traits), _draw_unenhance(config, rng, traits)
    matrix = None
    if rng.random() < config.spatial:
        low, high = scale or config.scale
        zoom = np.exp(rng.uniform(np.log(low), np.log(high))) * np.exp(rng.normal(0, 0.03, 3))
        turn = _rotation(np.deg2rad(rng.uniform(-config.rotate_degrees, config.rotate_degrees, 3)))
        matrix = tuple(tuple(float(x) for x in row) for row in turn / zoom)
    shift = rng.random(3)
    elastic = (config.elastic_mm, int(rng.integers(2**31))) if rng.random() < config.elastic else None
    thick = _draw_slices(rng, traits.spacing_mm) if rng.random() < config.thick_slices else None
    return AugmentParameters(
        paste=paste,
        unenhance=unenhance,
        flip=bool(rng.random() < config.flip),
        matrix=matrix,
        shift=(float(shift[0]), float(shift[1]), float(shift[2])),
        elastic=elastic,
        channels=tuple(_draw_channel(config, rng, thick, traits.spacing_mm) for _ in traits.presence),
        presence=_draw_presence(config, rng, traits),
        tight_brain=_draw_tight_brain(config, rng, traits.spacing_mm),
    )


def _draw_paste(config: AugmentConfig, rng: np.random.Generator, traits: Traits) -> Paste | None:
    if not traits.donors or rng.random() >= config.paste:
        return None
    shift = np.round(rng.normal(0, 6 / traits.spacing_mm, 3)).astype(int)
    return Paste(
        donor=traits.donors[int(rng.integers(len(traits.donors)))],
        mirror=bool(rng.random() < 0.5),
        shift=(int(shift[0]), int(shift[1]), int(shift[2])),
        grow=int(rng.integers(1, 4)),
        match=float(rng.uniform(0.4, 1)),
    )


def _draw_unenhance(config: AugmentConfig, rng: np.random.Generator, traits: Traits) -> tuple[int, int, int] | None:
    there = {name for name, shown in zip(traits.sequences, traits.presence, strict=True) if shown}
    if traits.enhancing is None or not {"t1n", "t1c"} <= there or rng.random() >= config.unenhance:
        return None
    return traits.sequences.index("t1n"), traits.sequences.index("t1c"), traits.enhancing


def _draw_slices(rng: np.random.Generator, spacing_mm: float) -> tuple[int, int]:
    """Draw an axis and how many voxels make a slice of 3 to 6 mm."""
    return int(rng.integers(3)), max(2, round(rng.uniform(3, 6) / spacing_mm))


def _draw_channel(
    config: AugmentConfig, rng: np.random.Generator, thick: tuple[int, int] | None, spacing_mm: float
) -> ChannelChange:
    """Draw one sequence's changes; `thick` is the slices that all of them share."""
    chance = rng.random(9) < (
        config.gamma,
        config.contrast,
        config.bias,
        config.noise,
        config.blur,
        config.low_resolution,
        config.misregister,
        config.curve,
        config.saturate,
    )
    thin = (int(rng.integers(3)), int(rng.integers(2, 5))) if chance[5] else None
    off = rng.uniform(-1, 1, 3) * config.misregister_mm / spacing_mm
    return ChannelChange(
        gamma=float(np.exp(rng.uniform(-0.4, 0.4))) if chance[0] else None,
        contrast=(float(rng.uniform(0.75, 1.3)), float(rng.normal(0, 0.15))) if chance[1] else None,
        bias=tuple(float(x) for x in rng.normal(0, 0.2, 27)) if chance[2] else None,
        noise=(float(rng.uniform(0.02, 0.25)), int(rng.integers(2**31))) if chance[3] else None,
        blur=float(rng.uniform(0.4, 1.0)) if chance[4] else None,
        low_resolution=thick or thin,
        shift=(float(off[0]), float(off[1]), float(off[2])) if chance[6] else None,
        curve=_draw_curve(rng) if chance[7] else None,
        ceiling=float(rng.uniform(1.5, 3.5)) if chance[8] else None,
    )


def _draw_curve(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Draw a rising line through three points, never farther from the diagonal than half of what could be."""
    x = np.sort(rng.random(3))
    y = 0.5 * np.sort(rng.random(3)) + 0.5 * x
    return ((0.0, 0.0), *((float(a), float(b)) for a, b in zip(x, y, strict=True)), (1.0, 1.0))


def _draw_tight_brain(config: AugmentConfig, rng: np.random.Generator, spacing_mm: float) -> tuple[int, int] | None:
    if rng.random() >= config.tight_brain:
        return None
    return max(1, round(rng.uniform(2, 5) / spacing_mm)), int(rng.integers(2**31))


def _draw_presence(config: AugmentConfig, rng: np.random.Generator, traits: Traits) -> tuple[bool, ...]:
    there = np.flatnonzero(traits.presence)
    kept = np.array(traits.presence, bool)
    if len(there) > 1 and rng.random() < config.drop_sequences:
        usual = _hospital_subsets(traits)
        if usual and rng.random() < config.hospital_subsets:
            return usual[int(rng.integers(len(usual)))]
        code = int(rng.integers(1, 2 ** len(there) - 1))  # any subset but the empty and the full one
        kept[there] = [(code >> bit) & 1 for bit in range(len(there))]
    return tuple(bool(k) for k in kept)


def _hospital_subsets(traits: Traits) -> list[tuple[bool, ...]]:
    """Return the subsets that hospitals have which are proper ones of what the case has."""
    there = {name for name, shown in zip(traits.sequences, traits.presence, strict=True) if shown}
    return [tuple(n in subset for n in traits.sequences) for subset in HOSPITAL_SUBSETS if set(subset) < there]


def apply(
    image: Tensor,
    regions: Tensor,
    parameters: AugmentParameters,
    *,
    shape: tuple[int, int, int],
    lesion: Lesion | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply what was drawn.

    Parameters
    ----------
    image : (c, i, j, k) float
        Normalised intensities, background exactly 0.
    regions : (r, i, j, k) float
        0 to 1.
    shape : 3 ints
        Of the result: the window is cut from, or padded around, the input.
    lesion : Lesion, optional
        Of the donor that was drawn, at the image's spacing; without it nothing is pasted.

    Returns
    -------
    image : (c, *shape) float
    regions : (r, *shape) float, 0 or 1
    presence : (c,) float, 0 or 1
    """
    if parameters.unenhance is not None:
        plain, contrast, enhancing = parameters.unenhance
        image, regions = take_enhancement(image, regions, plain=plain, contrast=contrast, enhancing=enhancing)
    if parameters.paste is not None and lesion is not None:
        image, regions = paste_lesion(image, regions, lesion, parameters.paste)
    image, regions = _window(image, regions, parameters, shape)
    if parameters.flip:
        image, regions = image.flip(1), regions.flip(1)
    shown = torch.tensor(parameters.presence, dtype=image.dtype, device=image.device)
    channels = [
        change_channel(channel, change) if show else torch.zeros_like(channel)
        for channel, change, show in zip(image, parameters.channels, parameters.presence, strict=True)
    ]
    image, regions = torch.stack(channels), (regions >= 0.5).to(image.dtype)
    if parameters.tight_brain is not None:
        image, regions = cut_tightly(image, regions, *parameters.tight_brain)
    return image, regions, shown


def _window(
    image: Tensor, regions: Tensor, parameters: AugmentParameters, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    size = np.array(image.shape[1:], float)
    target = np.array(shape, float)
    if parameters.matrix is None and parameters.elastic is None:
        start = [round((n - m) * (t if n > m else 0.5)) for n, m, t in zip(size, target, parameters.shift, strict=True)]
        return _cut(image, start, shape), _cut(regions, start, shape)
    matrix = np.eye(3) if parameters.matrix is None else np.array(parameters.matrix)
    extent = np.abs(matrix) @ target  # what the window covers of the input
    room = np.maximum(size - extent, 0)
    centre = (size - 1) / 2 + room * (np.array(parameters.shift) - 0.5)
    offset = centre - matrix @ ((target - 1) / 2)
    # grid_sample counts from -1 to 1 across the outer faces and names axes backwards.
    scaled = np.diag(2 / size) @ matrix @ np.diag(target / 2)
    moved = (2 * (matrix @ ((target - 1) / 2) + offset) + 1) / size - 1
    theta = np.concatenate([scaled[::-1, ::-1], moved[::-1, None]], axis=1)
    grid = functional.affine_grid(
        torch.tensor(theta[None], dtype=image.dtype, device=image.device), [1, 1, *shape], align_corners=False
    )
    if parameters.elastic is not None:
        grid = grid + _displacement(parameters.elastic, size, shape, image)
    both = torch.cat((image, regions))[None]
    both = functional.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    return both[: len(image)], both[len(image) :]


def _displacement(
    elastic: tuple[float, int], size: NDArray[np.float64], shape: tuple[int, ...], like: Tensor
) -> Tensor:
    deviation, seed = elastic
    control = [max(2, n // 32 + 1) for n in shape]
    values = (
        np.random.default_rng(seed).normal(0, deviation, (1, 3, *control)) * (2 / size[::-1])[None, :, None, None, None]
    )
    field = torch.tensor(values, dtype=like.dtype, device=like.device)
    return functional.interpolate(field, size=shape, mode="trilinear", align_corners=True).permute(0, 2, 3, 4, 1)


def _cut(x: Tensor, start: list[int], shape: tuple[int, int, int]) -> Tensor:
    """Cut or pad each axis: `start` may be negative."""
    pad: list[int] = []
    index: list[slice] = [slice(None)]
    for n, a, m in zip(x.shape[1:], start, shape, strict=True):
        index.append(slice(max(a, 0), min(a + m, n)))
        pad = [max(-a, 0), max(a + m - n, 0), *pad]
    return functional.pad(x[tuple(index)], pad)
