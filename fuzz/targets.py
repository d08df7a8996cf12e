"""What is fuzzed: bytes in, and anything but a deliberate error (`GlioscopeError`) is a defect.

Every target writes the bytes where a user's file would lie and goes in by the same door as the commands do.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from corpus import write_tiny_model

from glioscope.dicom import reading as dicom
from glioscope.dicom.archive import dicom_files
from glioscope.dicom.find import find_dicom
from glioscope.errors import GlioscopeError
from glioscope.evaluation.protocols import read_protocol
from glioscope.inference import InferenceConfig
from glioscope.model import read_model
from glioscope.prepare.preprocessing import PreprocessingConfig
from glioscope.results.verifying import verify
from glioscope.segmentation import rewrite_reports
from glioscope.settings import read_config, settings
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_grid, read_labels, read_volume, write_volume


@cache
def place(name: str) -> Path:
    """A folder of this process for one target, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _attempt(*steps: Callable[[], Any]) -> None:
    for step in steps:
        try:
            step()
        except GlioscopeError as error:
            if not str(error).strip():
                raise AssertionError("an error without a message") from error


def nifti(data: bytes) -> None:
    """A scan: header, voxels, label map. What begins like gzip is named so, all else is also packed as gzip would."""
    path = place("nifti") / ("x.nii.gz" if data[:2] == b"\x1f\x8b" else "x.nii")
    path.write_bytes(data)
    _attempt(lambda: read_grid(path), lambda: read_volume(path), lambda: read_labels(path))


def dicom_file(data: bytes) -> None:
    """One DICOM file: its header, what series it makes, its pixels. A whole patient would be read once a second."""
    path = place("dicom") / "x.dcm"
    path.write_bytes(data)
    headers, _ = dicom._read_headers([path])

    def read() -> None:
        dicom._one_patient(path, headers)
        series, _ = dicom._series(headers)
        for one in series:
            dicom._read_image(dicom._stack_of(one))

    if headers:
        _attempt(read, lambda: find_dicom(path))


def archive(data: bytes) -> None:
    """A zip."""
    path = place("archive") / "x.zip"
    path.write_bytes(data)

    def unpack() -> None:
        with dicom_files(path) as files:
            for one in files.paths:
                assert one.is_file()
                assert one.stat().st_size < 64 * 1024**2

    _attempt(unpack)


def config(data: bytes) -> None:
    """A configuration and a protocol."""
    path = place("config") / "x.toml"
    path.write_bytes(data)

    def read() -> None:
        found = read_config(str(path))
        settings(InferenceConfig, found, "inference")
        settings(PreprocessingConfig, found, "preprocessing")

    _attempt(read, lambda: read_protocol(str(path)))


def model(data: bytes) -> None:
    """A model.json beside a sound network."""
    folder = place("model") / "model"
    if not folder.is_dir():
        write_tiny_model(folder)
    (folder / "model.json").write_bytes(data)

    def read() -> None:
        spec = read_model(folder)
        settings(InferenceConfig, {"inference": {"divisor": spec.divisor, **spec.inference}}, "inference")

    _attempt(read, lambda: verify(folder))


def summary(data: bytes) -> None:
    """A summary.json of a case whose scan and segmentation are there."""
    out = place("summary")
    case = out / "p1"
    if not case.is_dir():
        image = np.zeros((4, 3, 2), np.float32)
        image[1] = 1
        write_volume(out / "absent.nii.gz", image, Grid(image.shape, np.eye(4)))
        write_volume(case / "segmentation.nii.gz", image.astype(np.uint8), Grid(image.shape, np.eye(4)))
    (case / "summary.json").write_bytes(data)
    _attempt(lambda: rewrite_reports(out), lambda: verify(out))


JSON_TARGETS = ("model", "summary")
TARGETS: dict[str, Callable[[bytes], None]] = {
    "nifti": nifti,
    "dicom": dicom_file,
    "archive": archive,
    "config": config,
    "model": model,
    "summary": summary,
}

JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1,
        3.5,
        1e308,
        float("nan"),
        float("inf"),
        2**70,
        "",
        "x",
        "../x",
        "\x00",
        "\ud800",
        "a" * 300,
    ),
    *([], {}, [1], {"a": 1}, [[]], [None, None, None], [0, 0, 0], [1e9, 1e9, 1e9], "<script>alert(1)</script>"),
)


def mutated_json(data: bytes, choose: Callable[[int], int]) -> bytes:
    """Return JSON with one value, at any depth, replaced by junk or removed; other bytes come back as they are.

    Parameters
    ----------
    choose : callable
        Number n to a number from 0 to n - 1.
    """
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    holder: Any = {"root": root}
    key: Any = "root"
    while isinstance(holder[key], dict | list) and holder[key] and choose(4):
        holder = holder[key]
        key = list(holder)[choose(len(holder))] if isinstance(holder, dict) else choose(len(holder))
    if choose(5) == 0 and isinstance(holder, dict) and key != "root":
        del holder[key]
    else:
        holder[key] = JUNK[choose(len(JUNK))]
    top = holder["root"] if key == "root" and "root" in holder else root
    return json.dumps(top).encode()
