"""An archive spoken with by DICOM: C-STORE, and storage commitment where it offers that."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from glioscope.node.certificates import calling
from glioscope.node.couriers import Cargo, Outcome, UnreachableError
from glioscope.node.receiving import Answered, answer_of
from glioscope.node.records import DeliveryRow
from glioscope.node.settings import NodeConfig, Peer

_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_COMMITMENT = "1.2.840.10008.1.20.1.1"
"""The well-known instance that storage commitment is asked of (PS3.4 J.3.5)."""
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""Statuses of an archive that may have room later."""
_CONNECT_SECONDS = 10.0


class DimseCarrier:
    """Speaks with one archive.

    Parameters
    ----------
    peer : Peer
        Its address.
    config : NodeConfig
        Own name, certificates, waiting times.
    answered : callable
        Called with the archive's answer on what it keeps, where it comes over the same connection.
    """

    def __init__(self, peer: Peer, config: NodeConfig, answered: Answered) -> None:
        self._peer, self._config, self._answered = peer, config, answered
        self.name = peer.ae

    def send(self, batch: Sequence[Cargo]) -> Iterator[Outcome]:
        """Carry results there, over one association.

        Raises
        ------
        UnreachableError
            The archive does not answer, or broke off.
        """
        kinds = sorted({one.row.sop_class for one in batch})
        association = self._associate([*kinds, StorageCommitmentPushModel])
        try:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            confirms = str(StorageCommitmentPushModel) in accepted
            for number, one in enumerate(batch, 1):
                if one.row.sop_class not in accepted:
                    reason = f"{self.name} does not take objects of class {UID(one.row.sop_class).name}"
                    yield Outcome(row=one.row, what="refused", reason=reason)
                else:
                    status = self._store(association, one.path, number)
                    yield self._judged(one.row, status, confirms=confirms)
        finally:
            _leave(association)

    def _associate(self, kinds: Sequence[str], handlers: Sequence[Any] = ()) -> Any:
        ae = AE(ae_title=self._config.ae)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self._config.idle_seconds
        ae.connection_timeout = _CONNECT_SECONDS
        for kind in kinds:
            ae.add_requested_context(kind, _SYNTAXES)
        peer = self._peer
        tls = (calling(self._config.tls), peer.host) if self._config.tls else None
        association = ae.associate(peer.host, peer.port, ae_title=peer.ae, evt_handlers=list(handlers), tls_args=tls)
        if association.is_established:
            return association
        what = "refused the association" if association.is_rejected else "does not answer"
        raise UnreachableError(f"{peer.ae} at {peer.host}:{peer.port} {what}")

    def _store(self, association: Any, path: Path, number: int) -> int:
        try:
            answer = association.send_c_store(path, msg_id=number)
        except (RuntimeError, ValueError, OSError) as error:  # the association is gone, or the file cannot be read
            raise UnreachableError(f"{self.name} broke off: {error}") from error
        if "Status" not in answer:
            raise UnreachableError(f"{self.name} broke off")
        return int(answer.Status)

    def _judged(self, row: DeliveryRow, status: int, *, confirms: bool) -> Outcome:
        if status == 0 or 0xB000 <= status < 0xC000:  # done, or done with a warning
            return Outcome(row=row, what="sent" if confirms else "stored")
        if status in _OUT_OF_RESOURCES:
            return Outcome(row=row, what="later", reason=f"{self.name} is out of resources (status {status:04X})")
        return Outcome(row=row, what="refused", reason=f"{self.name} refused it with status {status:04X}")

    def ask(self, transaction: str, batch: Sequence[DeliveryRow]) -> bool:
        """Ask the archive to confirm that it keeps results; return False if it confirms nothing.

        Raises
        ------
        UnreachableError
            As `send`.
        """
        question = Dataset()
        question.TransactionUID = transaction
        question.ReferencedSOPSequence = [_reference(one) for one in batch]
        heard = [(evt.EVT_N_EVENT_REPORT, lambda event: answer_of(event, self._answered))]
        association = self._associate([StorageCommitmentPushModel], heard)
        try:
            answer, _ = association.send_n_action(question, 1, StorageCommitmentPushModel, _COMMITMENT)
        except (RuntimeError, ValueError) as error:
            raise UnreachableError(f"{self.name} broke off: {error}") from error
        finally:
            _leave(association)
        return bool(answer.get("Status") == 0)


def _reference(one: DeliveryRow) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_uid
    return item


def _leave(association: Any) -> None:
    if association.is_established:
        association.release()
