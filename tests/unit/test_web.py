"""The server's API: uploads, sequences, versions, and everything that must be refused, with a clear line."""

import gzip
import io
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import glioscope
from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError
from glioscope.files import write_json
from glioscope.labels import regions_from_labels, scheme_named
from glioscope.space.grid import Grid
from glioscope.space.volumes import Volume, read_labels
from tiny import LPS, OLD_NAMES, SHAPE, tiny_images, write_tiny_case, write_tiny_model

pytest.importorskip("fastapi", reason="fastapi is not installed: no test of the server")
pytest.importorskip("httpx2", reason="httpx2 is not installed: no test of the server")

from fastapi.testclient import TestClient

from glioscope.cli import main
from glioscope.web import uploads
from glioscope.web.app import create_app
from glioscope.web.recognise import sequence_of
from glioscope.web.service import Service
from glioscope.web.settings import ServerConfig
from glioscope.web.uploads import readable, safe_name, safe_path

ADDRESS = "http://127.0.0.1:8000"
Files = list[tuple[str, tuple[str, bytes]]]


@pytest.fixture(scope="module")
def case_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The four files of a case, by name."""
    folder = write_tiny_case(tmp_path_factory.mktemp("case"))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def config(tmp_path: Path, model: Path) -> ServerConfig:
    return ServerConfig(data=tmp_path / "data", model=model, reserve_bytes=0)


def client_of(config: ServerConfig, **options: Any) -> TestClient:
    """A client of a server whose queue stands still: it is not started as a context."""
    return TestClient(create_app(config), base_url=ADDRESS, **options)


@pytest.fixture
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


def service_of(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found


def as_files(files: dict[str, bytes]) -> Files:
    return [("files", (name, body)) for name, body in files.items()]


def send(client: TestClient, files: dict[str, bytes], **fields: str) -> Any:
    return client.post("/api/uploads", files=as_files(files), data=fields)


def work(client: TestClient) -> None:
    """Do the next job of the queue in this process: the same command lines, without their start."""
    service = service_of(client)
    job = service.store.take()
    assert job is not None
    steps, finish = service._plan(job)
    for step in steps:
        assert step.arguments[:2] == ("-m", "glioscope")
        assert main(list(step.arguments[2:])) == 0
    finish()


def done_case(client: TestClient, files: dict[str, bytes], **fields: str) -> str:
    key: str = send(client, files, start="1", **fields).json()[0]["key"]
    work(client)
    return key


def nothing_left(config: ServerConfig) -> bool:
    return not list((config.data / "incoming").iterdir()) and not list((config.data / "cases").iterdir())


# names


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("scan_t1.nii.gz", "scan_t1.nii.gz"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/cron.d/x.nii", "etc/cron.d/x.nii"),
        ("C:\\Windows\\x.nii", "C_/Windows/x.nii"),
        ("..\\..\\x.nii", "x.nii"),
        ("a\nb\r\n.nii.gz", "a_b_.nii.gz"),
        ("Müller – t1.nii.gz", "Muller_t1.nii.gz"),
        ("脑_t1.nii.gz", "t1.nii.gz"),
        ("...", "file"),
        ("", "file"),
        ("\0t1.nii", "t1.nii"),
        ("a/b/c/d/e/f_t1.nii", "c/d/e/f_t1.nii"),
        ("<img src=x onerror=alert(1)>.nii", "img_src_x_onerror_alert_1_.nii"),
    ],
)
def test_names_become_paths_below_the_upload(given: str, path: str) -> None:
    assert safe_path(given).as_posix() == path


def test_long_names_keep_their_ending() -> None:
    assert safe_name("x" * 300 + "_t1ce.nii.gz").endswith("x_t1ce.nii.gz")
    assert len(safe_name("x" * 300)) == 100


def test_readable_names_keep_their_script_but_no_control() -> None:
    assert readable("  患者\n1\u202e  ") == "患者 1"


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("BraTS-GLI-00001-000-t1n.nii.gz", "t1n"),
        ("BraTS2021_00002_t1ce.nii.gz", "t1c"),
        ("BraTS20_Training_001_flair.nii", "t2f"),
        ("sub_t2.nii.gz", "t2w"),
        ("Ax T1 post gad.nii.gz", "t1c"),
        ("T1 pre contrast.nii.gz", "t1n"),
        ("AX T2 FLAIR FS.nii.gz", "t2f"),
        ("BraTS-GLI-00001-000-seg.nii.gz", ""),
        ("scan.nii.gz", ""),
        ("patient_postop_T1.nii.gz", "t1n"),
        ("sub-03_ses-pre_ce-gad_T1w.nii", "t1c"),
        ("T1 vor KM.nii", "t1n"),
        ("T1 gray white contrast.nii", "t1n"),
        ("flair_dseg.nii.gz", ""),
        ("T1 brainmask.nii", ""),
    ],
)
def test_sequences_are_told_by_names(name: str, sequence: str) -> None:
    assert sequence_of(name) == sequence


# uploads


def test_four_files_are_recognised_and_wait_for_the_user(client: TestClient, case_files: dict[str, bytes]) -> None:
    answer = send(client, case_files)
    assert answer.status_code == 201
    (case,) = answer.json()
    assert (case["title"], case["kind"], case["state"], case["raw"]) == (
        "BraTS-GLI-00001-000",
        "nifti",
        "review",
        False,
    )
    assert {code: case["scans"][n]["name"][-10:-7] for code, n in case["choice"].items()} == {s: s for s in SEQUENCES}
    assert case["scans"][0]["detail"] == "20 × 24 × 16 voxels of 1 × 1 × 1 mm"
    home = service_of(client).store.folder(case["key"])
    assert sorted(p.name for p in (home / "input").iterdir()) == sorted(case_files)


def test_a_zip_of_nifti_and_a_title(client: TestClient, case_files: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in case_files.items():
            archive.writestr(f"../../{name}", body)
        archive.writestr("__MACOSX/._x-t1c.nii.gz", b"rubbish")
    (case,) = send(client, {"patient.zip": packed.getvalue()}, title="Frau Müller <b>").json()
    assert case["title"] == "Frau Müller <b>"
    assert sorted(case["choice"]) == sorted(SEQUENCES)
    assert len(case["scans"]) == 4


def test_a_folder_of_two_patients_becomes_two_cases(client: TestClient, tmp_path: Path) -> None:
    first, second = write_tiny_case(tmp_path, "one"), write_tiny_case(tmp_path, "two", names=OLD_NAMES)
    files = {f"cohort/{p.parent.name}/{p.name}": p.read_bytes() for f in (first, second) for p in sorted(f.iterdir())}
    cases = send(client, files).json()
    assert [case["title"] for case in cases] == ["one", "two"]
    assert all(len(case["choice"]) == 4 for case in cases)


def test_two_t1_are_left_to_the_user(client: TestClient, case_files: dict[str, bytes]) -> None:
    body = next(iter(case_files.values()))
    (case,) = send(client, {"a_t1.nii.gz": body, "b_t1.nii.gz": body, "b_flair.nii.gz": body}, start="1").json()
    assert case["state"] == "review"
    assert case["message"] == "a_t1.nii.gz and b_t1.nii.gz are both named for T1: choose one"


def test_different_grids_are_proposed_as_raw(client: TestClient, tmp_path: Path, case_files: dict[str, bytes]) -> None:
    other = write_tiny_case(tmp_path, "x", images={"t2f": tiny_images((22, 24, 16))["t2f"]})
    names = {n: b for n, b in case_files.items() if "t1c" in n}
    (case,) = send(client, {**names, "x-t2f.nii.gz": (other / "x-t2f.nii.gz").read_bytes()}).json()
    assert case["raw"] is True


def test_a_four_dimensional_file_is_four_sequences(client: TestClient) -> None:
    stack = np.stack([tiny_images()[s] for s in ("t2f", "t1n", "t1c", "t2w")], axis=-1)
    body = gzip.compress(nib.Nifti1Image(stack.astype(np.float32), LPS).to_bytes())
    key = done_case(client, {"BRATS_001.nii.gz": body})
    summary = client.get(f"/api/cases/{key}/summary.json").json()
    assert summary["scheme"]["name"] == "msd"
    assert summary["measurements"]["volumes_ml"]["WT"] == pytest.approx(0.216)  # the box of 6 x 6 x 6 mm


def truncated(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body[:40] if "t1c" in name else body for name, body in files.items()}


def test_a_truncated_file_among_good_ones_is_named(client: TestClient, case_files: dict[str, bytes]) -> None:
    (case,) = send(client, truncated(case_files)).json()
    broken = next(scan for scan in case["scans"] if scan["problem"])
    assert "t1c" in broken["name"]
    assert "readable" in broken["problem"]
    assert str(service_of(client).store.data) not in str(case)
    assert sorted(case["choice"]) == ["t1n", "t2f", "t2w"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"notes.txt": b"hello"}, "notes.txt: no scan is in it. Give NIfTI files"),
        ({"scan_t1.nii.gz": b"not gzip"}, "scan_t1.nii.gz: not a readable NIfTI file"),
        ({"scan_t1.nii": b"\0" * 400}, "scan_t1.nii: "),
        ({"empty.nii.gz": b""}, "empty.nii.gz: "),
        ({"broken.zip": b"PK\x03\x04 and no more"}, "broken.zip: is no zip, or one that was cut off"),
        (
            {"picture.jpg": b"\xff\xd8\xff", "b.txt": b"", "c.txt": b"", "d.txt": b""},
            "picture.jpg, b.txt, c.txt and 1 more",
        ),
    ],
)
def test_rubbish_is_refused_and_leaves_nothing(
    client: TestClient, config: ServerConfig, files: dict[str, bytes], told: str
) -> None:
    answer = send(client, files)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(told)
    assert str(config.data) not in answer.text
    assert nothing_left(config)


def test_a_zip_bomb_is_refused(config: ServerConfig) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb_t1.nii", b"\0" * 5_000_000)
    client = client_of(replaced(config, max_upload_bytes=1_000_000))
    answer = send(client, {"bomb.zip": packed.getvalue()})
    assert (answer.status_code, nothing_left(config)) == (413, True)


def replaced(config: ServerConfig, **changes: Any) -> ServerConfig:
    return ServerConfig(**{name: getattr(config, name) for name in config.__slots__} | changes)


@pytest.mark.parametrize(
    ("limits", "status", "told"),
    [
        ({"max_file_bytes": 1000}, 413, "one file is larger"),
        ({"max_upload_bytes": 3000}, 413, "the upload is larger"),
        ({"max_files": 3}, 413, "more than 3 files"),
        ({"max_queue": 0}, 503, "waiting already"),
        ({"reserve_bytes": 2**62}, 507, "disk is full: nothing was kept"),
        ({"upload_seconds": -1.0}, 408, "took longer"),
    ],
)
def test_limits(
    config: ServerConfig, case_files: dict[str, bytes], limits: dict[str, Any], status: int, told: str
) -> None:
    answer = send(client_of(replaced(config, **limits)), case_files)
    assert answer.status_code == status
    assert told in answer.json()["detail"]
    assert nothing_left(config)


BOUNDARY = {"content-type": "multipart/form-data; boundary=xx"}
PART = b'--xx\r\nContent-Disposition: form-data; name="files"; filename="a_t1.nii"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (PART + b"\0" * 500, BOUNDARY, 400),  # no end: cut off
        (b"--yy\r\n\r\n", BOUNDARY, 400),
        (PART.replace(b"files", b"f" * 20_000) + b"x\r\n--xx--\r\n", BOUNDARY, 400),
        (b"--xx--\r\n", BOUNDARY, 400),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"", {"content-type": "multipart/form-data"}, 415),
    ],
    ids=("cut off", "other mark", "long header", "no file", "json", "no mark"),
)
def test_a_damaged_form_leaves_nothing(
    client: TestClient, config: ServerConfig, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/api/uploads", content=body, headers=headers)
    assert answer.status_code == status
    assert len(answer.json()["detail"].splitlines()) == 1
    assert nothing_left(config)


def test_a_disk_that_fills_up_while_writing(
    client: TestClient, config: ServerConfig, case_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, mode: str) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads.Path, "open", full)
        answer = send(client, case_files)
    assert answer.status_code == 507
    assert "No space left" in answer.json()["detail"]
    assert nothing_left(config)


def test_what_a_stop_cut_off_is_swept_at_the_start(config: ServerConfig) -> None:
    (config.data / "incoming" / "half").mkdir(parents=True)
    (config.data / "incoming" / "half" / "x.nii").write_bytes(b"x")
    client_of(config)
    assert nothing_left(config)


# choosing


def test_the_user_corrects_the_sequences(client: TestClient, case_files: dict[str, bytes]) -> None:
    (case,) = send(client, case_files).json()
    choice = {"t1c": case["choice"]["t1c"], "t2f": case["choice"]["t2w"]}
    body = {"choice": choice, "title": "corrected", "raw": False}
    started = client.post(f"/api/cases/{case['key']}/start", json=body)
    assert started.status_code == 202
    assert started.json()["state"] == "queued"
    work(client)
    summary = client.get(f"/api/cases/{case['key']}/summary.json").json()
    assert sorted(summary["inputs"]) == ["t1c", "t2f"]
    assert summary["case_id"] == "corrected"


@pytest.mark.parametrize(
    ("choice", "status", "told"),
    [
        ({}, 422, "no sequence is chosen"),
        ({"t1c": 0, "t2f": 0}, 422, "each sequence needs a scan of its own"),
        ({"t1c": 9}, 422, "no scan number 9"),
        ({"t1c": -1}, 422, "no scan number -1"),
        ({"pet": 0}, 422, "['pet'] is not known"),
        ({"t1c": "x"}, 422, "valid integer"),
    ],
)
def test_an_impossible_choice_is_refused(
    client: TestClient, case_files: dict[str, bytes], choice: dict[str, Any], status: int, told: str
) -> None:
    (case,) = send(client, case_files).json()
    answer = client.post(f"/api/cases/{case['key']}/start", json={"choice": choice})
    assert answer.status_code == status
    assert told in answer.json()["detail"]


def test_a_broken_scan_cannot_be_chosen_and_a_waiting_case_not_started(
    client: TestClient, case_files: dict[str, bytes]
) -> None:
    (case,) = send(client, truncated(case_files)).json()
    broken = next(n for n, scan in enumerate(case["scans"]) if scan["problem"])
    path = f"/api/cases/{case['key']}/start"
    assert client.post(path, json={"choice": {"t1c": broken}}).status_code == 422
    assert client.post(path, json={"choice": case["choice"]}).status_code == 202
    assert client.post(path, json={"choice": case["choice"]}).status_code == 409


def test_a_failure_names_the_users_own_file(client: TestClient, case_files: dict[str, bytes]) -> None:
    (case,) = send(client, {f"Müller {name}": body for name, body in case_files.items()}, start="1").json()
    service = service_of(client)
    job = service.store.take()
    assert job is not None
    name = f"case/{service.case(case['key']).case_id}/{service.case(case['key']).case_id}-t1c.nii.gz"
    service._failed(job, f"{name}: voxels cannot be read")
    answer = client.get(f"/api/cases/{case['key']}").json()
    assert answer["state"] == "failed"
    assert answer["message"] == "Müller BraTS-GLI-00001-000-t1c.nii.gz: voxels cannot be read"
    again = client.post(f"/api/cases/{case['key']}/start", json={"choice": case["choice"]})
    assert again.json()["state"] == "queued"


# results and versions


def label_map(client: TestClient, key: str, version: int = 1) -> NDArray[np.uint8]:
    body = client.get(f"/api/cases/{key}/segmentation.nii.gz", params={"version": version}).content
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(body)).dataobj, np.uint8)


def nifti(labels: NDArray[Any], affine: NDArray[np.float64] = LPS) -> bytes:
    return gzip.compress(nib.Nifti1Image(labels, affine).to_bytes(), mtime=0)


def save(client: TestClient, key: str, body: bytes, based_on: int = 1, **asked: Any) -> Any:
    """Send a correction of a version as it is now, unless `content` says what it was."""
    versions = client.get(f"/api/cases/{key}").json().get("versions", [])
    content = versions[based_on - 1]["content"] if based_on <= len(versions) else "0" * 32
    headers = {"content-type": "application/octet-stream"}
    params = {"based_on": based_on, "content": content, **asked}
    return client.post(f"/api/cases/{key}/versions", params=params, content=body, headers=headers)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, model: Path, case_files: dict[str, bytes]) -> tuple[Path, str]:
    """The folder of a server that has segmented one case, and the key of that."""
    data = tmp_path_factory.mktemp("template") / "data"
    client = client_of(ServerConfig(data=data, model=model, reserve_bytes=0))
    key = done_case(client, case_files)
    service_of(client).store.close()
    return data, key


@pytest.fixture
def done(config: ServerConfig, template: tuple[Path, str]) -> str:
    """A segmented case of `client`, which must be asked for after this."""
    data, key = template
    shutil.copytree(data, config.data)
    return key


def test_a_correction_is_measured_and_kept_beside(done: str, client: TestClient) -> None:
    labels = label_map(client, done)
    assert (labels > 0).sum() == 216
    labels[0:4, 0:5, 0:2] = 2  # 40 voxels of oedema more
    answer = save(client, done, nifti(labels), note="edge\nadded")
    assert answer.status_code == 201
    assert (answer.json()["number"], answer.json()["changed"], answer.json()["note"]) == (2, 40, "edge added")
    first = client.get(f"/api/cases/{done}/summary.json", params={"version": 1}).json()
    second = client.get(f"/api/cases/{done}/summary.json").json()
    assert second["measurements"]["volumes_ml"]["WT"] == pytest.approx(0.256)
    assert first["measurements"]["volumes_ml"]["WT"] == pytest.approx(0.216)
    assert second["correction"] == {"version": 2, "based_on": 1, "changed_voxels": 40, "note": "edge added"}
    assert "corrected" in [flag["code"] for flag in second["flags"]]
    assert np.array_equal(label_map(client, done, 2), labels)
    assert (label_map(client, done, 1) > 0).sum() == 216
    home = service_of(client).store.folder(done)
    names = {path.name for path in home.glob("output/*/*")}
    assert {"segmentation.nii.gz", "segmentation.v2.nii.gz", "summary.json", "summary.v2.json"} <= names
    table = client.get(f"/api/cases/{done}/measurements.csv").text.splitlines()
    assert [line.split(",")[2:4] for line in table[1:]] == [["1", "0.216"], ["2", "0.256"]]


def test_a_correction_of_the_part_in_the_viewer_leaves_the_rest(done: str, client: TestClient) -> None:
    labels = label_map(client, done)
    labels[0, 0, 0] = 1  # outside the part that is shown once a case has air around it
    shown = SimpleNamespace(start=(1, 1, 1), stop=(19, 23, 15))
    box = service_of(client).store.folder(done) / "view" / "box.json"
    write_json(box, {"start": shown.start, "stop": shown.stop})
    assert save(client, done, nifti(labels)).status_code == 201
    answer = client.get(f"/api/cases/{done}/segmentation.nii.gz", params={"view": True})
    part = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    assert part.shape == (18, 22, 14)
    assert np.allclose(part.affine[:3, 3], (-1, -1, 1))
    assert save(client, done, nifti(np.zeros(part.shape, np.uint8), part.affine), based_on=2).status_code == 201
    last = label_map(client, done, 3)
    assert (last[0, 0, 0], last.sum()) == (1, 1)
    image = client.get(f"/api/cases/{done}/images/t1c.nii.gz")
    assert nib.Nifti1Image.from_bytes(gzip.decompress(image.content)).shape == (18, 22, 14)


def test_other_files_of_a_case_are_given_by_name_alone(done: str, client: TestClient) -> None:
    assert client.get(f"/api/cases/{done}/files/segmentation.nii.gz").status_code == 200
    for name in ("summary.json", "..%2fsummary.json", "%2e%2e%2f%2e%2e%2fjob.log", "/etc/passwd", ""):
        assert client.get(f"/api/cases/{done}/files/{name}").status_code == 404


def refine(client: TestClient, key: str, click: dict[str, Any], **asked: Any) -> Any:
    content = client.get(f"/api/cases/{key}").json()["versions"][0]["content"]
    return client.post(f"/api/cases/{key}/refine", json={"content": content, "clicks": [click], **asked})


def with_runs(labels: NDArray[np.uint8], runs: list[int]) -> NDArray[np.uint8]:
    flat = labels.flatten(order="F")
    for start, length, label in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        flat[start : start + length] = label
    return flat.reshape(labels.shape, order="F")


def test_a_click_is_answered_with_the_voxels_that_change(done: str, client: TestClient) -> None:
    """As `glioscope.refine` does it, on unsaved changes too; nothing is saved."""
    home = service_of(client).store.folder(done)
    folder = next(home.glob("output/*"))
    case, logits = next((home / "case").iterdir()), folder / "logits.npz"
    click = {"at": [12, 15, 9], "region": "TC"}
    runs = refine(client, done, click).json()["runs"]
    before = label_map(client, done)
    wanted = glioscope.refine(
        case, Volume(before, Grid(SHAPE, LPS)), [glioscope.Click(at=(12, 15, 9), region="TC")], logits=logits
    )
    assert runs
    assert np.array_equal(with_runs(before, runs), wanted.data)
    assert wanted.data[12, 15, 9] == 1
    drawn = [0, 1, 2, *runs]
    again = {"at": [12, 15, 9], "region": "TC", "add": False}
    back = refine(client, done, again, changes=drawn).json()["runs"]
    assert regions_from_labels(with_runs(with_runs(before, drawn), back), scheme_named("brats2023"))[1][12, 15, 9] == 0
    assert client.get(f"/api/cases/{done}").json()["version"] == 1


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"at": [50, 0, 0], "region": "WT"}, 422, "outside the image"),
        ({"at": [0, 0, 0], "region": "WT"}, 422, "outside the brain"),
        ({"at": [5, 5, 5], "region": "XX"}, 422, "clicks.0.region"),
        ({"at": [5, 5], "region": "WT"}, 422, "clicks.0.at"),
    ],
)
def test_a_click_that_cannot_be_answered_changes_nothing(
    done: str, client: TestClient, asked: dict[str, Any], status: int, told: str
) -> None:
    answer = refine(client, done, asked)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True)


def test_clicks_need_the_case_as_it_was_opened(done: str, client: TestClient) -> None:
    click = {"at": [5, 6, 5], "region": "ET"}
    path = next(service_of(client).store.folder(done).glob("output/*/logits.npz"))
    kept = path.read_bytes()
    path.unlink()
    assert "segment it again to correct it by clicks" in refine(client, done, click).json()["detail"]
    assert client.get(f"/api/cases/{done}/doubts").status_code == 422
    path.write_bytes(kept[:100])
    assert "logits cannot be read" in refine(client, done, click).json()["detail"]
    path.write_bytes(kept)
    for changes in ([1], [-1, 1, 1], [10**9, 1, 1], [0, 1, 9]):
        assert refine(client, done, click, changes=changes).status_code == 422
    assert refine(client, done, click, content="0" * 32).status_code == 409
    content = client.get(f"/api/cases/{done}").json()["versions"][0]["content"]
    choice = client.get(f"/api/cases/{done}").json()["choice"]
    client.post(f"/api/cases/{done}/start", json={"choice": choice})
    refused = client.post(f"/api/cases/{done}/refine", json={"content": content, "clicks": [click]})
    assert (refused.status_code, "not segmented at present" in refused.json()["detail"]) == (409, True)


def test_doubt_is_told_as_an_image_and_as_places(done: str, client: TestClient) -> None:
    """The tiny network is sure of everything; logits of a coin toss make a box doubtful."""
    folder = next(service_of(client).store.folder(done).glob("output/*"))
    assert client.get(f"/api/cases/{done}/doubts").json() == []
    with np.load(folder / "logits.npz") as stored:
        parts = dict(stored)
    parts["logits"][0, 3:8, 4:9, 5:10] = 0
    np.savez(folder / "logits.npz", **parts)
    next(service_of(client).store.folder(done).glob("view/uncertainty.nii.gz")).unlink()
    (place,) = client.get(f"/api/cases/{done}/doubts").json()
    assert place == {"at_mm": [-5.0, -6.0, 7.0], "volume_ml": 0.125}
    body = client.get(f"/api/cases/{done}/uncertainty.nii.gz").content
    doubt = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(body)).dataobj)
    assert (doubt[3:8, 4:9, 5:10] == 255).all()
    assert np.count_nonzero(doubt > 128) == 125


def test_saving_on_top_of_a_newer_version_is_refused(done: str, client: TestClient) -> None:
    labels = label_map(client, done)
    labels[0, 0, 0] = 2
    assert save(client, done, nifti(labels)).status_code == 201
    refused = save(client, done, nifti(np.zeros_like(labels)))
    assert refused.status_code == 409
    assert "version 2 was saved in the meantime" in refused.json()["detail"]
    assert (label_map(client, done, 2) > 0).sum() == 217
    branch = save(client, done, nifti(np.zeros_like(labels)), branch=True).json()
    assert (branch["number"], branch["based_on"], branch["changed"]) == (3, 1, 216)
    assert save(client, done, nifti(labels), based_on=3).json()["number"] == 4


def test_segmenting_again_puts_versions_by_and_they_come_back(done: str, client: TestClient) -> None:
    labels = label_map(client, done)
    labels[0, 0, 0] = 2
    assert save(client, done, nifti(labels), note="edge").status_code == 201
    before = client.get(f"/api/cases/{done}").json()
    assert not before["earlier"]
    assert client.post(f"/api/cases/{done}/restore").status_code == 409
    three = {code: place for code, place in before["choice"].items() if code != "t1c"}
    client.post(f"/api/cases/{done}/start", json={"choice": three, "title": "again"})
    assert client.post(f"/api/cases/{done}/restore").status_code == 409  # it is waiting
    work(client)
    again = client.get(f"/api/cases/{done}").json()
    assert (again["version"], again["earlier"], again["title"]) == (1, True, "again")
    back = client.post(f"/api/cases/{done}/restore").json()
    assert {**back, "earlier": False} == before
    assert np.array_equal(label_map(client, done, 2), labels)
    assert client.get(f"/api/cases/{done}/images/t1c.nii.gz").status_code == 200
    forth = client.post(f"/api/cases/{done}/restore").json()
    assert (forth["version"], forth["choice"]) == (1, three)


def test_a_version_that_changes_nothing_is_none(done: str, client: TestClient) -> None:
    refused = save(client, done, nifti(label_map(client, done)))
    assert refused.status_code == 422
    assert "is the same as version 1" in refused.json()["detail"]
    assert client.get(f"/api/cases/{done}").json()["version"] == 1


def test_a_correction_of_what_was_segmented_again_is_refused(done: str, client: TestClient) -> None:
    """The number is 1 again; scans and voxels are others."""
    before = client.get(f"/api/cases/{done}").json()
    three = {code: place for code, place in before["choice"].items() if code != "t1c"}
    labels = label_map(client, done)
    labels[0, 0, 0] = 2
    content = before["versions"][0]["content"]
    assert client.post(f"/api/cases/{done}/start", json={"choice": three}).status_code == 202
    waiting = save(client, done, nifti(labels), content=content)
    assert (waiting.status_code, "being segmented again" in waiting.json()["detail"]) == (409, True)
    work(client)
    for branch in (False, True):
        refused = save(client, done, nifti(labels), content=content, branch=branch)
        assert (refused.status_code, "segmented again since you opened it" in refused.json()["detail"]) == (409, True)
    assert client.get(f"/api/cases/{done}").json()["version"] == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"rubbish", "not readable NIfTI"),
        (gzip.compress(b"rubbish"), "not readable NIfTI"),
        (b"", "not readable NIfTI"),
        (nifti(np.zeros(SHAPE, np.uint8))[:-20], "truncated"),
        (nifti(np.zeros((3, 3, 3), np.uint8)), "another grid"),
        (nifti(np.zeros(SHAPE, np.uint8), np.eye(4)), "another grid"),
        (nifti(np.full(SHAPE, 9, np.uint8)), "has label 9"),
        (nifti(np.full(SHAPE, 0.5, np.float32)), "no whole numbers"),
        (nifti(np.full(SHAPE, np.nan, np.float32)), "no whole numbers"),
        (gzip.compress(b"\0" * 3_000_000, mtime=0), "larger than this case's grid"),
    ],
    ids=("text", "packed text", "nothing", "cut off", "size", "place", "value", "fraction", "nan", "bomb"),
)
def test_what_is_no_segmentation_is_not_saved(done: str, client: TestClient, body: bytes, told: str) -> None:
    answer = save(client, done, body)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert client.get(f"/api/cases/{done}").json()["version"] == 1


def test_a_full_disk_leaves_no_half_version(done: str, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    store = service_of(client).store
    monkeypatch.setattr(store._db, "_connection", _FullDatabase(store._db._connection))
    answer = save(client, done, nifti(np.zeros(SHAPE, np.uint8)))
    monkeypatch.undo()
    assert answer.status_code == 507
    assert "is the disk full?" in answer.json()["detail"]
    assert not list(store.folder(done).glob("output/*/*.v2.*"))
    assert client.get(f"/api/cases/{done}").json()["version"] == 1


class _FullDatabase:
    """A database whose every change fails as on a full disk."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def execute(self, query: str, *values: Any) -> Any:
        if query.startswith("INSERT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._real.execute(query, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.slow
def test_a_corrected_version_is_compared_with_all_that_belongs_to_it(
    done: str, client: TestClient, case_files: dict[str, bytes]
) -> None:
    labels = label_map(client, done)
    labels[6:8, 7:9, 6:8] = 2  # nothing enhances any more
    save(client, done, nifti(labels))
    other = done_case(client, case_files)
    assert client.post(f"/api/cases/{done}/change", json={"earlier": done}).status_code == 409
    assert client.post(f"/api/cases/{done}/change", json={"earlier": other}).json()["state"] == "queued"
    work(client)
    assert client.get(f"/api/cases/{done}/change/{other}").json()["state"] == "done"
    page = client.get(f"/api/cases/{done}/change/{other}/page")
    assert "sandbox" in page.headers["content-security-policy"]
    found = json.loads((service_of(client).change_page(done, other).parent / "change.json").read_text("utf-8"))
    enhancing = found["regions"]["ET"]
    assert enhancing["earlier_ml"] == pytest.approx(0.008)
    assert enhancing["later_ml"] == 0
    assert found["later"]["case_id"] == "BraTS-GLI-00001-000"
    assert "Where it changed" in page.text  # both dates have their scans with them


def test_images_for_the_viewer_lie_on_the_grid_of_the_labels(done: str, client: TestClient) -> None:
    answer = client.get(f"/api/cases/{done}/images/t2f.nii.gz")
    image = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    assert image.shape == SHAPE
    assert np.allclose(image.affine, LPS)
    grey = np.asarray(image.dataobj)
    assert grey.dtype == np.uint8
    assert grey[0, 0, 0] == 0
    assert grey[6, 7, 6] == 255


def test_downloads_have_names_and_the_report_is_locked_in(done: str, client: TestClient) -> None:
    path = f"/api/cases/{done}"
    name = client.get(f"{path}/segmentation.nii.gz").headers["content-disposition"]
    assert name == 'attachment; filename="BraTS-GLI-00001-000_segmentation.nii.gz"'
    report = client.get(f"{path}/report.html")
    assert "sandbox" in report.headers["content-security-policy"]
    assert "allow-same-origin" not in report.headers["content-security-policy"]
    assert "BraTS-GLI-00001-000" in report.text
    assert str(service_of(client).store.data) not in client.get(f"{path}/summary.json").json()["inputs"]["t1c"]["file"]


def test_the_report_of_a_correction_shows_it(done: str, client: TestClient) -> None:
    assert save(client, done, nifti(np.zeros(SHAPE, np.uint8))).status_code == 201
    assert "No brain tumour was found" in client.get(f"/api/cases/{done}/report.html").text
    assert "No brain tumour was found" not in client.get(f"/api/cases/{done}/report.html", params={"version": 1}).text


@pytest.mark.parametrize(
    "part", ["segmentation.nii.gz", "summary.json", "report.html", "measurements.csv", "images/t1c.nii.gz"]
)
def test_nothing_to_see_before_there_is_a_segmentation(
    client: TestClient, case_files: dict[str, bytes], part: str
) -> None:
    (case,) = send(client, case_files).json()
    answer = client.get(f"/api/cases/{case['key']}/{part}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no segmentation yet"
    assert save(client, case["key"], b"").status_code == 409


def test_a_version_that_does_not_exist(done: str, client: TestClient) -> None:
    assert client.get(f"/api/cases/{done}/segmentation.nii.gz", params={"version": 2}).status_code == 404
    assert client.get(f"/api/cases/{done}/segmentation.nii.gz", params={"version": 0}).status_code == 422
    assert client.get(f"/api/cases/{done}/images/t1x.nii.gz").status_code == 404


def test_titles_are_no_formulas_in_the_table(client: TestClient, case_files: dict[str, bytes]) -> None:
    done_case(client, case_files, title='=HYPERLINK("http://x")')
    assert ""","'=HYPERLINK(""http://x"")",""" in client.get("/api/measurements.csv").text


def test_the_list_and_deleting(client: TestClient, case_files: dict[str, bytes], config: ServerConfig) -> None:
    key = done_case(client, case_files, title="first")
    send(client, case_files, title="second")
    listed = client.get("/api/cases").json()
    assert [case["title"] for case in listed["cases"]] == ["second", "first"]
    assert listed["cases"][1]["result"]["volumes_ml"]["WT"] == pytest.approx(0.216)
    assert client.delete(f"/api/cases/{key}").status_code == 204
    assert client.get(f"/api/cases/{key}").status_code == 404
    assert not (config.data / "cases" / key).exists()
    assert client.get("/api/cases").json()["total"] == 1


def test_the_list_survives_a_restart(config: ServerConfig, case_files: dict[str, bytes]) -> None:
    before = client_of(config)
    key = done_case(before, case_files)
    assert save(before, key, nifti(np.zeros(SHAPE, np.uint8)), note="empty").status_code == 201
    service_of(before).store.close()
    after = client_of(config)
    case = after.get(f"/api/cases/{key}").json()
    assert (case["state"], case["version"], case["versions"][1]["note"]) == ("done", 2, "empty")
    assert not label_map(after, key, 2).any()


def test_labels_are_those_of_the_year(client: TestClient, tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path, "old", names=OLD_NAMES)
    key = done_case(client, {path.name: path.read_bytes() for path in folder.iterdir()})
    path = next(service_of(client).store.folder(key).glob("output/*/segmentation.nii.gz"))
    assert 4 in read_labels(path).data


# who may ask


@pytest.mark.parametrize(
    "path", ["/api/cases/../../etc/passwd", "/api/cases/0123", "/api/cases/%2e%2e%2fx", "/static/../app.py"]
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get("/static/").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.0.2.7", "", "[::1"]
)
def test_other_names_are_not_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/cases", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.0.0.1:9", "[::1]:8000"])
def test_the_names_of_this_machine_are(client: TestClient, host: str) -> None:
    assert client.get("/api/cases", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_sites_cannot_write(client: TestClient, case_files: dict[str, bytes], headers: dict[str, str]) -> None:
    answer = client.post("/api/uploads", files=as_files(case_files), headers=headers)
    assert answer.status_code == 403
    assert client.get("/api/cases").json()["total"] == 0


def test_this_site_can(client: TestClient, case_files: dict[str, bytes]) -> None:
    headers = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert client.post("/api/uploads", files=as_files(case_files), headers=headers).status_code == 201


def test_every_answer_forbids_scripts_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/docs", "/api/cases", "/nowhere", "/static/home.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_pages_escape_names_and_reach_nowhere(client: TestClient, case_files: dict[str, bytes]) -> None:
    (case,) = send(client, case_files, title="<script>alert(1)</script>").json()
    page = client.get(f"/cases/{case['key']}", headers={"accept": "text/html"}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    for path in ("/", "/docs", f"/cases/{case['key']}"):
        text = client.get(path).text
        assert "https://" not in text
        assert "Research use only" in text


def test_a_large_request_is_refused(client: TestClient, case_files: dict[str, bytes]) -> None:
    (case,) = send(client, case_files).json()
    path = f"/api/cases/{case['key']}/start"
    assert client.post(path, content=b"x" * 2_000_000).status_code == 413
    chunks = (b" " * 100_000 for _ in range(20))
    assert client.post(path, content=chunks, headers={"content-type": "application/json"}).status_code in (400, 413)


def test_the_api_is_described_without_a_network(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert "/api/cases/{key}/versions" in described["paths"]
    page = client.get("/docs").text
    for path in described["paths"]:
        assert path in page


def test_an_unknown_page_is_a_page(client: TestClient) -> None:
    answer = client.get("/cases/0123456789abcdef", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "no such case" in answer.text


# the token

TOKEN = "a secret of many letters"


@pytest.fixture
def locked(config: ServerConfig) -> TestClient:
    with_token = replaced(config, host="0.0.0.0", token=TOKEN, wrong_token_seconds=0.0)
    return client_of(with_token, follow_redirects=False)


def test_other_addresses_need_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can be reached by other machines; name a secret"):
        ServerConfig(data=tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigError, match="at least 16"):
        ServerConfig(data=tmp_path, token="short")
    assert main(["serve", "--host", "192.0.2.1", "--data", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def test_without_the_token_there_is_only_the_log_in(locked: TestClient, case_files: dict[str, bytes]) -> None:
    assert locked.get("/api/cases").status_code == 401
    assert locked.get("/openapi.json").status_code == 401
    assert locked.post("/api/uploads", files=as_files(case_files)).status_code == 401
    answer = locked.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/")
    assert locked.get("/login").status_code == 200
    assert locked.get("/static/page.css").status_code == 200
    for wrong in ("Bearer x", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"):
        assert locked.get("/api/cases", headers={"authorization": wrong.encode()}).status_code == 401
    assert locked.get("/api/cases", headers={"cookie": "glioscope_session=x"}).status_code == 401


def test_with_a_token_any_name_will_do(locked: TestClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "glioscope.hospital.example"}
    assert locked.get("/api/cases", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/cases/0123456789abcdef", "/cases/0123456789abcdef"),
        ("/docs", "/docs"),
        ("//evil.example", "/"),
        ("https://evil.example/cases/0123456789abcdef", "/"),
        ("/logout", "/"),
    ],
)
def test_a_link_survives_the_log_in_and_leads_nowhere_else(locked: TestClient, asked: str, given: str) -> None:
    assert f'name="next" value="{given}"' in locked.get("/login", params={"next": asked}).text
    answer = locked.post("/login", data={"token": TOKEN, "next": asked})
    assert (answer.status_code, answer.headers["location"]) == (303, given)


def test_the_token_opens_by_header_and_by_cookie(locked: TestClient) -> None:
    assert locked.get("/api/cases", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    wrong = locked.post("/login", data={"token": "not the token at all"})
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers
    right = locked.post("/login", data={"token": TOKEN})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in right.headers["set-cookie"]
    assert locked.get("/api/cases").status_code == 200
    assert locked.post("/logout").status_code == 303
    assert locked.get("/api/cases").status_code == 401


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_and_no_success_announced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "glioscope", "serve", "--port", port, "--data", str(tmp_path / "data")]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 2
    assert f"cannot listen at 127.0.0.1, port {port}" in said.stderr
    assert "Glioscope at" not in said.stdout
