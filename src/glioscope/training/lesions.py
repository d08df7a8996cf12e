"""Tumours changed before a case is cut and warped: the lesion of another patient pasted, enhancement taken away.

And the brain cut too tightly, as a skull strip does it. Labels follow the image in each of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glioscope.space.background import foreground

FADE = 5
"""Voxels over which a pasted lesion fades into the other brain."""
_SHELL = 4
"""Voxels around a lesion in which its brain's brightness is held against the other's."""
_SHELL_VOXELS = 50
"""A shell of fewer tells nothing of the brightness."""
_SMALLEST = 4
"""A patch narrower than this after it is cut to the brain is not pasted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paste:
    """A lesion of another case, and how it is laid into this one."""

    donor: str
    mirror: bool = False
    """Whether left and right are exchanged first."""
    shift: tuple[int, int, int] = (0, 0, 0)
    """Voxels from where it lay; both places are counted from the middle of each brain."""
    grow: int = 1
    """Voxels around the lesion that come with it."""
    match: float = 1.0
    """Share of the difference in brightness around the lesion that is taken away."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesion:
    """What can be pasted: a case's tumour with what surrounds it, and where that lies in its brain."""

    image: Tensor
    """(c, i, j, k)."""
    regions: Tensor
    """(r, i, j, k), 0 to 1, the outermost first."""
    start: tuple[float, float, float]
    """First voxel, counted from the middle of the donor's image."""


def lesion_of(image: Tensor, regions: Tensor, *, margin: int = FADE + _SHELL + 3) -> Lesion | None:
    """Return the part of a case that holds its tumour, or None where there is none.

    Parameters
    ----------
    image : (c, i, j, k) float
    regions : (r, i, j, k) float
        0 to 1, the outermost first.
    margin : int
        Voxels around the tumour.
    """
    index, start = [slice(None)], []
    for axis in range(3):
        line = torch.nonzero(regions[0].amax([a for a in range(3) if a != axis]) >= 0.5)
        if not len(line):
            return None
        first = max(0, int(line[0]) - margin)
        index.append(slice(first, int(line[-1]) + 1 + margin))
        start.append(first - image.shape[axis + 1] / 2)
    box = tuple(index)
    return Lesion(image=image[box].clone(), regions=regions[box].clone(), start=(start[0], start[1], start[2]))


def paste_lesion(image: Tensor, regions: Tensor, lesion: Lesion, how: Paste) -> tuple[Tensor, Tensor]:
    """Lay a lesion into another brain, blended at its edge; nothing outside that brain changes.

    Parameters
    ----------
    image : (c, i, j, k) float
        Background exactly 0.
    regions : (r, i, j, k) float
        0 to 1, the outermost first.

    Returns
    -------
    image, regions
        New ones; those given, where the lesion comes to lie outside.
    """
    patch, lesion_regions = lesion.image, lesion.regions
    place = np.array(lesion.start)
    if how.mirror:
        patch, lesion_regions = patch.flip(1), lesion_regions.flip(1)
        place[0] = -place[0] - patch.shape[1]
    first = np.round(place + np.array(image.shape[1:]) / 2).astype(int) + np.array(how.shift)
    low, high = np.maximum(first, 0), np.minimum(first + patch.shape[1:], image.shape[1:])
    if (high - low < _SMALLEST).any():
        return image, regions
    source, target = _window(low - first, high - first), _window(low, high)
    patch, lesion_regions = patch[source], lesion_regions[source]
    host, host_regions = image[target], regions[target]
    weight, shell = _weights(host, host_regions, patch, lesion_regions, how.grow)
    patch = patch + how.match * _difference(host, patch, shell)
    image, regions = image.clone(), regions.clone()
    image[target] = torch.where(
        foreground(host) & foreground(patch), torch.lerp(host, patch, weight.expand_as(host)), host
    )
    regions[target] = torch.where((weight >= 0.5).expand_as(lesion_regions), lesion_regions, host_regions)
    return image, regions


