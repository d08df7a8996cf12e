"""Results on their way: C-STORE to each archive until it has them, and the question whether it keeps them.

One thread for each archive. An archive that cannot be reached is tried again, later each time; one that refuses a class
of objects gets the others. A result that was sent while the node was killed is sent once more with the same UID.
"""

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from glioscope.errors import GlioscopeError
from glioscope.node.outbox import TRIES, Outbox
from glioscope.node.receiving import Answered, answer_of
from glioscope.node.records import DeliveryRow
from glioscope.node.settings import NodeConfig, Peer
from glioscope.node.store import Store

log = logging.getLogger(__name__)

_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_COMMITMENT = "1.2.840.10008.1.20.1.1"
"""The well-known instance that storage commitment is asked of (PS3.4 J.3.5)."""
_PASSING = range(0xA700, 0xA800)
"""Statuses of an archive that is out of resources: it may have some later."""
_CONNECT_SECONDS = 10.0


class UnreachableError(Exception):
    """An archive that does not answer, or broke off."""


class Courier:
    """Brings results to one archive.

    Parameters
    ----------
    peer : Peer
        The archive.
    store, outbox : Store, Outbox
        The list.
    config : NodeConfig
        Own name, certificates, waiting times.
    answered : callable
        Called with the archive's answer on what it keeps, where it comes at once.
    """

    def __init__(self, peer: Peer, store: Store, outbox: Outbox, config: NodeConfig, answered: Answered) -> None:
        self._peer, self._store, self._outbox, self._config, self._answered = peer, store, outbox, config, answered
        self._stop, self._wake = threading.Event(), threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"send-{peer.ae}")
        self._failures = 0
        self.name = peer.ae

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
                log.warning(
                    "archive not reached", extra={"archive": self._peer.ae, "reason": str(error), "again_in": wait}
                )
            except (GlioscopeError, OSError) as error:  # a full disk: try again later
                log.warning("the list cannot be written", extra={"reason": str(error)})
                wait = 1.0
            except Exception:
                log.exception("defect", extra={"archive": self._peer.ae})
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
        peer, now = str(self._peer), time.time()
        batch = self._outbox.due(peer, now)
        if batch:
            batch = [one for one in batch if not self._expired(one, now)]
            if batch:
                self._send(batch)
            return True
        batch = self._outbox.due(peer, now, "sent")
        if batch:
            self._ask(batch)
        return bool(batch)

    def _expired(self, one: DeliveryRow, now: float) -> bool:
        if now - one.created < self._config.give_up_seconds:
            return False
        hours = self._config.give_up_seconds / 3600
        why = f": {one.reason}" if one.reason else ""
        self._refuse(one, f"{self._peer.ae} did not take it for {hours:.0f} hours{why}")
        return True

    # sending

    def _send(self, batch: Sequence[DeliveryRow]) -> None:
        kinds = sorted({one.sop_class for one in batch})
        association = self._associate([*kinds, StorageCommitmentPushModel])
        try:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            self._failures = 0
            for n, one in enumerate(batch, 1):
                if one.sop_class not in accepted:
                    self._refuse(one, f"{self._peer.ae} does not take objects of class {UID(one.sop_class).name}")
                    continue
                path = self._store.version_folder(one.key, one.version) / one.file
                if not path.is_file():
                    self._refuse(one, "its file is gone; do the study again")
                    continue
                status = self._store_one(association, path, n)
                self._judge(one, status, confirms=str(StorageCommitmentPushModel) in accepted)
        finally:
            _leave(association)

    def _associate(self, kinds: Sequence[str], handlers: Sequence[Any] = ()) -> Any:
        ae = AE(ae_title=self._config.ae)
        ae.acse_timeout = ae.dimse_timeout = self._config.idle_seconds
        ae.network_timeout = self._config.idle_seconds
        ae.connection_timeout = _CONNECT_SECONDS
        for kind in kinds:
            ae.add_requested_context(kind, _SYNTAXES)
        peer = self._peer
        association = ae.associate(peer.host, peer.port, ae_title=peer.ae, evt_handlers=list(handlers))
        if association.is_established:
            return association
        what = "refused the association" if association.is_rejected else "does not answer"
        raise UnreachableError(f"{peer.ae} at {peer.host}:{peer.port} {what}")

    def _store_one(self, association: Any, path: Path, number: int) -> int:
        try:
            answer = association.send_c_store(path, msg_id=number)
        except (RuntimeError, ValueError, OSError) as error:  # the association is gone, or the file cannot be read
            raise UnreachableError(f"{self._peer.ae} broke off: {error}") from error
        if "Status" not in answer:
            raise UnreachableError(f"{self._peer.ae} broke off")
        return int(answer.Status)

    def _judge(self, one: DeliveryRow, status: int, *, confirms: bool) -> None:
        if status == 0 or 0xB000 <= status < 0xC000:
            self._outbox.sent(one, confirms=confirms)
            log.info("result sent", extra={"study": one.key, "version": one.version, "archive": self._peer.ae})
        elif status in _PASSING and one.attempts + 1 < TRIES:
            reason = f"{self._peer.ae} is out of resources (status {status:04X})"
            self._outbox.postpone(one, reason, time.time() + self._later(one.attempts))
        else:
            self._refuse(one, f"{self._peer.ae} refused it with status {status:04X}")

    def _refuse(self, one: DeliveryRow, reason: str) -> None:
        log.warning(
            "result refused",
            extra={"study": one.key, "version": one.version, "archive": self._peer.ae, "reason": reason},
        )
        self._outbox.refused(one, reason)

    # asking

    def _ask(self, batch: Sequence[DeliveryRow]) -> None:
        """Ask the archive to confirm that it keeps what it took; its answer comes here or to the open port."""
        if batch[0].attempts >= TRIES:
            for one in batch:
                self._outbox.stored(one, f"{self._peer.ae} did not say that it keeps it")
            return
        association = self._associate(
            [StorageCommitmentPushModel], [(evt.EVT_N_EVENT_REPORT, lambda event: answer_of(event, self._answered))]
        )
        try:
            self._failures = 0
            transaction = str(generate_uid())
            self._outbox.asked(batch, transaction, time.time() + self._config.commitment_seconds)
            question = _question(transaction, batch)
            answer, _ = association.send_n_action(question, 1, StorageCommitmentPushModel, _COMMITMENT)
            if answer.get("Status") != 0:
                for one in batch:
                    self._outbox.stored(one, f"{self._peer.ae} confirms nothing")
        except (RuntimeError, ValueError) as error:
            raise UnreachableError(f"{self._peer.ae} broke off: {error}") from error
        finally:
            _leave(association)


def _question(transaction: str, batch: Sequence[DeliveryRow]) -> Dataset:
    question = Dataset()
    question.TransactionUID = transaction
    question.ReferencedSOPSequence = [_reference(one) for one in batch]
    return question


def _reference(one: DeliveryRow) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_uid
    return item


def _leave(association: Any) -> None:
    if association.is_established:
        association.release()
