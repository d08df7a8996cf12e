"""What the node remembers: studies, their objects, each attempt at a result, and where each result has to go.

    object ──receive──▶ study ──close──▶ version ──take, made──▶ deliveries ──sent, confirmed──▶ done

One SQLite file. Objects lie in ``<data>/studies/<key>/objects/``, results in ``<data>/studies/<key>/<version>/``; the
key is made from the study's UID with a secret of this folder, and no name from the network ever becomes a path.
"""

import sqlite3
import time
from dataclasses import fields
from pathlib import Path

from glioscope.errors import RunError
from glioscope.files.database import Database
from glioscope.node.records import Received, StudyRow, VersionRow, VersionState

ATTEMPTS = 3
"""A version that was under way at so many stops of the node is given up: it may be what brings the node down."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    key TEXT PRIMARY KEY, study_uid TEXT NOT NULL UNIQUE, calling TEXT NOT NULL, address TEXT NOT NULL,
    description TEXT NOT NULL, station TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL REFERENCES studies (key), sop_uid TEXT NOT NULL,
    digest TEXT NOT NULL, file TEXT NOT NULL, patient TEXT NOT NULL, twin INTEGER NOT NULL, version INTEGER,
    created REAL NOT NULL, UNIQUE (key, sop_uid, digest));
CREATE INDEX IF NOT EXISTS objects_waiting ON objects (key) WHERE version IS NULL;
CREATE TABLE IF NOT EXISTS versions (
    key TEXT NOT NULL REFERENCES studies (key), number INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    remark TEXT NOT NULL, attempts INTEGER NOT NULL, objects INTEGER NOT NULL, created REAL NOT NULL, started REAL,
    finished REAL, PRIMARY KEY (key, number));
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, version INTEGER NOT NULL, peer TEXT NOT NULL,
    file TEXT NOT NULL, sop_class TEXT NOT NULL, sop_uid TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, created REAL NOT NULL, due REAL NOT NULL, asked TEXT NOT NULL, UNIQUE (peer, sop_uid),
    FOREIGN KEY (key, version) REFERENCES versions (key, number));
CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (peer, due) WHERE state IN ('waiting', 'sent');
"""


