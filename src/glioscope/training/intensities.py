"""One sequence made to look otherwise: contrast, shading, noise, resolution, place. The background stays 0."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from glioscope.space.background import foreground


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChange:
    """What happens to one sequence; None means nothing. In the order in which it is applied."""

    blur: float | None = None
    """Sigma in voxels."""
    low_resolution: tuple[int, int] | None = None
    """(axis, factor)."""
    shift: tuple[float, float, float] | None = None
    """Voxels along i, j, k that the sequence lies off the others; its brain stays where it is."""
    gamma: float | None = None
    curve: tuple[tuple[float, float], ...] | None = None
    """Points of a rising line from (0, 0) to (1, 1), between the darkest and the brightest voxel."""
    bias: tuple[float, ...] | None = None
    """27 control values, logarithms of the field."""
    contrast: tuple[float, float] | None = None
    """(factor, offset)."""
    noise: tuple[float, int] | None = None
    """(standard deviation, seed)."""
    ceiling: float | None = None
    """Standard deviations above the brain's mean where an export cut the intensities off."""


def change_channel(x: Tensor, change: ChannelChange) -> Tensor:
    """Change one sequence (i, j, k) inside its brain; 0 elsewhere, as before."""
    brain = foreground(x)
    if change.blur is not None:
        x = _blurred(x, change.blur)
    if change.low_resolution is not None:
        x = _coarsened(x, *change.low_resolution)
    if change.shift is not None:
        x = _shifted(x * brain, brain, change.shift)
    if change.gamma is not None or change.curve is not None or change.bias is not None:
        x = _remapped(x, change)
    if change.contrast is not None:
        factor, offset = change.contrast
        x = x * factor + offset
    if change.noise is not None:
        deviation, seed = change.noise
        generator = torch.Generator(device=x.device).manual_seed(seed)
        x = x + deviation * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    if change.ceiling is not None:
        x = _saturated(x, brain, change.ceiling)
    return x * brain


def _remapped(x: Tensor, change: ChannelChange) -> Tensor:
    """Apply what acts on intensities counted from the darkest voxel."""
    low, high = float(x.min()), float(x.max())
    y = (x - low) / max(high - low, 1e-6)
    if change.gamma is not None:
        y = y.clamp(0, 1) ** change.gamma
    if change.curve is not None:
        y = _along(y.clamp(0, 1), change.curve)
    if change.bias is not None:
        control = torch.tensor(change.bias, dtype=x.dtype, device=x.device).reshape(1, 1, 3, 3, 3)
        y = y * functional.interpolate(control, size=x.shape, mode="trilinear", align_corners=True)[0, 0].exp()
    return y * (high - low) + low


def _along(y: Tensor, points: tuple[tuple[float, float], ...]) -> Tensor:
    """Return a line through points, at `y` (0 to 1): the sum of its first piece and of each bend."""
    out = torch.zeros_like(y)
    before = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        slope = (y1 - y0) / max(x1 - x0, 1e-6)
        out = out + (slope - before) * (y - x0).clamp(min=0)
        before = slope
    return out


def _saturated(x: Tensor, brain: Tensor, ceiling: float) -> Tensor:
    inside = x[brain]
    if inside.numel() < 2:
        return x
    deviation, mean = torch.std_mean(inside)
    return x.clamp(max=float(mean + ceiling * deviation))


def _blurred(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device) / sigma) ** 2)
    line = line / line.sum()
    y = x[None, None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = len(line), radius
        y = functional.conv3d(y, line.reshape(1, 1, *size), padding=pad)
    return y[0, 0]


def _coarsened(x: Tensor, axis: int, factor: int) -> Tensor:
    size = list(x.shape)
    size[axis] = max(2, size[axis] // factor)
    coarse = functional.interpolate(x[None, None], size=size, mode="area")
    return functional.interpolate(coarse, size=x.shape, mode="trilinear", align_corners=False)[0, 0]


def _shifted(x: Tensor, brain: Tensor, shift: tuple[float, float, float]) -> Tensor:
    """Return the sequence moved by parts of voxels; where nothing comes to lie, it stays what it was."""
    moved, weight = x, brain.to(x.dtype)
    for axis, amount in enumerate(shift):
        whole = int(np.floor(amount))
        part = amount - whole
        moved, weight = (
            (1 - part) * _rolled(y, axis, whole) + part * _rolled(y, axis, whole + 1)
            if part
            else _rolled(y, axis, whole)
            for y in (moved, weight)
        )
    return torch.where(weight > 0.25, moved / weight.clamp(min=0.25), x)  # between brain and nothing: brain


def _rolled(x: Tensor, axis: int, amount: int) -> Tensor:
    """Return `x` moved by whole voxels; 0 where nothing comes from."""
    if amount == 0:
        return x
    n = x.shape[axis]
    out = torch.zeros_like(x)
    if abs(amount) < n:
        out.narrow(axis, max(amount, 0), n - abs(amount)).copy_(x.narrow(axis, max(-amount, 0), n - abs(amount)))
    return out
