"""Sound files that fuzzing begins from, made by code: small, and of as many kinds as there are branches to reach."""

import gzip
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import synthetic_dicom as dicom
from glioscope.results import DicomFiles, Flag, InputFile
from glioscope.results.preparation import AffineGrid, BrainRecord, Preparation, RawOrigin
from glioscope.results.stored import as_json
from glioscope.space.grid import Grid
from summaries import tiny_summary
from tiny import write_tiny_model

SHAPE = (4, 3, 2)


def nifti() -> list[bytes]:
    """NIfTI-1 and -2, both byte orders, scaled, compressed, with an extension, of several types and axes."""
    numbers = np.arange(24).reshape(SHAPE)
    files = [
        kind(numbers.astype(dtype), np.eye(4), dtype=dtype).to_bytes()
        for kind in (nib.Nifti1Image, nib.Nifti2Image)
        for dtype in ("u1", "i2", "f4", "f8", "i8")
    ]
    scaled = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(SHAPE), np.diag([-1.0, -1, 1, 1]))
    scaled.header.set_slope_inter(2, 1)
    scaled.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a remark"))
    files += [scaled.to_bytes(), gzip.compress(scaled.to_bytes(), mtime=0)]
    swapped = nib.Nifti1Header(endianness=">")
    swapped.set_data_shape(SHAPE)
    swapped.set_data_dtype(np.float32)
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), np.eye(4), swapped)
    files.append(image.to_bytes())
    files.append(nib.Nifti1Image(np.ones((*SHAPE, 4), np.uint8), np.eye(4)).to_bytes())
    return files


def _dicom_folder(folder: Path) -> list[Path]:
    dicom.write_series(folder / "one", dicom.volume((8, 6, 6)), dicom.grid((8, 6, 6)))
    dicom.write_enhanced(folder / "many.dcm", dicom.volume((8, 6, 6)), dicom.grid((8, 6, 6)))
    dicom.write_document(folder / "report.dcm")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def dicom_files() -> list[bytes]:
    """A slice, an enhanced multi-frame file and a document."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _dicom_folder(Path(folder))
        return [path.read_bytes() for path in (*paths[:1], *paths[-2:])]


def archives() -> list[bytes]:
    """Zips of slices: stored, deflated, with a folder, a note and names that climb."""
    files = []
    member = dicom_files()[0]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as packed:
            packed.writestr("scan/1.dcm", member)
            packed.writestr("../up.dcm", member[:200])
            packed.writestr("note.txt", "hello")
        files.append(stream.getvalue())
    return files


def configurations() -> list[bytes]:
    """The settings that come with the package, and a few by hand."""
    package = Path(__file__).parents[1] / "src" / "glioscope"
    files = [path.read_bytes() for path in sorted((package / "configs").glob("*.toml"))]
    files += [path.read_bytes() for path in sorted((package / "protocols").glob("*.toml"))[:3]]
    return [*files, b"[inference]\npatch = [32, 32, 32]\noverlap = 0.5\n[preprocessing]\nspacing_mm = 1.0\n"]


def models() -> list[bytes]:
    """A model.json."""
    with tempfile.TemporaryDirectory() as folder:
        return [(write_tiny_model(Path(folder) / "m") / "model.json").read_bytes()]


def summaries() -> list[bytes]:
    """The summary.json of a case, of an evaluation, and none at all."""
    raw = RawOrigin(
        why="it is DICOM",
        inputs={"dicom": DicomFiles(files=4, sha256="0")},
        patient="0",
        series={},
        left_out={},
        preparation=Preparation(
            reference="t1n",
            grid=AffineGrid(shape=(4, 3, 2), affine_ras_mm=((1.0, 0.0, 0.0, 0.0),) * 4),
            sequences={},
            brain=BrainRecord(method="builtin", found_in=("t1n",), ml=1200.0, stripped_before=False),
            problems=(),
            seconds={},
            config={},
        ),
        native={},
    )
    labels = np.zeros((4, 3, 2), np.uint8)
    labels[1] = 3
    case = tiny_summary(
        "p1",
        labels=labels,
        grid=Grid(labels.shape, np.eye(4)),
        inputs={"t1n": InputFile(file="absent.nii.gz", channel=None, sha256="0")},
        flags=(Flag("missing-t1c", "warning", "x"),),
        outputs={"segmentation.nii.gz": "0"},
        raw=raw,
    )
    return [json.dumps(as_json(case)).encode(), b'{"protocols": {}}', b"[]", b"1"]


CORPORA = {
    "nifti": nifti,
    "dicom": dicom_files,
    "archive": archives,
    "config": configurations,
    "model": models,
    "summary": summaries,
}


def write(name: str, folder: Path) -> None:
    """Write the corpus of one target, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(CORPORA[name]()):
        (folder / f"{name}-{number:02}").write_bytes(content)
