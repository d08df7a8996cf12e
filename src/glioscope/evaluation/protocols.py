"""Protocols: what a year's challenge scored and how, read from TOML files.

Label numbers, regions, dilations, volume limits, penalties and what an empty mask is worth stand in
`glioscope/protocols/*.toml`, each with its source; this module gives them types and refuses what it does not know.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from glioscope.errors import ConfigError
from glioscope.evaluation.metrics import LesionRule
from glioscope.labels import SCHEMES, LabelScheme
from glioscope.space.grid import Shape3

Value = float | Literal["diagonal"]
"""A score given by rule; "diagonal" is the length of the volume's diagonal, in voxels."""

Scores = Mapping[str, Value]

SAME_TISSUE = {"NETC": "NCR", "SNFH": "ED"}
"""Tissues renamed over the years: NETC is NCR, and SNFH is ED. Regions are compared under the older name."""

TISSUES = ("", "NCR", "ED", "ET", "RC", "CC", "GTV")
"""Every tissue under its older name; in code maps, tissues are numbered by their place here, 0 for background."""

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyPolicy:
    """Scores that replace the measured ones where masks are empty; a metric not listed keeps its own value."""

    both: Scores = field(default_factory=dict)
    reference: Scores = field(default_factory=dict)
    """The reference alone is empty."""
    prediction: Scores = field(default_factory=dict)
    """The prediction alone is empty."""

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRegionRule:
    """Scores of a region as one mask."""

    metrics: tuple[str, ...]
    empty: EmptyPolicy = field(default_factory=EmptyPolicy)

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLimits:
    """What differs for one region."""

    dilation: int | None = None
    smallest_mm3: float | None = None
    smallest_predicted: float | None = None

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionWiseRule:
    """Scores lesion by lesion, 2023 to 2025."""

    metrics: tuple[str, ...]
    dilation: int
    smallest_mm3: float
    merge_prediction: bool = False
    smallest_predicted: float = 0
    smallest_predicted_unit: Literal["voxels", "mm3"] = "voxels"
    count_false_positives: bool = True
    region: Mapping[str, RegionLimits] = field(default_factory=dict)
    touching: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Region to the regions whose lesions merge its own, in the order looked at."""
    missed: Scores = field(default_factory=dict)
    """Score of a missed lesion and of a false positive."""
    nothing: Scores = field(default_factory=dict)
    """Score where there is nothing to count."""

    __pydantic_config__ = _STRICT

    def of(self, region: str, voxel_mm3: float) -> LesionRule:
        """Return the rule for one region on voxels of one volume."""
        own = self.region.get(region, RegionLimits())
        predicted = self.smallest_predicted if own.smallest_predicted is None else own.smallest_predicted
        return LesionRule(
            dilation=self.dilation if own.dilation is None else own.dilation,
            smallest_mm3=self.smallest_mm3 if own.smallest_mm3 is None else own.smallest_mm3,
            merge_prediction=self.merge_prediction,
            smallest_predicted_voxels=predicted / (voxel_mm3 if self.smallest_predicted_unit == "mm3" else 1),
            count_false_positives=self.count_false_positives,
        )

    @property
    def largest_dilation(self) -> int:
        """Iterations of the widest dilation of any region."""
        return max(self.dilation, *(r.dilation or 0 for r in self.region.values()), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneToOneRule:
    """Scores of components matched one to one, 2026."""

    smallest_dice: float
    empty: Scores
    """Neither mask has a voxel."""
    unmatched: Scores
    """No pair matched, though one mask has voxels."""

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Part of a volume: `size` around its centre, or `start` to `stop`; all of it if nothing is given."""

    size: Shape3 | None = None
    start: Shape3 | None = None
    stop: Shape3 | None = None

    __pydantic_config__ = _STRICT

    def box(self, shape: Shape3) -> tuple[slice, slice, slice]:
        """Return the voxels of the crop that lie inside a volume."""
        if self.size is not None:
            start = [(n - s) // 2 for n, s in zip(shape, self.size, strict=True)]
            stop = [a + s for a, s in zip(start, self.size, strict=True)]
        else:
            start, stop = list(self.start or (0, 0, 0)), list(self.stop or shape)
        i, j, k = (slice(max(0, a), max(0, a, min(n, b))) for a, b, n in zip(start, stop, shape, strict=True))
        return i, j, k


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelAccuracyRule:
    """Voxel accuracy over crops."""

    crop: Mapping[str, Crop]

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One protocol."""

    name: str
    title: str
    source: tuple[str, ...]
    notes: str = ""
    scheme: str | None = None
    """Label scheme of that year's files; None for a protocol that goes by tissues alone."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """Label value to tissue, in files of that year."""
    regions: Mapping[str, tuple[str, ...]]
    """Region to the tissues it is the union of."""
    ignored: tuple[str, ...] = ()
    """Tissues that may occur though no region holds them."""
    unscored: tuple[str, ...] = ()
    """Regions needed by others but not reported."""
    only_known_tissues: bool = False
    """Whether regions that the reference's labels cannot hold are left out."""
    whole_region: WholeRegionRule | None = None
    lesion_wise: LesionWiseRule | None = None
    one_to_one: OneToOneRule | None = None
    voxel_accuracy: VoxelAccuracyRule | None = None
    missing: Scores = field(default_factory=dict)
    """Scores of a case without a usable prediction."""

    __pydantic_config__ = _STRICT

    def tissues(self, region: str) -> frozenset[str]:
        """Return the tissues of a region under their older names."""
        return frozenset(SAME_TISSUE.get(t, t) for t in self.regions[region])

    @property
    def known_tissues(self) -> frozenset[str]:
        """Tissues that may occur in a map, under their older names."""
        return frozenset().union(*(self.tissues(r) for r in self.regions), self.ignored)

    def scored_regions(self, scheme: LabelScheme) -> tuple[str, ...]:
        """Return the regions reported for references in a scheme."""
        holds = scheme_tissues(scheme)
        return tuple(
            r
            for r in self.regions
            if r not in self.unscored and (not self.only_known_tissues or self.tissues(r) & holds)
        )


_PROTOCOL = TypeAdapter(Protocol)  # built once: that takes longer than reading all files


def scheme_tissues(scheme: LabelScheme) -> frozenset[str]:
    """Return the tissues that a scheme can express, under their older names."""
    return frozenset(SAME_TISSUE.get(t, t) for t in scheme.meanings.values())


def value_of(value: Value, shape: Shape3) -> float:
    """Return a score given by rule as a number, for a volume of `shape` voxels."""
    return math.sqrt(sum(n * n for n in shape)) if value == "diagonal" else float(value)


def builtin_protocols() -> tuple[str, ...]:
    """Return the names of the protocols that come with the package."""
    folder = resources.files("glioscope") / "protocols"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def read_protocol(name_or_path: str) -> Protocol:
    """Read a protocol by name, or from a TOML file of the same form.

    Raises
    ------
    ConfigError
        No protocol has the name (the nearest is offered), or the file is not one.
    """
    names = builtin_protocols()
    place = resources.files("glioscope") / "protocols" / f"{name_or_path}.toml"
    source = place if name_or_path in names else Path(name_or_path)
    if source is not place and not (name_or_path.endswith(".toml") and source.is_file()):
        near = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"protocol '{name_or_path}' is not known; {hint}choose from {', '.join(names)}, or a TOML file"
        )
    name = source.name.removesuffix(".toml")
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
        protocol = _PROTOCOL.validate_python({**table, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"protocol '{name}': {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:  # not text, not TOML, or nested without end
        raise ConfigError(f"protocol '{name}' is not valid TOML: {error}") from error
    _check(protocol)
    return protocol


def _check(protocol: Protocol) -> None:
    if protocol.scheme is not None:
        scheme = SCHEMES.get(protocol.scheme)
        if scheme is None or dict(scheme.meanings) != dict(protocol.labels):
            raise ConfigError(
                f"protocol '{protocol.name}': its labels {dict(protocol.labels)} are not those of scheme "
                f"'{protocol.scheme}'; name the scheme that has them"
            )
    for region in protocol.regions:
        if not protocol.regions[region] or not protocol.tissues(region) <= set(TISSUES[1:]):
            raise ConfigError(
                f"protocol '{protocol.name}': region {region} is {list(protocol.regions[region])}; a region is one or "
                f"more of {', '.join((*TISSUES[1:], *SAME_TISSUE))}"
            )
    partners = protocol.lesion_wise.touching.values() if protocol.lesion_wise else ()
    named = {*protocol.unscored, *(p for ps in partners for p in ps)}
    if protocol.lesion_wise:
        named |= {*protocol.lesion_wise.region, *protocol.lesion_wise.touching}
    unknown = sorted(named - set(protocol.regions))
    if unknown:
        raise ConfigError(f"protocol '{protocol.name}': names region {unknown}; it has {list(protocol.regions)}")
