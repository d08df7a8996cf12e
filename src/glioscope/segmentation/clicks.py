"""Clicks that correct a segmentation: what hangs together with a click joins a region, or leaves it.

    case, label map, clicks ──window──▶ Answer (a flood, or a network) ──promises──▶ label map

The answer only proposes voxels; what is promised of a click is held here, whoever proposes: the clicked voxel and
2 mm around it get what was asked, nothing outside the window changes, nothing but the region asked in the direction
asked, and ET stays within TC within WT. Clicks are answered one after the other, each on the map that the one before
left, so the same clicks give the same result.

The flood needs no network of its own: it asks the main network's logits, which stay high where it nearly said yes.
A network can take its place: see `Answer`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.errors import CaseError
from glioscope.labels import REGIONS, LabelScheme, labels_from_regions, regions_from_labels
from glioscope.segmentation.logits import LOGIT_STEPS
from glioscope.space.background import foreground
from glioscope.space.grid import Box, Grid, cut

WINDOW_MM = 96.0
"""Edge of the window around a click: 96 voxels of 1 mm, what a network sees."""
CERTAIN_MM = 2.0
"""What is promised around a click, whatever the answer proposes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """What somebody wants changed."""

    at: tuple[int, int, int]
    """Voxel (i, j, k) of the segmentation's grid."""
    region: str
    """WT, TC or ET."""
    add: bool = True
    """Whether the place belongs to the region; False takes it out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What clicks are answered from, on one grid."""

    grid: Grid
    images: Mapping[str, NDArray[np.uint8]]
    """Sequence code to grey values (i, j, k) as `eight_bits` makes them: 0 outside the brain."""
    logits: NDArray[np.int8]
    """(3, i, j, k) calibrated logits of WT, TC, ET in `LOGIT_STEPS`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """The part of a scene around a click; all arrays have one shape (i, j, k)."""

    at: tuple[int, int, int]
    """The clicked voxel."""
    spacing_mm: tuple[float, float, float]
    images: Mapping[str, NDArray[np.uint8]]
    logits: NDArray[np.float32]
    """(3, i, j, k)"""
    regions: NDArray[np.bool_]
    """(3, i, j, k) WT, TC, ET as they are."""
    brain: NDArray[np.bool_]

    def distance_mm(self) -> NDArray[np.float32]:
        """Return how far each voxel (i, j, k) is from the click."""
        axes = [
            ((np.arange(n) - place) * edge) ** 2
            for n, place, edge in zip(self.brain.shape, self.at, self.spacing_mm, strict=True)
        ]
        return np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2]).astype(np.float32)


Answer = Callable[[Window, Click], NDArray[np.bool_]]
"""What proposes the voxels (i, j, k) of a window that a click is about. A network would bring the window to 1 mm, see
images, presence, regions, logits and the click, and return the voxels whose region it would change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodConfig:
    """How far a flood goes; found on held-out cases by `benchmarks/bench_clicks.py`."""

    depth: float = 2.5
    """Calibrated logits below the click's, at the click."""
    reach_mm: float | None = 20.0
    """The depth shrinks to nothing at this distance, and nothing lies beyond it; None leaves both as they are."""
    sure: tuple[float, float] = (3.0, 7.0)
    """Where the network is surer than this of the contrary its logits tell little of shape: the reach shrinks, …"""
    least_reach: float = 0.3
    """… down to this share of it."""
    neck: int = 1
    """A way through that is thinner than two of these voxels is closed."""
    same_tissue: bool = True
    """Whether it stays in the tissue that was clicked on, as the map has it."""
    alike: tuple[tuple[str, str], ...] = (("WT", "t2f"), ("WT", "t2w"), ("TC", "t1c"), ("TC", "t2f"), ("ET", "t1c"))
    """Region and sequence in which grey values must be like those at the click."""
    tolerance: float = 3.0
    """Grey values may differ by so many standard deviations of those around the click, …"""
    slack: int = 12
    """… and by so many of 255 besides."""


