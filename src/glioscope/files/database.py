"""One SQLite file that several threads use, and that stays whole whatever ends the program.

The list of the server's cases and the list of the node's studies are such files.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glioscope.errors import RunError


class Database:
    """A file of tables; safe to use from several threads.

    Parameters
    ----------
    path : Path
        The file; made if need be, in a folder that exists.
    schema : str
        SQL that makes what is missing.
    what : str
        What it holds, for messages: "the list of cases".

    Raises
    ------
    sqlite3.Error
        The file cannot be opened, written, or is none of SQLite's.
    """

    def __init__(self, path: Path, schema: str, *, what: str) -> None:
        self._what = what
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;" + schema)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield the connection for changes that are all kept or none.

        Parameters
        ----------
        lasting : bool
            Wait until the disk has them, so that they outlive a power failure too. Without, they outlive the end of the
            program alone, in a fraction of the time: for what can be found again.

        Raises
        ------
        RunError
            They cannot be written; none is kept.
        """
        with self._lock:
            try:
                self._connection.execute(f"PRAGMA synchronous={'FULL' if lasting else 'NORMAL'}")
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise RunError(f"{self._what} cannot be written ({error}); is the disk full?") from error
                raise

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()
