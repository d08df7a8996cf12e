"""What changed between two dates of a patient: `change.json`. `glioscope.measure.change` fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glioscope.results.flags import Flag
from glioscope.results.measurements import Measurements, Point
from glioscope.results.preparation import Matrix, RegistrationQuality
from glioscope.results.stored import FORMAT, Stored, optional, read_stored, write_stored
from glioscope.results.summary import ModelRecord

CHANGE = "change.json"
"""Its name in the folder of a comparison."""
Code = Literal["CR", "PR", "SD", "PD", "NE", "none"]
"""RANO's categories: complete and partial response, stable and progressive disease, not evaluable, no tumour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Both(Stored):
    """A number of either date, in the unit that the field's name tells."""

    earlier: float
    """On the earlier date."""
    later: float
    """On the later date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(Stored):
    """A count on either date."""

    earlier: int
    """On the earlier date."""
    later: int
    """On the later date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFile(Stored):
    """A scan of a date."""

    file: str
    """Its path."""
    channel: int | None
    """Of a file that holds several sequences, counted from 0; None of a file that holds one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoModel(Stored):
    """A label file that no network of ours made: an empty table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRecord(Stored):
    """One of the two dates."""

    case_id: str
    """Name of the case, or of the label file."""
    subject_id: str | None
    """Name of the patient; None of a bare label file."""
    date: str | None
    """As the user gave it, 2024-01-31; None where nobody did."""
    scheme: str
    """Label scheme of the segmentation."""
    grid: str
    """Of the segmentation, in words."""
    segmentation: str
    """Path of the label file."""
    scans: Mapping[str, ScanFile]
    """Sequence to the scan that was at hand."""
    model: ModelRecord | NoModel
    """What segmented it."""
    measurements: Measurements
    """On the date's own grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedOn(Stored):
    """The sequence of each date that the two were aligned on."""

    earlier: str
    """Code of the sequence, or `scan`."""
    later: str
    """Code of the sequence, or `scan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsTheyLie(Stored):
    """Two dates that share one space by the word of the user: nothing was searched."""

    method: str
    """In words."""
    matrix_ras_mm: Matrix
    """RAS+ millimetres of the later date to those of the earlier one: the identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentRecord(Stored):
    """How the earlier date lies relative to the later one, as it was found."""

    method: str
    """In words."""
    sequences: AlignedOn
    """What was compared."""
    matrix_ras_mm: Matrix
    """RAS+ millimetres of the later date to those of the earlier one."""
    quality: RegistrationQuality
    """How good the alignment is."""
    problems: tuple[str, ...]
    """What is doubtful, a sentence each."""
    moved_mm: float
    """How far the brain's voxels move on average, millimetres."""
    headers_kept: bool
    """The movement found was within the search's error, so that the headers' word was taken."""
    brain_overlap: float | None
    """Dice of the aligned brains, 0 to 1; None where a date's brain is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChange(Stored):
    """A region on both dates."""

    earlier_ml: float
    """Millilitres, on the earlier date's own grid."""
    later_ml: float
    """Millilitres, on the later date's own grid."""
    change_ml: float
    """Later minus earlier, millilitres."""
    percent: float | None
    """Of the earlier volume; 0 where both are empty, None where something came of nothing."""
    grown_ml: float | None = optional()
    """On the later date only, millilitres of the overlaid maps; only of WT, TC and ET."""
    shrunk_ml: float | None = optional()
    """On the earlier date only, millilitres of the overlaid maps."""
    kept_ml: float | None = optional()
    """On both dates, millilitres of the overlaid maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedLesion(Stored):
    """An enhancing lesion of one date or both."""

    name: str
    """`lesion 1` is the largest."""
    status: Literal["new", "gone", "followed"]
    """On the later date only, on the earlier only, or on both."""
    target: bool
    """RANO would follow it: a part of it was measurable on the earlier date."""
    measurable_now: bool
    """A part of it is measurable on the later date."""
    parts: Counts
    """Lesions of each date that it consists of."""
    volume_ml: Both
    """Millilitres."""
    product_mm2: Both
    """Sum of its parts' products of diameters, square millimetres."""
    longest_mm: Both
    """Longest axial diameter of its parts, millimetres."""
    percent_volume: float | None
    """Of the earlier volume; None of a new lesion."""
    percent_product: float | None
    """Of the earlier product; None of a new lesion."""
    centre_mm: Point | None
    """Of its largest part on the later date, RAS+ millimetres; None where it is gone."""
    side: Literal["left", "right"] | None
    """Of that centre; None where it is gone."""
    share_in_earlier_tumour: float | None = optional()
    """Of a new lesion: how much of it lies in what was whole tumour before, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enhancing(Stored):
    """The enhancing lesions of both dates, matched by place."""

    lesions: tuple[FollowedLesion, ...]
    """Largest first."""
    new: tuple[str, ...]
    """Names of the new ones."""
    gone: tuple[str, ...]
    """Names of those that are gone."""
    sum_of_products_mm2: Both
    """Over the lesions that RANO would follow, square millimetres."""
    specks_left_out: Counts
    """Parts too small to be called lesions."""
    speck_ml: float
    """They are smaller than this, millilitres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Category(Stored):
    """What RANO calls the change, by one way to measure."""

    code: Code
    """Short."""
    name: str
    """In words."""
    reason: str
    """Why, in words."""
    earlier: float
    """Square millimetres by diameters, millilitres by volume."""
    later: float
    """In the unit of `earlier`."""
    percent: float | None
    """Of the earlier; None where something came of nothing."""
    rule: str
    """In words."""
    growth_percent: float
    """At least this much more is progression."""
    loss_percent: float
    """At least this much less is partial response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Stored):
    """RANO's category by imaging alone."""

    by_diameters: Category
    """By the sum of products of perpendicular diameters."""
    by_volume: Category
    """By the volume of all enhancing tumour."""
    agree: bool
    """Both ways give one category."""
    specks: str
    """What is not counted, in words."""
    not_judged: str
    """What of the images the program cannot judge, in words."""
    not_known: str
    """What RANO asks for beside the images, in words."""
    source: str
    """Of the rules."""
    doubtful: bool
    """A flag of the comparison is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Stored):
    """Two dates of one patient compared."""

    format: int = FORMAT
    """Version of this table; 0.1.0 wrote none."""
    earlier: VisitRecord
    """The first date."""
    later: VisitRecord
    """The second date."""
    interval_days: int | None
    """Days between them; None where nobody gave the dates."""
    alignment: AlignmentRecord | AsTheyLie
    """How the earlier date was laid over the later one."""
    regions: Mapping[str, RegionChange]
    """By region."""
    enhancing: Enhancing
    """Lesion by lesion."""
    response: Response
    """RANO's category by imaging alone."""
    flags: tuple[Flag, ...]
    """What may mislead, the gravest first."""
    map_values: Mapping[str, str]
    """What the voxels of change-<region>.nii.gz mean."""
    versions: Mapping[str, str]
    """Package to its version."""
    outputs: Mapping[str, str]
    """File in the folder to its SHA-256."""


def read_change(path: Path | str) -> Change:
    """Read a change.json of `change`. Errors as `stored.read_stored`."""
    return read_stored(Path(path), Change)


def write_change(path: Path | str, change: Change) -> None:
    """Write a change.json, complete or not at all. Errors as `stored.write_stored`."""
    write_stored(Path(path), change)
