"""A structured report: the measurements, on the segments of a SEG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glioscope import __version__
from glioscope.dicom.headers import (
    BRAIN,
    CATEGORY,
    CODES,
    MAKER,
    MODEL,
    SERIES_NUMBER,
    concept,
    headers_of,
    highdicom,
    quiet,
    save,
)
from glioscope.dicom.scans import DicomSource, RawScan
from glioscope.errors import CaseError
from glioscope.labels import REGIONS
from glioscope.results import Measurements

_MR_BRAIN = ("24590-2", "LN", "MR Brain")
_VOLUME = ("118565006", "SCT", "Volume")
_LONG = ("103339001", "SCT", "Long Axis")
_SHORT = ("103340004", "SCT", "Short Axis")
_MAXIMUM_3D = ("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
_EVALUATIONS = ("C0034375", "UMLS", "Qualitative Evaluations")
_COMMENT = ("121106", "DCM", "Comment")
_MILLILITRE = ("ml", "UCUM", "ml")
_MILLIMETRE = ("mm", "UCUM", "mm")


def write_measurements(
    path: Path,
    measurements: Measurements,
    segmentation: Path,
    scan: RawScan,
    *,
    identity: bool = False,
    sentences: Sequence[str] = (),
) -> None:
    """Write measurements as a structured report (Comprehensive 3D SR, TID 1500) on the segments of a SEG.

    Parameters
    ----------
    path : Path
        File to write, atomically.
    measurements : Measurements
        What `measure.measure` returned for the same label map.
    segmentation : Path
        The SEG that `write_segmentation` made of it.
    scan : RawScan
        The scan that both refer to.
    identity : bool
        As for `write_segmentation`; must be the same for both files.
    sentences : sequence of str
        A report in words, written as qualitative evaluations, one text each.
    """
    hd = highdicom()
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
    headers = headers_of(scan.source, identity)
    with quiet(hd):
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=concept(hd, _MR_BRAIN),
            imaging_measurements=[
                _group(hd, n, name, measurements, seg, scan.source) for n, name in enumerate(REGIONS, 1)
            ],
        )
        if sentences:
            report[0].ContentSequence.append(_words(hd, sentences))
        made = hd.sr.Comprehensive3DSR(
            evidence=[*headers, seg],
            content=report[0],
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER + 2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MAKER,
            series_description="Glioscope measurements; research use only",
        )
    save(made, path)


def _words(hd: Any, sentences: Sequence[str]) -> Any:
    """Return sentences as the container that TID 1500 has for what is no number."""
    container = hd.sr.ContainerContentItem(
        name=concept(hd, _EVALUATIONS), relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.TextContentItem(
                name=concept(hd, _COMMENT), value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
            )
            for text in sentences
        ]
    )
    return container


def _group(hd: Any, number: int, name: str, measurements: Measurements, seg: Any, source: DicomSource) -> Any:
    """Return the measurements of one region: volume, and the diameters if they were taken on it."""
    values = [(_VOLUME, float(measurements.volumes_ml[name]), _MILLILITRE)]
    diameters = measurements.diameters
    if diameters and diameters.region == name:
        values += [
            (_LONG, float(diameters.longest_mm), _MILLIMETRE),
            (_SHORT, float(diameters.perpendicular_mm), _MILLIMETRE),
            (_MAXIMUM_3D, float(diameters.maximum_3d_mm), _MILLIMETRE),
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
        finding_type=concept(hd, CODES[name].code),
        finding_category=concept(hd, CATEGORY),
        finding_sites=[hd.sr.FindingSite(concept(hd, BRAIN))],
        measurements=[
            hd.sr.Measurement(name=concept(hd, what), value=value, unit=concept(hd, unit))
            for what, value, unit in values
        ],
    )
