"""From a prepared case to probabilities to regions: the one prediction path, of validation and of the command line.

    PreparedCase ──tiles──▶ model ──blend──▶ logits ──▶ probabilities WT, TC, ET ──▶ regions ──▶ labels

Any callable is a model here. A brain that fits the one-pass size is seen whole; a larger one through overlapping tiles
whose logits are blended with Gaussian weights (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z), so that no seam
shows and the middle of a tile, which sees most around it, counts most. Files, measurements and flags are the business
of `segmentation`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, product
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError, ModelError
from glioscope.labels import GLIOMA, REGIONS, RegionsConfig
from glioscope.prepare.preprocessing import PreparedCase
from glioscope.space.grid import Box, Shape3, bounding_box, cut, paste

Model = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""(image (c, i, j, k), presence (c,)) to logits (r, i, j, k)."""

Outputs = Literal["regions", "labels"]
"""What a network's logits stand for: `regions` WT, TC, ET, a sigmoid each; `labels` a softmax over background, NCR,
ED, ET."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """How a network is applied and its probabilities are read."""

    patch: Shape3 = (160, 192, 160)
    """Largest size (i, j, k) in voxels seen in one pass; 160 × 192 × 160 mm holds nearly every brain."""
    divisor: int = 32
    """Sizes handed to the network are multiples of this."""
    fixed: bool = False
    """Always pad up to `patch`, instead of to the next multiple of `divisor`."""
    overlap: float = 0.5
    """Share of a tile that its neighbour sees too."""
    mirror_axes: tuple[int, ...] = ()
    """Axes to average mirror images over: 0 is left-right. Each axis doubles the time."""
    temperature: tuple[float, ...] = ()
    """Logits of WT, TC, ET (or the regions learnt) are divided by these, so that probabilities are calibrated; for
    labels the first holds. Empty: 1 each."""
    thresholds: tuple[float, ...] = ()
    """Probability of WT, TC, ET from which a voxel belongs to the region (not for labels: there the greatest wins).
    Empty: 0.5 each."""
    minimum_lesion_ml: tuple[float, ...] = ()
    """Connected parts of WT, TC, ET below these volumes are removed: of WT to background, of TC to oedema, of ET to
    core. So little of a region is more often a vessel or a false alarm than tumour. Empty: none."""

    def __post_init__(self) -> None:
        if self.divisor < 1 or any(n < 1 or n % self.divisor for n in self.patch):
            raise ConfigError(f"inference.patch is {self.patch}; each edge must be a multiple of {self.divisor} voxels")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"inference.overlap is {self.overlap}; it must be at least 0 and below 1")
        if not set(self.mirror_axes) <= {0, 1, 2}:
            raise ConfigError(f"inference.mirror_axes is {self.mirror_axes}; choose from 0, 1, 2")
        if any(t <= 0 for t in self.temperature):
            raise ConfigError(f"inference.temperature is {self.temperature}; numbers above 0 are needed")
        if any(ml < 0 for ml in self.minimum_lesion_ml):
            raise ConfigError(f"inference.minimum_lesion_ml is {self.minimum_lesion_ml}; volumes from 0 are needed")
        if not all(0 < t < 1 for t in self.thresholds):
            raise ConfigError(f"inference.thresholds is {self.thresholds}; numbers between 0 and 1 are needed")

    def of(self, regions: int) -> "InferenceConfig":
        """Return the settings with one temperature, threshold and smallest part for each region.

        Raises
        ------
        ConfigError
            As many are given as there are other regions.
        """

        def each(name: str, values: tuple[float, ...], usual: float) -> tuple[float, ...]:
            if values and len(values) != regions:
                raise ConfigError(
                    f"inference.{name} has {len(values)} numbers for {regions} regions; give one for each, in order"
                )
            return values or (usual,) * regions

        return replace(
            self,
            temperature=each("temperature", self.temperature, 1.0),
            thresholds=each("thresholds", self.thresholds, 0.5),
            minimum_lesion_ml=each("minimum_lesion_ml", self.minimum_lesion_ml, 0.0),
        )


def tiles(shape: Shape3, config: InferenceConfig) -> tuple[Box, ...]:
    """Return boxes of one size that cover an array of `shape`; one box, reaching over the edges, where that fits."""
    starts, sizes = [], []
    for n, most in zip(shape, config.patch, strict=True):
        size = most if config.fixed else min(most, -(-n // config.divisor) * config.divisor)
        sizes.append(size)
        if n <= size:
            starts.append([-((size - n) // 2)])
            continue
        count = 1 + int(np.ceil((n - size) / max(1.0, size * (1 - config.overlap))))
        starts.append([round(s) for s in np.linspace(0, n - size, count)])
    boxes = []
    for i, j, k in product(*starts):
        boxes.append(Box((i, j, k), (i + sizes[0], j + sizes[1], k + sizes[2])))
    return tuple(boxes)


def tile_weights(shape: Shape3) -> NDArray[np.float32]:
    """Return the weight of each voxel of a tile: a Gaussian of an eighth of the edge, 1 in the middle, never 0."""
    lines = []
    for n in shape:
        distance = np.arange(n) - (n - 1) / 2
        lines.append(np.exp(-0.5 * (distance / (n / 8)) ** 2))
    weights = np.einsum("i,j,k->ijk", *lines)
    return np.maximum(weights, 1e-4).astype(np.float32)


def _inside(box: Box, shape: Shape3) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a box lies in an array of `shape`, and which part of the box that is."""
    array = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(box.start, box.stop, shape, strict=True))
    tile = tuple(slice(s.start - a, s.stop - a) for s, a in zip(array, box.start, strict=True))
    return array, tile


