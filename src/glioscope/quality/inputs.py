"""Flags on a case before anything is computed from it."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, LoadedCase
from glioscope.labels import REGIONS
from glioscope.prepare.skull import skull_on
from glioscope.quality.contrast import check_contrast
from glioscope.quality.shifts import SHIFTED_MM, shifts_mm
from glioscope.results import Flag
from glioscope.space.background import foreground
from glioscope.space.grid import Grid, bounding_box, cut, reorient
from glioscope.space.outliers import far_out, highest_plausible

BRAIN_ML = (700.0, 2100.0)
"""Brains of adults with their fluid; the 110 cases have 1146 to 1910 ml."""
THICK_MM = 3.0
"""Slices thicker than this blur small tumours away; the networks were trained at 1 mm."""
CUT_SHARE = 0.4
"""A face of the volume that meets the brain in more than this share of its largest section cuts it. BraTS cuts the
brain stem, up to 0.3."""
COVER_SHARE = 0.9
"""Every sequence should cover this share of what all together cover."""
UPSIDE_DOWN = -0.12
"""Section at 4/5 of the brain's height minus that at 1/5, over the largest: a brain is wide above, narrow below."""
BACK_TO_FRONT = 0.53
"""Centre of mass from back (0) to front (1): a brain is wider behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetRow:
    """How well the network did on cases of which it was shown only these sequences."""

    sequences: tuple[str, ...]
    WT: float | None = None
    """Mean Dice of the region; likewise of the next two."""
    TC: float | None = None
    ET: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is used of a model's `card.json`."""

    subsets: tuple[SubsetRow, ...] = ()


def check_input(loaded: LoadedCase, *, card: Card | None = None) -> tuple[Flag, ...]:
    """Return what is odd about a case before anything is computed from it.

    Parameters
    ----------
    loaded : LoadedCase
        Any storage order; every present sequence is looked at.
    card : Card, optional
        The model's: tells what a missing sequence costs.

    Returns
    -------
    tuple of Flag
        Empty when nothing is odd. A case is not judged on contrast or shape when it is not skull-stripped, since the
        limits are those of brains.
    """
    found = [*_missing(loaded, card), *_grid_flags(loaded.grid)]
    images: dict[str, NDArray[np.float32]] = {}
    for name, image in loaded.images.items():
        flags, clean = _values(name, image)
        found += flags
        if clean is not None:
            images[name] = clean
    if not images:
        return tuple(found)
    masks = {name: foreground(image) for name, image in images.items()}
    brain = functools.reduce(np.logical_or, masks.values())
    skull = skull_on(images, loaded.grid)
    if skull:
        found.append(Flag("not-skull-stripped", "error", f"{skull}; take it off ('glioscope prepare')"))
    found += _coverage(masks, brain)
    if not skull:
        found += _shape(brain, loaded.grid)
    found += _placing(images, loaded.grid)
    found += check_contrast(images, masks, judge_order=not skull)
    return tuple(found)


NOT_MEASURABLE = 0.4
"""Mean Dice on the card below which a region's size is not told: without T1 with contrast ET stays below it."""


def not_measurable(sequences: Iterable[str], card: Card | None) -> dict[str, float]:
    """Return the regions that a network finds too badly from these sequences to be measured, with their mean Dice."""
    here = set(sequences)
    for row in card.subsets if card else ():
        if set(row.sequences) == here:
            scores = {"WT": row.WT, "TC": row.TC, "ET": row.ET}
            return {region: dice for region, dice in scores.items() if dice is not None and dice < NOT_MEASURABLE}
    return {}


def _missing(loaded: LoadedCase, card: Card | None) -> Iterator[Flag]:
    rows = {row.sequences: row for row in card.subsets} if card else {}
    here, full = rows.get(tuple(loaded.images)), rows.get(SEQUENCES)
    cost = ""
    if here and full:
        scores = [(region, getattr(here, region), getattr(full, region)) for region in REGIONS]
        parts = [f"{r} {few:.2f} instead of {all_:.2f}" for r, few, all_ in scores if None not in (few, all_)]
        cost = f" Mean Dice to expect with {', '.join(loaded.images)}: {', '.join(parts)}."
    for name in loaded.case.missing:
        effect = " Enhancing tumour cannot be seen without it." if name == "t1c" else ""
        yield Flag(f"missing-{name}", "warning", f"{name} is missing; the result rests on the others.{effect}{cost}")


