"""Objects on disk: taken from where the network left them, looked at, put where they stay, entered in the list.

An object is acknowledged when this is done, not before. The file comes first and the list second; a file that the list
does not know is found when the node starts.
"""

import hashlib
import hmac
import io
import logging
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from glioscope.dicom.identity import identity_of
from glioscope.errors import GlioscopeError
from glioscope.node.records import Received
from glioscope.node.settings import NodeConfig
from glioscope.node.store import Store

log = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Statuses of C-STORE by PS3.4, table B.2-1."""

_TAGS = [
    *("SOPInstanceUID", "StudyInstanceUID", "PatientID", "PatientName", "StudyDescription", "StationName"),
    *("SpecificCharacterSet", "PatientIdentityRemoved"),
]
_UID_LENGTH = 64


class RefusedError(Exception):
    """An object that is not taken, with its status and one line of reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Where an object came from."""

    ae: str
    address: str


class Keeper:
    """Keeps objects.

    Parameters
    ----------
    store : Store
        The list.
    config : NodeConfig
        Limits.
    """

    def __init__(self, store: Store, config: NodeConfig) -> None:
        self._store, self._config = store, config
        self._secret = _secret(config.data)
        self.incoming = config.data / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # objects that a stop cut off; their senders know
        self.incoming.mkdir(mode=0o700, exist_ok=True)

    def name(self, what: str, text: str) -> str:
        """Return the code that stands for a study, or for a patient, wherever a person may read it."""
        return hmac.new(self._secret, f"{what}:{text}".encode(), hashlib.sha256).hexdigest()[:16]

    def keep(self, path: Path, sop_uid: str, sender: Sender) -> tuple[str, bool]:
        """Put a file that the network left where it stays, and enter it.

        Parameters
        ----------
        path : Path
            A DICOM file, complete; it is moved.
        sop_uid : str
            What its sender says that it is.
        sender : Sender
            Where it came from.

        Returns
        -------
        key : str
            Of its study.
        new : bool
            Whether it was not there before.

        Raises
        ------
        RefusedError
            Nothing was kept; the sender still has it.
        """
        header, digest = self._look(path)
        if not header["sop_uid"]:
            raise RefusedError(CANNOT_UNDERSTAND, "the data set cannot be read")
        if header["sop_uid"] != sop_uid:
            raise RefusedError(DOES_NOT_MATCH, "the data set is of another instance than the command says")
        study_uid = header["study_uid"]
        if not 0 < len(study_uid) <= _UID_LENGTH:
            raise RefusedError(DOES_NOT_MATCH, "the data set names no study")
        key = self.name("study", study_uid)
        if self._store.count_objects(key) >= self._config.max_objects:
            raise RefusedError(OUT_OF_RESOURCES, f"the study has {self._config.max_objects} objects already")
        received = Received(
            key=key,
            study_uid=study_uid,
            sop_uid=sop_uid,
            digest=digest,
            file=f"{self.name('object', sop_uid)}-{digest[:16]}.dcm",
            patient=self.name("patient", header["patient"]) if header["patient"] else "",
            calling=sender.ae,
            address=sender.address,
            description=header["description"],
            station=header["station"],
        )
        try:
            self._settle(path, self._store.objects_folder(key) / received.file)
            return key, self._store.receive(received)
        except (OSError, GlioscopeError) as error:
            raise RefusedError(OUT_OF_RESOURCES, f"the object cannot be kept ({error})") from error

    def _look(self, path: Path) -> tuple[dict[str, str], str]:
        """Return what a file says of itself, and the digest of its data set."""
        try:
            with path.open("rb") as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
                found = {
                    "sop_uid": str(header.get("SOPInstanceUID") or ""),
                    "study_uid": str(header.get("StudyInstanceUID") or ""),
                    "patient": identity_of(header),
                    "description": str(header.get("StudyDescription") or "")[:64],
                    "station": str(header.get("StationName") or "")[:16],
                }
                return found, _digest(file, header)
        except OSError as error:
            raise RefusedError(OUT_OF_RESOURCES, f"the object cannot be read back ({error.strerror})") from error
        except Exception as error:  # whatever the parser of foreign bytes raises, the object is to blame
            raise RefusedError(CANNOT_UNDERSTAND, "the data set cannot be read") from error

    def _settle(self, path: Path, place: Path) -> None:
        """Move a file to its place and wait until the disk has both."""
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.replace(place)
        for name in (place, place.parent):
            handle = os.open(name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def room(self) -> bool:
        """Return whether the disk has room for more than what is kept free."""
        return shutil.disk_usage(self.incoming).free > self._config.reserve_bytes

    def recover(self) -> int:
        """Enter files that are on disk and not in the list, as a power failure leaves them; return how many.

        A file that is not what its name says was cut off while it was written, and never acknowledged: it is removed.
        """
        found = 0
        for folder in (self._store.data / "studies").glob("*/objects"):
            known = self._store.files(folder.parent.name)
            for path in folder.iterdir():
                if path.name not in known:
                    found += self._recover(path)
        return found

    def _recover(self, path: Path) -> bool:
        try:
            header, digest = self._look(path)
            if path.name.endswith(f"-{digest[:16]}.dcm"):
                self.keep(path, header["sop_uid"], Sender(ae="", address=""))
                return True
        except RefusedError:
            pass
        path.unlink(missing_ok=True)
        return False


def _secret(data: Path) -> bytes:
    """Return the secret of a node's folder, made at its first start: codes of one node say nothing to another."""
    path = data / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        made = secrets.token_bytes(32)
        scratch = path.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_bytes(made)
        scratch.replace(path)
        return made


def _digest(file: io.BufferedReader, header: Any) -> str:
    """Return the SHA-256 of a file's data set: the file's own head tells who wrote it, not what it is."""
    length = header.file_meta.get("FileMetaInformationGroupLength")
    file.seek(128 + 4 + 12 + int(length.value if hasattr(length, "value") else length or 0))
    return hashlib.file_digest(file, "sha256").hexdigest()
