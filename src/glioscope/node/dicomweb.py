"""An archive's web address: which studies it has (QIDO-RS), one of them (WADO-RS), results into it (STOW-RS)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

from glioscope.errors import CaseError, GlioscopeError, RunError
from glioscope.node.couriers import Cargo, Outcome, UnreachableError
from glioscope.node.records import DeliveryRow
from glioscope.node.settings import WebPeer

_SECONDS = 60.0
_NO_ROOM = "status A7"
_NEVER = (400, 409, 413, 415, 422)
"""HTTP statuses of an archive that will not take an object, however often it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebStudy:
    """A study as an archive lists it. It names the patient: shown to who asked, written nowhere."""

    uid: str
    date: str
    patient: str
    description: str
    modalities: str


class WebArchive:
    """One archive.

    Parameters
    ----------
    url : str
        Of its DICOMweb root; a name and password may stand in it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = DICOMwebClient(url, timeout=_SECONDS)

    def studies(self, *, limit: int = 100) -> tuple[WebStudy, ...]:
        """Return studies of MR.

        Raises
        ------
        RunError
            The archive does not answer, or not as DICOMweb.
        """
        with self._speaking():
            found = self._client.search_for_studies(
                limit=limit, search_filters={"ModalitiesInStudy": "MR"}, fields=["StudyDescription"]
            )
        return tuple(_study(one) for one in found)

    def fetch(self, uid: str, folder: Path, change: Callable[[Any], None] | None = None) -> int:
        """Write the MR images of a study into a folder, one file each, and return how many.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.
        folder : Path
            Made if need be. Files are numbered: no name from the archive becomes a path.
        change : callable, optional
            Called with each data set before it is written.

        Raises
        ------
        CaseError
            The archive has no such study, or no MR image in it.
        RunError
            The archive does not answer, or the folder cannot be written.
        """
        with self._speaking():
            series = self._client.search_for_series(uid, search_filters={"Modality": "MR"})
        names = [str(one["0020000E"]["Value"][0]) for one in series]
        count = 0
        for name in names:
            with self._speaking():
                for data in self._client.iter_series(uid, name, media_types=(("application/dicom", "*"),)):
                    if change:
                        change(data)
                    count += 1
                    _write(data, folder / f"{count:06}.dcm")
        if not count:
            raise CaseError(f"study {uid}: the archive has no MR image of it; check the UID")
        return count

    def store(self, data: Sequence[Any]) -> dict[str, str]:
        """Store objects; return those that the archive refused, to the reason.

        Raises
        ------
        RunError
            The archive does not answer, or not as DICOMweb.
        """
        with self._speaking():
            try:
                answer = self._client.store_instances(data)
            except requests.exceptions.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status not in _NEVER:
                    raise
                return {str(one.SOPInstanceUID): f"HTTP status {status}" for one in data}
        failed = answer.get("FailedSOPSequence", [])
        return {
            str(item.ReferencedSOPInstanceUID): f"status {int(item.get('FailureReason', 0)):04X}" for item in failed
        }

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except GlioscopeError:
            raise
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else "?"
            raise RunError(f"{self.place}: answered with status {status}; check the address and the rights") from error
        except (requests.exceptions.RequestException, ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            raise RunError(f"{self.place}: does not answer as DICOMweb ({kind}); check the address") from error

    @property
    def place(self) -> str:
        """The address without name and password."""
        scheme, _, rest = self._url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


class WebCarrier:
    """Carries results to one archive by STOW-RS.

    Parameters
    ----------
    peer : WebPeer
        Its address.
    """

    def __init__(self, peer: WebPeer) -> None:
        self._archive, self.name = WebArchive(peer.url), peer.ae

    def send(self, batch: Sequence[Cargo]) -> Iterator[Outcome]:
        """Carry results there, each in a request of its own.

        Raises
        ------
        UnreachableError
            The archive does not answer.
        """
        for one in batch:
            data = pydicom.dcmread(one.path)
            try:
                refused = self._archive.store([data])
            except RunError as error:
                raise UnreachableError(str(error)) from error
            reason = refused.get(one.row.sop_uid, "")
            what: Literal["stored", "later", "refused"]
            what = "later" if reason.startswith(_NO_ROOM) else "refused" if reason else "stored"
            yield Outcome(row=one.row, what=what, reason=f"{self.name} refused it with {reason}" if reason else "")

    def ask(self, transaction: str, batch: Sequence[DeliveryRow]) -> bool:
        """Return False: DICOMweb has an answer to each request, and no later confirmation."""
        del transaction, batch
        return False


def _study(found: Any) -> WebStudy:
    def text(tag: str) -> str:
        values = found.get(tag, {}).get("Value", [])
        first = values[0] if values else ""
        return str(first.get("Alphabetic", "") if isinstance(first, dict) else first)

    return WebStudy(
        uid=text("0020000D"),
        date=text("00080020"),
        patient=text("00100010") or text("00100020"),
        description=text("00081030"),
        modalities="/".join(map(str, found.get("00080061", {}).get("Value", []))),
    )


def _write(data: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be written ({error.strerror}); choose another folder") from error
