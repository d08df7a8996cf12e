"""The open port: C-ECHO and C-STORE of MR images, and the archives' answers whether they keep a result.

Who may send is decided before anything else is read; a length that no peer may claim ends the connection before memory
is taken for it; an object is acknowledged when it is on disk and in the list.
"""

import logging
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import uid
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from glioscope.errors import RunError
from glioscope.node.certificates import accepting
from glioscope.node.keeping import OUT_OF_RESOURCES, SUCCESS, Keeper, RefusedError, Sender
from glioscope.node.settings import NodeConfig

log = logging.getLogger(__name__)

STORED = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.MRSpectroscopyStorage,
)
"""Every class of MR. Nothing else is taken, so no result can come back and be done again."""
SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
"""What the reader of pixels decodes; the sender's first choice among them is taken, and nothing is decoded here."""
MAX_PDU = 256 * 1024
"""Bytes of one message of the network; PS3.8 lets each side say what it takes."""
_CHUNK = 256 * 1024
_NO_SUCH_TRANSACTION = 0x0110

Answered = Callable[[str, list[str], list[str]], int]
"""Transaction UID, instances kept, instances lost; to how many were asked for."""


class Receiver:
    """The listening side.

    Parameters
    ----------
    config : NodeConfig
        Address, callers and limits.
    keeper : Keeper
        Takes objects.
    arrived : callable
        Called with a study's key after each object of it.
    answered : callable
        Called with an archive's answer on what it keeps.
    """

    def __init__(
        self, config: NodeConfig, keeper: Keeper, arrived: Callable[[str, bool], None], answered: Answered
    ) -> None:
        self._config, self._keeper, self._arrived, self._answered = config, keeper, arrived, answered
        self._server: Any = None
        self.refusals = 0

    def start(self) -> None:
        """Listen.

        Raises
        ------
        RunError
            The address is taken or not this machine's.
        """
        config = self._config
        _config.STORE_RECV_CHUNKED_DATASET = True  # objects go to disk as they come, not through memory
        tempfile.tempdir = str(self._keeper.incoming)  # which the library asks where; then they are moved, not copied
        ae = AE(ae_title=config.ae)
        ae.maximum_associations = config.max_associations
        ae.maximum_pdu_size = MAX_PDU
        ae.require_called_aet = True
        ae.network_timeout = ae.dimse_timeout = config.idle_seconds
        ae.acse_timeout = min(config.idle_seconds, 30)
        ae.add_supported_context(Verification)
        for kind in STORED:
            ae.add_supported_context(kind, list(SYNTAXES))
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)  # of the archive
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, lambda event: answer_of(event, self._answered)),
        ]
        try:
            self._server = ae.start_server(
                (config.host, config.port),
                block=False,
                evt_handlers=handlers,
                ssl_context=accepting(config.tls) if config.tls else None,
            )
        except OSError as error:
            raise RunError(
                f"node: cannot listen at {config.host}:{config.port} ({error.strerror}); is another node there? "
                "Choose --port"
            ) from error

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.shutdown()

    def _open(self, event: Any) -> None:
        """Make a new connection one that no peer can fill memory or wait for ever with."""
        holder = event.assoc.dul.socket
        if holder.socket is not None:
            holder.socket.settimeout(self._config.idle_seconds)
            holder.recv = partial(_read, holder.socket)
        event.assoc.object_bytes, event.assoc.connection = 0, holder.socket

    def _closed(self, event: Any) -> None:
        """Close the connection itself, which the library leaves open where a handshake failed."""
        event.assoc.connection.close()

    def _requested(self, event: Any) -> None:
        """Refuse who may not send."""
        sender, allowed = _sender(event), self._config.allow
        if allowed and not any(caller.admits(sender.ae, sender.address) for caller in allowed):
            self.refusals += 1
            log.warning(
                "association refused",
                extra={"calling": sender.ae, "address": sender.address, "reason": "not allowed"},
            )
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanent, by the user, calling AE not recognised
            event.assoc.kill()

    def _count(self, event: Any) -> None:
        """End a connection whose object grows beyond what one may have, or beyond the disk."""
        event.assoc.object_bytes += len(event.data)
        size = event.assoc.object_bytes
        if size > self._config.max_object_bytes or (size > 64 * 1024**2 and not self._keeper.room()):
            log.warning("object too large", extra={"address": str(event.assoc.requestor.address), "bytes": size})
            event.assoc.abort()

    def _store(self, event: Any) -> int:
        """Keep an object, then acknowledge it."""
        event.assoc.object_bytes = 0
        sender = _sender(event)
        try:
            if not self._keeper.room():
                raise RefusedError(OUT_OF_RESOURCES, "the disk is nearly full")
            path = Path(event.dataset_path)
            event.request._dataset_file.close()
            key, new = self._keeper.keep(path, str(event.request.AffectedSOPInstanceUID), sender)
        except RefusedError as error:
            self.refusals += 1
            log.warning(
                "object refused",
                extra={"calling": sender.ae, "address": sender.address, "status": error.status, "reason": str(error)},
            )
            return error.status
        self._arrived(key, new)
        return SUCCESS


def _sender(event: Any) -> Sender:
    requestor = event.assoc.requestor
    return Sender(ae=str(requestor.primitive.calling_ae_title).strip(), address=str(requestor.address))


def answer_of(event: Any, answered: Answered) -> tuple[int, None]:
    """Take an archive's answer on what it keeps; return the status of N-EVENT-REPORT."""
    told = event.event_information
    kept = [str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", [])]
    lost = [str(item.ReferencedSOPInstanceUID) for item in told.get("FailedSOPSequence", [])]
    known = answered(str(told.get("TransactionUID", "")), kept, lost)
    return (SUCCESS if known else _NO_SUCH_TRANSACTION), None


def _read(connection: socket.socket, count: int) -> bytearray:
    """Read `count` bytes, in larger pieces than the library does, and never more than a message may have."""
    if count > 2 * MAX_PDU:
        raise OSError(f"a message claims {count} bytes; at most {MAX_PDU} are taken")
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        got = connection.recv_into(view[done:], min(count - done, _CHUNK))
        if not got:
            break
        done += got
    del view
    return data[:done]
