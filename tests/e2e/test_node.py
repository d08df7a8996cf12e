"""The node between parts that others wrote: DCMTK sends, Orthanc keeps, and the page on it is typed as it stands."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

import numpy as np
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import JPEGLSLossless, generate_uid
from scipy.spatial.transform import Rotation

import synthetic_dicom as made
from archive import Orthanc, free_port, needs_dcmtk, needs_dicom3tools, needs_orthanc, orthanc, storescu
from glioscope.node.service import Node
from glioscope.node.settings import NodeConfig, Peer, WebPeer
from glioscope.phantom import PhantomConfig, phantom

ROOT = Path(__file__).parents[2]
STAND_IN = (str(ROOT / "tests" / "stand_in.py"),)
pytestmark = [pytest.mark.slow, needs_orthanc, needs_dcmtk, pytest.mark.filterwarnings("ignore")]


def wait(condition: Callable[[], Any], seconds: float = 180.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


# the page, as it stands


def test_the_page_on_the_node_works_as_typed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "node.md").read_text("utf-8")
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert script.count("glioscope node ") == 2
    script = script.replace("pip install", ": pip install").replace("sleep 15", "sleep 2")
    script = script.replace("glioscope node --data", "glioscope node --port 11112 --data")
    for port in ("4242", "8042", "11112", "9100"):
        script = script.replace(port, str(free_port()))
    one = phantom(3, PhantomConfig(shape=(45, 55, 45), spacing_mm=(4, 4, 4), skull=True, slice_thickness_mm=0))
    image = np.clip(one.images["t2f"], 0, 65535).astype(np.uint16)
    made.write_series(tmp_path / "scans", image, one.grid.affine, {**made.FLAIR, "StudyDescription": "MR brain"})
    shell = f'glioscope() {{ "{sys.executable}" -W ignore -m glioscope "$@"; }}\n'
    shell += "trap 'kill $(jobs -p)' EXIT\nexport PATH=$PATH:/usr/sbin\nset -e\n"
    retry = "for n in $(seq 300); do echoscu -aec GLIOSCOPE 127.0.0.1 $PORT 2>/dev/null && break; sleep 0.2; done\n"
    port = re.search(r"echoscu -aec GLIOSCOPE 127.0.0.1 (\d+)", script)
    assert port
    script = script.replace("sleep 2\n", retry.replace("$PORT", port[1]), 1)
    done = subprocess.run(
        ["bash", "-c", shell + script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "node.log").read_text()
    assert '"CountSeries" : 5' in done.stdout  # the scan, SEG, RTSTRUCT, SR and the pictures
    assert len(list((tmp_path / "fetched").iterdir())) == 45
    told = (tmp_path / "node.log").read_text()
    assert "listening" in told
    for name in ("Doe", "HOSPITAL", "1.2.826.0.1.3680043.8.498.1"):
        assert name not in told
    stripped = dcmread(next((tmp_path / "fetched").iterdir()))
    assert stripped.PatientIdentityRemoved == "YES"


# every direction of slices


def turned(kind: str) -> np.ndarray:
    """An affine whose slices are axial, sagittal, coronal or oblique."""
    affine = made.grid((24, 20, 12), (4, 5, 8))
    turns = {"axial": (0, 0, 0), "sagittal": (0, 90, 0), "coronal": (90, 0, 0), "oblique": (12, -9, 20)}
    turn = Rotation.from_euler("xyz", turns.get(kind, (0, 0, 0)), degrees=True).as_matrix()
    affine[:3] = turn @ affine[:3]
    return affine


def box() -> np.ndarray:
    image = np.full((24, 20, 12), 100, np.uint16)
    image[8:14, 6:12, 4:8] = 300
    return image


def centre_of_frames(seg: Any) -> np.ndarray:
    """The centre of the first segment in the patient's millimetres, from the object's own tags alone."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:
            origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(frame)
            points.append(origin + np.outer(columns * between_columns, row) + np.outer(rows * between_rows, column))
    return np.concatenate(points).mean(axis=0)


def read(archive: Orthanc, modality: str) -> dict[str, Any]:
    """Study to its object of a modality, as the archive gives it back."""
    found = {}
    for series in archive.objects(modality):
        for instance in series["Instances"]:
            one = dcmread(DicomBytesIO(archive.file(instance)))
            found[str(one.StudyInstanceUID)] = one
    return found


