"""Results on their way: to each archive again and again until it has them, and the question whether it keeps them.

One thread for each archive. An archive that cannot be reached is tried again, later each time; one that refuses a class
of objects gets the others. A result that was sent while the node was killed is sent once more with the same UID.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydicom.uid import generate_uid

from glioscope.errors import GlioscopeError
from glioscope.node.outbox import TRIES, Outbox
from glioscope.node.records import DeliveryRow
from glioscope.node.settings import NodeConfig
from glioscope.node.store import Store

log = logging.getLogger(__name__)


class UnreachableError(Exception):
    """An archive that does not answer, or broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """One result to be carried."""

    row: DeliveryRow
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an archive did with one result."""

    row: DeliveryRow
    what: Literal["sent", "stored", "refused", "later"]
    """`sent`: taken, and the archive can be asked to confirm; `stored`: taken, and it cannot."""
    reason: str = ""


class Carrier(Protocol):
    """Speaks with one archive."""

    name: str
    """In rules and logs."""

    def send(self, batch: Sequence[Cargo]) -> Iterator[Outcome]:
        """Carry results there; yield what became of each as it is known, or raise `UnreachableError`."""

    def ask(self, transaction: str, batch: Sequence[DeliveryRow]) -> bool:
        """Ask the archive to confirm that it keeps results; return False if it confirms nothing."""


class Courier:
    """Brings results to one archive.

    Parameters
    ----------
    peer : str
        The archive, as the list names it.
    carrier : Carrier
        Who speaks with it.
    store, outbox : Store, Outbox
        The list.
    config : NodeConfig
        Waiting times.
    """

    def __init__(self, peer: str, carrier: Carrier, store: Store, outbox: Outbox, config: NodeConfig) -> None:
        self._peer, self._carrier, self._store, self._outbox, self._config = peer, carrier, store, outbox, config
        self._stop, self._wake = threading.Event(), threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"send-{carrier.name}")
        self._failures = 0
        self.name = carrier.name

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the result that is on its way."""
        self._stop.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Say that there is something to send."""
        with self._wake:
            self._wake.notify_all()

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    @property
    def reachable(self) -> bool:
        """Whether the archive answered when it was last tried."""
        return self._failures == 0

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                if self._round():
                    continue
                wait = 1.0
            except UnreachableError as error:
                wait = self._later(self._failures)
                self._failures += 1
                log.warning("archive not reached", extra={"archive": self.name, "reason": str(error), "again_in": wait})
            except (GlioscopeError, OSError) as error:  # a full disk: try again later
                log.warning("the list cannot be written", extra={"reason": str(error)})
                wait = 1.0
            except Exception:
                log.exception("defect", extra={"archive": self.name})
                wait = self._config.longest_wait_seconds
            self._pause(wait)

    def _pause(self, seconds: float) -> None:
        """Wait; news end the wait only while the archive answers."""
        if self._failures:
            self._stop.wait(seconds)
        else:
            with self._wake:
                if not self._stop.is_set():
                    self._wake.wait(seconds)

    def _later(self, failures: int) -> float:
        return min(self._config.longest_wait_seconds, self._config.first_wait_seconds * 2.0 ** min(failures, 30))

    def _round(self) -> bool:
        """Send what is due, or ask for what was sent; return whether there was any."""
        now = time.time()
        if batch := self._outbox.due(self._peer, now):
            self._send([one for one in batch if not self._given_up(one, now)])
            return True
        if batch := self._outbox.due(self._peer, now, "sent"):
            self._ask(batch)
            return True
        return False

    def _given_up(self, one: DeliveryRow, now: float) -> bool:
        """Refuse, in the archive's place, what it did not take for days, or what is not there any more."""
        if not self._place(one).is_file():
            self._refuse(one, "its file is gone; do the study again")
            return True
        if now - one.created < self._config.give_up_seconds:
            return False
        why = f": {one.reason}" if one.reason else ""
        self._refuse(one, f"{self.name} did not take it for {self._config.give_up_seconds / 3600:.0f} hours{why}")
        return True

    def _place(self, one: DeliveryRow) -> Path:
        return self._store.version_folder(one.key, one.version) / one.file

    def _send(self, batch: Sequence[DeliveryRow]) -> None:
        if not batch:
            return
        for outcome in self._carrier.send([Cargo(row=one, path=self._place(one)) for one in batch]):
            self._failures = 0
            one = outcome.row
            if outcome.what == "later" and one.attempts + 1 < TRIES:
                self._outbox.postpone(one, outcome.reason, time.time() + self._later(one.attempts))
            elif outcome.what in ("later", "refused"):
                self._refuse(one, outcome.reason)
            else:
                self._outbox.sent(one, confirms=outcome.what == "sent")
                log.info("result sent", extra={"study": one.key, "version": one.version, "archive": self.name})

    def _refuse(self, one: DeliveryRow, reason: str) -> None:
        told = {"study": one.key, "version": one.version, "archive": self.name, "reason": reason}
        log.warning("result refused", extra=told)
        self._outbox.refused(one, reason)

    def _ask(self, batch: Sequence[DeliveryRow]) -> None:
        """Ask the archive to confirm that it keeps what it took; the answer comes to the open port, or at once."""
        reason = f"{self.name} did not say that it keeps it"
        if batch[0].attempts < TRIES:
            transaction = str(generate_uid())
            self._outbox.asked(batch, transaction, time.time() + self._config.commitment_seconds)
            if self._carrier.ask(transaction, batch):
                self._failures = 0
                return
            reason = f"{self.name} confirms nothing"
        for one in batch:
            self._outbox.stored(one, reason)
