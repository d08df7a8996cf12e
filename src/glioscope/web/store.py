"""What the server remembers: cases, jobs and versions, in one SQLite file that survives a restart.

Files lie in ``<data>/cases/<key>/``; the key is drawn at random, and no other name from here ever becomes a path.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from glioscope.errors import RunError
from glioscope.files.database import Database

State = Literal["reading", "review", "queued", "running", "done", "failed"]
Kind = Literal["nifti", "channels", "dicom"]
Task = Literal["read", "segment", "change"]
ATTEMPTS = 3
"""A job that was under way at so many restarts is given up: it may be what brings the server down."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY, title TEXT NOT NULL, case_id TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    message TEXT NOT NULL, scans TEXT NOT NULL, choice TEXT NOT NULL, raw INTEGER NOT NULL, result TEXT NOT NULL,
    version INTEGER NOT NULL, created REAL NOT NULL, finished REAL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL REFERENCES cases (key) ON DELETE CASCADE,
    task TEXT NOT NULL, other TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL);
CREATE TABLE IF NOT EXISTS versions (
    key TEXT NOT NULL REFERENCES cases (key) ON DELETE CASCADE, number INTEGER NOT NULL, based_on INTEGER NOT NULL,
    note TEXT NOT NULL, changed INTEGER NOT NULL, created REAL NOT NULL, PRIMARY KEY (key, number));
CREATE INDEX IF NOT EXISTS jobs_by_case ON jobs (key, number);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One thing of an upload that may be a sequence: a file, a channel of a file, or a DICOM series."""

    name: str
    """What the user knows it by."""
    file: str
    """Path below the case's `input` folder; empty for a DICOM series, which is told by its name."""
    guess: str = ""
    """Sequence code, or nothing."""
    detail: str = ""
    """Size and spacing, or why it was chosen."""
    problem: str = ""
    """Why it cannot be used, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the list shows of a result; empty before there is one."""

    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    """WT, TC, ET to millilitres."""
    flags: int = 0
    """Errors and warnings, a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """One patient's session on the server."""

    key: str
    title: str
    """As the user typed it, control characters apart."""
    case_id: str
    """Made from the title; names files."""
    kind: Kind
    state: State
    message: str
    """What went wrong, one line, or a remark."""
    scans: tuple[Scan, ...]
    choice: Mapping[str, int]
    """Sequence code to the place in `scans`."""
    raw: bool
    """Raw scans are prepared first."""
    result: Found
    """Of the newest version."""
    version: int
    """Newest version of the segmentation; 0 before there is one."""
    created: float
    finished: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One piece of work."""

    number: int
    key: str
    task: Task
    other: str
    """The earlier case, of a comparison."""
    state: Literal["queued", "running", "done", "failed"]
    message: str
    attempts: int
    created: float
    started: float | None
    finished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A segmentation of a case; version 1 is the network's."""

    number: int
    based_on: int
    note: str
    changed: int
    """Voxels that differ from the version it is based on."""
    created: float


