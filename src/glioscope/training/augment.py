"""Augmentation in two steps: `draw` all chance from a seeded generator, then `apply` it without any.

Applying is deterministic and runs on the image's device, so one code serves CPU and CUDA and a sample can be replayed
from its seed. Spatial changes are one resampling, together with the step from the stored 1 mm to a coarser stage.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Range = tuple[float, float]


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
    drop_sequences: float = 0.25
    """Chance of showing a proper subset of the sequences, drawn evenly from all of them."""


OFF = AugmentConfig(flip=0, spatial=0, gamma=0, contrast=0, bias=0, noise=0, blur=0, low_resolution=0, drop_sequences=0)
"""No change at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChange:
    """What happens to one sequence; None or 1 means nothing."""

    gamma: float | None = None
    contrast: tuple[float, float] | None = None
    """(factor, offset)."""
    bias: tuple[float, ...] | None = None
    """27 control values, logarithms of the field."""
    noise: tuple[float, int] | None = None
    """(standard deviation, seed)."""
    blur: float | None = None
    """Sigma in voxels."""
    low_resolution: tuple[int, int] | None = None
    """(axis, factor)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentParameters:
    """Everything drawn for one sample."""

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
    config: AugmentConfig, rng: np.random.Generator, *, presence: NDArray[np.bool_], scale: Range | None = None
) -> AugmentParameters:
    """Draw one sample's parameters.

    Parameters
    ----------
    rng : numpy Generator
        The only source of chance.
    presence : (channel,) bool
        Sequences that the case has; at least one stays.
    scale : pair, optional
        Overrides ``config.scale``.
    """
    matrix = None
    if rng.random() < config.spatial:
        low, high = scale or config.scale
        zoom = np.exp(rng.uniform(np.log(low), np.log(high))) * np.exp(rng.normal(0, 0.03, 3))
        turn = _rotation(np.deg2rad(rng.uniform(-config.rotate_degrees, config.rotate_degrees, 3)))
        matrix = tuple(tuple(float(x) for x in row) for row in turn / zoom)
    shift = rng.random(3)
    elastic = (config.elastic_mm, int(rng.integers(2**31))) if rng.random() < config.elastic else None
    return AugmentParameters(
        flip=bool(rng.random() < config.flip),
        matrix=matrix,
        shift=(float(shift[0]), float(shift[1]), float(shift[2])),
        elastic=elastic,
        channels=tuple(_draw_channel(config, rng) for _ in presence),
        presence=_draw_presence(config, rng, presence),
    )


def _draw_channel(config: AugmentConfig, rng: np.random.Generator) -> ChannelChange:
    chance = rng.random(6) < (
        config.gamma,
        config.contrast,
        config.bias,
        config.noise,
        config.blur,
        config.low_resolution,
    )
    return ChannelChange(
        gamma=float(np.exp(rng.uniform(-0.4, 0.4))) if chance[0] else None,
        contrast=(float(rng.uniform(0.75, 1.3)), float(rng.normal(0, 0.15))) if chance[1] else None,
        bias=tuple(float(x) for x in rng.normal(0, 0.2, 27)) if chance[2] else None,
        noise=(float(rng.uniform(0.02, 0.25)), int(rng.integers(2**31))) if chance[3] else None,
        blur=float(rng.uniform(0.4, 1.0)) if chance[4] else None,
        low_resolution=(int(rng.integers(3)), int(rng.integers(2, 5))) if chance[5] else None,
    )


def _draw_presence(config: AugmentConfig, rng: np.random.Generator, presence: NDArray[np.bool_]) -> tuple[bool, ...]:
    there = np.flatnonzero(presence)
    kept = np.array(presence, bool)
    if len(there) > 1 and rng.random() < config.drop_sequences:
        code = int(rng.integers(1, 2 ** len(there) - 1))  # any subset but the empty and the full one
        kept[there] = [(code >> bit) & 1 for bit in range(len(there))]
    return tuple(bool(k) for k in kept)


def apply(
    image: Tensor, regions: Tensor, parameters: AugmentParameters, *, shape: tuple[int, int, int]
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

    Returns
    -------
    image : (c, *shape) float
    regions : (r, *shape) float, 0 or 1
    presence : (c,) float, 0 or 1
    """
    image, regions = _window(image, regions, parameters, shape)
    if parameters.flip:
        image, regions = image.flip(1), regions.flip(1)
    shown = torch.tensor(parameters.presence, dtype=image.dtype, device=image.device)
    channels = [
        _change(channel, change) if show else torch.zeros_like(channel)
        for channel, change, show in zip(image, parameters.channels, parameters.presence, strict=True)
    ]
    return torch.stack(channels), (regions >= 0.5).to(image.dtype), shown


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


def _change(x: Tensor, change: ChannelChange) -> Tensor:
    """Change one sequence (i, j, k) inside the brain; the background stays 0."""
    brain = x != 0
    if change.blur is not None:
        x = _blur(x, change.blur)
    if change.low_resolution is not None:
        x = _coarsen(x, *change.low_resolution)
    if change.bias is not None or change.gamma is not None:  # both act on intensities counted from the darkest voxel
        low, high = float(x.min()), float(x.max())
        y = (x - low) / max(high - low, 1e-6)
        if change.gamma is not None:
            y = y.clamp(0, 1) ** change.gamma
        if change.bias is not None:
            control = torch.tensor(change.bias, dtype=x.dtype, device=x.device).reshape(1, 1, 3, 3, 3)
            y = y * functional.interpolate(control, size=x.shape, mode="trilinear", align_corners=True)[0, 0].exp()
        x = y * (high - low) + low
    if change.contrast is not None:
        factor, offset = change.contrast
        x = x * factor + offset
    if change.noise is not None:
        deviation, seed = change.noise
        generator = torch.Generator(device=x.device).manual_seed(seed)
        x = x + deviation * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return x * brain


def _blur(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device) / sigma) ** 2)
    line = line / line.sum()
    y = x[None, None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = len(line), radius
        y = functional.conv3d(y, line.reshape(1, 1, *size), padding=pad)
    return y[0, 0]


def _coarsen(x: Tensor, axis: int, factor: int) -> Tensor:
    size = list(x.shape)
    size[axis] = max(2, size[axis] // factor)
    coarse = functional.interpolate(x[None, None], size=size, mode="area")
    return functional.interpolate(coarse, size=x.shape, mode="trilinear", align_corners=False)[0, 0]
