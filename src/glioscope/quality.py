"""What is wrong with this input, or with this result, and how sure the network is of each voxel.

In: a case as read from disk, or a label map with what is known about it. Out: flags, each one line that a person
understands. A flag never stops anything: it is carried into `summary.json` and the report, and the reader decides.

The limits below were set on 110 labelled cases of BraTS 2017-2021 and BraTS-Africa 2023, so that fewer than one good
case in twenty gets a warning that it does not deserve. `benchmarks/fit_contrast.py` makes the contrast table again.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, LoadedCase
from glioscope.errors import GeometryError
from glioscope.geometry import Grid, bounding_box, cut, reorient
from glioscope.labels import REGIONS, LabelScheme

Severity = Literal["info", "warning", "error"]
Images = Mapping[str, NDArray[np.float32]]

BRAIN_ML = (700.0, 2100.0)
"""Brains of adults with their fluid; the 110 cases have 1146 to 1910 ml."""
HEAD_ML = 2400.0
"""More signal than this is a head, not a brain."""
THICK_MM = 3.0
"""Slices thicker than this blur small tumours away; the networks were trained at 1 mm."""
CUT_SHARE = 0.4
"""A face of the volume that meets the brain in more than this share of its largest section cuts it. BraTS cuts the
brain stem, up to 0.3."""
COVER_SHARE = 0.9
"""Every sequence should cover this share of what all together cover."""
SAME_CORRELATION = 0.998
"""T1 and T1 with contrast of one patient reach 0.94; beyond this two slots hold one image."""
UPSIDE_DOWN = -0.12
"""Section at 4/5 of the brain's height minus that at 1/5, over the largest: a brain is wide above, narrow below."""
BACK_TO_FRONT = 0.53
"""Centre of mass from back (0) to front (1): a brain is wider behind."""
ENHANCEMENT = 4.5
"""In robust standard deviations: how far the brightest 0.1 % of T1 with contrast lies above what T1 predicts. Vessels
and choroid plexus alone give 4.9 and more; noise would give 3.1."""
SWAP_EVIDENCE = 10.0
"""Log-likelihood that another order of the sequences must gain over the given one."""
HUGE_SHARE = 0.35
"""Of the brain: the largest of 110 tumours has 0.17."""
TINY_ML = 0.2
OUTSIDE_SHARE = 0.02
FRAGMENTS = 10
SCATTERED_SHARE = 0.05
"""More parts than this, together with this share outside the largest three: scattered. References have up to 21 parts,
nearly all specks."""
LOW_CONFIDENCE = 0.75
"""Mean probability inside a region; a calibrated network is right as often as it says."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One remark on an input or a result."""

    code: str
    """Short and stable, for programs: `missing-t1c`, `empty`, …"""
    severity: Severity
    """`error`: do not use without looking; `warning`: look; `info`: good to know."""
    message: str
    """One sentence for a person."""

    def as_dict(self) -> dict[str, str]:
        """Return the flag as JSON-ready fields."""
        return asdict(self)