class Store:
    """The list of cases; safe to use from several threads.

    Parameters
    ----------
    data : Path
        The server's folder; made if need be.

    Raises
    ------
    RunError
        The folder or the list cannot be written or read.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        try:
            (data / "cases").mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(data / "incoming", ignore_errors=True)  # uploads that a stop cut off
            (data / "incoming").mkdir(mode=0o700, exist_ok=True)
            self._db = Database(data / "glioscope.sqlite3", _SCHEMA, what="the list of cases")
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"{data}: cannot hold the server's cases ({error}); choose another --data folder") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def folder(self, key: str) -> Path:
        """Return the folder of a case that is in the list."""
        return self.data / "cases" / key

    # cases

    def add(self, row: CaseRow) -> None:
        """Enter a new case."""
        names = [field.name for field in fields(CaseRow)]
        marks = ", ".join("?" * len(names))
        with self._db.writing() as db:
            db.execute(
                f"INSERT INTO cases ({', '.join(names)}) VALUES ({marks})",
                [_packed(n, getattr(row, n)) for n in names],
            )

    def update(self, key: str, **changes: Any) -> None:
        """Change fields of a case."""
        with self._db.writing() as db:
            _update(db, key, changes)

    def case(self, key: str) -> CaseRow | None:
        """Return a case, or None."""
        found = self._db.rows("SELECT * FROM cases WHERE key = ?", key)
        return _case(found[0]) if found else None

    def cases(self, *, limit: int = 500, offset: int = 0) -> list[CaseRow]:
        """Return cases, newest first."""
        query = "SELECT * FROM cases ORDER BY created DESC, key LIMIT ? OFFSET ?"
        return [_case(row) for row in self._db.rows(query, limit, offset)]

    def count(self) -> int:
        """Return how many cases there are."""
        return int(self._db.rows("SELECT count(*) FROM cases")[0][0])

    def remove(self, key: str) -> None:
        """Forget a case and delete its files."""
        with self._db.writing() as db:
            db.execute("DELETE FROM cases WHERE key = ?", [key])
        shutil.rmtree(self.folder(key), ignore_errors=True)

    # jobs

    def queue(self, key: str, task: Task, *, other: str = "", **changes: Any) -> int:
        """Put a piece of work at the end of the queue, change fields of its case, and return its number."""
        with self._db.writing() as db:
            _update(db, key, changes)
            cursor = db.execute(
                "INSERT INTO jobs (key, task, other, state, message, attempts, created)"
                " VALUES (?, ?, ?, 'queued', '', 0, ?)",
                [key, task, other, time.time()],
            )
            return int(cursor.lastrowid or 0)

    def take(self) -> JobRow | None:
        """Return the oldest waiting job, now under way, or None."""
        with self._db.writing() as db:
            row = db.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1").fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 WHERE number = ?",
                [time.time(), row["number"]],
            )
            if row["task"] == "segment":
                _update(db, row["key"], {"state": "running"})
        return self.job(row["number"])

    def finish(self, job: JobRow, *, failure: str = "", **changes: Any) -> None:
        """Mark a job as done, or as failed and why, and change fields of its case."""
        with self._db.writing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, message = ?, finished = ? WHERE number = ?",
                ["failed" if failure else "done", failure, time.time(), job.number],
            )
            _update(db, job.key, changes)

    def requeue(self) -> list[JobRow]:
        """Put what was under way back in the queue; return the jobs given up for having been so too often."""
        running = [_job(row) for row in self._db.rows("SELECT * FROM jobs WHERE state = 'running' ORDER BY number")]
        for job in running:
            if job.attempts < ATTEMPTS:
                with self._db.writing() as db:
                    db.execute("UPDATE jobs SET state = 'queued', started = NULL WHERE number = ?", [job.number])
                    if job.task == "segment":
                        _update(db, job.key, {"state": "queued"})
        return [job for job in running if job.attempts >= ATTEMPTS]

    def put_back(self, job: JobRow) -> None:
        """Put one job back that the server's own stop ended; it does not count as an attempt."""
        with self._db.writing() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts - 1 WHERE number = ?",
                [job.number],
            )
            if job.task == "segment":
                _update(db, job.key, {"state": "queued"})

    def job(self, number: int) -> JobRow | None:
        """Return a job, or None."""
        found = self._db.rows("SELECT * FROM jobs WHERE number = ?", number)
        return _job(found[0]) if found else None

    def last_job(self, key: str, task: Task | None = None, *, other: str = "") -> JobRow | None:
        """Return the newest job of a case, of one sort if told, or None."""
        query = (
            "SELECT * FROM jobs WHERE key = ? AND (? IS NULL OR task = ?) AND other = ? ORDER BY number DESC LIMIT 1"
        )
        found = self._db.rows(query, key, task, task, other)
        return _job(found[0]) if found else None

    def ahead_of(self, number: int) -> int:
        """Return how many jobs are to be done before one."""
        return int(
            self._db.rows("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND number < ?", number)[0][0]
        )

    def waiting(self) -> int:
        """Return how many jobs wait or are under way."""
        return int(self._db.rows("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")[0][0])

    def usual_seconds(self, task: Task) -> float | None:
        """Return the median time of the last ten jobs of a sort that went well, or None."""
        query = (
            "SELECT finished - started AS s FROM jobs WHERE task = ? AND state = 'done' ORDER BY number DESC LIMIT 10"
        )
        found = sorted(float(row["s"]) for row in self._db.rows(query, task))
        return found[len(found) // 2] if found else None

    # versions

    def add_version(self, key: str, version: VersionRow, result: Found) -> None:
        """Enter a version and make it the newest of its case."""
        with self._db.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO versions (key, number, based_on, note, changed, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [key, version.number, version.based_on, version.note, version.changed, version.created],
            )
            _update(db, key, {"version": version.number, "result": result})

    def versions(self, key: str) -> list[VersionRow]:
        """Return the versions of a case, oldest first."""
        rows = self._db.rows(
            "SELECT number, based_on, note, changed, created FROM versions WHERE key = ? ORDER BY number", key
        )
        return [VersionRow(**dict(row)) for row in rows]

    def forget_versions(self, key: str) -> None:
        """Forget the versions of a case that is to be segmented anew."""
        with self._db.writing() as db:
            db.execute("DELETE FROM versions WHERE key = ?", [key])
            _update(db, key, {"version": 0, "result": Found()})


def _packed(name: str, value: Any) -> Any:
    if name == "scans":
        return json.dumps([{f.name: getattr(scan, f.name) for f in fields(Scan)} for scan in value])
    if name == "result":
        return json.dumps(asdict(value))
    return json.dumps(dict(value)) if name == "choice" else value


def _update(db: sqlite3.Connection, key: str, changes: Mapping[str, object]) -> None:
    known = {field.name for field in fields(CaseRow)} - {"key"}
    for name, value in changes.items():
        if name not in known:
            raise KeyError(name)
        db.execute(f"UPDATE cases SET {name} = ? WHERE key = ?", [_packed(name, value), key])


def _case(row: sqlite3.Row) -> CaseRow:
    values = dict(row)
    values["scans"] = tuple(Scan(**scan) for scan in json.loads(values["scans"]))
    values["choice"], values["result"] = json.loads(values["choice"]), Found(**json.loads(values["result"]))
    values["raw"] = bool(values["raw"])
    return CaseRow(**values)


def _job(row: sqlite3.Row) -> JobRow:
    return JobRow(**dict(row))