PLAIN = FloodConfig(reach_mm=None, neck=0, same_tissue=False, alike=())
"""A flood that nothing holds back but its depth."""


def flood(window: Window, click: Click, config: FloodConfig = FloodConfig()) -> NDArray[np.bool_]:
    """Return what hangs together with a click in the main network's logits, without leaking.

    A flood down to a level below the click's logit leaks where the network doubts all over. So the level rises with
    the distance, it stays in the tissue that was clicked on, grey values must be like those at the click, and narrow
    ways are closed.

    Returns
    -------
    (i, j, k) bool
        The click's own voxel at least.
    """
    region = REGIONS.index(click.region)
    signal = window.logits[region] if click.add else -window.logits[region]
    far = window.distance_mm()
    near = far <= 1.5 * max(window.spacing_mm)
    here = float(np.median(signal[near]))
    reach = np.inf if config.reach_mm is None else config.reach_mm * _share(here, config)
    level = here - config.depth * np.clip(1 - far / reach, 0, 1)
    open_ = window.brain & (window.regions[region] != click.add) & (signal >= level) & (far <= reach)
    if config.same_tissue:
        tissue = window.regions.sum(axis=0)
        open_ &= tissue == tissue[window.at]
    for region_name, code in config.alike:
        if region_name == click.region and code in window.images:
            open_ &= _alike(window.images[code], far <= 2.1 * max(window.spacing_mm), config)
    open_ |= near
    return _through_wide_ways(open_, window, far, config.neck)


def _share(here: float, config: FloodConfig) -> float:
    """Return which share of its reach a flood has from a logit: negative where the network says the contrary."""
    first, last = config.sure
    return max(config.least_reach, min(1.0, (last + here) / (last - first)))


def _alike(image: NDArray[np.uint8], around: NDArray[np.bool_], config: FloodConfig) -> NDArray[np.bool_]:
    """Return where grey values are like those `around`, or their means over 3 × 3 × 3 voxels: noise makes no holes."""
    grey = image.astype(np.float32)
    middle, reach = np.median(grey[around]), config.tolerance * grey[around].std() + config.slack
    return (np.abs(grey - middle) <= reach) | (np.abs(ndimage.uniform_filter(grey, 3) - middle) <= reach)


def _through_wide_ways(
    open_: NDArray[np.bool_], window: Window, far: NDArray[np.float32], neck: int
) -> NDArray[np.bool_]:
    """Return the part of a mask that hangs together with the click by ways wider than `neck` voxels on each side."""
    fine = np.array(window.spacing_mm) < 2 * min(window.spacing_mm)  # thick slices are one voxel thin
    line = np.zeros((3, 3, 3), bool)
    line[1, 1, 1] = True
    for axis in np.flatnonzero(fine):
        np.moveaxis(line, axis, 0)[:, 1, 1] = True
    cross = ndimage.generate_binary_structure(3, 1)
    core = ndimage.binary_erosion(open_, line, iterations=neck) if neck else open_
    if not core.any():
        return far <= 0
    parts = cc3d.connected_components(core, connectivity=6)
    place = np.unravel_index(np.where(core, far, np.inf).argmin(), far.shape)
    if far[place] > (2 * neck + 2) * max(window.spacing_mm):
        return far <= 0
    found = parts == parts[place]
    return ndimage.binary_dilation(found, cross, iterations=neck + 1, mask=open_) if neck else found