def _window(low: NDArray[Any], high: NDArray[Any]) -> tuple[slice, ...]:
    return (slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))


def _weights(
    host: Tensor, host_regions: Tensor, patch: Tensor, lesion_regions: Tensor, grow: int
) -> tuple[Tensor, Tensor]:
    """Return how much of the patch shows, (1, i, j, k), and the sound brain around the lesion.

    The lesion with its rim of `grow` voxels shows in full and fades beyond, so its outline in the labels is that of
    the image.
    """
    both = (foreground(host).any(0, keepdim=True) & foreground(patch).any(0, keepdim=True)).to(host.dtype)
    core = _dilated((lesion_regions[:1] >= 0.5).to(host.dtype), grow)
    weight = _mean(_dilated(core, FADE // 2), FADE) * both
    shell = (_dilated(core, _SHELL) - core) * both * (host_regions[:1] < 0.5)
    return weight, shell


def _difference(host: Tensor, patch: Tensor, shell: Tensor) -> Tensor:
    """Return by how much each sequence of the host is brighter in the shell, (c, 1, 1, 1); 0 if that is too small."""
    inside = shell * foreground(host) * foreground(patch)
    count = inside.sum((1, 2, 3), keepdim=True)
    return ((host - patch) * inside).sum((1, 2, 3), keepdim=True) / count.clamp(min=1) * (count >= _SHELL_VOXELS)


def take_enhancement(
    image: Tensor, regions: Tensor, *, plain: int, contrast: int, enhancing: int
) -> tuple[Tensor, Tensor]:
    """Make T1 with contrast look as T1 does where there is enhancement; the core stays core.

    Parameters
    ----------
    image : (c, i, j, k) float
    regions : (r, i, j, k) float
        0 to 1, the outermost first.
    plain, contrast : int
        Channels of T1 without and with contrast; both hold brain.
    enhancing : int
        The region that ends empty.
    """
    t1, t1c = image[plain], image[contrast]
    sound = foreground(t1) & foreground(t1c) & (regions[0] < 0.5)
    if int(sound.sum()) < 2:
        return image, regions
    (spread, mean), (spread_c, mean_c) = torch.std_mean(t1[sound]), torch.std_mean(t1c[sound])
    like = (t1 - mean) / spread.clamp(min=1e-3) * spread_c + mean_c
    weight = _mean(_dilated((regions[enhancing][None] > 0).to(image.dtype), 2), 3)[0]
    image, regions = image.clone(), regions.clone()
    image[contrast] = torch.where(foreground(t1c), torch.lerp(t1c, like, weight), t1c)
    regions[enhancing] = 0
    return image, regions


def cut_tightly(image: Tensor, regions: Tensor, voxels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Take the outermost voxels of the brain away on a random half of its surface, in all sequences and labels.

    Parameters
    ----------
    voxels : int
        How many, at least 1.
    seed : int
        Of the smooth field that chooses the half.
    """
    brain = foreground(image).any(0, keepdim=True).to(image.dtype)
    inner = 1 - _dilated(1 - functional.pad(brain, (1,) * 6), voxels)[:, 1:-1, 1:-1, 1:-1]
    control = np.random.default_rng(seed).normal(size=(1, 1, 4, 4, 4))
    field = functional.interpolate(
        torch.tensor(control, dtype=image.dtype, device=image.device),
        size=tuple(image.shape[1:]),
        mode="trilinear",
        align_corners=True,
    )[0]
    kept = torch.where(field > 0, brain, inner)
    return image * kept, regions * kept


def _dilated(mask: Tensor, voxels: int) -> Tensor:
    """Return a mask (1, i, j, k) grown by a cube."""
    return functional.max_pool3d(mask[None], 2 * voxels + 1, 1, voxels)[0] if voxels else mask


def _mean(mask: Tensor, size: int) -> Tensor:
    return functional.avg_pool3d(mask[None], size, 1, size // 2, count_include_pad=False)[0]