def predict_logits(
    model: Model, image: NDArray[np.float32], presence: NDArray[np.bool_], config: InferenceConfig
) -> NDArray[np.float32]:
    """Return logits (r, i, j, k) of a whole image (c, i, j, k), tiled and mirrored as `config` says.

    Raises
    ------
    ModelError
        The logits do not lie on the image's grid, or hold NaN.
    """
    shape: Shape3 = image.shape[1:]
    boxes = tiles(shape, config)
    if len(boxes) == 1:
        _, part = _inside(boxes[0], shape)
        return _mirrored(model, cut(image, boxes[0]), presence, config.mirror_axes)[(slice(None), *part)]
    weights = tile_weights(boxes[0].shape)
    total: NDArray[np.float32] | None = None
    norm = np.zeros(shape, np.float32)
    for box in boxes:
        array, part = _inside(box, shape)
        logits = _mirrored(model, cut(image, box), presence, config.mirror_axes)
        if total is None:
            total = np.zeros((len(logits), *shape), np.float32)
        total[(slice(None), *array)] += logits[(slice(None), *part)] * weights[part]
        norm[array] += weights[part]
    assert total is not None
    total /= norm
    return total


def _mirrored(
    model: Model, image: NDArray[np.float32], presence: NDArray[np.bool_], axes: Sequence[int]
) -> NDArray[np.float32]:
    """Return the mean logits over all combinations of mirror images, each turned back."""
    views = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
    total: NDArray[np.float32] | None = None
    for view in views:
        flipped = tuple(axis + 1 for axis in view)
        logits = model(np.ascontiguousarray(np.flip(image, flipped)), presence)
        if logits.shape[1:] != image.shape[1:]:
            raise ModelError(f"model returned logits of shape {logits.shape} for an image of shape {image.shape}")
        total = logits if total is None else total + np.flip(logits, flipped)
    assert total is not None
    return total if len(views) == 1 else (total / np.float32(len(views))).astype(np.float32, copy=False)