@pytest.fixture(scope="module")
def returned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The archive after five studies went through a node, one of them compressed; their UIDs; states of the results."""
    home = tmp_path_factory.mktemp("loop")
    port = free_port()
    with orthanc(home / "orthanc", node_port=port) as archive:
        peers = (Peer(ae="ORTHANC", host="127.0.0.1", port=archive.port),)
        node = Node(NodeConfig(data=home / "data", port=port, send_to=peers, program=STAND_IN, quiet_seconds=1.0))
        node.start()
        uids = {}
        for kind in ("axial", "sagittal", "coronal", "oblique", "enhanced"):
            uids[kind] = generate_uid()
            tags = {**made.FLAIR, "StudyInstanceUID": uids[kind], "PatientID": kind, "PatientName": f"{kind}^Doe"}
            if kind == "enhanced":
                (home / kind).mkdir()
                made.write_enhanced(home / kind / "one.dcm", box(), turned(kind))
                one = dcmread(home / kind / "one.dcm")
                one.StudyInstanceUID = uids[kind]
                one.save_as(home / kind / "one.dcm")
            else:
                syntax = JPEGLSLossless if kind == "oblique" else made.ExplicitVRLittleEndian
                made.write_series(home / kind, box(), turned(kind), tags, syntax=syntax)
            assert storescu(home / kind, port, "-xt" if kind == "oblique" else "-R") == 0
        wait(lambda: node.store.count_versions().get("done") == 5)
        states = {
            row.state
            for key in (node.keeper.name("study", uid) for uid in uids.values())
            for row in node.outbox.of(key)
        }
        yield archive, uids, states
        node.stop()


DIRECTIONS = ("axial", "sagittal", "coronal", "oblique", "enhanced")
CENTRE = (10.5, 8.5, 5.5)
"""Voxel in the middle of the bright box."""


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_results_lie_where_the_source_lies(returned: Any, kind: str) -> None:
    archive, uids, states = returned
    assert states == {"confirmed"}
    middle = np.diag([-1.0, -1, 1, 1]) @ turned(kind) @ [*CENTRE, 1]
    seg = read(archive, "SEG")[uids[kind]]
    assert centre_of_frames(seg) == pytest.approx(middle[:3], abs=0.01)
    contours = read(archive, "RTSTRUCT")[uids[kind]].ROIContourSequence[0].ContourSequence
    points = np.concatenate([np.reshape(np.array(one.ContourData, float), (-1, 3)) for one in contours])
    assert (points.max(axis=0) + points.min(axis=0)) / 2 == pytest.approx(middle[:3], abs=0.01)
    assert seg.PatientID == ("HOSPITAL-12345" if kind == "enhanced" else kind)
    pictures = read(archive, "OT")[uids[kind]]
    assert (pictures.SamplesPerPixel, pictures.PhotometricInterpretation) == (3, "RGB")


@needs_dicom3tools
def test_an_independent_validator_finds_no_error_in_what_came_back(returned: Any, tmp_path: Path) -> None:
    archive, _, _ = returned
    paths = []
    for series in archive.objects():
        for instance in series["Instances"]:
            paths.append(tmp_path / f"{instance}.dcm")
            paths[-1].write_bytes(archive.file(instance))
            said = subprocess.run(["dciodvfy", str(paths[-1])], capture_output=True, text=True, check=False).stderr
            errors = [line for line in said.splitlines() if line.startswith("Error")]
            assert not errors, (series["MainDicomTags"].get("Modality"), errors)
    assert len(paths) >= 5 * 4
    said = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, check=False)
    assert "Error" not in said.stdout + said.stderr


# killed, and an archive that is not there


def start_node(data: Path, port: int, archive: int, log: Path) -> "subprocess.Popen[bytes]":
    code = (
        "import threading; from pathlib import Path; from glioscope.node.service import Node;"
        "from glioscope.node.settings import NodeConfig, peer; from glioscope.node.telling import log_as_json;"
        f"log_as_json(); Node(NodeConfig(data=Path({str(data)!r}), port={port}, quiet_seconds=1.0,"
        f"send_to=(peer('ORTHANC@127.0.0.1:{archive}'),), program={STAND_IN!r}, first_wait_seconds=0.3,"
        "longest_wait_seconds=1.0)).start(); threading.Event().wait()"
    )
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=file, stderr=file)


def test_a_node_that_is_killed_and_an_archive_that_is_down_lose_and_double_nothing(tmp_path: Path) -> None:
    """Killed before the study is complete, while it is made, and when its results wait for an archive that is down."""
    port, log = free_port(), tmp_path / "node.log"
    archive = Orthanc(tmp_path / "orthanc", node_port=port)
    uid = generate_uid()
    made.write_series(tmp_path / "in", box(), turned("axial"), {**made.FLAIR, "StudyInstanceUID": uid})
    data = tmp_path / "data"

    def said(what: str) -> bool:
        return log.is_file() and what in log.read_text()

    process = start_node(data, port, archive.port, log)
    wait(lambda: storescu(tmp_path / "in", port, "-R") == 0)
    for moment in ("", "study complete", "archive not reached"):
        wait(lambda moment=moment: not moment or said(f'"event": "{moment}"'))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start_node(data, port, archive.port, log)
    archive.start()
    try:
        wait(lambda: log.read_text().count('"event": "result sent"') >= 6)
        time.sleep(1)
        kinds = [one["MainDicomTags"]["Modality"] for one in archive.objects()]
        assert sorted(kinds) == ["OT", "RTSTRUCT", "SEG", "SR"]
        assert all(len(one["Instances"]) == 1 for one in archive.objects() if one["MainDicomTags"]["Modality"] != "OT")
    finally:
        process.kill()
        process.wait()
        archive.kill()


def test_results_go_by_dicomweb_too(tmp_path: Path) -> None:
    port, uid = free_port(), generate_uid()
    with orthanc(tmp_path / "orthanc") as archive:
        peers = (WebPeer(url=f"http://127.0.0.1:{archive.http}/dicom-web"),)
        node = Node(NodeConfig(data=tmp_path / "data", port=port, send_to=peers, program=STAND_IN, quiet_seconds=0.6))
        node.start()
        made.write_series(tmp_path / "in", box(), turned("axial"), {**made.FLAIR, "StudyInstanceUID": uid})
        assert storescu(tmp_path / "in", port, "-R") == 0
        wait(lambda: node.store.count_versions().get("done") == 1)
        node.stop()
        assert sorted(one["MainDicomTags"]["Modality"] for one in archive.objects()) == ["OT", "RTSTRUCT", "SEG", "SR"]
