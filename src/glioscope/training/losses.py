"""Losses of region outputs (sigmoid) and of label outputs (softmax).

Soft Dice follows Milletari et al. 2016 (arXiv 1606.04797) as used by Isensee et al. 2021
(doi 10.1038/s41592-020-01008-z); focal loss is Lin et al. 2017 (arXiv 1708.02002).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(logits, regions, known) to a scalar; regions are (b, r, i, j, k), 0 or 1, such as WT, TC, ET; known is (b, r), 1
where the reference knows the region, or None where it knows all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Which loss."""

    name: Literal["auto", "dice+cross-entropy", "cross-entropy", "dice+focal"] = "auto"
    """Of label outputs; `auto` is the first, and all that region outputs take. The last two are the notebook's (its
    README names one, its code the other)."""
    deep_supervision: float = 0.5
    """Weight of each coarser output relative to the next finer one; 0 switches deep supervision off."""


def classes_from_regions(regions: Tensor) -> Tensor:
    """Return the class map (b, i, j, k) of nested regions: 0 background, 1 NCR, 2 ED, 3 ET."""
    whole, core, enhancing = regions[:, 0] > 0.5, regions[:, 1] > 0.5, regions[:, 2] > 0.5
    classes = whole.long() * 2
    classes[core] = 1
    classes[enhancing] = 3
    return classes


def soft_dice(probabilities: Tensor, reference: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Return Dice per channel, (c,), summed over the batch.

    `smooth` is a count of voxels: an empty reference with an empty prediction gives 1, and each voxel wrongly claimed
    in an empty reference costs.
    """
    axes = (0, 2, 3, 4)
    overlap = (probabilities * reference).sum(axes)
    return (2 * overlap + smooth) / (probabilities.sum(axes) + reference.sum(axes) + smooth)


def region_loss(logits: Tensor, regions: Tensor, known: Tensor | None = None) -> Tensor:
    """Return binary cross-entropy plus one minus mean soft Dice, for region logits (b, r, i, j, k).

    Both are means over the regions known; what `regions` holds of the others has no effect.
    """
    logits = logits.float()
    if known is None:
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, regions)
        return cross_entropy + 1 - soft_dice(torch.sigmoid(logits), regions).mean()
    each = functional.binary_cross_entropy_with_logits(logits, regions, reduction="none").mean((2, 3, 4))
    mask = known[:, :, None, None, None]
    dice = soft_dice(torch.sigmoid(logits) * mask, regions * mask)
    told = known.amax(0)
    return (each * known).sum() / known.sum() + 1 - (dice * told).sum() / told.sum()


def _one_hot(regions: Tensor) -> Tensor:
    return functional.one_hot(classes_from_regions(regions), 4).movedim(-1, 1).float()


def label_dice_cross_entropy(logits: Tensor, regions: Tensor) -> Tensor:
    """Return cross-entropy plus one minus mean Dice of the three tissues, for label logits (b, 4, i, j, k)."""
    logits = logits.float()
    dice = soft_dice(torch.softmax(logits, 1), _one_hot(regions))
    return functional.cross_entropy(logits, classes_from_regions(regions)) + 1 - dice[1:].mean()


def label_cross_entropy(logits: Tensor, regions: Tensor) -> Tensor:
    """Return categorical cross-entropy of label logits (b, 4, i, j, k)."""
    return functional.cross_entropy(logits.float(), classes_from_regions(regions))


def dice_focal(logits: Tensor, regions: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return one minus mean Dice over all four classes, background included, plus focal loss: the notebook's."""
    probabilities = torch.softmax(logits.float(), 1)
    reference = _one_hot(regions)
    dice = soft_dice(probabilities, reference, smooth=1e-5)
    clipped = probabilities.clamp(1e-7, 1 - 1e-7)
    focal = -alpha * reference * (1 - clipped) ** gamma * clipped.log()
    return 1 - dice.mean() + focal.mean()


def build_loss(config: LossConfig, outputs: Literal["regions", "labels"]) -> Loss:
    """Return the loss for a kind of network output."""
    if outputs == "regions":
        return region_loss
    of_labels: Callable[[Tensor, Tensor], Tensor] = {
        "auto": label_dice_cross_entropy,
        "dice+cross-entropy": label_dice_cross_entropy,
        "cross-entropy": label_cross_entropy,
        "dice+focal": dice_focal,
    }[config.name]

    def complete(logits: Tensor, regions: Tensor, known: Tensor | None) -> Tensor:
        assert known is None  # `samples.usable` refuses such cases: a label says something of every region
        return of_labels(logits, regions)

    return complete


def deep_loss(loss: Loss, outputs: list[Tensor], regions: Tensor, weight: float, known: Tensor | None = None) -> Tensor:
    """Return the weighted mean loss of outputs from fine to coarse.

    The reference of a coarser output is the share of each region in its voxels, rounded: small tumours fade there and
    are taught by the finer outputs.
    """
    total = torch.zeros((), device=regions.device)
    weights = 0.0
    for level, logits in enumerate(outputs):
        factor = weight**level
        if factor == 0:
            break
        reference = regions
        if logits.shape[2:] != regions.shape[2:]:
            reference = (functional.interpolate(regions, size=logits.shape[2:], mode="area") >= 0.5).to(regions.dtype)
        total = total + factor * loss(logits, reference, known)
        weights += factor
    return total / weights
