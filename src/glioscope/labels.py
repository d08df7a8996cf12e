"""Label values of each BraTS year, the regions built from them, and the way back.

BraTS scores nested *regions*: whole tumour (WT) contains tumour core (TC) contains enhancing tumour (ET). Files hold
*labels*, whose numbers changed over the years: 4 is enhancing tumour until 2022, resection cavity in the 2024 glioma
task, and oedema in the paediatric one. A `LabelScheme` says what the numbers of one year mean.

Sources: Menze et al. 2015, doi 10.1109/TMI.2014.2377694; Baid et al. 2021, arXiv 2107.02314; de Verdier et al. 2024,
arXiv 2405.18368 (post-treatment); Kazerooni et al. 2024, arXiv 2404.15009 (paediatric); Antonelli et al. 2022,
doi 10.1038/s41467-022-30695-9 (Medical Segmentation Decathlon).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError, LabelError

REGIONS = ("WT", "TC", "ET")
"""Order of the region axis everywhere: whole tumour, tumour core, enhancing tumour."""

REGION_NAMES = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}

REGION_COLOURS = {"WT": "#648fff", "TC": "#dc267f", "ET": "#ffb000"}
"""On images, in pages and in DICOM: blue, magenta and gold of the IBM colour-blind safe palette."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Return '#rrggbb' as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelScheme:
    """What the numbers of a label map mean.

    Background is 0 in every scheme and is not listed. Each scheme exists once, in `SCHEMES`, so identity compares them.
    """

    name: str
    meanings: Mapping[int, str]
    """Label value to the tissue's abbreviation: NCR, NETC, ED, SNFH, ET, RC, CC, GTV."""
    regions: Mapping[str, tuple[int, ...]]
    """Region name to the label values it is the union of."""

    @property
    def values(self) -> tuple[int, ...]:
        """Label values that may occur, background included, ascending."""
        return (0, *sorted(self.meanings))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle as the name alone: read-only mappings do not pickle, and every process knows the schemes."""
        return scheme_named, (self.name,)


def _scheme(name: str, meanings: dict[int, str], regions: dict[str, tuple[int, ...]]) -> LabelScheme:
    return LabelScheme(name=name, meanings=MappingProxyType(meanings), regions=MappingProxyType(regions))


SCHEMES: Mapping[str, LabelScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            _scheme(
                "brats2018",  # 2017 to 2022
                {1: "NCR", 2: "ED", 4: "ET"},
                {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)},
            ),
            _scheme(
                "brats2023",  # 2023 to 2025, pre-treatment glioma, Africa, meningioma, metastases of 2023
                {1: "NCR", 2: "ED", 3: "ET"},
                {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)},
            ),
            _scheme(
                "brats2024",  # post-treatment glioma and metastases: the cavity is in neither TC nor WT
                {1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"},
                {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "NETC": (1,), "SNFH": (2,), "RC": (4,)},
            ),
            _scheme(
                "brats2024-ped",
                {1: "ET", 2: "NETC", 3: "CC", 4: "ED"},  # 2024 to 2026
                {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,), "NETC": (2,), "CC": (3,), "ED": (4,)},
            ),
            _scheme("brats2024-men-rt", {1: "GTV"}, {"GTV": (1,)}),
            _scheme(
                "msd",  # Medical Segmentation Decathlon, task 01
                {1: "ED", 2: "NCR", 3: "ET"},
                {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)},
            ),
        )
    }
)


def scheme_named(name: str) -> LabelScheme:
    """Return the scheme called `name`.

    Raises
    ------
    LabelError
        No scheme has that name; the message lists those that exist.
    """
    try:
        return SCHEMES[name]
    except KeyError:
        raise LabelError(f"label scheme '{name}' is not known; choose one of {', '.join(SCHEMES)}") from None


HIGHEST_LABEL = max(value for scheme in SCHEMES.values() for value in scheme.meanings)
GLIOMA_SCHEMES = ("brats2023", "brats2018", "brats2024")
"""Schemes that maps without a telling name may be in; the others must be named, by files, records or the user."""
MANY_MAPS = 10
"""So many maps with label 4 and not one with label 3 are of 2018 to 2022: some patient would have enhancing tumour."""


def choose_scheme(
    label_sets: Sequence[Iterable[int]],
    candidates: Sequence[str] = GLIOMA_SCHEMES,
    *,
    subject: str = "label map",
    option: str = "--scheme",
) -> LabelScheme:
    """Return the one scheme that all maps of a data set can be in, or ask for it.

    Parameters
    ----------
    label_sets : sequence of iterables of int
        The values that occur in each map; background may be among them.
    candidates : sequence of str
        Schemes that names and records leave open, the likelier first.
    subject : str
        What the error message calls the maps.
    option : str
        What the message says to name the scheme with.

    Returns
    -------
    LabelScheme
        The first candidate that knows all values, if the others that do mean the same by them. Label 4 without any 3 in
        at least `MANY_MAPS` maps is ET of 2018 to 2022.

    Raises
    ------
    LabelError
        A value that no scheme has; or several schemes fit and differ, or none of the candidates does: the message names
        those that fit.
    """
    sets = [{int(v) for v in values} - {0} for values in label_sets]
    present = set().union(*sets)
    if unknown := sorted(v for v in present if not any(v in s.meanings for s in SCHEMES.values())):
        raise LabelError(
            f"{subject}: has label values {unknown}; BraTS label maps hold 0 to 4. Check that this is a segmentation."
        )
    if {3, 4} <= present and {"brats2018", "brats2024"} <= set(candidates) and not any({3, 4} <= s for s in sets):
        raise LabelError(
            f"{subject}: some maps have label 3 and others label 4, but none has both: 4 may be the resection cavity "
            f"of 'brats2024', or enhancing tumour of 'brats2018' beside maps of 'brats2023'. Name it with {option} "
            f"brats2024, or keep the years apart and name each ({option} brats2018)."
        )
    fitting = [name for name in candidates if present <= set(SCHEMES[name].meanings)]
    meant = {name: _meant(SCHEMES[name], present) for name in fitting}
    if {"brats2018", "brats2024"} <= meant.keys() and sum(4 in values for values in sets) >= MANY_MAPS:
        return SCHEMES["brats2018"]
    if fitting and len(set(meant.values())) == 1:
        return SCHEMES[fitting[0]]
    open_ = fitting or [name for name, s in SCHEMES.items() if present <= set(s.meanings)]
    listed = sorted(present)
    said = "" if fitting else f", which the names ({' or '.join(candidates)}) do not allow,"
    readings = "; ".join(f"in '{n}' {', '.join(f'{v} is {SCHEMES[n].meanings[v]}' for v in listed)}" for n in open_)
    raise LabelError(
        f"{subject}: the label values {listed}{said} may mean different things: {readings}. Name the right scheme with "
        f"{' or '.join(f'{option} {name}' for name in open_)}."
    )


def _meant(scheme: LabelScheme, values: Iterable[int]) -> tuple[frozenset[str], ...]:
    """Return for each value the regions among WT, TC and ET that hold it, or RC: what two schemes must share."""
    return tuple(
        frozenset(region for region in (*REGIONS, "RC", "CC") if v in scheme.regions.get(region, ()))
        for v in sorted(values)
    )


def unknown_values(counts: Mapping[int, int], scheme: LabelScheme) -> str:
    """Return in words which labels of a map a scheme does not know, with their voxels; nothing if it knows all."""
    bad = [f"{v} ({n} voxels)" for v, n in counts.items() if v not in scheme.values]
    known = list(scheme.values)
    return f"has label {', '.join(bad)}; scheme '{scheme.name}' knows {known}. Name the right one." if bad else ""


def check_labels(labels: NDArray, scheme: LabelScheme, *, subject: str = "label map") -> None:
    """Raise `LabelError` naming each value of `labels` that `scheme` does not know, with its voxel count."""
    known = np.isin(labels, scheme.values)  # a quarter of the time of sorting all voxels, which only bad maps need
    if not known.all():
        values, counts = np.unique(labels[~known], return_counts=True)
        bad = [f"{v:g} ({n} voxels)" for v, n in zip(values, counts, strict=True)]
        raise LabelError(
            f"{subject}: has label {', '.join(bad)}; scheme '{scheme.name}' knows {list(scheme.values)}. "
            "Name the right scheme with --scheme."
        )


def regions_from_labels(
    labels: NDArray[np.integer], scheme: LabelScheme, *, names: tuple[str, ...] = REGIONS
) -> NDArray[np.bool_]:
    """Return one mask per region, axis 0 in the order of `names`.

    Parameters
    ----------
    labels : (i, j, k) integer
        Label map in `scheme`.
    names : tuple of str
        Regions wanted; each must be a region of the scheme.

    Returns
    -------
    (region, i, j, k) bool
        All False for an empty map.

    Raises
    ------
    LabelError
        The map holds a value that the scheme does not know, or the scheme lacks a region.
    """
    missing = [name for name in names if name not in scheme.regions]
    if missing:
        raise LabelError(f"scheme '{scheme.name}' has no region {missing}; it has {list(scheme.regions)}")
    check_labels(labels, scheme)
    table = np.zeros((len(names), max(scheme.values) + 1), bool)
    for row, name in enumerate(names):
        table[row, list(scheme.regions[name])] = True
    return np.take(table, labels, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionsConfig:
    """Which regions a network learns, and what the numbers of references and results mean."""

    names: tuple[str, ...] = REGIONS
    """Outermost first. Others than WT, TC and ET need a `scheme` that has them."""
    scheme: str = ""
    """Label scheme of every reference and of results; empty: told by each reference, and by the year of each input."""

    def __post_init__(self) -> None:
        if not self.scheme:
            if self.names != REGIONS:
                raise ConfigError(
                    f"regions.names is {', '.join(self.names) or 'empty'}, and nothing says which labels make them; "
                    f'name the label scheme, as in regions.scheme = "brats2024" (one of {", ".join(SCHEMES)})'
                )
            return
        if self.scheme not in SCHEMES:
            raise ConfigError(f"regions.scheme is '{self.scheme}'; choose one of {', '.join(SCHEMES)}")
        scheme = SCHEMES[self.scheme]
        if unknown := [name for name in self.names if name not in scheme.regions]:
            raise ConfigError(
                f"regions.names has {', '.join(unknown)}; scheme '{self.scheme}' has {', '.join(scheme.regions)}"
            )
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(f"regions.names is {list(self.names)}; name at least one region, and each once")
        own_labels(scheme, self.names)  # refuses what could not be written

    @property
    def inside(self) -> tuple[tuple[int, ...], ...]:
        """For each region the places, in `names`, of the regions that lie inside it."""
        if not self.scheme:
            return ((1, 2), (2,), ())
        values = [set(SCHEMES[self.scheme].regions[name]) for name in self.names]
        return tuple(tuple(n for n, other in enumerate(values) if other < own) for own in values)


GLIOMA = RegionsConfig()
"""WT, TC and ET, in the scheme of each file's year."""


