"""Files from a browser to disk: counted while they arrive, named anew, and gone again unless all of them came.

The body is parsed as it streams (`multipart/form-data`), so that memory does not grow with it. What the sender calls a
file is never a path here: every part of the name is cut down to letters, digits and a few marks.
"""

import re
import shutil
import time
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from glioscope.dicom.archive import require_small_directory
from glioscope.errors import CaseError
from glioscope.files import is_nifti
from glioscope.machine.process import GIB
from glioscope.web.settings import ServerConfig

DEPTH = 4
"""Folders kept of a file's path; the innermost tell cases apart."""
_HIDDEN = ("thumbs.db", "desktop.ini")
_HEAD_BYTES = 16 * 1024
"""Of the header of one part."""
_FIELD_BYTES = 64 * 1024
"""Of all fields that are no files."""
_CHUNK = 1024 * 1024


class UploadError(Exception):
    """An upload that cannot be kept.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        For the person who sent it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def safe_name(name: str, *, fallback: str = "file") -> str:
    """Return one part of a path, made of ASCII letters, digits and ``. _ + -``, at most 100 of them, no dot first.

    >>> safe_name("Müller, t1.nii.gz")
    'Muller_t1.nii.gz'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", plain).lstrip("._-")
    return plain[-100:].lstrip("._-") or fallback


def safe_path(name: str) -> PurePosixPath:
    """Return a path below the folder of an upload, whatever the name was: no ``..``, no root, no drive.

    >>> str(safe_path("../../etc/passwd"))
    'etc/passwd'
    """
    parts = [part for part in re.split(r"[/\\]+", name) if part.strip(". ")]
    return PurePosixPath(*[safe_name(part) for part in parts[-DEPTH:]] or ["file"])


def readable(name: str, *, length: int = 120) -> str:
    """Return a name for people: any script, but no control characters and no line breaks."""
    text = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in name)
    return " ".join(text.split())[:length]


@dataclass(slots=True)
class Received:
    """What has come so far."""

    folder: Path
    config: ServerConfig
    names: dict[str, str] = field(default_factory=dict)
    """Path below the folder to what the sender calls it."""
    fields: dict[str, str] = field(default_factory=dict)
    size: int = 0
    finished: bool = False

    def place(self, name: str) -> Path:
        """Return where a file goes, and remember its name.

        Raises
        ------
        UploadError
            There are too many files.
        """
        if len(self.names) >= self.config.max_files:
            raise UploadError(413, f"more than {self.config.max_files} files; upload one patient at a time")
        path = safe_path(name)
        copies = 1
        while path.as_posix() in self.names:  # two files of one name go into folders of their own
            copies += 1
            path = PurePosixPath(str(copies), *safe_path(name).parts[-DEPTH:])
        self.names[path.as_posix()] = readable(re.split(r"[/\\]+", name)[-1]) or "file"
        target = self.folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a folder of one name, a file of the same before
            target = self.folder / f"{len(self.names)}" / path.name
            self.names[target.relative_to(self.folder).as_posix()] = self.names.pop(path.as_posix())
            target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def count(self, size: int) -> None:
        """Count bytes that came, or were unpacked.

        Raises
        ------
        UploadError
            The upload is too large, or the disk would be full.
        """
        before, self.size = self.size, self.size + size
        if self.size > self.config.max_upload_bytes:
            raise UploadError(413, f"the upload is larger than {self.config.max_upload_bytes / GIB:g} GB")
        if before // (64 * _CHUNK) != self.size // (64 * _CHUNK) or before == 0:
            require_space(self.folder, self.config)


def require_space(folder: Path, config: ServerConfig, *, wanted: int = 0) -> None:
    """Raise `UploadError` 507 if the disk has no room for `wanted` bytes more."""
    if shutil.disk_usage(folder).free - wanted < config.reserve_bytes:
        raise UploadError(507, "the server's disk is full: nothing was kept. Delete old cases, or free space on it.")


