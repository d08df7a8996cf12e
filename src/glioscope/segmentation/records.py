"""What `segment` is told and what it answers."""

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from glioscope.errors import ConfigError, GlioscopeError
from glioscope.inference import Device, Precision
from glioscope.results import CaseSummary, Flag

Status = Literal["done", "skipped", "failed"]
ClinicalFile = Literal["seg", "rtstruct", "sr", "capture"]
"""DICOM segmentation, contours for radiotherapy, structured report of the measurements, pictures with outlines."""
CLINICAL: Mapping[ClinicalFile, str] = {
    "seg": "dicom/segmentation.dcm",
    "rtstruct": "dicom/contours.dcm",
    "sr": "dicom/measurements.dcm",
    "capture": "dicom/capture-1.dcm",
}
"""Kind of a clinical file to its name in a case's folder; of the pictures, which are several, to the first."""
CLINICAL_MARGIN = "dicom/margin.dcm"
"""Contours of a margin that was asked for."""
Language = Literal["en", "de"]


def clinical_files_in(outputs: Iterable[str], kind: ClinicalFile) -> tuple[str, ...]:
    """Return the files of one kind among the names of a case's outputs."""
    if kind == "capture":
        return tuple(name for name in outputs if name.startswith("dicom/capture-"))
    return tuple(name for name in outputs if name == CLINICAL[kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """What to run on and what to write."""

    scheme: str | None = None
    """Label scheme of the result; None takes that of the input's year, told by its file names."""
    device: Device = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    """On the processor; None takes all cores."""
    mirror: bool = False
    """Average with the left-right mirror image: twice the time."""
    save_probabilities: bool = False
    """Write probability-WT.nii.gz, -TC and -ET as well."""
    save_logits: bool = False
    """Write logits.npz, which corrections by clicks start from."""
    report: bool = True
    """Write report.html."""
    overwrite: bool = False
    """Do all cases again, also those that are done."""
    raw: bool | None = None
    """Whether NIfTI scans are as the scanner left them. None tells: on different grids, or with a skull, they are."""
    dicom: tuple[ClinicalFile, ...] = ()
    """Clinical files to write beside, of cases that came as DICOM."""
    identity: bool = False
    """Keep the patient's name, number and dates in clinical files."""
    shard: tuple[int, int] | None = None
    """(n, of): this is part n, from 1, of so many that share the cases between them; None does all."""
    anatomy: bool = False
    """Say where the tumour lies: lobes, structures, VASARI, a report in words."""
    language: Language = "en"
    """Of the report in words: en or de."""
    margin_mm: float | None = None
    """Write a margin of so many millimetres around the tumour; None for none."""
    radiomics: bool = False
    """Count features of texture and shape."""

    def __post_init__(self) -> None:
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError(f"shard is {self.shard[0]} of {self.shard[1]}; the first of four is 1/4, the last 4/4")

    @property
    def requests(self) -> dict[str, object]:
        """What decides the result besides, of what was asked for."""
        wanted = {
            "anatomy": self.language if self.anatomy else None,
            "margin_mm": self.margin_mm,
            "radiomics": self.radiomics or None,
        }
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What the tables of a cohort need of a summary.

    A whole summary is some 15 kB in memory, and a hundred thousand of them would be more than a worker needs.
    """

    volumes_ml: Mapping[str, float]
    """Region to millilitres, of those that can be measured with the sequences at hand."""
    flags: tuple[Flag, ...]
    seconds: float
    """Wall clock of the whole case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOutcome:
    """What became of one case."""

    case_id: str
    status: Status
    """`skipped`: an earlier run did it."""
    brief: Brief | None = None
    """None if it failed."""
    summary: CaseSummary | None = None
    """What stands in summary.json; None if it failed, or was done in another process."""
    reason: str = ""
    """Why it failed, one line."""

    @classmethod
    def of(cls, summary: CaseSummary, status: Status) -> Self:
        """Return the outcome of a case that has a summary."""
        brief = Brief(volumes_ml=summary.measurable_ml, flags=summary.flags, seconds=summary.total_seconds)
        return cls(case_id=summary.case_id, status=status, brief=brief, summary=summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationResult:
    """What became of every case, in order; none is missing."""

    output: Path
    outcomes: tuple[CaseOutcome, ...]

    def with_status(self, status: Status) -> tuple[CaseOutcome, ...]:
        """Return the outcomes of one status."""
        return tuple(o for o in self.outcomes if o.status == status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """Pages written again."""

    pages: tuple[Path, ...]
    """The cohort's first, if there is one."""
    problems: Mapping[str, str]
    """Case to why its page was not written."""


def reason(error: Exception) -> str:
    """Return why a case failed, in one line."""
    if isinstance(error, GlioscopeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs or run the case alone"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"defect, please report: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
