"""Results as clinical files: DICOM SEG, RTSTRUCT and a structured report, bound to the series they were made from.

- `write_segmentation`: DICOM SEG by highdicom, binary, one segment each for WT, TC and ET (segments may overlap).
- `write_structure_set`: RTSTRUCT, one closed contour for each part of a region on a slice, by pydicom.
- `write_measurements`: Comprehensive 3D SR by highdicom, template TID 1500, measurements on the segments of a SEG.

The label map must lie on the grid of a scan that was read from DICOM. Patient's name, number and birth date are left
empty unless `identity` is asked for; the UIDs of study, series and instances stay, since a file without them refers to
nothing.

Codes. Types are of CID 7159 "Lesion Segmentation Type" (DICOM PS3.16, 2025): SNOMED CT for the whole tumour with its
oedema (108369006 Neoplasm) and the core (372087000 Neoplasm, Primary), NCI Thesaurus for what takes up contrast
(C113842 Enhancing Lesion). No code system has words for WT and TC, so each segment's label carries BraTS' own name.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
from numpy.typing import NDArray

from glioscope import __version__
from glioscope.errors import CaseError, DependencyError, GeometryError
from glioscope.labels import REGIONS, LabelScheme, regions_from_labels
from glioscope.raw.dicom import patient_of
from glioscope.raw.scan import DicomSource, RawScan
from glioscope.volumes import atomic_path

MAKER, MODEL = "Glioscope", "glioscope"
_RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_SERIES_NUMBER = 9000
"""First series number given to results, above those of scanners."""


@dataclass(frozen=True, slots=True)
class RegionCode:
    """How a region is named and coded: (value, scheme, meaning), and its colour in RGB."""

    label: str
    code: tuple[str, str, str]
    colour: tuple[int, int, int]


CODES: Mapping[str, RegionCode] = {
    "WT": RegionCode("Whole tumour (WT)", ("108369006", "SCT", "Neoplasm"), (46, 160, 67)),
    "TC": RegionCode("Tumour core (TC)", ("372087000", "SCT", "Neoplasm, Primary"), (31, 111, 235)),
    "ET": RegionCode("Enhancing tumour (ET)", ("C113842", "NCIt", "Enhancing Lesion"), (218, 54, 51)),
}
_CATEGORY = ("49755003", "SCT", "Morphologically Abnormal Structure")
_BRAIN = ("12738006", "SCT", "Brain")
_MR_BRAIN = ("24590-2", "LN", "MR Brain")
_VOLUME = ("118565006", "SCT", "Volume")
_LONG = ("103339001", "SCT", "Long Axis")
_SHORT = ("103340004", "SCT", "Short Axis")
_MAXIMUM_3D = ("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
_MILLILITRE = ("ml", "UCUM", "ml")
_MILLIMETRE = ("mm", "UCUM", "mm")


def write_segmentation(
    path: Path, labels: NDArray[np.integer], scan: RawScan, scheme: LabelScheme, *, identity: bool = False
) -> None:
    """Write a label map as DICOM SEG with one binary segment each for WT, TC and ET.

    Parameters
    ----------
    path : Path
        File to write, atomically.
    labels : (i, j, k) integer
        In `scheme`, on the grid of `scan`. An empty map gives a file with three empty segments.
    scan : RawScan
        Read from DICOM: its instances are referred to. Slices that were missing get frames too, without a reference.
    scheme : LabelScheme
        What the values mean.
    identity : bool
        Write the patient's name, number and dates as they are in the source.

    Raises
    ------
    CaseError
        The scan was not read from DICOM.
    GeometryError
        The map does not lie on the scan's grid.
    DependencyError
        highdicom is not installed.
    """
    hd = _highdicom()
    source = _source(labels, scan)
    regions = regions_from_labels(labels, scheme)
    frames = regions.transpose(3, 2, 1, 0)  # (k, row, column, segment)
    places = _geometry(scan)
    with _quiet(hd):
        made = hd.seg.Segmentation(
            source_images=_headers(source, identity),
            pixel_array=frames,
            segmentation_type="BINARY",
            segment_descriptions=[_description(hd, n, name) for n, name in enumerate(REGIONS, 1)],
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MODEL,
            software_versions=__version__,
            device_serial_number="none",
            content_label="BRATS_REGIONS",
            content_description="WT, TC, ET; research use only",
            series_description="Glioscope segmentation",
            pixel_measures=hd.PixelMeasuresSequence(
                pixel_spacing=places.pixel_spacing,
                slice_thickness=places.slice_spacing,
                spacing_between_slices=places.slice_spacing,
            ),
            plane_orientation=hd.PlaneOrientationSequence("PATIENT", places.orientation),
            plane_positions=[hd.PlanePositionSequence("PATIENT", position) for position in places.positions],
        )
        _save(made, path)


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
    _highdicom()
    source = _source(labels, scan)
    from pydicom.uid import generate_uid

    regions = regions_from_labels(labels, scheme)
    made = _rt_header(_headers(source, identity)[0], generate_uid())
    frame_of_reference = str(made.FrameOfReferenceUID)
    made.ReferencedFrameOfReferenceSequence = [_referenced_frame(source, frame_of_reference)]
    made.StructureSetROISequence = [
        _item(
            ROINumber=n,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=CODES[name].label,
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for n, name in enumerate(REGIONS, 1)
    ]
    made.ROIContourSequence = [_roi_contour(n, mask, scan, source) for n, mask in enumerate(regions, 1)]
    made.RTROIObservationsSequence = [
        _item(
            ObservationNumber=n,
            ReferencedROINumber=n,
            RTROIInterpretedType="",
            ROIInterpreter="",
            RTROIIdentificationCodeSequence=[_code_item(CODES[name].code)],
        )
        for n, name in enumerate(REGIONS, 1)
    ]
    _save(made, path)


def write_measurements(
    path: Path, measurements: Mapping[str, Any], segmentation: Path, scan: RawScan, *, identity: bool = False
) -> None:
    """Write measurements as a structured report (Comprehensive 3D SR, TID 1500) on the segments of a SEG.

    Parameters
    ----------
    path : Path
        File to write, atomically.
    measurements : mapping
        What `measure.measure` returned for the same label map.
    segmentation : Path
        The SEG that `write_segmentation` made of it.
    scan : RawScan
        The scan that both refer to.
    identity : bool
        As for `write_segmentation`; must be the same for both files.
    """
    hd = _highdicom()
    if scan.source is None:
        raise CaseError("scan was not read from DICOM; a structured report must refer to DICOM images")
    import pydicom
    from pydicom.sr.codedict import codes

    seg = pydicom.dcmread(segmentation)
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=MODEL, manufacturer_name=MAKER, model_name=f"{MODEL} {__version__}"
        ),
    )
    headers = _headers(scan.source, identity)
    with _quiet(hd):
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=_concept(hd, _MR_BRAIN),
            imaging_measurements=[
                _group(hd, n, name, measurements, seg, scan.source) for n, name in enumerate(REGIONS, 1)
            ],
        )
        made = hd.sr.Comprehensive3DSR(
            evidence=[*headers, seg],
            content=report[0],
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER + 2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MAKER,
            series_description="Glioscope measurements; research use only",
        )
    _save(made, path)


# --- the source -------------------------------------------------------------------------------------------------------


def _highdicom() -> Any:
    try:
        import highdicom
        import highdicom.sr
    except ImportError as error:
        raise DependencyError(
            "clinical files need highdicom and pydicom, which are not installed; pip install glioscope[dicom]"
        ) from error
    return highdicom


@contextmanager
def _quiet(hd: Any) -> Iterator[None]:
    """Keep highdicom's own notes (an empty segment, say) from the user's log for a while."""
    logger = logging.getLogger(hd.__name__)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(before)


def _source(labels: NDArray[Any], scan: RawScan) -> DicomSource:
    if scan.source is None:
        raise CaseError("scan was not read from DICOM; DICOM results must refer to DICOM images. Write NIfTI instead.")
    if labels.shape != scan.grid.shape:
        raise GeometryError(
            f"label map has shape {labels.shape}, its scan {scan.grid.shape}; restore it to the scan's grid"
        )
    return scan.source


_PERSONAL = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
             "ReferringPhysicianName")  # fmt: skip
"""Attributes of type 2 that results inherit from their source: present, and empty unless identity is asked for."""
_OPTIONAL = ("PatientAge", "PatientWeight", "PatientSize", "StudyDescription", "InstitutionName", "OtherPatientIDs",
             "PatientComments", "EthnicGroup", "Occupation", "AdditionalPatientHistory", "StationName")  # fmt: skip


def _headers(source: DicomSource, identity: bool) -> list[Any]:
    """Return the headers of the source's instances with what results need, and no more of the patient than asked."""
    return [_header(header, identity) for header in source.headers]


