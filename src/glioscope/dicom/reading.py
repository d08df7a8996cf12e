"""A folder or zip of DICOM files to the scans of one patient.

Route: files (`archive`) → headers, without pixels → series → volumes (`slices`) → what each is (`sequences`,
`choosing`) → pixels of the chosen ones alone. Headers are read by pydicom; pixels by SimpleITK, whose GDCM decodes
every compressed transfer syntax met in practice (RLE, JPEG, lossless JPEG, JPEG-LS, JPEG 2000) and applies the rescale
slope.

Nothing that names the patient leaves this room except inside `DicomSource.headers`.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.dicom.archive import dicom_files
from glioscope.dicom.choosing import choose
from glioscope.dicom.exam import settled, started
from glioscope.dicom.identity import identity_of, patient_code
from glioscope.dicom.pixels import read_image
from glioscope.dicom.scans import Choice, DicomSource, RawPatient, RawScan
from glioscope.dicom.sequences import Series, SeriesFacts
from glioscope.dicom.slices import Frame, Stack, Tags, component_of, frames_of, stack, stacks
from glioscope.dicom.words import NO_AGENT, find, known_words, plain
from glioscope.errors import CaseError, DependencyError
from glioscope.space.grid import MAX_VOXELS, Grid

_NO_VOLUME = {
    "EncapsulatedPDFStorage": "a document (PDF)",
    "SecondaryCaptureImageStorage": "a screen capture",
    "SegmentationStorage": "a segmentation",
    "RTStructureSetStorage": "contours (RTSTRUCT)",
}
_DIRECTORY = "1.2.840.10008.1.3.10"
_PARSED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "PatientIdentityRemoved")


def read_dicom(source: Path, *, overrides: Mapping[str, str] = MappingProxyType({})) -> RawPatient:
    """Read the scans of one patient from DICOM files, each series sorted to the sequence it is.

    Parameters
    ----------
    source : Path
        A folder or a zip with any mix of series; other files among them are named and left out.
    overrides : mapping of str to str, optional
        Sequence code to the series to take for it: its number, its UID, or (part of) its description; ``none`` to go
        without that sequence.

    Returns
    -------
    RawPatient
        At least one scan. What was chosen is explained in `choices`, what was not in `left_out`.

    Raises
    ------
    CaseError
        No usable series, two patients, a damaged zip, an override that fits no series or several.
    DependencyError
        pydicom is not installed.
    """
    with dicom_files(source) as files:
        headers, left_out = _read_headers(files.paths)
        left_out.update(files.left_out)
        if not headers:
            raise CaseError(f"{source}: holds no DICOM images{_because(left_out)}; give the folder of the scans")
        patient = _one_patient(source, headers)
        series, more = _series(headers)
        left_out.update(more)
        try:
            scans, choices = _choose_and_read(series, overrides, left_out)
        except _NothingChosenError:
            raise CaseError(f"{source}: holds no T1, T2 or FLAIR of a head{_because(left_out)}") from None
    return RawPatient(
        scans=MappingProxyType(scans), choices=choices, left_out=MappingProxyType(left_out), patient=patient
    )


class _NothingChosenError(Exception):
    """No series is any of the four sequences."""


class _UnreadableError(Exception):
    """A series whose pixels cannot be read."""

    def __init__(self, series: Series, reason: str) -> None:
        super().__init__(reason)
        self.series, self.reason = series, reason


def _choose_and_read(
    series: list[Series], overrides: Mapping[str, str], left_out: dict[str, str]
) -> tuple[dict[str, RawScan], tuple[Choice, ...]]:
    """Choose and read one series for each sequence; one that cannot be read is left out, and the choice made anew."""
    images: dict[int, NDArray[np.float32]] = {}  # a series compared by its image is not read again

    def scan(one: Series, problems: Sequence[str] = ()) -> RawScan:
        if id(one) not in images:
            try:
                images[id(one)] = read_image(_stack_of(one))
            except CaseError as error:
                raise _UnreadableError(one, str(error)) from error
        return _scan(_stack_of(one), one.facts, images[id(one)], problems)

    while True:
        try:
            chosen, choices, rest = choose(series, overrides, scan)
            if not chosen:
                left_out.update(rest)
                raise _NothingChosenError
            scans = {code: scan(one, problems) for code, (one, problems) in chosen.items()}
        except _UnreadableError as error:
            label = error.series.facts.label
            if overrides:  # the user steers: say what is wrong rather than take another
                raise CaseError(f"{label}: {error.reason}") from error
            left_out[label] = error.reason
            series = [one for one in series if one is not error.series]
        else:
            left_out.update(rest)
            return scans, choices


def _because(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    shown = [f"{name}: {reason}" for name, reason in list(left_out.items())[:8]]
    return f" ({'; '.join(shown)}{'; …' if len(left_out) > 8 else ''})"


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.errors
    except ImportError as error:
        raise DependencyError(
            "reading DICOM needs pydicom, which is not installed; pip install glioscope[dicom]"
        ) from error
    return pydicom


def _read_headers(paths: Iterable[Path]) -> tuple[list[tuple[Path, Any]], dict[str, str]]:
    """Return the headers of everything that has a SOP class, and how many files were damaged."""
    pydicom = _pydicom()
    headers, damaged = [], 0
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        for path in paths:
            header = _read_header(pydicom, path)
            if header is None:
                damaged += 1
            elif header.get("SOPClassUID") and header.get("SOPInstanceUID"):
                headers.append((path, header))
            elif not _is_directory(header):
                damaged += 1
    plural = "s" if damaged > 1 else ""
    return headers, {f"{damaged} damaged file{plural}": "header cannot be read as DICOM"} if damaged else {}


def _read_header(pydicom: Any, path: Path) -> Any:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for keyword in _PARSED:
            header.get(keyword)  # values are parsed, and may fail, when first asked for
        _is_directory(header)
    except Exception:  # noqa: BLE001 (whatever the parser of foreign bytes raises, the file is what is damaged)
        return None
    return header


def _is_directory(header: Any) -> bool:
    return bool(getattr(header, "file_meta", None)) and header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY


def _one_patient(source: Path, headers: Sequence[tuple[Path, Any]]) -> str:
    """Return the code of the only patient, or raise `CaseError` naming the codes of several."""
    found = Counter(identity for _, header in headers if (identity := identity_of(header)))
    if len(found) > 1:
        counts = ", ".join(f"{patient_code(identity)} ({n} files)" for identity, n in found.most_common())
        raise CaseError(f"{source}: holds {len(found)} patients, {counts}; give each patient's folder by itself")
    return patient_code(next(iter(found))) if found else ""


@dataclass(frozen=True, slots=True, eq=False)
class _DicomSeries(Series):
    stack: Stack


def _stack_of(series: Series) -> Stack:
    assert isinstance(series, _DicomSeries)
    return series.stack


def _series(headers: Sequence[tuple[Path, Any]]) -> tuple[list[Series], dict[str, str]]:
    """Return every volume of every series, and the series that hold none, to the reason."""
    groups = defaultdict(list)
    for path, header in headers:
        groups[str(header.get("SeriesInstanceUID") or header.get("SOPClassUID"))].append((path, header))
    ordered = sorted(groups.values(), key=lambda group: Tags(group[0][1]).number("SeriesNumber") or 0)
    found: list[_DicomSeries] = []
    left_out: dict[str, str] = {}
    for group in ordered:
        try:
            volumes = _volumes(group)
        except CaseError as error:
            _note(left_out, _label(group[0][1], ""), str(error))
            continue
        for n, frames in enumerate(volumes):
            label = _label(group[0][1], f"-{n + 1}" if len(volumes) > 1 else "")
            try:
                one = stack(frames)
                if int(np.prod(one.shape, dtype=object)) > MAX_VOXELS:
                    raise CaseError(f"header claims shape {one.shape}, which no scan has; it is damaged")
            except CaseError as error:
                _note(left_out, label, str(error))
                continue
            found.append(_DicomSeries(facts=_facts(one, label), stack=one))
    own = settled([one.facts for one in found])
    return [replace(one, facts=facts) for one, facts in zip(found, own, strict=True)], left_out


def _note(left_out: dict[str, str], label: str, reason: str) -> None:
    while label in left_out:
        label += " (another)"
    left_out[label] = reason


def _volumes(group: Sequence[tuple[Path, Any]]) -> list[list[Frame]]:
    header = group[0][1]
    tags = Tags(header)
    kind = getattr(header.get("SOPClassUID"), "keyword", "")
    if kind in _NO_VOLUME:
        raise CaseError(f"{_NO_VOLUME[kind]}, not a scan")
    if tags.text("Modality") != "MR":
        raise CaseError(f"modality {tags.text('Modality') or 'unknown'}; MR is needed")
    if not tags.get("Rows"):
        raise CaseError(f"holds no image ({kind.removesuffix('Storage') or 'unknown kind'})")
    if int(tags.number("SamplesPerPixel") or 1) != 1:
        raise CaseError("colour images; a grey-scale scan is needed")
    return stacks([frame for path, one in group for frame in frames_of(path, one)])


def _label(header: Any, suffix: str) -> str:
    number = Tags(header).number("SeriesNumber")
    words = known_words(Tags(header).text("SeriesDescription"))
    name = f"series {int(number)}{suffix}" if number is not None else f"a series without number{suffix}"
    return f"{name} ({words})" if words else name


def _facts(one: Stack, label: str) -> SeriesFacts:
    tags, grid = one.first.tags, Grid(one.shape, one.affine)
    number = tags.number("SeriesNumber")
    normal = abs(one.affine[:3, 2]) / np.linalg.norm(one.affine[:3, 2])
    keywords = ("SequenceName", "PulseSequenceName", "ScanningSequence", "EchoPulseSequence", "SequenceVariant")
    return SeriesFacts(
        label=label,
        uid=tags.text("SeriesInstanceUID"),
        number=None if number is None else int(number),
        description=tags.text("SeriesDescription"),
        protocol=tags.text("ProtocolName"),
        pulse=" ".join(text for keyword in keywords if (text := tags.text(keyword))),
        image_type=(*_image_type(tags), *component_of(tags)),
        body_part=tags.text("BodyPartExamined"),
        repetition_ms=tags.number("RepetitionTime"),
        echo_ms=tags.number("EchoTime", "EffectiveEchoTime"),
        inversion_ms=tags.number("InversionTime", "InversionTimes"),
        flip_degrees=tags.number("FlipAngle"),
        b_value=tags.number("DiffusionBValue"),
        contrast=_contrast(tags),
        time_s=started(one),
        exam=tags.text("StudyDate", "StudyInstanceUID"),
        study=tags.text("StudyInstanceUID"),
        spacing_mm=grid.spacing_mm,
        extent_mm=grid.spacing_mm[2] * grid.shape[2],
        plane=("sagittal", "coronal", "axial")[int(np.argmax(normal))],
        three_d=tags.text("MRAcquisitionType", "VolumetricProperties").upper().startswith(("3D", "VOLUME"))
        and grid.spacing_mm[2] < 3,
        frame_of_reference=tags.text("FrameOfReferenceUID"),
        box_mm=_box(grid),
    )


def _box(grid: Grid) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the least and the greatest RAS coordinates of a grid's corners."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in grid.shape))))
    places = corners @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    low, high = places.min(0).tolist(), places.max(0).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _image_type(tags: Tags) -> tuple[str, ...]:
    """Return the words of FrameType, of a frame, or else of ImageType, of a file."""
    return tuple(tags.text("FrameType", "ImageType").upper().split())


def _contrast(tags: Tags) -> bool:
    """Return whether a tag says that a contrast agent was given."""
    if tags.text("ContrastBolusAgentAdministered").upper() == "NO":
        return False
    agent = tags.text("ContrastBolusAgent").strip()
    if agent:
        return not find(NO_AGENT, plain(agent)) and agent != "-"
    sequence = tags.get("ContrastBolusAgentSequence")
    return bool(sequence) or bool(tags.number("ContrastBolusVolume"))


def _scan(one: Stack, facts: SeriesFacts, image: NDArray[np.float32], problems: Sequence[str]) -> RawScan:
    there = [frame for frame in one.frames if frame is not None]
    headers = {frame.instance_uid: frame.header for frame in there}
    told_apart = len({frame.path for frame in there}) == len(headers)
    if not told_apart:
        problems = (
            *problems,
            "slices share one SOPInstanceUID, as some anonymisers leave it; they were told apart by their places",
        )
    source = DicomSource(
        series_uid=facts.uid,
        number=facts.number,
        instances=tuple("" if frame is None else frame.instance_uid for frame in one.frames),
        headers=tuple(headers.values()),
        told_apart=told_apart,
    )
    return RawScan(
        image=image,
        grid=Grid(one.shape, one.affine),
        description=facts.summary(),
        source=source,
        problems=(*one.problems, *problems),
    )