def _grid_flags(grid: Grid) -> Iterator[Flag]:
    spacing = grid.spacing_mm
    words = " × ".join(f"{s:.2g}" for s in spacing)
    if max(spacing) > THICK_MM:
        text = f"voxels are {words} mm; slices thicker than {THICK_MM:g} mm hide small tumours and coarsen every length"
        yield Flag("thick-slices", "warning", text)
    elif max(spacing) > 1.5 or min(spacing) < 0.6:
        yield Flag(
            "spacing", "info", f"voxels are {words} mm; the images are resampled for the network, the result is not"
        )
    if min(grid.shape) < 16:
        yield Flag(
            "few-slices", "warning", f"the volume has only {min(grid.shape)} slices along one axis; a brain needs more"
        )
    cosine = np.abs(grid.affine[:3, :3] / np.array(spacing)).max(axis=0).min()
    if cosine < np.cos(np.radians(10)):
        angle = np.degrees(np.arccos(cosine))
        yield Flag(
            "oblique", "info", f"slices are tilted by up to {angle:.0f} degrees; 'axial' means the nearest slices"
        )
    if grid.orientation[2] not in "SI":
        text = f"voxels are stored as {grid.orientation}, not in axial slices; is the file's header right?"
        yield Flag("storage-order", "info", text)


def _values(name: str, image: NDArray[np.float32]) -> tuple[list[Flag], NDArray[np.float32] | None]:
    """Return flags on the numbers of one image, and the image with bad voxels set to 0; None if it is useless."""
    flags = []
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        total = image.sum(dtype=np.float64)
    if not np.isfinite(total):  # NaN and infinity survive a sum, which is quicker than looking at each voxel
        bad = ~np.isfinite(image)
        text = f"{name} holds {int(bad.sum())} voxels that are NaN or infinite; they count as background"
        flags.append(Flag(f"not-finite-{name}", "error" if bad.mean() > 0.01 else "warning", text))
        image = np.where(bad, np.float32(0), image)
    if (limit := highest_plausible(image)) is not None:
        flags.append(Flag(f"far-out-{name}", "warning", f"{far_out(name, image, limit)}; they count as {limit:.3g}"))
        image = np.clip(image, -limit, limit)
    if image.min() == image.max():
        flags.append(Flag(f"constant-{name}", "error", f"{name} is the same everywhere; it holds no image"))
        return flags, None
    return flags, image


def _placing(images: Mapping[str, NDArray[np.float32]], grid: Grid) -> Iterator[Flag]:
    """Yield a flag for the sequence that lies off the others, though it shares their grid; of several the furthest."""
    apart = shifts_mm(images, grid)
    name = max(apart, key=lambda name: apart[name], default="")
    if name and apart[name] > SHIFTED_MM:
        others = ", ".join(other for other in apart if other != name)
        text = (
            f"{name} lies about {apart[name]:.0f} mm off {others}, though all share one grid; align them first "
            "('glioscope prepare'), or measure nothing by it"
        )
        yield Flag(f"shifted-{name}", "error", text)


def _coverage(masks: Mapping[str, NDArray[np.bool_]], brain: NDArray[np.bool_]) -> Iterator[Flag]:
    whole = int(np.count_nonzero(brain))
    for name, mask in masks.items():
        share = np.count_nonzero(mask) / whole
        if share < COVER_SHARE:
            yield Flag(
                f"partial-{name}", "warning", f"{name} covers only {share:.0%} of the brain that the sequences show"
            )


def _shape(brain: NDArray[np.bool_], grid: Grid) -> list[Flag]:
    flags = []
    volume = int(np.count_nonzero(brain)) * grid.voxel_volume_ml
    low, high = BRAIN_ML
    if not low <= volume <= high:
        text = f"the brain has {volume:.0f} ml; {low:.0f} to {high:.0f} ml are usual. Is it cropped, or a child's?"
        flags.append(Flag("brain-volume", "warning", text))
    brain, grid = reorient(brain, grid, "RAS")
    flags += _cut_faces(brain)
    if flags:  # the shape of a part of a brain says nothing
        return flags
    brain = cut(brain, bounding_box(brain))
    heights = brain.sum((0, 1)) / brain.sum((0, 1)).max()
    n = len(heights)
    depth = brain.sum((0, 2))
    centre = float((depth * (np.arange(depth.size) + 0.5)).sum() / depth.sum() / depth.size)
    if n > 10 and heights[int(0.8 * n)] - heights[int(0.2 * n)] < UPSIDE_DOWN:
        text = "the brain is wider below than above: it is stored upside down, or its lower part is missing; look at it"
        flags.append(Flag("upside-down", "warning", text))
    if centre > BACK_TO_FRONT:
        text = (
            "the brain is wider in front than behind: front and back seem to be exchanged; check the file's orientation"
        )
        flags.append(Flag("back-to-front", "warning", text))
    return flags


def _cut_faces(brain: NDArray[np.bool_]) -> list[Flag]:
    """Return a flag if a face of the volume (RAS) cuts through the brain."""
    names = (("left", "right"), ("back", "front"), ("lower", "upper"))
    faces = []
    for axis in range(3):
        sections = np.count_nonzero(brain, axis=tuple(a for a in range(3) if a != axis))
        for end, name in zip((0, -1), names[axis], strict=True):
            if sections[end] > CUT_SHARE * sections.max():
                faces.append(name)
    if not faces:
        return []
    text = f"the brain is cut off at the {' and '.join(faces)} border of the volume; tumour beyond it is not seen"
    return [Flag("cropped", "warning", text)]
