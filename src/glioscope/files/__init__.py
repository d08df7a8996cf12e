"""Files: written complete or not at all, as JSON or CSV; told apart by SHA-256; the names of NIfTI files."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from glioscope.errors import CaseError, RunError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path` and rename it to `path` when the block ends well; else remove it.

    Raises
    ------
    RunError
        The folder cannot be written or the disk is full.
    """
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be written ({error.strerror}); choose another output folder") from error
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o666 & ~_umask())
        scratch.replace(path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


_UMASK_LOCK = threading.Lock()

_SCRATCH = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+){1,2}")
"""Names that `atomic_path` gives."""


def _umask() -> int:
    """Return the process's mask, which can only be read by setting it: not by two threads at once."""
    with _UMASK_LOCK:
        current = os.umask(0)
        os.umask(current)
    return current


def remove_scratch(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a folder; nobody may be writing there."""
    for path in folder.glob(".*"):
        if _SCRATCH.fullmatch(path.name):
            path.unlink(missing_ok=True)


def link_or_copy(path: Path, target: Path) -> None:
    """Give a file a second name, in a folder that is made if need be; copy it where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def require_file(path: Path) -> None:
    """Raise `CaseError` unless there is a file: not a folder, a pipe, a link that leads nowhere or in a circle."""
    try:
        if path.is_file():
            return
        there = path.is_symlink() or path.exists()
    except OSError as error:
        raise CaseError(f"{path}: cannot be reached ({error.strerror}); check the rights of its folder") from error
    if path.is_symlink() and ".git/annex" in str(path.readlink()):
        raise CaseError(f"{path}: is kept by git-annex and its content is not here; fetch it with 'git annex get'")
    if there:
        raise CaseError(f"{path}: is not a file but a folder, a pipe or a link to nothing; put the scan there")
    raise CaseError(f"{path}: no such file")


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), complete or not at all.

    What UTF-8 cannot hold, a file name that is not UTF-8 itself, is written as an escape that JSON reads back.
    """
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, complete or not at all; key order is kept."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV: a header, then a line for each row; quoted where need be, lines end in a line feed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON.

    Raises
    ------
    RunError
        The file is absent or damaged; `what` names it to the reader.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{what}: {path} cannot be read ({error}); give the folder that 'glioscope train' wrote"
        ) from error


NIFTI_SUFFIXES = (".nii.gz", ".nii")
"""Of the files that hold scans and label maps, in small letters."""
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr")
"""Of all files that are read as scans and label maps: NIfTI, also as a pair of .hdr and .img, MetaImage and NRRD."""


def is_image(name: Path | str) -> bool:
    """Return whether a file is read as an image, by its name; capitals do not count, and hidden files are none.

    >>> is_image("scan.NRRD"), is_image("t1.hdr"), is_image("t1.img")
    (True, True, False)
    """
    last = PurePosixPath(name).name
    return last.lower().endswith(IMAGE_SUFFIXES) and not last.startswith(".")


def is_nifti(name: Path | str) -> bool:
    """Return whether a file is NIfTI by its name; capitals do not count, and hidden files are none.

    >>> is_nifti("scan.NII.GZ"), is_nifti("._scan.nii"), is_nifti("scan.nii.txt")
    (True, False, False)
    """
    last = PurePosixPath(name).name
    return last.lower().endswith(NIFTI_SUFFIXES) and not last.startswith(".")


def nifti_stem(name: Path | str) -> str:
    """Return the last part of a name without ``.nii``, ``.nii.gz`` or another suffix of an image.

    >>> nifti_stem("a/1.2_t1c.nii.gz"), nifti_stem("T2.NII"), nifti_stem("t1.mha"), nifti_stem("folder")
    ('1.2_t1c', 'T2', 't1', 'folder')
    """
    last = PurePosixPath(name).name
    return next((last[: -len(end)] for end in IMAGE_SUFFIXES if last.lower().endswith(end)), last)


def nifti_suffix(name: Path | str) -> str:
    """Return ``.nii.gz`` or ``.nii``, as a NIfTI file's name ends."""
    return next(suffix for suffix in NIFTI_SUFFIXES if str(name).lower().endswith(suffix))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    if not path.is_file():  # to open a pipe would wait for ever
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