def _header(header: Any, identity: bool) -> Any:
    from pydicom.dataset import Dataset

    left_out = {"PatientID"} if identity else {"PatientID", *_PERSONAL, *_OPTIONAL}
    one = Dataset()
    one.update({element.tag: element for element in header if element.keyword not in left_out})
    one.file_meta = header.file_meta
    one.PatientID = header.get("PatientID", "") if identity else patient_of(header)
    for keyword in _PERSONAL:
        if keyword not in one:
            setattr(one, keyword, "")
    if "PerFrameFunctionalGroupsSequence" in one:
        one.SharedFunctionalGroupsSequence = [_shared(one)]
    return one


def _shared(header: Any) -> Any:
    """Return the groups shared by all frames, with the geometry that some scanners repeat for each (all alike here)."""
    from pydicom.dataset import Dataset

    shared = Dataset()
    for groups in (header.PerFrameFunctionalGroupsSequence[0], header.SharedFunctionalGroupsSequence[0]):
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if keyword in groups:
                setattr(shared, keyword, groups[keyword].value)
    return shared


@dataclass(frozen=True, slots=True)
class _Geometry:
    pixel_spacing: list[float]
    slice_spacing: float
    orientation: list[float]
    positions: list[list[float]]


def _geometry(scan: RawScan) -> _Geometry:
    """Return the slices' place in DICOM's terms: LPS, spacing between rows first."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.grid.affine
    columns, rows, _ = scan.grid.spacing_mm
    axes = lps[:3, :2] / [columns, rows]
    normal = np.cross(axes[:, 0], axes[:, 1])
    return _Geometry(
        pixel_spacing=[_short(rows), _short(columns)],
        slice_spacing=_short(abs(float(lps[:3, 2] @ normal))),
        orientation=[_short(v) for v in axes.T.ravel()],
        positions=[[_short(v) for v in lps[:3, 3] + k * lps[:3, 2]] for k in range(scan.grid.shape[2])],
    )


def _short(value: float) -> float:
    """Return the number as a decimal string of DICOM can hold it (16 characters)."""
    return float(f"{value:.9g}")


# --- SEG and SR -------------------------------------------------------------------------------------------------------


def _concept(hd: Any, code: tuple[str, str, str]) -> Any:
    return hd.sr.CodedConcept(*code)


def _algorithm(hd: Any) -> Any:
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=MODEL, version=__version__, family=codes.DCM.ArtificialIntelligence, source=MAKER
    )


def _description(hd: Any, number: int, name: str) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=CODES[name].label,
        segmented_property_category=_concept(hd, _CATEGORY),
        segmented_property_type=_concept(hd, CODES[name].code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(hd),
        tracking_uid=hd.UID(),
        tracking_id=f"{MODEL} {name}",
        anatomic_regions=[_concept(hd, _BRAIN)],
        display_color=hd.color.CIELabColor.from_rgb(*CODES[name].colour),
    )


def _group(hd: Any, number: int, name: str, measurements: Mapping[str, Any], seg: Any, source: DicomSource) -> Any:
    """Return the measurements of one region: volume, and the diameters if they were taken on it."""
    values = [(_VOLUME, float(measurements["volumes_ml"][name]), _MILLILITRE)]
    diameters = measurements.get("diameters")
    if diameters and diameters["region"] == name:
        values += [
            (_LONG, float(diameters["longest_mm"]), _MILLIMETRE),
            (_SHORT, float(diameters["perpendicular_mm"]), _MILLIMETRE),
            (_MAXIMUM_3D, float(diameters["maximum_3d_mm"]), _MILLIMETRE),
        ]
    segment = seg.SegmentSequence[number - 1]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(source.series_uid),
        ),
        finding_type=_concept(hd, CODES[name].code),
        finding_category=_concept(hd, _CATEGORY),
        finding_sites=[hd.sr.FindingSite(_concept(hd, _BRAIN))],
        measurements=[
            hd.sr.Measurement(name=_concept(hd, what), value=value, unit=_concept(hd, unit))
            for what, value, unit in values
        ],
    )


# --- RTSTRUCT ---------------------------------------------------------------------------------------------------------


def _item(**tags: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def _code_item(code: tuple[str, str, str]) -> Any:
    return _item(CodeValue=code[0], CodingSchemeDesignator=code[1], CodeMeaning=code[2])


def _rt_header(source: Any, uid: str) -> Any:
    """Return an RTSTRUCT with the modules of patient, study, series and equipment."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_RT_STRUCTURE_SET)
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in (*_PERSONAL, "PatientID", "StudyInstanceUID"):
        setattr(made, keyword, source.get(keyword))
    now = datetime.now()
    tags = {
        "SpecificCharacterSet": source.get("SpecificCharacterSet") or "ISO_IR 192",
        "SOPClassUID": _RT_STRUCTURE_SET,
        "SOPInstanceUID": uid,
        "Modality": "RTSTRUCT",
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": _SERIES_NUMBER + 1,
        "SeriesDescription": "Glioscope contours; research use only",
        "OperatorsName": "",
        "InstanceNumber": 1,
        "Manufacturer": MAKER,
        "ManufacturerModelName": MODEL,
        "SoftwareVersions": __version__,
        "FrameOfReferenceUID": source.get("FrameOfReferenceUID") or generate_uid(),
        "PositionReferenceIndicator": "",
        "StructureSetLabel": "BRATS_REGIONS",
        "StructureSetDate": f"{now:%Y%m%d}",
        "StructureSetTime": f"{now:%H%M%S}",
        "ApprovalStatus": "UNAPPROVED",
    }
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def _referenced_frame(source: DicomSource, frame_of_reference: str) -> Any:
    first = source.headers[0]
    series = _item(
        SeriesInstanceUID=source.series_uid,
        ContourImageSequence=[_reference(header) for header in source.headers],
    )
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, as the standard wants it here
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=frame_of_reference, RTReferencedStudySequence=[study])


def _reference(header: Any) -> Any:
    return _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)


def _roi_contour(number: int, mask: NDArray[np.bool_], scan: RawScan, source: DicomSource) -> Any:
    """Return the contours of one region, slice by slice."""
    by_uid = {str(header.SOPInstanceUID): header for header in source.headers}
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.grid.affine
    contours = []
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        for line in outlines(mask[:, :, k]):
            points = line @ lps[:3, :2].T + lps[:3, 3] + k * lps[:3, 2]
            contour = _item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.4f}" for value in points.ravel()],
            )
            if header := by_uid.get(source.instances[k]):
                contour.ContourImageSequence = [_reference(header)]
            contours.append(contour)
    name = REGIONS[number - 1]
    item = _item(ROIDisplayColor=list(CODES[name].colour), ReferencedROINumber=number)
    if contours:
        item.ContourSequence = contours
    return item


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


def _save(made: Any, path: Path) -> None:
    with atomic_path(path) as part:
        made.save_as(part, enforce_file_format=True)