def eight_bits(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an image (i, j, k) as grey values: 0 outside the head or brain, else 1 to 255 from its 0.5th percentile.

    The window is that of the voxels inside, from the 0.5th to the 99.8th percentile; an empty image stays black.
    """
    inside = np.isfinite(image) & foreground(image)
    if not inside.any():
        return np.zeros(image.shape, np.uint8)
    sample = image[inside]
    low, high = np.percentile(sample[:: max(1, sample.size // 200_000)], (0.5, 99.8))
    scaled = np.clip((np.where(inside, image, low) - low) / max(float(high - low), 1e-6), 0, 1)
    return np.where(inside, 1 + 254 * scaled, 0).round().astype(np.uint8)


def refine_scene(
    scene: Scene, labels: NDArray[np.uint8], scheme: LabelScheme, clicks: Sequence[Click], *, answer: Answer = flood
) -> NDArray[np.uint8]:
    """Return a label map with clicks answered, in their order.

    Parameters
    ----------
    labels : (i, j, k) uint8
        On the scene's grid, in `scheme`; it is left as it is.
    clicks : sequence of Click
        None gives the map back as it is.
    answer : Answer
        What proposes voxels.

    Raises
    ------
    CaseError
        A click lies outside the image or the brain, or names a region that its sequences do not show.
    """
    result = labels.copy()
    for number, click in enumerate(clicks, 1):
        _check(scene, click, f"click {number}" if len(clicks) > 1 else "the click")
        part = _window_box(scene.grid, click.at)
        inside = tuple(slice(a, b) for a, b in zip(part.start, part.stop, strict=True))
        window = _window(scene, result[inside], scheme, click, part)
        proposed = answer(window, click) | (window.distance_mm() <= CERTAIN_MM)
        result[inside] = _changed(result[inside], window, click, proposed, scheme)
    return result


def _check(scene: Scene, click: Click, which: str) -> None:
    if click.region not in REGIONS:
        raise CaseError(f"{which}: region '{click.region}' is not known; name {', '.join(REGIONS)}")
    if not all(0 <= n < size for n, size in zip(click.at, scene.grid.shape, strict=True)):
        last = tuple(n - 1 for n in scene.grid.shape)
        raise CaseError(f"{which}: lies outside the image, whose last voxel is {last}; click in the brain")
    if not any(image[click.at] for image in scene.images.values()):
        raise CaseError(f"{which}: lies outside the brain; click on the tumour")
    if click.region == "ET" and "t1c" not in scene.images:
        raise CaseError(f"{which}: enhancing tumour is not seen without T1 with contrast; draw it with the brush")


def _window_box(grid: Grid, at: tuple[int, int, int]) -> Box:
    """Return the voxels no further than half a window from a click along each axis, within the grid."""
    half = [round(WINDOW_MM / 2 / edge) for edge in grid.spacing_mm]
    start = [max(0, place - reach) for place, reach in zip(at, half, strict=True)]
    stop = [min(n, place + reach) for n, place, reach in zip(grid.shape, at, half, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _window(scene: Scene, labels: NDArray[np.uint8], scheme: LabelScheme, click: Click, box: Box) -> Window:
    images = {code: cut(image, box) for code, image in scene.images.items()}
    brain = np.zeros(box.shape, bool)
    for image in images.values():
        brain |= image > 0
    i, j, k = (place - start for place, start in zip(click.at, box.start, strict=True))
    return Window(
        at=(i, j, k),
        spacing_mm=scene.grid.spacing_mm,
        images=images,
        logits=(cut(scene.logits, box) * np.float32(1 / LOGIT_STEPS)).astype(np.float32),
        regions=regions_from_labels(labels, scheme),
        brain=brain,
    )


def _changed(
    labels: NDArray[np.uint8], window: Window, click: Click, proposed: NDArray[np.bool_], scheme: LabelScheme
) -> NDArray[np.uint8]:
    """Return the labels of a window with the proposal joined to a region, or taken from it."""
    regions, row = window.regions.copy(), REGIONS.index(click.region)
    proposed = proposed & window.brain & (window.regions[row] != click.add)
    if click.add:
        regions[: row + 1] |= proposed
    else:
        regions[row:] &= ~proposed
    return np.where(proposed, labels_from_regions(regions, scheme), labels)
