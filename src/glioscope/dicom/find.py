"""Which patients lie in a folder of DICOM: one, or one in each subfolder and zip.

    folder or zip ──find_dicom──▶ DicomCases ──read──▶ RawPatient

Subfolders that share no study are a case each; subfolders that share one are the series of one case. A study is told by
its UID, so cohorts whose patients' names were removed are told apart too. For that one header of each folder is read.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from glioscope.dicom.archive import require_small_directory, starts_like_dicom, walk
from glioscope.dicom.identity import identity_words, patient_of
from glioscope.dicom.words import plain
from glioscope.errors import CaseError, DependencyError, GlioscopeError
from glioscope.files import is_image

_HEAD = 132
_LOOKED_AT = 64
"""Members of a zip that are opened to see whether it holds DICOM."""
_OTHER = (
    ".nii",
    ".gz",
    ".json",
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".xml",
    ".html",
    ".png",
    ".jpg",
    ".xlsx",
    ".py",
    ".zip",
)
"""Suffixes that are not worth opening to see whether a file is DICOM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomCase:
    """One patient's DICOM: where it lies, and what the user says of its series."""

    case_id: str
    source: Path
    """A folder, a zip, or one multi-frame file."""
    overrides: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Sequence code to the series to take for it, as `dicom.read_dicom` understands it."""

    def __post_init__(self) -> None:
        if self.case_id in ("", ".", "..") or set(self.case_id) & set("/\\\0"):
            raise CaseError(f"case id {self.case_id!r} cannot name a folder; choose another")

    def files(self) -> tuple[Path, ...]:
        """Return every file of the source, sorted; for checksums."""
        return tuple(sorted(walk(self.source))) if self.source.is_dir() else (self.source,)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder or zip that holds DICOM, and what a header of each of its folders says."""

    path: Path
    studies: frozenset[str]
    names: frozenset[str]
    """Words that name the patient, small letters."""
    code: str
    """Of the patient, to name the case by where the folder's name is the patient's."""


def find_dicom(source: Path) -> tuple[DicomCase, ...]:
    """Return the patients of a folder, zip or DICOM file; none where no DICOM is found.

    A case is named for its folder or zip; where that name holds the patient's name or number, by a code instead. A
    pseudonym (the number is the name, or a tag says that the identity was removed) may name it.

    Raises
    ------
    CaseError
        The folder cannot be walked, or has more files than any patient.
    DependencyError
        There is DICOM but pydicom is not installed.
    """
    places = _places(source)
    taken: set[str] = set()
    cases = []
    for place in sorted(places, key=lambda place: place.path):
        name = _name(place)
        while name in taken:
            name += "-2"
        taken.add(name)
        cases.append(DicomCase(case_id=name, source=place.path))
    return tuple(cases)


def _name(place: _Place) -> str:
    resolved = place.path.resolve()
    name = resolved.name.removesuffix(resolved.suffix) if place.path.is_file() else resolved.name
    words = plain(name)
    return (place.code or "case") if any(word in words for word in place.names) else name or "case"


def _places(source: Path) -> list[_Place]:
    if source.is_file():
        place = _zip(source) if _is_zip(source) else _place(source, list(_first_headers([source])))
        return [place] if place else []
    entries = sorted(entry for entry in source.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
    files = [entry for entry in entries if entry.is_file()]
    apart = [place for file in files if _is_zip(file) and (place := _zip(file))]
    here = _place(source, list(_first_headers(files)))
    below, mixed = [], False
    for folder in folders:
        place = _place(folder, list(_first_headers(walk(folder))))
        if place is not None:
            below.append(place)
        else:
            apart += _places(folder)  # zips inside
            mixed = mixed or _holds_nifti(folder)
    if here is None and len(below) == 1 and not mixed:
        inner = _places(below[0].path)
        if len(inner) > 1:
            return [*inner, *apart]
    elif here is None and all(not a.studies & b.studies for a, b in combinations(below, 2)):
        return [*below, *apart]
    together = [*([here] if here else []), *below]
    return [_joined(source, together), *apart] if together else apart


def _is_zip(file: Path) -> bool:
    """Return whether a file is a zip, or says so and is damaged: reading it will tell."""
    return file.suffix.lower() == ".zip" or (file.suffix.lower() not in _OTHER and zipfile.is_zipfile(file))


def _holds_nifti(folder: Path) -> bool:
    return any(map(is_image, walk(folder)))


def _joined(path: Path, places: list[_Place]) -> _Place:
    studies, names = (frozenset[str]().union(*(getattr(p, what) for p in places)) for what in ("studies", "names"))
    return _Place(path, studies, names, next((p.code for p in places if p.code), ""))


def _first_headers(files: Iterable[Path]) -> Iterator[Any]:
    """Yield the header of the first DICOM file of each folder."""
    seen: set[Path] = set()
    for path in files:
        if path.parent in seen or path.suffix.lower() in _OTHER:
            continue
        try:
            with path.open("rb") as file:
                is_dicom = starts_like_dicom(file.read(_HEAD))
        except OSError:
            continue
        if is_dicom and (header := _header(path)) is not None and header.get("StudyInstanceUID"):
            seen.add(path.parent)
            yield header


def _zip(path: Path) -> _Place | None:
    """Return what the first DICOM member says; its bytes are read no further than a header needs."""
    try:
        require_small_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not m.flag_bits & 1]
            members = [m for m in members if Path(m.filename).suffix.lower() not in _OTHER]
            for member in members[:_LOOKED_AT]:
                with archive.open(member) as packed:
                    head = packed.read(_HEAD)
                    if starts_like_dicom(head):
                        header = _header(io.BytesIO(head + packed.read(2**20)))
                        return _place(path, [header]) or _Place(path, frozenset(), frozenset(), "")
    except Exception:  # noqa: BLE001 (a damaged zip is DICOM as far as we know: reading it will say what is wrong)
        return _Place(path, frozenset(), frozenset(), "")
    return None


def _place(path: Path, headers: list[Any]) -> _Place | None:
    """Return what headers say; None where there is none."""
    headers = [header for header in headers if header is not None]
    if not headers:
        return None
    studies = frozenset(str(header.get("StudyInstanceUID", "")) for header in headers)
    names: set[str] = set().union(*map(identity_words, headers))
    return _Place(path, studies, frozenset(names), next((code for h in headers if (code := patient_of(h))), ""))


def _header(file: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError(
            "reading DICOM needs pydicom, which is not installed; pip install glioscope[dicom]"
        ) from error
    tags = ["StudyInstanceUID", "PatientID", "PatientName", "PatientIdentityRemoved"]
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
        for tag in tags:
            header.get(tag)  # values are parsed, and may fail, when first asked for
        return header
    except Exception:  # noqa: BLE001 (a damaged header is named when the case is read)
        return None


def without_path(error: GlioscopeError, case: DicomCase) -> GlioscopeError:
    """Return an error whose text names the case instead of its folder, which may be named for the patient."""
    text = str(error)
    for path in (case.source.resolve(), case.source):
        text = text.replace(str(path), f"case {case.case_id}")
    return type(error)(text)