class Store:
    """The list of studies; safe to use from several threads.

    Parameters
    ----------
    data : Path
        The node's folder; made if need be.

    Raises
    ------
    RunError
        The folder or the list cannot be written or read.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        try:
            (data / "studies").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = Database(data / "node.sqlite3", _SCHEMA, what="the list of studies")
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"{data}: cannot hold the node's studies ({error}); choose another --data folder") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def objects_folder(self, key: str) -> Path:
        """Return where the objects of a study lie."""
        return self.data / "studies" / key / "objects"

    def version_folder(self, key: str, number: int) -> Path:
        """Return where a version is made."""
        return self.data / "studies" / key / str(number)

    # receiving

    def receive(self, one: Received) -> bool:
        """Enter an object that is on disk; return whether it was new.

        An instance that comes a second time with other content is kept and not used: `twin`. It makes no new version,
        unless it names another patient, which must be looked at.
        """
        now = time.time()
        with self._db.writing(lasting=False) as db:  # a file without its row is found at the next start
            db.execute(
                "INSERT OR IGNORE INTO studies (key, study_uid, calling, address, description, station, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [one.key, one.study_uid, one.calling, one.address, one.description, one.station, now],
            )
            rows = db.execute(
                "SELECT digest, patient FROM objects WHERE key = ? AND sop_uid = ?", [one.key, one.sop_uid]
            ).fetchall()
            if any(row["digest"] == one.digest for row in rows):
                return False
            quiet = bool(rows) and all(row["patient"] == one.patient for row in rows)
            db.execute(
                "INSERT INTO objects (key, sop_uid, digest, file, patient, twin, version, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [one.key, one.sop_uid, one.digest, one.file, one.patient, bool(rows), 0 if quiet else None, now],
            )
        return True

    def count_objects(self, key: str) -> int:
        """Return how many objects a study has."""
        return int(self._db.rows("SELECT count(*) FROM objects WHERE key = ?", key)[0][0])

    def files(self, key: str) -> set[str]:
        """Return the names of all files of a study's objects."""
        return {row["file"] for row in self._db.rows("SELECT file FROM objects WHERE key = ?", key)}

    def open_studies(self) -> dict[str, int]:
        """Return the studies with objects that no version holds yet, and how many objects they have in all."""
        query = (
            "SELECT key, count(*) AS n FROM objects WHERE key IN"
            " (SELECT DISTINCT key FROM objects WHERE version IS NULL) GROUP BY key"
        )
        return {row["key"]: int(row["n"]) for row in self._db.rows(query)}

    def complete(self, key: str) -> int:
        """Take a study's objects as complete: queue a version with them and return its number; 0 if nothing is new."""
        with self._db.writing() as db:
            new = db.execute("SELECT count(*) FROM objects WHERE key = ? AND version IS NULL", [key]).fetchone()[0]
            if not new:
                return 0
            waiting = db.execute(
                "SELECT number FROM versions WHERE key = ? AND state = 'queued' ORDER BY number DESC LIMIT 1", [key]
            ).fetchone()
            if waiting:
                number = int(waiting["number"])
                db.execute("UPDATE versions SET objects = objects + ? WHERE key = ? AND number = ?", [new, key, number])
            else:
                number = 1 + int(
                    db.execute("SELECT coalesce(max(number), 0) FROM versions WHERE key = ?", [key]).fetchone()[0]
                )
                db.execute(
                    "INSERT INTO versions (key, number, state, reason, remark, attempts, objects, created)"
                    " VALUES (?, ?, 'queued', '', '', 0, ?, ?)",
                    [key, number, new, time.time()],
                )
            db.execute("UPDATE objects SET version = ? WHERE key = ? AND version IS NULL", [number, key])
        return number

    # working

    def take(self) -> VersionRow | None:
        """Return the oldest waiting version, now under way, or None; of one study only one is under way."""
        with self._db.writing() as db:
            row = db.execute(
                "SELECT * FROM versions AS v WHERE state = 'queued' AND NOT EXISTS"
                " (SELECT 1 FROM versions WHERE key = v.key AND state = 'running') ORDER BY created, key LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE versions SET state = 'running', started = ?, finished = NULL, attempts = attempts + 1"
                " WHERE key = ? AND number = ?",
                [time.time(), row["key"], row["number"]],
            )
        return self.version(row["key"], row["number"])

    def requeue(self) -> list[VersionRow]:
        """Put back what was under way when the node was killed; return what is given up, having been so too often."""
        running = [_version(row) for row in self._db.rows("SELECT * FROM versions WHERE state = 'running'")]
        lost = [version for version in running if version.attempts >= ATTEMPTS]
        for version in lost:
            self.end(version, "failed", f"was under way at {version.attempts} stops of the node; try it again by hand")
        with self._db.writing() as db:
            db.execute("UPDATE versions SET state = 'queued', started = NULL WHERE state = 'running'")
        return lost

    def put_back(self, version: VersionRow) -> None:
        """Put a version back that the node's own stop ended; it does not count as an attempt."""
        with self._db.writing() as db:
            db.execute(
                "UPDATE versions SET state = 'queued', started = NULL, attempts = attempts - 1"
                " WHERE key = ? AND number = ?",
                [version.key, version.number],
            )

    def used_files(self, version: VersionRow) -> list[str]:
        """Return the files that a version is made from: the first of each instance, up to the version."""
        query = "SELECT file FROM objects WHERE key = ? AND version <= ? AND NOT twin ORDER BY number"
        return [row["file"] for row in self._db.rows(query, version.key, version.number)]

    def patients(self, key: str) -> int:
        """Return how many patients the objects of a study name."""
        query = "SELECT count(DISTINCT patient) FROM objects WHERE key = ? AND patient != ''"
        return int(self._db.rows(query, key)[0][0])

    def twins(self, key: str) -> int:
        """Return how many instances came a second time with other content."""
        return int(self._db.rows("SELECT count(*) FROM objects WHERE key = ? AND twin", key)[0][0])

    def end(self, version: VersionRow, state: VersionState, reason: str = "", *, remark: str = "") -> None:
        """Mark a version as being at an end, and why."""
        with self._db.writing() as db:
            end_version(db, version.key, version.number, state, reason)
            if remark:
                db.execute(
                    "UPDATE versions SET remark = ? WHERE key = ? AND number = ?", [remark, version.key, version.number]
                )

    def again(self, key: str) -> str:
        """Do a failed or ignored version again, or send again what was refused; return what is done, or nothing."""
        with self._db.writing() as db:
            row = db.execute(
                "SELECT number, state FROM versions WHERE key = ? ORDER BY number DESC LIMIT 1", [key]
            ).fetchone()
            if row is None or row["state"] not in ("failed", "ignored"):
                return ""
            refused = db.execute(
                "UPDATE deliveries SET state = 'waiting', reason = '', attempts = 0, created = ?, due = 0, asked = ''"
                " WHERE key = ? AND version = ? AND state = 'refused'",
                [time.time(), key, row["number"]],
            ).rowcount
            state = "sending" if refused else "queued"
            db.execute(
                "UPDATE versions SET state = ?, reason = '', attempts = 0, finished = NULL"
                " WHERE key = ? AND number = ?",
                [state, key, row["number"]],
            )
        return state

    # looking

    def study(self, key: str) -> StudyRow | None:
        """Return a study, or None."""
        found = self._db.rows("SELECT * FROM studies WHERE key = ?", key)
        return StudyRow(**dict(found[0])) if found else None

    def studies(self, *, limit: int = 500) -> list[StudyRow]:
        """Return studies, newest first."""
        return [
            StudyRow(**dict(row))
            for row in self._db.rows("SELECT * FROM studies ORDER BY created DESC, key LIMIT ?", limit)
        ]

    def version(self, key: str, number: int) -> VersionRow | None:
        """Return a version, or None."""
        found = self._db.rows("SELECT * FROM versions WHERE key = ? AND number = ?", key, number)
        return _version(found[0]) if found else None

    def versions(self, key: str) -> list[VersionRow]:
        """Return the versions of a study, oldest first."""
        return [_version(row) for row in self._db.rows("SELECT * FROM versions WHERE key = ? ORDER BY number", key)]

    def count_versions(self) -> dict[str, int]:
        """Return how many versions are in each state."""
        return {
            r["state"]: int(r["n"]) for r in self._db.rows("SELECT state, count(*) AS n FROM versions GROUP BY state")
        }

    @property
    def database(self) -> Database:
        """The file itself, for the part of the list that `Outbox` keeps."""
        return self._db


def _version(row: sqlite3.Row) -> VersionRow:
    return VersionRow(**{field.name: row[field.name] for field in fields(VersionRow)})


def end_version(db: sqlite3.Connection, key: str, number: int, state: str, reason: str) -> None:
    """Mark a version as being at an end, within a change of the list."""
    db.execute(
        "UPDATE versions SET state = ?, reason = ?, finished = ? WHERE key = ? AND number = ?",
        [state, reason, time.time(), key, number],
    )
