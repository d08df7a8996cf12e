"""A node's queue on the terminal and as a page of the server; wrong settings; TLS between two sides."""

import gc
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from glioscope.cli import main
from glioscope.errors import ConfigError
from glioscope.node.certificates import calling
from glioscope.node.listing import entries, open_list
from glioscope.node.records import Received
from glioscope.node.service import Node
from glioscope.node.settings import NodeConfig, tls_files
from glioscope.node.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """What the network library leaves to be collected is collected here, where its warnings are ignored."""
    yield
    gc.collect()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A node's folder with a study that failed and one that is received."""
    store = Store(tmp_path)
    for key, uid in (("k1", "1.2"), ("k2", "1.3")):
        store.receive(
            Received(
                key=key,
                study_uid=uid,
                sop_uid="9",
                digest="d",
                file="f.dcm",
                patient="p",
                calling="<b>MR1</b>",
                address="127.0.0.1",
                description="",
                station="",
            )
        )
    store.complete("k1")
    version = store.take()
    assert version is not None
    store.end(version, "failed", "holds no T1, T2 or FLAIR of a head")
    store.close()
    return tmp_path


def test_the_list_on_the_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-queue", "--data", str(data)]) == 3
    found = capsys.readouterr().out
    assert "receiving" in found
    assert main(["node-queue", "--data", str(data), "--failed", "--again", "k1", "--again", "k2"]) == 0
    said = capsys.readouterr()
    assert "k1: is done again" in said.out
    assert "k2: has nothing that failed" in said.err
    store = open_list(data)
    assert {entry.key: entry.state for entry in entries(store)} == {"k1": "queued", "k2": "receiving"}
    store.close()
    assert main(["node-queue", "--data", str(data / "elsewhere")]) == 2


def test_the_page_shows_every_study_and_does_one_again(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed: no test of the server")
    from starlette.testclient import TestClient

    from glioscope.web.app import create_app
    from glioscope.web.settings import ServerConfig

    config = ServerConfig(data=tmp_path / "cases", node=data)
    with TestClient(create_app(config), base_url="http://127.0.0.1") as client:
        page = client.get("/queue").text
        assert "holds no T1, T2 or FLAIR of a head" in page
        assert "&lt;b&gt;MR1" in page
        assert "<b>MR1" not in page
        assert page.count('<form class="inline" method="post" action="/queue/k1/again">') == 1
        assert client.post("/queue/k1/again", follow_redirects=False).status_code == 303
        assert client.post("/queue/k1/again").status_code == 409
        assert client.post("/queue/k1/again", headers={"origin": "http://elsewhere"}).status_code == 403
    with TestClient(create_app(ServerConfig(data=tmp_path / "cases")), base_url="http://127.0.0.1") as client:
        assert client.get("/queue").status_code == 404


def test_wrong_settings_of_the_command_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--send-to", "ORTHANC"], ["--host", "0.0.0.0"], ["--allow", "A@b"], ["--tls", "a,b"]):
        assert main(["node", "--data", str(tmp_path / "data"), *arguments]) == 2
        assert capsys.readouterr().err.startswith("glioscope: node: ")
    assert not (tmp_path / "data").exists()


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """A certificate for this machine's address that is its own authority; its key; the authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=node"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return f"{certificate},{key},{certificate}"


def turned_away(port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether a caller without a certificate, or without TLS, is left without an answer."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(20)
        try:
            with tls.wrap_socket(plain) if tls else plain as one:
                one.sendall(b"\x01\x00\x00\x00\x00\x44" + b"\0" * 68)
                return one.recv(100)[:1] not in (b"\x02", b"\x03")
        except OSError:
            return True


@pytest.mark.slow
def test_only_who_shows_a_certificate_gets_in_and_silence_keeps_nobody_out(tmp_path: Path, pem: str) -> None:
    tls = tls_files(pem)
    node = Node(NodeConfig(data=tmp_path / "data", port=0, tls=tls, reserve_bytes=0, idle_seconds=5.0))
    node.start()
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    port = node.receiver.port
    with socket.create_connection(("127.0.0.1", port)):  # says nothing
        ae = AE("MR1")
        ae.add_requested_context(Verification)
        tls_args = (calling(tls), "127.0.0.1")
        good = ae.associate("127.0.0.1", port, ae_title="GLIOSCOPE", tls_args=tls_args)
        assert good.send_c_echo().Status == 0
        good.release()
        assert turned_away(port, stranger)
        assert turned_away(port, None)
    node.stop()


def test_certificates_that_do_not_fit_are_told_at_the_start(tmp_path: Path, pem: str) -> None:
    (tmp_path / "other.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used together"):
        calling(tls_files(pem.rpartition(",")[0] + f",{tmp_path / 'other.pem'}"))