def uncertainty(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how unsure each voxel is: the largest binary entropy over the regions, in bits.

    Parameters
    ----------
    probabilities : (region, i, j, k) float
        In [0, 1], calibrated for the numbers to mean what they say.

    Returns
    -------
    (i, j, k) float32
        0 where every region is certain, 1 where one of them is a coin toss.
    """
    # entropy falls with the distance from a half, so only the least certain region needs its logarithm
    nearest = np.abs(np.asarray(probabilities, np.float32) - np.float32(0.5)).min(axis=0)
    p = np.clip(np.float32(0.5) - nearest, np.float32(1e-7), np.float32(0.5))
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * (nearest < 0.5)


def expected_dice(probabilities: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Return the Dice that a region would have if its probabilities were true.

    Were each voxel tumour with its stated chance, the overlap would be the sum of the chances inside the region, and the
    size of the truth the sum of all chances. How far the guess is off is measured on held-out cases and stands on the
    model's card.

    Parameters
    ----------
    probabilities : (i, j, k)
        Of one region; calibrated, or the guess is too bright.
    region : (i, j, k) bool
        The region as decided.

    Returns
    -------
    float
        In [0, 1]. For an empty region the chance that there truly is none of it, taken as 1 minus the largest
        probability.
    """
    if not region.any():
        return float(1 - probabilities.max(initial=0.0))
    inside = float(probabilities[region].sum(dtype=np.float64))
    return 2 * inside / (float(probabilities.sum(dtype=np.float64)) + float(region.sum()))


def margin(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how far the least certain region of each voxel is from a coin toss.

    Returns
    -------
    (i, j, k) float32
        ``|2 p - 1|``, the smallest over the regions: 1 where every region is certain, 0 at a coin toss.
    """
    return (2 * np.abs(np.asarray(probabilities, np.float32) - np.float32(0.5))).min(axis=0)


CONTRAST: dict[tuple[str, ...], tuple[float, float]] = {
    ("t1n", "skew"): (-0.777, 0.576),
    ("t1c", "skew"): (0.591, 1.527),
    ("t2w", "skew"): (1.381, 0.627),
    ("t2f", "skew"): (0.168, 1.056),
    ("t1n", "t1c", "dark"): (0.174, 0.089),
    ("t1n", "t1c", "bright"): (0.797, 0.114),
    ("t1n", "t1c", "excess"): (2.632, 0.423),
    ("t1n", "t2w", "dark"): (0.561, 0.237),
    ("t1n", "t2w", "bright"): (0.329, 0.138),
    ("t1n", "t2w", "excess"): (1.924, 0.301),
    ("t1n", "t2f", "dark"): (0.171, 0.114),
    ("t1n", "t2f", "bright"): (0.52, 0.147),
    ("t1n", "t2f", "excess"): (1.712, 0.415),
    ("t1c", "t1n", "dark"): (0.119, 0.075),
    ("t1c", "t1n", "bright"): (0.653, 0.128),
    ("t1c", "t1n", "excess"): (1.254, 0.545),
    ("t1c", "t2w", "dark"): (0.602, 0.224),
    ("t1c", "t2w", "bright"): (0.443, 0.125),
    ("t1c", "t2w", "excess"): (1.996, 0.278),
    ("t1c", "t2f", "dark"): (0.239, 0.148),
    ("t1c", "t2f", "bright"): (0.512, 0.143),
    ("t1c", "t2f", "excess"): (1.75, 0.401),
    ("t2w", "t1n", "dark"): (0.455, 0.227),
    ("t2w", "t1n", "bright"): (0.223, 0.117),
    ("t2w", "t1n", "excess"): (1.227, 0.443),
    ("t2w", "t1c", "dark"): (0.487, 0.211),
    ("t2w", "t1c", "bright"): (0.271, 0.122),
    ("t2w", "t1c", "excess"): (2.162, 0.447),
    ("t2w", "t2f", "dark"): (0.213, 0.103),
    ("t2w", "t2f", "bright"): (0.452, 0.189),
    ("t2w", "t2f", "excess"): (1.66, 0.439),
    ("t2f", "t1n", "dark"): (0.157, 0.099),
    ("t2f", "t1n", "bright"): (0.501, 0.143),
    ("t2f", "t1n", "excess"): (1.104, 0.443),
    ("t2f", "t1c", "dark"): (0.26, 0.137),
    ("t2f", "t1c", "bright"): (0.505, 0.157),
    ("t2f", "t1c", "excess"): (2.107, 0.396),
    ("t2f", "t2w", "dark"): (0.494, 0.193),
    ("t2f", "t2w", "bright"): (0.767, 0.107),
    ("t2f", "t2w", "excess"): (2.144, 0.432),
}
"""Mean and spread of each feature of `contrast_features`, from the 110 cases."""


def check_input(loaded: LoadedCase, *, card: Mapping[str, Any] | None = None) -> tuple[Flag, ...]:
    """Return what is odd about a case before anything is computed from it.

    Parameters
    ----------
    loaded : LoadedCase
        Any storage order; every present sequence is looked at.
    card : mapping, optional
        The model's `card.json`. Its ``subsets``, from sequence codes joined by ``+`` to mean Dice by region (such as
        ``{"t1n+t2w": {"WT": 0.85, "TC": 0.6, "ET": 0.4}}``), tells what a missing sequence costs.

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
    masks = {name: image != 0 for name, image in images.items()}
    brain = functools.reduce(np.logical_or, masks.values())
    skull = _skull(brain, loaded.grid)
    found += skull
    found += _coverage(masks, brain)
    if not skull:
        found += _shape(brain, loaded.grid)
    found += _contrast(images, masks, judge_order=not skull)
    return tuple(found)


def _missing(loaded: LoadedCase, card: Mapping[str, Any] | None) -> Iterator[Flag]:
    present = "+".join(loaded.images)
    cost = ""
    subsets = (card or {}).get("subsets") or {}
    here, full = subsets.get(present), subsets.get("+".join(SEQUENCES))
    if here and full:
        parts = [f"{r} {here[r]:.2f} instead of {full[r]:.2f}" for r in REGIONS if r in here and r in full]
        cost = f" Mean Dice to expect with {present.replace('+', ', ')}: {', '.join(parts)}."
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
        text = f"voxels are stored as {grid.orientation}, not in axial slices; check the file's header if that is unexpected"
        yield Flag("storage-order", "info", text)


def _values(name: str, image: NDArray[np.float32]) -> tuple[list[Flag], NDArray[np.float32] | None]:
    """Return flags on the numbers of one image, and the image with bad voxels set to 0; None if it is useless."""
    flags = []
    if not np.isfinite(image.sum(dtype=np.float64)):  # cheap: NaN and infinity survive a sum
        bad = ~np.isfinite(image)
        text = f"{name} holds {int(bad.sum())} voxels that are NaN or infinite; they count as background"
        flags.append(Flag(f"not-finite-{name}", "error" if bad.mean() > 0.01 else "warning", text))
        image = np.where(bad, np.float32(0), image)
    if image.min() == image.max():
        flags.append(Flag(f"constant-{name}", "error", f"{name} is the same everywhere; it holds no image"))
        return flags, None
    return flags, image


def _skull(brain: NDArray[np.bool_], grid: Grid) -> list[Flag]:
    volume = int(np.count_nonzero(brain)) * grid.voxel_volume_ml
    if volume > HEAD_ML or brain.mean() > 0.9:
        text = f"{volume:.0f} ml are not background: more than a brain. Skull and scalp must be removed ('glioscope prepare')"
        return [Flag("not-skull-stripped", "error", text)]
    return []


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
    centre = float((depth * np.arange(depth.size)).sum() / depth.sum() / depth.size)
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


def _contrast(images: Images, masks: Mapping[str, NDArray[np.bool_]], *, judge_order: bool) -> list[Flag]:
    """Return flags on what the images show of each other: the same image twice, a wrong slot, no enhancement."""
    if len(images) < 2:
        return []
    step = max(1, round((next(iter(images.values())).size / 300_000) ** (1 / 3)))  # enough voxels, evenly spread
    sparse = np.s_[::step, ::step, ::step]
    inside = functools.reduce(np.logical_and, (mask[sparse] for mask in masks.values()))
    if np.count_nonzero(inside) < 1000:
        return []
    values = {name: image[sparse][inside].astype(np.float64) for name, image in images.items()}
    flags = []
    for a, b in itertools.combinations(values, 2):
        if np.ptp(values[a]) and np.ptp(values[b]) and np.corrcoef(values[a], values[b])[0, 1] > SAME_CORRELATION:
            flags.append(
                Flag(f"same-{a}-{b}", "error", f"{a} and {b} are the same image; one of them is in the wrong slot")
            )
    if flags or not judge_order:
        return flags
    features = contrast_features(values)
    order = likely_order(features, tuple(images))
    if order != tuple(images):
        pairs = [f"{slot} looks like {seen}" for slot, seen in zip(images, order, strict=True) if slot != seen]
        text = f"{' and '.join(pairs)}; check which file is which sequence"
        flags.append(Flag("wrong-slot", "warning", text))
    elif "t1n" in values and "t1c" in values and features["t1n", "t1c", "excess"] < np.log(ENHANCEMENT):
        text = "t1c is nowhere brighter than t1n predicts, not even in vessels: was contrast given, and is it the right file?"
        flags.append(Flag("no-contrast", "warning", text))
    return flags


def contrast_features(values: Mapping[str, NDArray[np.float64]]) -> dict[tuple[str, ...], float]:
    """Return numbers that tell sequences apart by how tissues rank in them, whatever their intensity scale.

    Parameters
    ----------
    values : mapping
        Slot to the intensities of the same voxels of the brain, (n,) each.

    Returns
    -------
    dict
        For two slots a, b: ``(a, b, "dark")`` and ``(a, b, "bright")``, mean rank in b, 0 to 1, of the tenth of voxels
        darkest and brightest in a; ``(a, b, "excess")``, the logarithm of how far the brightest 0.1 % of b lie above
        what a straight line from a predicts, in robust standard deviations. For one: ``(a, "skew")``.
    """
    ranks = {name: np.argsort(np.argsort(x)) / max(1, x.size - 1) for name, x in values.items()}
    features: dict[tuple[str, ...], float] = {}
    for name, x in values.items():
        z = (x - x.mean()) / max(float(x.std()), 1e-12)
        features[name, "skew"] = float((z**3).mean())
    for a, b in itertools.permutations(values, 2):
        features[a, b, "dark"] = float(ranks[b][ranks[a] < 0.1].mean())
        features[a, b, "bright"] = float(ranks[b][ranks[a] > 0.9].mean())
        slope = np.cov(values[a], values[b])[0, 1] / max(float(values[a].var()), 1e-12)
        left = values[b] - slope * values[a]
        left -= np.median(left)
        spread = max(1.4826 * float(np.median(np.abs(left))), 1e-12)
        features[a, b, "excess"] = float(np.log(max(np.percentile(left, 99.9) / spread, 1e-3)))
    return features


def likely_order(features: Mapping[tuple[str, ...], float], slots: tuple[str, ...]) -> tuple[str, ...]:
    """Return which sequence each slot seems to hold: the given order unless another fits far better.

    Each feature is a normal variable with mean and spread from `CONTRAST`; the features are taken as independent,
    which they are not, hence the wide margin `SWAP_EVIDENCE`.
    """

    def fit(order: tuple[str, ...]) -> float:
        total = 0.0
        for key, value in features.items():
            *names, kind = key
            mean, spread = CONTRAST[*(order[slots.index(name)] for name in names), kind]
            total -= 0.5 * ((value - mean) / spread) ** 2 + np.log(spread)
        return total

    best = max(itertools.permutations(slots), key=fit)
    return best if fit(best) - fit(slots) > SWAP_EVIDENCE else slots


def check_output(
    labels: NDArray[np.integer],
    grid: Grid,
    *,
    scheme: LabelScheme,
    probabilities: NDArray[np.floating] | None = None,
    brain: NDArray[np.bool_] | None = None,
) -> tuple[Flag, ...]:
    """Return what is odd about a segmentation.

    Parameters
    ----------
    labels : (i, j, k) integer
        In `scheme`, on `grid`.
    probabilities : (3, i, j, k) float, optional
        Of WT, TC and ET on the same grid, or on any one grid of their own: only their own agreement is judged.
    brain : (i, j, k) bool, optional
        On `grid`.

    Raises
    ------
    GeometryError
        Labels or brain differ from the grid in shape.
    """
    for what, array in (("label map", labels), ("brain mask", brain)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but its grid {grid.shape}; they must agree")
    whole = np.isin(labels, scheme.regions.get("WT", tuple(scheme.meanings)))
    voxels = int(np.count_nonzero(whole))
    flags: list[Flag] = []
    if voxels == 0:
        flags.append(Flag("empty", "warning", "no tumour was found; look at the images before you believe it"))
    else:
        flags += _size(whole, voxels, grid, brain)
        if "ET" in scheme.regions and not np.isin(labels, scheme.regions["ET"]).any():
            text = "no enhancing tumour was found: right in many low-grade gliomas, else check t1c"
            flags.append(Flag("no-enhancing-tumour", "info", text))
    if probabilities is not None:
        flags += _confidence(probabilities)
    return tuple(flags)


def _size(whole: NDArray[np.bool_], voxels: int, grid: Grid, brain: NDArray[np.bool_] | None) -> Iterator[Flag]:
    volume = voxels * grid.voxel_volume_ml
    if volume < TINY_ML:
        yield Flag("tiny", "warning", f"the tumour has {volume:.2g} ml; findings that small are often false")
    box = bounding_box(whole)
    parts, count = cc3d.connected_components(cut(whole, box), connectivity=26, return_N=True)
    if count > FRAGMENTS:
        sizes = np.sort(np.bincount(parts.ravel())[1:])
        scattered = sizes[:-3].sum() / voxels
        text = f"the tumour falls into {count} separate parts, {scattered:.0%} of it outside the largest three"
        yield Flag("fragments", "warning" if scattered > SCATTERED_SHARE else "info", text)
    inside = int(np.count_nonzero(brain)) if brain is not None else 0
    if brain is None or not inside:
        return
    if voxels > HUGE_SHARE * inside:
        yield Flag("huge", "error", f"the tumour fills {voxels / inside:.0%} of the brain; that is not credible")
    outside = int(np.count_nonzero(whole & ~brain)) / voxels
    if outside > OUTSIDE_SHARE:
        yield Flag("outside-brain", "error", f"{outside:.0%} of the tumour lies outside the brain")


def _confidence(probabilities: NDArray[np.floating]) -> Iterator[Flag]:
    """Flag regions whose voxels the network is, on average, unsure of, and regions it nearly saw."""
    for name, p in zip(REGIONS, probabilities, strict=True):
        inside = p[p >= 0.5]
        if inside.size and (mean := float(inside.mean(dtype=np.float64))) < LOW_CONFIDENCE:
            yield Flag(
                f"unsure-{name}", "warning", f"mean confidence inside {name} is {mean:.0%}; its outline is uncertain"
            )
