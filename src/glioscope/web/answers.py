"""What the API answers, as the page and scripts see it."""

import time
from typing import Literal

from pydantic import BaseModel, Field

from glioscope.web.earlier import has_earlier
from glioscope.web.service import Service
from glioscope.web.store import CaseRow, Found, JobRow, VersionRow


class ScanAnswer(BaseModel):
    """One file, channel or DICOM series of an upload."""

    name: str
    guess: str = Field(description="Sequence code that it was taken for, or empty")
    detail: str
    problem: str = Field(description="Why it cannot be used, or empty")


class VersionAnswer(BaseModel):
    """A segmentation; version 1 is the network's, later ones are corrections."""

    number: int
    based_on: int
    note: str
    changed: int = Field(description="Voxels that differ from the version it is based on")
    created: float = Field(description="Seconds since 1970")
    content: str = Field(description="Mark of its voxels and scans, to be sent with a correction of it")


class WorkAnswer(BaseModel):
    """A job that waits or is under way."""

    state: str
    step: str = Field(description="What it is doing")
    ahead: int = Field(description="Jobs to be done before it")
    seconds: float = Field(description="Since it began; 0 while it waits")
    usual_seconds: float | None = Field(description="Median of the last ten of its sort")


class ChangeAnswer(BaseModel):
    """A comparison with an earlier case."""

    earlier: str
    state: str
    message: str


class CaseAnswer(BaseModel):
    """One patient's session."""

    key: str
    title: str
    kind: str = Field(description="nifti, channels (one 4-D file) or dicom")
    state: str = Field(description="reading, review, queued, running, done or failed")
    message: str
    raw: bool = Field(description="The scans are aligned and the skull is taken off first")
    scans: list[ScanAnswer]
    choice: dict[str, int] = Field(description="Sequence code to the place in `scans`")
    result: Found = Field(description="Volumes in ml by region, number of quality flags; empty before there are any")
    version: int = Field(description="Newest version of the segmentation; 0 before there is one")
    versions: list[VersionAnswer]
    earlier: bool = Field(description="The result before this one can be brought back")
    created: float
    finished: float | None
    work: WorkAnswer | None


class CaseLine(BaseModel):
    """A case in the list."""

    key: str
    title: str
    state: str
    message: str
    version: int
    result: Found
    created: float
    finished: float | None
    work: WorkAnswer | None


class CasesAnswer(BaseModel):
    """The newest cases first."""

    cases: list[CaseLine]
    total: int
    waiting: int


class Start(BaseModel):
    """What to segment."""

    choice: dict[str, int] = Field(description="Sequence code (t1n, t1c, t2w, t2f) to the place in `scans`")
    raw: bool = Field(default=False, description="Align the scans and take the skull off first")
    title: str | None = Field(default=None, max_length=400)


class ClickWanted(BaseModel):
    """One click."""

    at: tuple[int, int, int] = Field(description="Voxel i, j, k of the part that ?view=true gives")
    region: Literal["WT", "TC", "ET"]
    add: bool = Field(default=True, description="Whether the place belongs to the region")


class Refine(BaseModel):
    """Clicks on a version, with what was drawn on it and is not saved."""

    content: str = Field(pattern="^[0-9a-f]{32}$", description="Mark of the version, as the case's versions tell it")
    changes: list[int] = Field(default=[], max_length=300_000, description="Runs: start, length, label, start, …")
    clicks: list[ClickWanted] = Field(min_length=1, max_length=100)


class RefineAnswer(BaseModel):
    """The voxels that change: runs along the file of the part that ?view=true gives."""

    runs: list[int] = Field(description="start, length, label, start, length, label, …")


class PlaceAnswer(BaseModel):
    """Where the network doubts."""

    at_mm: tuple[float, float, float] = Field(description="Millimetres, RAS")
    volume_ml: float


class Compare(BaseModel):
    """What to compare with."""

    earlier: str = Field(pattern="^[0-9a-f]{16}$", description="Key of the earlier case")


class StatusAnswer(BaseModel):
    """The server."""

    version: str
    waiting: int
    can_compare: bool
    max_upload_bytes: int
    max_file_bytes: int
    max_files: int


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    detail: str


def work_of(service: Service, job: JobRow | None) -> WorkAnswer | None:
    """Return what a job is about to do or doing, None if there is nothing to do."""
    if job is None or job.state not in ("queued", "running"):
        return None
    started = job.started if job.state == "running" else None
    return WorkAnswer(
        state=job.state,
        step=service.runner.step(job.number),
        ahead=service.store.ahead_of(job.number),
        seconds=max(0.0, time.time() - started) if started else 0.0,
        usual_seconds=service.store.usual_seconds(job.task),
    )


def _work(service: Service, row: CaseRow) -> WorkAnswer | None:
    if row.state not in ("reading", "queued", "running"):
        return None
    return work_of(service, service.store.last_job(row.key, "read" if row.state == "reading" else "segment"))


def version_answer(service: Service, key: str, row: VersionRow) -> VersionAnswer:
    """Return a version."""
    return VersionAnswer(
        number=row.number,
        based_on=row.based_on,
        note=row.note,
        changed=row.changed,
        created=row.created,
        content=service.content(key, row.number),
    )


def case_answer(service: Service, row: CaseRow) -> CaseAnswer:
    """Return all about a case."""
    return CaseAnswer(
        key=row.key,
        title=row.title,
        kind=row.kind,
        state=row.state,
        message=row.message,
        raw=row.raw,
        scans=[ScanAnswer(name=s.name, guess=s.guess, detail=s.detail, problem=s.problem) for s in row.scans],
        choice=dict(row.choice),
        result=row.result,
        version=row.version,
        versions=[version_answer(service, row.key, version) for version in service.store.versions(row.key)],
        earlier=has_earlier(service.store, row.key),
        created=row.created,
        finished=row.finished,
        work=_work(service, row),
    )


def case_line(service: Service, row: CaseRow) -> CaseLine:
    """Return a line of the list."""
    return CaseLine(
        key=row.key,
        title=row.title,
        state=row.state,
        message=row.message,
        version=row.version,
        result=row.result,
        created=row.created,
        finished=row.finished,
        work=_work(service, row),
    )
