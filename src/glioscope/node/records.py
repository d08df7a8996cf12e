"""The rows of the node's list: what was received, what is made of it, where it goes."""

from dataclasses import dataclass
from typing import Literal

VersionState = Literal["queued", "running", "sending", "done", "failed", "ignored", "superseded"]
DeliveryState = Literal["waiting", "sent", "stored", "confirmed", "refused", "superseded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One object from the network, already on disk."""

    key: str
    study_uid: str
    sop_uid: str
    digest: str
    """Of its data set."""
    file: str
    """Name in the study's folder of objects."""
    patient: str
    """Code that tells this patient from others; empty where the object names nobody."""
    calling: str
    """AE title of the sender."""
    address: str
    description: str
    station: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One study."""

    key: str
    """Names it in folders, logs and pages."""
    study_uid: str
    calling: str
    address: str
    description: str
    station: str
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One attempt at a result: a study as it was complete at a moment."""

    key: str
    number: int
    state: VersionState
    reason: str
    """Why it failed or was ignored, one line."""
    remark: str
    """What else is to be known: instances that came twice, say."""
    attempts: int
    objects: int
    """That came since the version before."""
    created: float
    started: float | None
    finished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One result on its way to one archive."""

    number: int
    key: str
    version: int
    peer: str
    file: str
    """Path below the version's folder."""
    sop_class: str
    sop_uid: str
    state: DeliveryState
    """`stored`: the archive took it and offers no confirmation; `confirmed`: it promised to keep it."""
    reason: str
    attempts: int
    created: float
    due: float
    """When it is tried, or its confirmation asked for, next."""
    asked: str
    """UID of the question whether the archive keeps it; empty if none is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One result for one archive, not yet in the list."""

    peer: str
    file: str
    sop_class: str
    sop_uid: str
