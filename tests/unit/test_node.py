"""The node against a sender and an archive in this process: what is taken, what is refused, what comes back."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

import synthetic_dicom as made
from glioscope.node.records import VersionRow
from glioscope.node.service import Node
from glioscope.node.settings import NodeConfig, Peer

pytestmark = pytest.mark.filterwarnings("ignore")  # of what synthetic headers lack

STAND_IN = (str(Path(__file__).parents[1] / "stand_in.py"),)
STUDY = "1.2.826.0.1.3680043.8.498.77"


class Archive:
    """Takes what it is sent, and answers as a test wants."""

    def __init__(self, *kinds: str) -> None:
        self.objects: list[Dataset] = []
        self.status: Callable[[], int] = lambda: 0
        self.confirms = False
        self.node_port = 0
        ae = AE("ARCHIVE")
        for kind in kinds:
            ae.add_supported_context(kind, [ExplicitVRLittleEndian])
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self._server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.peer = Peer(ae="ARCHIVE", host="127.0.0.1", port=self._server.server_address[1])

    def _store(self, event: Any) -> int:
        status = self.status()
        if status == 0:
            self.objects.append(event.dataset)
        return status

    def _action(self, event: Any) -> tuple[int, None]:
        return (0 if self.confirms else 0x0112), None

    def stop(self) -> None:
        self._server.shutdown()


SEG, RTSTRUCT, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def archive() -> Iterator[Archive]:
    one = Archive(SEG, RTSTRUCT, SR)
    yield one
    one.stop()


@pytest.fixture
def start(tmp_path: Path, archive: Archive) -> Iterator[Callable[..., Node]]:
    nodes = []

    def run(**settings: Any) -> Node:
        settings = {"send_to": (archive.peer,), "program": STAND_IN, "quiet_seconds": 0.6, **settings}
        node = Node(NodeConfig(data=tmp_path / "data", port=0, first_wait_seconds=0.2, reserve_bytes=0, **settings))
        node.start()
        nodes.append(node)
        return node

    yield run
    for node in nodes:
        node.stop()


def study(folder: Path, *, number: int = 1, **tags: Any) -> list[Path]:
    """A FLAIR series with a bright box."""
    image = np.full((24, 20, 12), 100, np.uint16)
    image[8:14, 6:12, 4:8] = 300
    tags = {**made.FLAIR, "StudyInstanceUID": STUDY, "StudyDescription": "MR brain", **tags}
    return made.write_series(folder, image, made.grid(), tags, number=number)


def send(node: Node, paths: list[Path], *, calling: str = "MR1", called: str = "GLIOSCOPE") -> list[int]:
    """Send files over one association; the status of each (-1 without an association)."""
    ae = AE(calling)
    for syntax in {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in paths}:
        ae.add_requested_context(MRImageStorage, syntax)
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title=called)
    if not association.is_established:
        return [-1]
    found = [int(association.send_c_store(path).get("Status", -1)) for path in paths]
    association.release()
    return found


def wait(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def ended(node: Node, uid: str = STUDY, number: int = 1) -> VersionRow:
    """The version of a study when it is at its end."""
    key = node.keeper.name("study", uid)

    def look() -> VersionRow | None:
        found = node.store.version(key, number)
        return found if found and found.state not in ("queued", "running", "sending") else None

    return wait(look)


@pytest.mark.slow
def test_a_study_comes_in_and_results_go_back(start: Callable[..., Node], archive: Archive, tmp_path: Path) -> None:
    node = start()
    ae = AE("MR1")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title="GLIOSCOPE")
    assert association.send_c_echo().Status == 0
    association.release()
    paths = study(tmp_path / "in")
    assert set(send(node, paths)) == {0}
    assert ended(node).state == "done"
    assert sorted(one.SOPClassUID for one in archive.objects) == sorted([SEG, RTSTRUCT, SR])
    source = dcmread(paths[0])
    for one in archive.objects:
        assert (one.PatientID, one.StudyInstanceUID) == (source.PatientID, STUDY)
    assert {one.state for one in node.outbox.of(node.keeper.name("study", STUDY))} == {"stored"}
    late = study(tmp_path / "late", number=2)
    assert set(send(node, late)) == {0}
    assert ended(node, number=2).state == "done"
    assert len(archive.objects) == 6
    assert len({one.SOPInstanceUID for one in archive.objects}) == 6
