"""DICOM SEG: one binary segment for each region, on the slices of the source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    source_of,
)
from glioscope.dicom.scans import RawScan
from glioscope.labels import REGIONS, LabelScheme, regions_from_labels


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
    hd = highdicom()
    source = source_of(labels, scan)
    regions = regions_from_labels(labels, scheme)
    frames = regions.transpose(3, 2, 1, 0)  # (k, row, column, segment)
    places = _geometry(scan)
    with quiet(hd):
        made = hd.seg.Segmentation(
            source_images=headers_of(source, identity),
            pixel_array=frames,
            segmentation_type="BINARY",
            segment_descriptions=[_description(hd, n, name) for n, name in enumerate(REGIONS, 1)],
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER,
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
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = places.slice_spacing  # lost where a multi-frame source does not tell its own
        save(made, path)


@dataclass(frozen=True, slots=True)
class _Geometry:
    pixel_spacing: list[float]
    slice_spacing: float
    orientation: list[float]
    positions: list[list[float]]


def _geometry(scan: RawScan) -> _Geometry:
    """Return the slices' place in DICOM's terms: LPS, spacing between rows first."""
    lps = scan.grid.lps
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


def _algorithm(hd: Any) -> Any:
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=MODEL, version=__version__, family=codes.DCM.ArtificialIntelligence, source=MAKER
    )


def _description(hd: Any, number: int, name: str) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=CODES[name].label,
        segmented_property_category=concept(hd, CATEGORY),
        segmented_property_type=concept(hd, CODES[name].code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(hd),
        tracking_uid=hd.UID(),
        tracking_id=f"{MODEL} {name}",
        anatomic_regions=[concept(hd, BRAIN)],
        display_color=hd.color.CIELabColor.from_rgb(*CODES[name].colour),
    )
