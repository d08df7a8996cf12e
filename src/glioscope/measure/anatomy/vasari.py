"""VASARI's thirty features, as far as a segmentation and a map of the brain can give them.

VASARI ("Visually AcceSAble Rembrandt Images") is the Cancer Imaging Archive's list of what a radiologist notes of a
glioma; F1 to F25 describe the tumour, the rest an operation. The wording of the values is VASARI's. What a
segmentation cannot show (haemorrhage, diffusion, the skull) is "not determined", never guessed. Where an automatic rule
was published but measures something else, as the share of enhancement for its strength (Ruffle et al. 2024,
doi 10.1016/j.nicl.2024.103668), it is not used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.results.anatomy import Answer, Feature, Focality, Location, Margin
from glioscope.space.grid import Grid, bounding_box, cut

UNKNOWN = "not determined"
LEAST_ML = 0.05
"""Less enhancement than this counts as none, less of a part as a speck."""
SOLID_SHARE = 0.05
"""An enhancing tumour whose core holds less necrosis than this has no rim: it is solid."""
THICK_MM = 3.0
"""VASARI's border between a thin and a thick rim."""
BOUNDS = ((0.05, "<5 %"), (0.335, "6–33 %"), (0.675, "34–67 %"), (0.95, "68–95 %"))
"""VASARI's classes of a proportion, upper bounds; the gaps between its whole numbers are closed at the middle."""
_NOT_VISIBLE = {
    "F8": ("Cysts", "a cyst cannot be told from necrosis in a segmentation"),
    "F10": ("T1/FLAIR ratio", "the extent on T1 alone is not segmented"),
    "F12": ("Definition of the enhancing margin", "sharpness of an edge is not measured"),
    "F13": ("Definition of the non-enhancing margin", "sharpness of an edge is not measured"),
    "F16": ("Haemorrhage", "no sequence that shows blood is read"),
    "F17": ("Diffusion", "diffusion is not read"),
    "F18": ("Pial invasion", "enhancement of the pia is not segmented"),
    "F25": ("Calvarial remodelling", "the skull is removed or not looked at"),
}
_PLACES = {
    "frontal": "frontal",
    "parietal": "parietal",
    "temporal": "temporal",
    "occipital": "occipital",
    "insula": "insular",
    "brainstem": "brainstem",
    "cerebellum": "cerebellum",
    "basal ganglia": "basal ganglia",
    "thalamus": "thalamus",
    "corpus callosum": "corpus callosum",
}

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What the features are told from."""

    masks: Mapping[str, Mask]
    """WT, TC and ET, each (i, j, k)."""
    grid: Grid
    places: Mapping[str, Location]
    """By region, those that are not empty."""
    focality: Focality


def features(found: Findings) -> tuple[Feature, ...]:
    """Return F1 to F25 in order; an empty tuple without a tumour."""
    if "WT" not in found.places:
        return ()
    rows = [*_where(found), *_proportions(found), *_form(found), *_spread(found)]
    rows += [Feature(code=c, name=n, value=UNKNOWN, rule=why) for c, (n, why) in _NOT_VISIBLE.items()]
    return tuple(sorted(rows, key=lambda row: int(row.code[1:])))


def _solid(found: Findings) -> Location:
    """Return the tumour without its oedema, or with it where nothing else was segmented."""
    return found.places.get("TC", found.places["WT"])


def _where(found: Findings) -> list[Feature]:
    place = _solid(found)
    shares = {s.name: s.share for s in (*place.lobes, *place.structures) if s.name in _PLACES}
    lobe = _PLACES[max(shares, key=lambda name: shares[name])] if shares else UNKNOWN
    centre = {"crossing": "centre or bilateral", "both": "bilateral"}.get(place.side, place.side)
    involved = [e.name for e in place.eloquent if e.involved == "yes" and e.name in _SPOKEN]
    eloquent = ", ".join(_SPOKEN[name] for name in involved) or "no eloquent brain"
    return [
        Feature(code="F1", name="Tumour location", value=lobe, rule="part that holds most of the tumour core"),
        Feature(code="F2", name="Side of tumour centre", value=centre, rule="tumour core against the midline"),
        Feature(
            code="F3",
            name="Eloquent brain",
            value=eloquent if place.eloquent else UNKNOWN,
            rule="tumour core in or touching motor, speech (left) or visual cortex of the average brain",
        ),
    ]


_SPOKEN = {
    "speech, motor": "speech motor",
    "speech, receptive": "speech receptive",
    "motor": "motor",
    "vision": "vision",
}


def _proportions(found: Findings) -> list[Feature]:
    volume = {name: float(np.count_nonzero(mask)) for name, mask in found.masks.items()}
    whole = volume["WT"]
    enhancing = volume["ET"] * found.grid.voxel_volume_ml >= LEAST_ML
    core = (volume["TC"] - volume["ET"]) / whole
    joined = "necrosis and non-enhancing tumour share one label, together " + _class_of(core)
    apart = _class_of(0.0) if core == 0 else UNKNOWN
    rule = "share of the whole tumour's volume"
    return [
        Feature(
            code="F4",
            name="Enhancement quality",
            value=UNKNOWN if enhancing else "none",
            rule="present, but mild and marked have no published threshold"
            if enhancing
            else f"less than {LEAST_ML} ml enhance",
        ),
        Feature(code="F5", name="Proportion enhancing", value=_class_of(volume["ET"] / whole), rule=rule),
        Feature(code="F6", name="Proportion non-enhancing", value=apart, rule=joined if core else rule),
        Feature(code="F7", name="Proportion necrosis", value=apart, rule=joined if core else rule),
        Feature(code="F14", name="Proportion of oedema", value=_class_of(1 - volume["TC"] / whole), rule=rule),
    ]


def _class_of(share: float) -> str:
    if share <= 0:
        return "none (0 %)"
    if share >= 1:
        return "all (100 %)"
    return next((name for bound, name in BOUNDS if share <= bound), ">95 %")


def _form(found: Findings) -> list[Feature]:
    margin = margin_of(found)
    satellites = satellites_of(found)
    return [
        Feature(
            code="F9",
            name="Multifocal or multicentric",
            value=found.focality,
            rule="separate parts with a core of their own; multicentric where in another lobe or hemisphere; "
            "the route of spread cannot be told",
        ),
        Feature(
            code="F11",
            name="Thickness of enhancing margin",
            value=margin.kind if margin else "not applicable",
            rule=f"median thickness {margin.thickness_mm} mm; solid where necrosis fills less than {SOLID_SHARE:.0%} "
            "of the core"
            if margin
            else "nothing enhances",
        ),
        Feature(
            code="F24",
            name="Satellites",
            value="yes" if satellites else "no",
            rule=f"{satellites} enhancing parts of {LEAST_ML} ml and more apart from the largest core, in its oedema",
        ),
    ]


def margin_of(found: Findings) -> Margin | None:
    """Return the enhancing margin; None where nothing enhances."""
    enhancing, core = found.masks["ET"], found.masks["TC"]
    if np.count_nonzero(enhancing) * found.grid.voxel_volume_ml < LEAST_ML:
        return None
    thickness = round(rim_mm(enhancing, found.grid), 2)
    if 1 - np.count_nonzero(enhancing) / np.count_nonzero(core) < SOLID_SHARE:
        return Margin(kind="solid", thickness_mm=thickness)
    return Margin(kind="thick" if thickness >= THICK_MM else "thin", thickness_mm=thickness)


def rim_mm(mask: Mask, grid: Grid) -> float:
    """Return the median thickness of a shell, mm: twice the depth along its middle; 0 for an empty mask."""
    if not mask.any():
        return 0.0
    near = np.pad(cut(mask, bounding_box(mask)), 1)
    depth = ndimage.distance_transform_edt(near, sampling=grid.spacing_mm)
    ridge = near & (depth >= ndimage.maximum_filter(depth, 3))
    return float(np.median(2 * depth[ridge] - min(grid.spacing_mm)))


def satellites_of(found: Findings) -> int:
    """Return how many enhancing parts lie apart from the largest core, in the same abnormal signal."""
    box = bounding_box(found.masks["WT"])
    whole, core, enhancing = (np.ascontiguousarray(cut(found.masks[n], box)) for n in ("WT", "TC", "ET"))
    if not enhancing.any():
        return 0
    cores = cc3d.connected_components(core, connectivity=26)
    main = int(np.argmax(np.bincount(cores.ravel())[1:])) + 1
    around = cc3d.connected_components(whole, connectivity=26)
    signal = around[cores == main][0]
    apart = enhancing & (cores != main) & (around == signal)
    parts = cc3d.connected_components(apart, connectivity=26)
    sizes = np.bincount(parts.ravel())[1:] * found.grid.voxel_volume_ml
    return int(np.count_nonzero(sizes >= LEAST_ML))


def _spread(found: Findings) -> list[Feature]:
    place = _solid(found)
    enhancing = found.places.get("ET")
    deep = UNKNOWN if not place.structures else ", ".join(place.deep_white_matter) or "no"
    across = {name: found.places[name].crosses_midline for name in found.places}
    core: Answer | str = across.get("TC", "no")
    if core == "yes" and enhancing is not None and enhancing.crosses_midline == "yes":
        core = UNKNOWN
    rule = "5 mm past the midline on both sides"
    touching = "tumour core in it or touching it, on the average brain"
    return [
        Feature(
            code="F15",
            name="Oedema crosses midline",
            value=across["WT"] if across.get("TC", "no") != "yes" else UNKNOWN,
            rule=rule
            if across.get("TC", "no") != "yes"
            else "the core crosses, so oedema cannot be told apart from it",
        ),
        Feature(code="F19", name="Ependymal invasion", value=place.touches_ventricles, rule=touching),
        Feature(code="F20", name="Cortical involvement", value=place.reaches_cortex, rule=touching),
        Feature(code="F21", name="Deep white matter invasion", value=deep, rule=touching),
        Feature(
            code="F22", name="Non-enhancing tumour crosses midline", value=core, rule=rule + "; necrosis counts too"
        ),
        Feature(
            code="F23",
            name="Enhancing tumour crosses midline",
            value=enhancing.crosses_midline if enhancing else "no",
            rule=rule,
        ),
    ]
