"""RTSTRUCT: each region as closed contours, slice by slice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import contourpy
import numpy as np
from numpy.typing import NDArray

from glioscope import __version__
from glioscope.dicom.headers import (
    CODES,
    MAKER,
    MODEL,
    PERSONAL,
    SERIES_NUMBER,
    headers_of,
    highdicom,
    item,
    reference,
    save,
    source_of,
)
from glioscope.dicom.scans import DicomSource, RawScan
from glioscope.labels import REGIONS, LabelScheme, regions_from_labels

_RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def write_structure_set(
    path: Path, labels: NDArray[np.integer], scan: RawScan, scheme: LabelScheme, *, identity: bool = False
) -> None:
    """Write a label map as RTSTRUCT: WT, TC and ET as closed planar contours, half-way between voxels.

    The centre of a voxel lies inside a contour exactly if the voxel is in the region, so filling the contours gives the
    masks back. A hole is joined to its outer line by a cut of no width (keyhole), which every reader understands.

    Parameters
    ----------
    path, labels, scan, scheme, identity
        As for `write_segmentation`. A region without voxels is listed without contours.

    Raises
    ------
    CaseError, GeometryError, DependencyError
        As `write_segmentation`.
    """
    highdicom()
    source = source_of(labels, scan)
    regions = regions_from_labels(labels, scheme)
    rois = [
        Roi(name=CODES[name].label, mask=mask, colour=CODES[name].colour, code=CODES[name].code)
        for name, mask in zip(REGIONS, regions, strict=True)
    ]
    _write(path, rois, scan, source, "BRATS_REGIONS", identity=identity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roi:
    """One region of interest."""

    name: str
    mask: NDArray[np.bool_]
    """(i, j, k) on the scan's grid."""
    colour: tuple[int, int, int]
    code: tuple[str, str, str] | None = None
    """Value, scheme and meaning."""
    kind: Literal["", "GTV", "CTV"] = ""
    """What planning systems call it."""


def write_margin(path: Path, margin: NDArray[np.uint8], scan: RawScan, *, identity: bool = False) -> None:
    """Write a margin as RTSTRUCT: GTV and CTV, unapproved, for research.

    Parameters
    ----------
    path : Path
        File to write, atomically.
    margin : (i, j, k) uint8
        On the scan's grid: 1 the gross tumour volume, 2 the rest of the clinical target volume.
    scan, identity
        As for `write_structure_set`, with its errors.
    """
    highdicom()
    source = source_of(margin, scan)
    rois = [
        Roi(name="GTV, geometry, not a plan", mask=margin == 1, colour=(230, 60, 60), kind="GTV"),
        Roi(name="CTV, geometry, not a plan", mask=margin > 0, colour=(80, 160, 240), kind="CTV"),
    ]
    _write(path, rois, scan, source, "MARGIN_RESEARCH", identity=identity)


def _write(path: Path, rois: Sequence[Roi], scan: RawScan, source: DicomSource, label: str, *, identity: bool) -> None:
    from pydicom.uid import generate_uid

    made = _rt_header(headers_of(source, identity)[0], generate_uid(), label)
    frame_of_reference = str(made.FrameOfReferenceUID)
    made.ReferencedFrameOfReferenceSequence = [_referenced_frame(source, frame_of_reference)]
    made.StructureSetROISequence = [
        item(
            ROINumber=n,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=roi.name,
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for n, roi in enumerate(rois, 1)
    ]
    made.ROIContourSequence = [_roi_contour(n, roi, scan, source) for n, roi in enumerate(rois, 1)]
    made.RTROIObservationsSequence = [_observation(n, roi) for n, roi in enumerate(rois, 1)]
    save(made, path)


def _observation(number: int, roi: Roi) -> Any:
    found = item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=roi.kind, ROIInterpreter="")
    if roi.code:
        found.RTROIIdentificationCodeSequence = [_code_item(roi.code)]
    return found


def _code_item(code: tuple[str, str, str]) -> Any:
    return item(CodeValue=code[0], CodingSchemeDesignator=code[1], CodeMeaning=code[2])


def _rt_header(source: Any, uid: str, label: str) -> Any:
    """Return an RTSTRUCT with the modules of patient, study, series and equipment."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_RT_STRUCTURE_SET)
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in (*PERSONAL, "PatientID", "StudyInstanceUID"):
        setattr(made, keyword, source.get(keyword))
    now = datetime.now()
    tags = {
        "SpecificCharacterSet": source.get("SpecificCharacterSet") or "ISO_IR 192",
        "SOPClassUID": _RT_STRUCTURE_SET,
        "SOPInstanceUID": uid,
        "Modality": "RTSTRUCT",
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": SERIES_NUMBER + 1,
        "SeriesDescription": "Glioscope contours; research use only",
        "OperatorsName": "",
        "InstanceNumber": 1,
        "Manufacturer": MAKER,
        "ManufacturerModelName": MODEL,
        "SoftwareVersions": __version__,
        "FrameOfReferenceUID": source.get("FrameOfReferenceUID") or generate_uid(),
        "PositionReferenceIndicator": "",
        "StructureSetLabel": label,
        "StructureSetDate": f"{now:%Y%m%d}",
        "StructureSetTime": f"{now:%H%M%S}",
        "ApprovalStatus": "UNAPPROVED",
    }
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def _referenced_frame(source: DicomSource, frame_of_reference: str) -> Any:
    first = source.headers[0]
    series = item(
        SeriesInstanceUID=source.series_uid,
        ContourImageSequence=[reference(header) for header in source.headers],
    )
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, as the standard wants it here
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return item(FrameOfReferenceUID=frame_of_reference, RTReferencedStudySequence=[study])


def _roi_contour(number: int, roi: Roi, scan: RawScan, source: DicomSource) -> Any:
    """Return the contours of one region, slice by slice."""
    by_uid = {str(header.SOPInstanceUID): header for header in source.headers}
    lps = scan.grid.lps
    contours = []
    for k in np.flatnonzero(roi.mask.any(axis=(0, 1))):
        for line in outlines(roi.mask[:, :, k]):
            points = line @ lps[:3, :2].T + lps[:3, 3] + k * lps[:3, 2]
            contour = item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.4f}" for value in points.ravel()],
            )
            if header := by_uid.get(source.instances[k]):
                contour.ContourImageSequence = [reference(header)]
            contours.append(contour)
    found = item(ROIDisplayColor=list(roi.colour), ReferencedROINumber=number)
    if contours:
        found.ContourSequence = contours
    return found


def outlines(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Yield the outline of each part of a slice, holes joined by a keyhole.

    Parameters
    ----------
    mask : (i, j) bool
        An empty slice yields nothing.

    Yields
    ------
    (points, 2) float64
        Voxel coordinates along i and j, integer at the centres of voxels; the last point is not the first again.
    """
    values = np.pad(mask, 1).astype(np.float64).T
    generator = contourpy.contour_generator(z=values, fill_type=contourpy.FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        rings = [points[a : b - 1] - 1 for a, b in pairwise(offsets)]
        yield _keyhole(rings[0], rings[1:])


def _keyhole(outer: NDArray[np.float64], holes: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return one line that runs round `outer` and, through cuts of no width, round each hole."""
    for hole in holes:
        distances = np.linalg.norm(outer[:, None] - hole[None], axis=2)
        a, b = np.unravel_index(np.argmin(distances), distances.shape)
        ring = np.concatenate([hole[b:], hole[: b + 1]])
        outer = np.concatenate([outer[: a + 1], ring, outer[a:]])
    return outer
