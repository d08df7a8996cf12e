"""The node against a sender and an archive in this process: what is taken, what is refused, what comes back."""

import gc
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MPEG2MPML, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

import synthetic_dicom as made
from glioscope.node.keeping import RefusedError, Sender
from glioscope.node.records import VersionRow
from glioscope.node.rules import Rule
from glioscope.node.service import Node
from glioscope.node.settings import NodeConfig, Peer, caller

pytestmark = pytest.mark.filterwarnings("ignore")  # of what synthetic headers lack

STAND_IN = (str(Path(__file__).parents[1] / "stand_in.py"),)
STUDY = "1.2.826.0.1.3680043.8.498.77"


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """What the network library leaves to be collected is collected here, where its warnings are ignored."""
    yield
    gc.collect()


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

    def classes(self) -> dict[str, int]:
        """How many objects of each class it has."""
        return dict(Counter(str(one.SOPClassUID) for one in self.objects))

    def stop(self) -> None:
        self._server.shutdown()


SEG, RTSTRUCT, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def archive() -> Iterator[Archive]:
    one = Archive(SEG, RTSTRUCT, SR, made.SECONDARY_CAPTURE)
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


def wait(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
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
    assert archive.classes() == {SEG: 1, RTSTRUCT: 1, SR: 1, made.SECONDARY_CAPTURE: 4}
    source = dcmread(paths[0])
    for one in archive.objects:
        assert (one.PatientID, one.StudyInstanceUID) == (source.PatientID, STUDY)
    assert {one.state for one in node.outbox.of(node.keeper.name("study", STUDY))} == {"stored"}
    late = study(tmp_path / "late", number=2)
    assert set(send(node, late)) == {0}
    assert ended(node, number=2).state == "done"
    assert archive.classes() == {SEG: 2, RTSTRUCT: 2, SR: 2, made.SECONDARY_CAPTURE: 8}
    assert len({one.SOPInstanceUID for one in archive.objects}) == 14


def test_who_may_not_send_is_refused(start: Callable[..., Node], tmp_path: Path) -> None:
    node = start(allow=(caller("MR1@127.0.0.0/8"), caller("MR2@10.0.0.0/8")))
    paths = study(tmp_path / "in")[:1]
    assert send(node, paths, called="OTHER") == [-1]
    assert send(node, paths, calling="STRANGER") == [-1]
    assert send(node, paths, calling="MR2") == [-1]
    assert send(node, paths) == [0]
    assert node.receiver.refusals == 2


def test_what_cannot_be_decoded_is_refused_by_its_syntax(start: Callable[..., Node]) -> None:
    ae = AE("MR1")
    ae.add_requested_context(MRImageStorage, MPEG2MPML)
    ae.add_requested_context(MRImageStorage, JPEG2000Lossless)
    ae.add_requested_context(SEG, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", start().receiver.port, ae_title="GLIOSCOPE")
    assert [context.transfer_syntax[0] for context in association.accepted_contexts] == [JPEG2000Lossless]
    association.release()


def test_a_data_set_that_is_not_what_is_said_is_refused(start: Callable[..., Node], tmp_path: Path) -> None:
    node = start()
    first, second, third = study(tmp_path / "in")[:3]
    nameless = dcmread(first)
    del nameless.StudyInstanceUID
    nameless.save_as(first)
    assert send(node, [first, third]) == [0xA900, 0]
    with pytest.raises(RefusedError, match="another instance than the command says") as caught:
        node.keeper.keep(second, generate_uid(), Sender(ae="MR1", address=""))
    assert caught.value.status == 0xA900
    first.write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 20)
    with pytest.raises(RefusedError, match="cannot be read") as caught:
        node.keeper.keep(first, generate_uid(), Sender(ae="MR1", address=""))
    assert caught.value.status == 0xC000
    assert len(list((tmp_path / "data").glob("studies/*/objects/*"))) == 1
    assert list(node.keeper.incoming.iterdir()) == []


def test_a_full_disk_is_told_to_the_sender(
    start: Callable[..., Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    paths = study(tmp_path / "in")[:2]
    with monkeypatch.context() as full:
        full.setattr(node.keeper, "room", lambda: False)
        assert send(node, paths[:1]) == [0xA700]
        assert node.troubles() == ["the disk is nearly full: nothing is received"]
    with monkeypatch.context() as full:

        def no_space(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("glioscope.node.keeping.os.fsync", no_space)
        assert send(node, paths[:1]) == [0xA700]
    assert node.store.studies() == []
    assert send(node, paths) == [0, 0]


def test_an_object_cut_off_in_its_middle_leaves_nothing(start: Callable[..., Node], tmp_path: Path) -> None:
    node = start()
    path = study(tmp_path / "in")[0]
    ae = AE("MR1")
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title="GLIOSCOPE")
    connection = association.dul.socket.socket
    whole = connection.send
    sent = []

    class Cut:
        """Lets the command and a part of the data through, then pulls the cable."""

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

        def send(self, data: bytes) -> int:
            sent.append(len(data))
            if len(sent) > 1:
                whole(data[: len(data) // 2])
                connection.shutdown(socket.SHUT_RDWR)
                raise OSError("cut")
            return int(whole(data))

    association.dul.socket.socket = Cut()
    status = association.send_c_store(path)
    assert "Status" not in status
    time.sleep(0.5)
    assert node.store.studies() == []
    assert send(node, [path]) == [0]


def test_a_message_of_a_length_that_nobody_may_claim_ends_the_connection(start: Callable[..., Node]) -> None:
    node = start()
    with socket.create_connection(("127.0.0.1", node.receiver.port)) as one:
        one.sendall(b"\x01\x00\xff\xff\xff\xff" + b"\0" * 100)
        one.settimeout(20)
        assert one.recv(100) == b""


def test_a_sender_without_end_is_cut(start: Callable[..., Node], tmp_path: Path) -> None:
    node = start(max_object_bytes=20_000)
    image = np.zeros((128, 128, 5), np.uint16)
    path = made.write_series(tmp_path / "in", image, made.grid((128, 128, 5)), {"StudyInstanceUID": STUDY})[0]
    assert send(node, [path]) == [-1]
    assert node.store.studies() == []


@pytest.mark.slow
def test_two_patients_and_a_knee_are_listed_and_nothing_is_returned(
    start: Callable[..., Node], archive: Archive, tmp_path: Path
) -> None:
    node = start(rules=(Rule(name="not ours", take=False, description=("*liver*",)), Rule(name="all")))
    assert set(send(node, study(tmp_path / "a"))) == {0}
    assert set(send(node, study(tmp_path / "b", number=2, PatientID="SOMEBODY-ELSE"))) == {0}
    assert set(send(node, study(tmp_path / "c", StudyInstanceUID=f"{STUDY}.2", BodyPartExamined="KNEE"))) == {0}
    assert set(send(node, study(tmp_path / "d", StudyInstanceUID=f"{STUDY}.3", StudyDescription="LIVER"))) == {0}
    half = study(tmp_path / "e", StudyInstanceUID=f"{STUDY}.4")
    assert set(send(node, half[:3])) == {0}
    assert "2 patients under one StudyInstanceUID" in ended(node).reason
    knee, liver, part = (ended(node, f"{STUDY}.{n}") for n in (2, 3, 4))
    assert (knee.state, liver.state, part.state) == ("failed", "ignored", "failed")
    assert "another part of the body" in knee.reason
    assert liver.reason == "rule 'not ours' leaves it alone"
    assert "3 slices; a volume needs at least 5" in part.reason
    assert archive.objects == []
    assert set(send(node, half[3:])) == {0}
    assert ended(node, f"{STUDY}.4", number=2).state == "done"
    for reason in (knee.reason, part.reason):
        assert "HOSPITAL" not in reason
        assert str(tmp_path) not in reason


@pytest.mark.slow
def test_twice_the_same_and_twice_another(start: Callable[..., Node], archive: Archive, tmp_path: Path) -> None:
    node = start()
    paths = study(tmp_path / "in")
    other = dcmread(paths[0])
    other.AcquisitionTime = "120000"
    other.save_as(tmp_path / "other.dcm")
    assert set(send(node, [*paths, *paths, tmp_path / "other.dcm"])) == {0}
    version = ended(node)
    assert (version.state, version.objects) == ("done", 12)
    assert version.remark == "1 instances came twice with different content; the first of each was used"
    assert len(list((tmp_path / "data").glob("studies/*/objects/*"))) == 13


@pytest.mark.slow
def test_an_archive_that_refuses_a_class_or_is_out_of_resources(
    start: Callable[..., Node], archive: Archive, tmp_path: Path
) -> None:
    picky = Archive(RTSTRUCT, SR, made.SECONDARY_CAPTURE)
    answers = iter([0xA700, 0xA700])
    archive.status = lambda: next(answers, 0)
    node = start(send_to=(archive.peer, Peer(ae="PICKY", host="127.0.0.1", port=picky.peer.port)))
    assert set(send(node, study(tmp_path / "in"))) == {0}
    version = ended(node)
    assert version.state == "failed"
    assert version.reason.startswith("PICKY does not take objects of class ")
    assert "Segmentation Storage" in version.reason
    assert archive.classes() == {SEG: 1, RTSTRUCT: 1, SR: 1, made.SECONDARY_CAPTURE: 4}
    assert picky.classes() == {RTSTRUCT: 1, SR: 1, made.SECONDARY_CAPTURE: 4}
    picky.stop()
    key = node.keeper.name("study", STUDY)
    assert node.store.again(key) == "sending"