def own_labels(scheme: LabelScheme, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the label that stands for each region where no region inside it does.

    Raises
    ------
    ConfigError
        Two regions overlap without one holding the other, or an outer one comes before an inner one; or the labels of a
        region cannot be told apart by the regions named.
    """
    values = {name: set(scheme.regions[name]) for name in names}
    own = []
    for place, name in enumerate(names):
        for other in names[:place]:
            shared = values[name] & values[other]
            if shared and not values[name] < values[other]:
                raise ConfigError(
                    f"regions {other} and {name} of scheme '{scheme.name}' share label {min(shared)}; regions must be "
                    "nested or apart, the outer one named first"
                )
        left = values[name] - set().union(*(v for n, v in values.items() if v < values[name]))
        if len(left) != 1:
            raise ConfigError(
                f"region {name} of scheme '{scheme.name}' stands for labels {sorted(values[name])}, of which the "
                f"regions named leave it {len(left)}; one is needed: name the regions inside it, or fewer of them"
            )
        own.append(left.pop())
    return tuple(own)


def painted(regions: NDArray[np.bool_], learnt: RegionsConfig) -> NDArray[np.uint8]:
    """Return the label map of regions of a scheme that was named; where two overlap, the one named later wins.

    Parameters
    ----------
    regions : (r, i, j, k) bool
        In the order of ``learnt.names``.
    """
    labels = np.zeros(regions.shape[1:], np.uint8)
    for region, value in zip(regions, own_labels(scheme_named(learnt.scheme), learnt.names), strict=True):
        labels[region] = value
    return labels


def labels_from_regions(regions: NDArray[np.bool_], scheme: LabelScheme) -> NDArray[np.uint8]:
    """Return the label map whose WT, TC and ET are `regions`, made nested where they are not.

    A voxel in ET counts as TC and WT too, and one in TC as WT: the inner region wins, as it does in the reference.

    Parameters
    ----------
    regions : (3, i, j, k) bool
        WT, TC, ET.

    Returns
    -------
    (i, j, k) uint8
        Oedema where only WT, necrotic core where TC without ET, enhancing tumour where ET.
    """
    value_of = {meaning: value for value, meaning in scheme.meanings.items()}
    core = value_of.get("NCR", value_of.get("NETC"))
    oedema = value_of.get("ED", value_of.get("SNFH"))
    enhancing = value_of.get("ET")
    if core is None or oedema is None or enhancing is None:
        raise LabelError(f"scheme '{scheme.name}' has no labels for WT, TC and ET; choose a glioma scheme")
    whole, tumour_core, enhancing_mask = regions
    labels = np.zeros(whole.shape, np.uint8)
    labels[whole] = oedema
    labels[tumour_core] = core
    labels[enhancing_mask] = enhancing
    return labels


def convert_labels(labels: NDArray[np.integer], source: LabelScheme, target: LabelScheme) -> NDArray[np.uint8]:
    """Return `labels` renumbered from one scheme to another by WT, TC and ET.

    Raises
    ------
    LabelError
        The map uses a tissue that the target cannot express (a resection cavity in a pre-treatment scheme).
    """
    check_labels(labels, source)
    if source.name == target.name:
        return labels.astype(np.uint8)
    outside = set(source.meanings) - set(source.regions.get("WT", ()))
    lost = [v for v in outside if np.any(labels == v)]
    if lost:
        raise LabelError(f"label {lost} of '{source.name}' has no counterpart in '{target.name}'; keep the scheme")
    return labels_from_regions(regions_from_labels(labels, source), target)