def predict_case(
    model: Model, prepared: PreparedCase, outputs: Outputs, config: InferenceConfig, *, regions: int = len(REGIONS)
) -> NDArray[np.float32]:
    """Return the probabilities of WT, TC and ET, or of the regions learnt, on the prepared grid.

    Parameters
    ----------
    model : callable
        An engine, or any callable of its signature.
    outputs : str
        What the model's logits stand for.
    regions : int
        How many it gives.

    Returns
    -------
    (r, i, j, k) float32
        In [0, 1]. From label logits WT is 1 − background, TC is NCR + ET.

    Raises
    ------
    ModelError
        The logits have the wrong number of channels or the wrong shape, or are not numbers.
    """
    logits = predict_logits(model, prepared.image, prepared.presence, config)
    wanted = regions if outputs == "regions" else 4
    if len(logits) != wanted:
        raise ModelError(f"model returned {len(logits)} channels; outputs '{outputs}' have {wanted}. Check model.json.")
    if not np.isfinite(logits.sum(dtype=np.float64)):  # NaN or infinity anywhere shows in the sum
        raise ModelError(f"case {prepared.case_id}: the model returned NaN or infinity; try --precision fp32")
    return probabilities_from_logits(logits, outputs, config.of(regions).temperature)


def probabilities_from_logits(
    logits: NDArray[np.float32], outputs: Outputs, temperature: Sequence[float] = (1.0, 1.0, 1.0)
) -> NDArray[np.float32]:
    """Return probabilities (r, i, j, k) of region logits (r, …), or of WT, TC, ET of label logits (4, …)."""
    if outputs == "regions":
        scaled = logits / -np.asarray(temperature, np.float32)[:, None, None, None]
        with np.errstate(over="ignore"):  # exp may reach infinity, and 1 / (1 + infinity) is 0 as due
            np.exp(scaled, out=scaled)
        scaled += 1
        return np.reciprocal(scaled, out=scaled)
    shifted = (logits - logits.max(axis=0)) / np.float32(temperature[0])
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=0)
    background, core, _, enhancing = shifted
    return np.stack([1 - background, core + enhancing, enhancing])


def regions_from_probabilities(
    probabilities: NDArray[np.float32],
    config: InferenceConfig,
    *,
    voxel_ml: float,
    outputs: Outputs = "regions",
    learnt: RegionsConfig = GLIOMA,
) -> NDArray[np.bool_]:
    """Return WT, TC, ET as masks, nested: ET within TC within WT.

    From region probabilities each is cut at its threshold, and an outer region takes in the inner ones. From label
    probabilities each voxel takes the most probable of background, NCR, ED and ET.

    Parameters
    ----------
    probabilities : (3, i, j, k) float32
        Of WT, TC, ET.
    voxel_ml : float
        Volume of a voxel: the smallest sizes are volumes, so that they hold at any spacing.
    learnt : RegionsConfig
        What the regions are, if not WT, TC and ET.

    Returns
    -------
    (3, i, j, k) bool
        All False where nothing reaches a threshold.
    """
    config = config.of(len(probabilities))
    if outputs == "labels":
        whole, core, enhancing = probabilities
        winner = np.stack([1 - whole, core - enhancing, whole - core, enhancing]).argmax(axis=0)
        regions = np.stack([winner > 0, (winner == 1) | (winner == 3), winner == 3])
    else:
        regions = probabilities >= np.asarray(config.thresholds, np.float32)[:, None, None, None]
        for number in reversed(range(len(regions))):
            for inner in learnt.inside[number]:
                regions[number] |= regions[inner]
    for number, smallest_ml in enumerate(config.minimum_lesion_ml):
        smallest = math.ceil(smallest_ml / voxel_ml - 1e-6)  # voxels; 0.5 / 0.001 is not quite 500
        if smallest > 1 and regions[number].any():
            box = bounding_box(regions[number])  # a tumour's, far smaller than a brain's
            kept = cc3d.dust(cut(regions[number], box), threshold=smallest, connectivity=26) > 0
            kept = paste(kept, box, regions.shape[1:])
            for place in (number, *learnt.inside[number]):  # what lies inside a removed part goes with it
                regions[place] &= kept
    return regions
