"""The way of results to the archives: what waits, what was taken, what was confirmed, what was refused.

    made ──▶ waiting ──sent──▶ stored (an archive that confirms nothing)
                │  ▲              or sent ──asked, answered──▶ confirmed
                │  └─postponed
                └─refused

A result keeps its UID in every attempt, so an archive that gets it twice has it once.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from glioscope.node.records import DeliveryRow, Parcel, VersionRow
from glioscope.node.store import Store, end_version

OPEN = ("waiting", "sent")
"""States of a delivery that is not at its end."""


class Outbox:
    """The results that go to archives; safe to use from several threads.

    Parameters
    ----------
    store : Store
        The list that they are part of.
    """

    def __init__(self, store: Store) -> None:
        self._db = store.database

    def made(self, version: VersionRow, parcels: Sequence[Parcel], *, remark: str = "") -> bool:
        """Enter the results of a version for sending; return False if a newer one exists, so that they are not sent.

        What older versions have not sent yet is not sent any more.
        """
        now = time.time()
        with self._db.writing() as db:
            newer = db.execute(
                "SELECT 1 FROM versions WHERE key = ? AND number > ?", [version.key, version.number]
            ).fetchone()
            if newer:
                end_version(db, version.key, version.number, "superseded", "more images came while it was made")
                return False
            older = [version.key, version.number]
            db.execute(
                "UPDATE deliveries SET state = 'superseded' WHERE key = ? AND version < ? AND state = 'waiting'", older
            )
            for row in db.execute("SELECT number FROM versions WHERE key = ? AND number < ?", older).fetchall():
                _settle(db, version.key, row["number"])
            db.executemany(
                "INSERT INTO deliveries (key, version, peer, file, sop_class, sop_uid, state, reason, attempts,"
                " created, due, asked) VALUES (?, ?, ?, ?, ?, ?, 'waiting', '', 0, ?, ?, '')",
                [[*older, p.peer, p.file, p.sop_class, p.sop_uid, now, now] for p in parcels],
            )
            db.execute(
                "UPDATE versions SET state = 'sending', remark = ? WHERE key = ? AND number = ?", [remark, *older]
            )
            _settle(db, version.key, version.number)  # with nobody to send to it is done
        return True

    def due(self, peer: str, now: float, state: str = "waiting") -> list[DeliveryRow]:
        """Return what is to be sent to an archive now (or, in state `sent`, confirmed by it): all of one version.

        One that is due later than any wait can be has been given its time by a clock that was wrong, and is due.
        """
        first = self._db.rows(
            "SELECT key, version FROM deliveries WHERE peer = ? AND state = ? AND (due <= ? OR due > ?)"
            " ORDER BY created, number LIMIT 1",
            *(peer, state, now, now + LONGEST_WAIT),
        )
        if not first:
            return []
        query = "SELECT * FROM deliveries WHERE peer = ? AND state = ? AND key = ? AND version = ? ORDER BY number"
        return [_delivery(row) for row in self._db.rows(query, peer, state, first[0]["key"], first[0]["version"])]

    def sent(self, one: DeliveryRow, *, confirms: bool) -> None:
        """Mark a result as taken by its archive, which will be asked to confirm that it keeps it, or cannot be."""
        self._change(one, state="sent" if confirms else "stored", reason="", due=0.0)

    def postpone(self, one: DeliveryRow, reason: str, due: float) -> None:
        """Try a result again later."""
        self._change(one, reason=reason, due=due, attempts=one.attempts + 1)

    def refused(self, one: DeliveryRow, reason: str) -> None:
        """Give a result up: its archive will never take it."""
        self._change(one, state="refused", reason=reason)

    def stored(self, one: DeliveryRow, reason: str) -> None:
        """Take a result as stored without a confirmation, and say why there is none."""
        self._change(one, state="stored", reason=reason)

    def asked(self, those: Iterable[DeliveryRow], transaction: str, due: float) -> None:
        """Note that an archive was asked whether it keeps some results, and when to ask again."""
        with self._db.writing() as db:
            db.executemany(
                "UPDATE deliveries SET asked = ?, due = ?, attempts = attempts + 1 WHERE number = ?",
                [[transaction, due, one.number] for one in those],
            )

    def answered(self, transaction: str, kept: Iterable[str], lost: Iterable[str]) -> int:
        """Enter an archive's answer: what it keeps is confirmed, what it lost goes again. Return how many it told."""
        with self._db.writing() as db:
            query = "SELECT * FROM deliveries WHERE asked = ? AND state = 'sent'"
            rows = {row["sop_uid"]: row for row in db.execute(query, [transaction]).fetchall()}
            for uid in set(kept) & set(rows):
                _set(db, rows[uid]["number"], {"state": "confirmed", "asked": "", "reason": ""})
            for uid in set(lost) & set(rows):
                state = "waiting" if rows[uid]["attempts"] < TRIES else "refused"
                _set(db, rows[uid]["number"], {"state": state, "asked": "", "due": 0.0, "reason": LOST})
            for row in rows.values():
                _settle(db, row["key"], row["version"])
        return len(rows)

    def of(self, key: str, version: int | None = None) -> list[DeliveryRow]:
        """Return the deliveries of a study, or of one version of it."""
        query = "SELECT * FROM deliveries WHERE key = ? AND (? IS NULL OR version = ?) ORDER BY number"
        return [_delivery(row) for row in self._db.rows(query, key, version, version)]

    def counts(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        query = "SELECT state, count(*) AS n FROM deliveries GROUP BY state"
        return {row["state"]: int(row["n"]) for row in self._db.rows(query)}

    def _change(self, one: DeliveryRow, **changes: str | float) -> None:
        with self._db.writing() as db:
            _set(db, one.number, changes)
            _settle(db, one.key, one.version)


TRIES = 8
"""So often a result is sent, or its confirmation asked for, to an archive that answers and does not keep it."""
LONGEST_WAIT = 24 * 3600.0
"""Seconds; no delivery is postponed for longer."""
LOST = "the archive took it, and later said that it does not have it"


def _delivery(row: sqlite3.Row) -> DeliveryRow:
    return DeliveryRow(**{field.name: row[field.name] for field in fields(DeliveryRow)})


def _set(db: sqlite3.Connection, number: int, changes: Mapping[str, str | float]) -> None:
    """Change fields of a delivery; their names come from this module alone."""
    for name, value in changes.items():
        db.execute(f"UPDATE deliveries SET {name} = ? WHERE number = ?", [value, number])


def _settle(db: sqlite3.Connection, key: str, number: int) -> None:
    """Bring a version that is being sent to its end, if all its results are at theirs."""
    version = db.execute("SELECT state FROM versions WHERE key = ? AND number = ?", [key, number]).fetchone()
    if version["state"] != "sending":
        return
    rows = db.execute(
        "SELECT state, reason, peer FROM deliveries WHERE key = ? AND version = ?", [key, number]
    ).fetchall()
    if any(row["state"] in OPEN for row in rows):
        return
    refused = sorted({row["reason"] for row in rows if row["state"] == "refused"})
    if refused:
        end_version(db, key, number, "failed", "; ".join(refused))
    elif any(row["state"] == "superseded" for row in rows):
        end_version(db, key, number, "superseded", "more images came before it was sent")
    else:
        end_version(db, key, number, "done", "")