class _Writer:
    """Callbacks of the parser: each part with a file name goes to a file of its own."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._file: IO[bytes] | None = None
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._field: str | None = None
        self._field_value = bytearray()
        self._file_size = 0
        self._skip = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_done,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all_done,
        }

    def _begin(self) -> None:
        self._disposition, self._file_size, self._skip, self._field = b"", 0, False, None
        self._field_value.clear()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._header, data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._value, data[start:end])

    @staticmethod
    def _grow(buffer: bytearray, data: bytes) -> None:
        if len(buffer) + len(data) > _HEAD_BYTES:
            raise UploadError(400, "a part of the upload has a header that is too long")
        buffer += data

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_done(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if name is None:
            self._field = options.get(b"name", b"").decode("utf-8", "replace")
            return
        text = name.decode("utf-8", "replace")
        last = re.split(r"[/\\]+", text)[-1]
        if not last.strip() or last.startswith(".") or last.lower() in _HIDDEN:
            self._skip = True  # what file managers leave in folders; also the part of an empty file field
            return
        self._file = self._received.place(text).open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._received.count(end - start)
        if self._file is not None:
            self._file_size += end - start
            if self._file_size > self._received.config.max_file_bytes:
                raise UploadError(413, f"one file is larger than {self._received.config.max_file_bytes / GIB:g} GB")
            self._file.write(data[start:end])
        elif self._field is not None:
            if len(self._field_value) + end - start > _FIELD_BYTES:
                raise UploadError(400, f"field '{readable(self._field, length=40)}' is too long")
            self._field_value += data[start:end]

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        elif self._field is not None and not self._skip:
            self._received.fields[self._field] = self._field_value.decode("utf-8", "replace")

    def _all_done(self) -> None:
        self._received.finished = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


async def receive(request: Request, folder: Path, config: ServerConfig) -> Received:
    """Write an upload into a folder that exists and is empty.

    Raises
    ------
    UploadError
        It is no multipart form, breaks off, is too large, has too many files, takes too long, or the disk is full.
        The caller removes the folder.
    """
    boundary = _announced(request, folder, config)
    received = Received(folder, config)
    writer = _Writer(received)
    deadline = time.monotonic() + config.upload_seconds
    try:
        parser = MultipartParser(boundary, writer.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            if chunk:
                await run_in_threadpool(parser.write, chunk)
            if time.monotonic() > deadline:
                raise UploadError(408, f"the upload took longer than {config.upload_seconds / 60:.0f} minutes")
    except ClientDisconnect as error:
        raise UploadError(400, "the upload was cut off; nothing was kept. Send it again.") from error
    except MultipartParseError as error:
        raise UploadError(400, f"the upload is damaged ({error}); nothing was kept. Send it again.") from error
    except OSError as error:
        raise UploadError(507, f"the upload cannot be written ({error.strerror}); nothing was kept") from error
    finally:
        writer.close()
    if not received.finished:
        raise UploadError(400, "the upload broke off before its end; nothing was kept. Send it again.")
    if not received.names:
        raise UploadError(400, "no file came; choose the scans of a patient")
    return received


def _announced(request: Request, folder: Path, config: ServerConfig) -> bytes:
    """Return the mark between the parts, or refuse an upload for what its headers say."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise UploadError(415, "send the files as multipart/form-data, as a browser's form does")
    given = request.headers.get("content-length", "0")
    length = int(given) if given.isdigit() else 0
    if length > config.max_upload_bytes + 100 * _CHUNK:
        raise UploadError(413, f"the upload is larger than {config.max_upload_bytes / GIB:g} GB")
    require_space(folder, config, wanted=length)
    return boundary


def unpack_nifti(archive: Path, received: Received) -> bool:
    """Unpack the NIfTI files of a zip beside it and remove the zip; return False, doing nothing, if it has none.

    Raises
    ------
    CaseError
        The zip is damaged or locked.
    UploadError
        It holds too much.
    """
    require_small_directory(archive)
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if is_nifti(member.filename)]
            if not members:
                return False
            for member in members:
                if member.flag_bits & 1:
                    raise CaseError(f"{archive.name}: is locked with a password; unpack it first")
                with packed.open(member) as source, received.place(member.filename).open("xb") as target:
                    while chunk := source.read(_CHUNK):
                        received.count(len(chunk))
                        target.write(chunk)
    except (CaseError, UploadError):
        raise
    except OSError as error:
        raise UploadError(507, f"the zip cannot be unpacked ({error.strerror}); nothing was kept") from error
    except Exception as error:  # whatever the parser of foreign bytes raises, the zip is to blame
        raise CaseError(f"{archive.name}: the zip cannot be unpacked ({error}); make it again") from error
    archive.unlink()
    received.names.pop(archive.relative_to(received.folder).as_posix(), None)
    return True
