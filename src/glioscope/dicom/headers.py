"""What all clinical files share: codes, the headers they inherit, identity left out unless asked for."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from glioscope.dicom.identity import patient_of
from glioscope.dicom.scans import DicomSource, RawScan
from glioscope.errors import CaseError, DependencyError, GeometryError
from glioscope.files import atomic_path
from glioscope.labels import REGION_COLOURS, rgb

MAKER, MODEL = "Glioscope", "glioscope"
SERIES_NUMBER = 9000
"""First series number given to results, above those of scanners."""


@dataclass(frozen=True, slots=True)
class RegionCode:
    """How a region is named and coded: (value, scheme, meaning), and its colour in RGB."""

    label: str
    code: tuple[str, str, str]
    colour: tuple[int, int, int]


CODES: Mapping[str, RegionCode] = {
    "WT": RegionCode("Whole tumour (WT)", ("108369006", "SCT", "Neoplasm"), rgb(REGION_COLOURS["WT"])),
    "TC": RegionCode("Tumour core (TC)", ("372087000", "SCT", "Neoplasm, Primary"), rgb(REGION_COLOURS["TC"])),
    "ET": RegionCode("Enhancing tumour (ET)", ("C113842", "NCIt", "Enhancing Lesion"), rgb(REGION_COLOURS["ET"])),
}
CATEGORY = ("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN = ("12738006", "SCT", "Brain")


def highdicom() -> Any:
    """Return the package highdicom, or raise `DependencyError`."""
    try:
        import highdicom
        import highdicom.sr
    except ImportError as error:
        raise DependencyError(
            "clinical files need highdicom and pydicom, which are not installed; pip install glioscope[dicom]"
        ) from error
    return highdicom


@contextmanager
def quiet(hd: Any) -> Iterator[None]:
    """Keep highdicom's own notes (an empty segment, say) from the user's log for a while."""
    logger = logging.getLogger(hd.__name__)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(before)


def source_of(labels: NDArray[Any], scan: RawScan) -> DicomSource:
    """Return the DICOM instances of a scan that a label map fits, or raise."""
    if scan.source is None:
        raise CaseError("scan was not read from DICOM; DICOM results must refer to DICOM images. Write NIfTI instead.")
    if not scan.source.told_apart:
        raise CaseError("slices of the source share one SOPInstanceUID, so no DICOM result can refer to them")
    if labels.shape != scan.grid.shape:
        raise GeometryError(
            f"label map has shape {labels.shape}, its scan {scan.grid.shape}; restore it to the scan's grid"
        )
    return scan.source


PERSONAL = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
             "ReferringPhysicianName")  # fmt: skip
"""Attributes of type 2 that results inherit from their source: present, and empty unless identity is asked for."""
_TECHNICAL_GROUPS = (0x0018, 0x0020, 0x0028, 0x5200)
"""Acquisition, relationship, image and frames: what a result needs of its source. The others tell of people."""
_TECHNICAL = ("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer",
              "ManufacturerModelName", "CodingSchemeIdentificationSequence")  # fmt: skip
"""What is needed of the group of identification."""


def headers_of(source: DicomSource, identity: bool) -> list[Any]:
    """Return the headers of the source's instances with what results need, and no more of the patient than asked."""
    return [_header(header, identity) for header in source.headers]


def _header(header: Any, identity: bool) -> Any:
    from pydicom.dataset import Dataset

    one = Dataset()
    one.update({element.tag: element for element in header if identity or _technical(element)})
    one.file_meta = header.file_meta
    one.PatientID = header.get("PatientID", "") if identity else patient_of(header)
    for keyword in PERSONAL:
        if keyword not in one:
            setattr(one, keyword, "")
    if "PerFrameFunctionalGroupsSequence" in one:
        one.SharedFunctionalGroupsSequence = [_shared(one)]
    return one


def _technical(element: Any) -> bool:
    """Return whether an attribute tells of the images alone: a list of what may stay, for what may not has no end."""
    if element.tag.group in _TECHNICAL_GROUPS:
        return element.keyword not in PERSONAL
    return element.keyword in _TECHNICAL


def _shared(header: Any) -> Any:
    """Return the groups shared by all frames, with the geometry that some scanners repeat for each (all alike here)."""
    from pydicom.dataset import Dataset

    shared = Dataset()
    for groups in (header.PerFrameFunctionalGroupsSequence[0], header.SharedFunctionalGroupsSequence[0]):
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if keyword in groups:
                setattr(shared, keyword, groups[keyword].value)
    return shared


def concept(hd: Any, code: tuple[str, str, str]) -> Any:
    """Return a code as highdicom wants it."""
    return hd.sr.CodedConcept(*code)


def item(**tags: Any) -> Any:
    """Return an item of a sequence with these attributes, named by their keywords."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def reference(header: Any) -> Any:
    """Return an item that refers to an instance."""
    return item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)


def save(made: Any, path: Path) -> None:
    """Write a data set as a file of DICOM, atomically."""
    with atomic_path(path) as part:
        made.save_as(part, enforce_file_format=True)
