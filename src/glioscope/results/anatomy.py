"""What is said about where a tumour lies. `glioscope.measure.anatomy` fills it in.

"not determined" is an answer of its own: the map does not show the structure, or could not be laid over the brain.
"""

from dataclasses import dataclass
from typing import Literal

from glioscope.results.stored import Stored, optional

Answer = Literal["yes", "no", "not determined"]
SideName = Literal["left", "right", "crossing", "both", "not determined"]
"""`crossing`: one part reaches past the midline; `both`: separate parts on both sides."""
Focality = Literal["none", "focal", "multifocal", "multicentric"]
Method = Literal["affine", "deformable", "given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Stored):
    """How much of a region lies in one part of the brain."""

    name: str
    """Of the lobe or structure."""
    share: float
    """0 to 1, of the region's volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances(Stored):
    """From the nearest voxel of a region, millimetres, 0 where they overlap; None where it cannot be told."""

    ventricles_mm: float | None
    """To the wall of the nearest ventricle, millimetres."""
    midline_mm: float | None
    """To the plane between left and right, millimetres; 0 where the region lies on both sides of it."""
    cortex_mm: float | None
    """To the nearest cortex, millimetres."""
    surface_mm: float | None
    """To the outside of the brain, millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eloquent(Stored):
    """One eloquent area and the tumour."""

    name: str
    """Of the area or structure, as in `glioscope.measure.anatomy.parts`."""
    involved: Answer
    """Whether a voxel of the region lies in it or touches it."""
    volume_ml: float | None
    """Of the region inside it, millilitres."""
    distance_mm: float | None
    """From the region to it, millimetres; 0 where they overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location(Stored):
    """Where one region or one lesion lies."""

    region: str
    """WT, TC or ET."""
    volume_ml: float
    """Millilitres."""
    side: SideName
    """Against the midline."""
    left_share: float | None
    """0 to 1: how much of the volume lies left of the midline; None where the midline is doubtful."""
    lobes: tuple[Share, ...]
    """Largest first, those of 0.01 and more; empty where it cannot be told."""
    structures: tuple[Share, ...]
    """As `lobes`."""
    distances: Distances
    """To what lies around it."""
    touches_ventricles: Answer
    """Whether a voxel lies in a ventricle or touches one."""
    reaches_cortex: Answer
    """Whether a voxel lies in cortex or touches it."""
    cortex_share: float | None
    """0 to 1, of the region's volume."""
    crosses_midline: Answer
    """Whether one part reaches 5 mm past it on both sides, with 5 % of its volume on the lesser."""
    in_callosum: Answer
    """Whether 0.05 ml or more lie in it."""
    crosses_callosum: Answer
    """One part on both sides of the midline that holds callosum between them."""
    deep_white_matter: tuple[str, ...]
    """Of internal capsule, corpus callosum and brainstem those that the region lies in or touches."""
    eloquent: tuple[Eloquent, ...]
    """Every area and structure of the list that the map shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedLesion(Stored):
    """One connected part of the tumour."""

    number: int
    """1 for the largest."""
    location: Location
    """Where it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature(Stored):
    """One VASARI feature."""

    code: str
    """F1 to F25."""
    name: str
    """In VASARI's words."""
    value: str
    """In VASARI's words, or "not determined"."""
    rule: str
    """How the value was told, or why it could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Stored):
    """How the map of the brain was laid over this one."""

    method: Method
    """Stretched (affine), bent as well (deformable), or given on the case's grid."""
    source: str
    """Of the map."""
    overlap: float | None
    """Dice of the patient's brain and the map's; None where the map was given on the case's own grid."""
    usable: bool
    """Whether anything is said that needs the map."""
    lacks: tuple[str, ...] = optional(tuple)
    """Parts that the map does not show: nothing is said about them."""
    smallest_jacobian: float | None = optional()
    """Of the deformable step: how far tissue was squeezed at the worst; 1 not at all, 0 or less folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin(Stored):
    """The enhancing margin of the core."""

    kind: Literal["thin", "thick", "solid"]
    """Thin below 3 mm (VASARI's border); solid where there is hardly any necrosis inside."""
    thickness_mm: float
    """Median along the middle of what enhances, millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Stored):
    """What could not be told, and why."""

    code: Literal[
        "no-tumour",
        "map-misfit",
        "brain-empty",
        "bend-refused",
        "midline-unknown",
        "midline-asymmetric",
        "midline-disagree",
        "map-lacks",
    ]
    """Short and stable, for programs and translations."""
    message: str
    """One sentence for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy(Stored):
    """Where the tumour of one case lies."""

    fit: Fit
    """How the map was laid over the brain."""
    midline: str
    """What the midline was found from, or why it is doubtful."""
    regions: tuple[Location, ...]
    """WT, TC and ET as far as they hold anything; empty without a tumour."""
    lesions: tuple[LocatedLesion, ...]
    """Parts of the whole tumour, largest first, at most ten."""
    lesion_count: int
    """Of all parts of 0.5 ml and more, or 1 where all are smaller."""
    focality: Focality
    """What separate foci are called by their places."""
    margin: Margin | None
    """None where nothing enhances."""
    satellites: int
    """Enhancing parts of 0.05 ml and more that lie apart from the largest core, in the same oedema; a count."""
    vasari: tuple[Feature, ...]
    """F1 to F25; empty without a tumour."""
    problems: tuple[Problem, ...]
    """What could not be told and why."""

    def region(self, name: str) -> Location | None:
        """Return the location of a region; None where it is empty."""
        return next((place for place in self.regions if place.region == name), None)
