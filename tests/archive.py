"""Orthanc and the programs of DCMTK on this machine alone, for tests of the node against parts that others wrote."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

needs_orthanc = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed (apt-get install orthanc)")
HAS_DCMTK = shutil.which("storescu") is not None
needs_dcmtk = pytest.mark.skipif(not HAS_DCMTK, reason="DCMTK is not installed (apt-get install dcmtk)")
needs_dicom3tools = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dicom3tools is not installed (apt-get install dicom3tools)"
)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Orthanc:
    """One Orthanc, with its data in a folder that outlives a kill."""

    def __init__(self, folder: Path, *, node_port: int = 0, settings: dict[str, Any] | None = None) -> None:
        self.folder, self.port, self.http = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        plugins = [str(DICOMWEB)] if DICOMWEB.is_file() else []
        config = {
            "Name": "test",
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "Plugins": plugins,
            "HttpPort": self.http,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"node": {"AET": "GLIOSCOPE", "Host": "127.0.0.1", "Port": node_port or 11112}},
            "OverwriteInstances": True,
            **(settings or {}),
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert ORTHANC
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([ORTHANC, str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.get("/system")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """End it without a word."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> Any:
        """The answer to a question of its REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def file(self, instance: str) -> bytes:
        """One object as it keeps it."""
        url = f"http://127.0.0.1:{self.http}/instances/{instance}/file"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    def objects(self, modality: str | None = None) -> list[dict[str, Any]]:
        """Its series, or those of one modality, with the instances of each."""
        found = self.get("/series?expand")
        return [one for one in found if modality in (None, one["MainDicomTags"].get("Modality"))]


@contextmanager
def orthanc(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """An Orthanc that runs while the block does."""
    one = Orthanc(folder, **options)
    one.start()
    try:
        yield one
    finally:
        one.kill()


def storescu(folder: Path, port: int, *options: str, called: str = "GLIOSCOPE", calling: str = "MR1") -> int:
    """Send a folder with DCMTK; the exit code."""
    command = ["storescu", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port), "+sd", "+r", str(folder)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode
