"""Files out of a folder or a zip, safely: nothing is written outside a working folder, nothing grows without limit.

The names inside a zip never become paths: every member that starts like a DICOM file is written as a number into a
folder of its own, so there is no path to climb out by. Sizes are counted while the bytes are unpacked, since a zip's
own table can lie.
"""

import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from glioscope.errors import CaseError

MAX_FILES = 200_000
"""More files than this are not one patient; the limit keeps a mistyped path from walking a whole disk."""
MAX_BYTES = 16 * 1024**3
"""Unpacked size allowed for one zip; the largest brain examinations have some 4 GB."""
MAX_RATIO = 200
"""Unpacked to packed size of one member. Real MR slices reach about 10, and an empty one of zeros 1000, so that the
ratio counts only for a member beyond `FREE_BYTES`."""
FREE_BYTES = 32 * 1024**2
MAX_TOTAL_RATIO = 50
"""The same for a whole zip beyond `FREE_TOTAL_BYTES`, or many small bombs would make a large one."""
FREE_TOTAL_BYTES = 1024**3
MAX_DIRECTORY_BYTES = 64 * 1024**2
"""A zip's table of contents, which Python reads whole and makes ten times as large: some 400,000 names."""
_CHUNK = 1024**2
_HEAD = 132


@dataclass(frozen=True, slots=True)
class Files:
    """DICOM files found, and what was found besides."""

    paths: tuple[Path, ...]
    left_out: Mapping[str, str]
    """A few words that count files by suffix (their names may name the patient), to the reason."""


class _LeftOut:
    """Counts of files by reason and suffix."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, reason: str) -> None:
        suffix = PurePosixPath(name).suffix.lower()
        self._counts[reason, suffix if len(suffix) <= 5 else ""] += 1

    def summary(self) -> dict[str, str]:
        lines: dict[str, str] = {}
        for (reason, suffix), n in sorted(self._counts.items()):
            lines[f"{n} file{'s' if n > 1 else ''}{f' ({suffix})' if suffix else ''}, {reason.split(':')[0]}"] = reason
        return lines


@contextmanager
def dicom_files(source: Path) -> Iterator[Files]:
    """Yield the DICOM files of a folder or a zip; a zip's are unpacked into a folder that goes away afterwards.

    Parameters
    ----------
    source : Path
        A folder (searched to any depth, links to folders not followed), a zip, or one DICOM file.

    Raises
    ------
    CaseError
        The source does not exist, is not a folder, zip or DICOM file, or a zip is damaged, locked, or unpacks to more
        than `MAX_BYTES`.
    """
    if source.is_dir():
        yield _folder(source)
    elif source.is_file() and _is_zip(source):
        with tempfile.TemporaryDirectory(prefix="glioscope-") as folder:
            yield _unpack(source, Path(folder))
    elif source.is_file():
        try:
            head = _head(source)
        except OSError as error:
            raise CaseError(f"{source}: cannot be read ({error.strerror}); check its permissions") from error
        if not starts_like_dicom(head):
            raise CaseError(f"{source}: is neither a folder, a zip nor a DICOM file; give the folder of the scans")
        yield Files((source,), {})
    else:
        raise CaseError(f"{source}: no such file or folder")


def _is_zip(path: Path) -> bool:
    """Return whether a file is a zip, sound or not; one that cannot be read is none."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # a zip, and damaged: unpacking says how
        return True


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def starts_like_dicom(head: bytes) -> bool:
    """Return whether `head` is a DICOM file's, with the 128-byte preamble or (old exports) without."""
    if head[128:132] == b"DICM":
        return True
    return head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")


def _folder(folder: Path) -> Files:
    paths, left_out = [], _LeftOut()
    for path in walk(folder):
        try:
            head = _head(path)
        except OSError as error:
            left_out.add(path.name, f"cannot be read: {error.strerror}")
            continue
        if starts_like_dicom(head):
            paths.append(path)
        else:
            left_out.add(path.name, "not DICOM")
    return Files(tuple(sorted(paths)), left_out.summary())


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; links to folders are not followed.

    Raises
    ------
    CaseError
        A folder cannot be read, or there are more than `MAX_FILES` files.
    """
    count = 0
    stack = [folder]
    while stack:
        try:
            entries = [(entry, entry.is_dir()) for entry in sorted(stack.pop().iterdir())]
        except OSError as error:
            raise CaseError(f"{folder}: a folder inside cannot be read ({error.strerror}); check its rights") from error
        for entry, is_folder in entries:
            if is_folder and not entry.is_symlink():
                stack.append(entry)
            elif entry.is_file():
                count += 1
                if count > MAX_FILES:
                    raise CaseError(f"{folder}: has more than {MAX_FILES} files; give the folder of one patient")
                yield entry


def _unpack(source: Path, folder: Path) -> Files:
    require_small_directory(source)
    paths, left_out, total = [], _LeftOut(), 0
    allowed = min(MAX_BYTES, max(FREE_TOTAL_BYTES, MAX_TOTAL_RATIO * source.stat().st_size))
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MAX_FILES:
                raise CaseError(f"{source}: holds {len(members)} files; at most {MAX_FILES} are read from one zip")
            for number, member in enumerate(members):
                if reason := _refusal(member):
                    left_out.add(member.filename, reason)
                    continue
                path = folder / f"{number:06}"
                with archive.open(member) as packed:
                    reason, size = _write(packed, path, member.compress_size, allowed - total)
                total += size
                if total > allowed:
                    raise CaseError(
                        f"{source}: unpacks to more than {allowed / 1024**3:.1f} GB, too much for its size or for one "
                        "patient; give the folder itself"
                    )
                if reason:
                    left_out.add(member.filename, reason)
                else:
                    paths.append(path)
    except CaseError:
        raise
    except Exception as error:  # whatever the parser of foreign bytes raises, the zip is to blame
        raise CaseError(f"{source}: the zip cannot be unpacked ({error}); copy it again or give the folder") from error
    return Files(tuple(paths), left_out.summary())


def require_small_directory(path: Path) -> None:
    """Raise `CaseError` if a zip's table of contents would not fit memory: 40 million empty names are a 2 GB zip."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16 - 128))
        end = file.read()
    place = end.rfind(b"PK\x05\x06")
    if place < 0 or len(end) < place + 16:
        return  # no zip: who reads it says so
    (directory,) = struct.unpack_from("<L", end, place + 12)
    wide = end.rfind(b"PK\x06\x06", 0, place)  # of zip64, with 8 bytes for the size
    if wide >= 0 and len(end) >= wide + 48:
        directory = max(directory % 0xFFFFFFFF, *struct.unpack_from("<Q", end, wide + 40))
    if directory > MAX_DIRECTORY_BYTES:
        raise CaseError(
            f"{path}: its table of contents has {directory / 1024**2:,.0f} MB, too many files for one patient; give "
            "the folder itself"
        )


def _refusal(member: zipfile.ZipInfo) -> str:
    """Return why a member is not touched at all, or nothing."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or any(":" in part for part in name.parts[:1]):
        return "path that climbs out of the zip"
    if member.flag_bits & 1:
        return "locked with a password: unpack the zip first"
    return ""


def _write(packed: IO[bytes], path: Path, packed_size: int, allowed: int) -> tuple[str, int]:
    """Unpack one member; return why it was left out (or nothing) and the bytes that were read."""
    head = packed.read(_HEAD)
    if not starts_like_dicom(head):
        return "not DICOM", len(head)
    limit = max(FREE_BYTES, MAX_RATIO * packed_size)
    size = len(head)
    with path.open("wb") as file:
        file.write(head)
        while size <= allowed and (chunk := packed.read(_CHUNK)):
            size += len(chunk)
            if size > limit:
                file.close()
                path.unlink()
                return f"zip bomb: unpacks to more than {MAX_RATIO} times its packed size", size
            file.write(chunk)
    return "", size
