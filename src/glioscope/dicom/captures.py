"""Secondary captures: key slices of a scan as colour pictures with outlines, for archives that cannot show a SEG.

One plain object of a single frame for each slice, in one series, which any viewer shows. What it shows is drawn in, the
words that it is for research among it; nothing can be measured on it, and the patient's name is not in the picture.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from glioscope import __version__
from glioscope.dicom.contours import outlines
from glioscope.dicom.headers import (
    CODES,
    MAKER,
    MODEL,
    SERIES_NUMBER,
    headers_of,
    highdicom,
    quiet,
    reference,
    save,
    source_of,
)
from glioscope.dicom.scans import RawScan
from glioscope.labels import REGIONS, LabelScheme, regions_from_labels

SLICES = 5
"""Evenly between the first and the last slice of the tumour, the largest besides."""
_EDGE = 512
"""Pixels along the longer edge of a picture, at least."""
_BAR = 22
"""Pixels below the picture, for the words."""
_DARKEST, _BRIGHTEST = 1.0, 99.5
"""Percentiles of a scan, without its background, that become black and white."""


def write_captures(
    folder: Path, labels: NDArray[np.integer], scan: RawScan, scheme: LabelScheme, *, identity: bool = False
) -> tuple[Path, ...]:
    """Write key slices with the outlines of WT, TC and ET as a series of secondary captures.

    Parameters
    ----------
    folder : Path
        Takes capture-1.dcm, capture-2.dcm and so on; those of an earlier run go.
    labels : (i, j, k) integer
        In `scheme`, on the grid of `scan`. An empty map gives the middle slice, and the words that nothing was found.
    scan : RawScan
        Read from DICOM, with its voxels.
    scheme : LabelScheme
        What the values mean.
    identity : bool
        Write the patient's name, number and dates as they are in the source.

    Returns
    -------
    tuple of Path
        What was written, from below.

    Raises
    ------
    CaseError, GeometryError, DependencyError
        As `write_segmentation`.
    """
    hd = highdicom()
    source = source_of(labels, scan)
    for path in folder.glob("capture-*.dcm"):
        path.unlink()
    regions = regions_from_labels(labels, scheme)
    headers = {str(header.SOPInstanceUID): header for header in headers_of(source, identity)}
    any_header = next(iter(headers.values()))
    grey, series = _grey(scan.image), hd.UID()
    written = []
    for number, k in enumerate(key_slices(regions), 1):
        picture = draw(grey[:, :, k], regions[:, :, :, k], scan.grid.spacing_mm[:2], f"slice {k + 1}")
        header = headers.get(source.instances[k])
        with quiet(hd):
            made = hd.sc.SCImage.from_ref_dataset(
                header or any_header,
                pixel_array=picture,
                photometric_interpretation="RGB",
                bits_allocated=8,
                coordinate_system="PATIENT",
                patient_orientation=tuple(letters[0] for letters in _orientation(scan)),
                anatomical_orientation_type="BIPED",
                series_instance_uid=series,
                series_number=SERIES_NUMBER + 3,
                sop_instance_uid=hd.UID(),
                instance_number=number,
                manufacturer=MAKER,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                manufacturer_model_name=MODEL,
                software_versions=__version__,
                series_description="Glioscope pictures; research use only",
            )
        made.PatientOrientation = list(_orientation(scan))
        made.BodyPartExamined = "BRAIN"
        made.BurnedInAnnotation = "NO"  # nothing that tells of the patient
        if header is not None:
            made.SourceImageSequence = [reference(header)]
        written.append(folder / f"capture-{number}.dcm")
        save(made, written[-1])
    return tuple(written)


def key_slices(regions: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the slices worth a picture: spread over the tumour, and the largest of each region.

    Parameters
    ----------
    regions : (region, i, j, k) bool
        The middle slice where all are empty.
    """
    areas = np.count_nonzero(regions, axis=(1, 2))
    whole = np.flatnonzero(areas.any(axis=0))
    if not whole.size:
        return (regions.shape[3] // 2,)
    spread = np.linspace(whole[0], whole[-1], SLICES).round().astype(int)
    nearest = [int(whole[np.abs(whole - k).argmin()]) for k in spread]
    largest = [int(area.argmax()) for area in areas if area.any()]
    return tuple(sorted({*nearest, *largest}))


def _grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a scan's voxels from black to white."""
    values = image[np.isfinite(image) & (image > image.min())]
    low, high = np.percentile(values, (_DARKEST, _BRIGHTEST)) if values.size else (0.0, 1.0)
    scaled = (np.nan_to_num(image) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)


def draw(
    grey: NDArray[np.uint8], regions: NDArray[np.bool_], spacing_mm: Sequence[float], words: str
) -> NDArray[np.uint8]:
    """Draw one slice with the outlines of the regions on it.

    Parameters
    ----------
    grey : (i, j) uint8
        Columns first, as everywhere here.
    regions : (region, i, j) bool
        In the order of `REGIONS`.
    spacing_mm : two floats
        Along i and j: pixels of the picture are square.
    words : str
        What stands in the bar below, before what always does.

    Returns
    -------
    (row, column, 3) uint8
        At least `_EDGE` pixels along the longer edge, and the bar.
    """
    edges = np.array(grey.shape) * np.array(spacing_mm[:2]) / min(spacing_mm[:2])
    scale = max(1.0, _EDGE / edges.max()) * np.array(spacing_mm[:2]) / min(spacing_mm[:2])
    width, height = (int(edge) for edge in np.ceil(np.array(grey.shape) * scale))
    sliced = Image.fromarray(grey.T).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    picture = Image.new("RGB", (width, height + _BAR))
    picture.paste(sliced, (0, 0))
    pen = ImageDraw.Draw(picture)
    for name, mask in zip(REGIONS, regions, strict=True):
        for line in outlines(mask):
            points = [tuple(point) for point in (line + 0.5) * scale]
            pen.line([*points, points[0]], fill=CODES[name].colour, width=2)
    x = 4
    for text, colour in [*((name, CODES[name].colour) for name in REGIONS), (_words(regions, words), (255, 255, 255))]:
        pen.text((x, height + 5), text, fill=colour)
        x += int(pen.textlength(text)) + 10
    return np.asarray(picture)


def _words(regions: NDArray[np.bool_], words: str) -> str:
    found = "" if regions.any() else "no tumour found here; "
    return f"{words}; {found}{MAKER} {__version__}: research use only, not for diagnosis"


def _orientation(scan: RawScan) -> tuple[str, str]:
    """Return the anatomical directions of growing column and row, as PatientOrientation has them."""
    axes = np.diag([-1.0, -1.0, 1.0]) @ scan.grid.affine[:3, :2]
    return _letters(axes[:, 0]), _letters(axes[:, 1])


def _letters(direction: NDArray[np.float64]) -> str:
    """Return the letters of a direction in LPS, the strongest first."""
    names = ("LR", "PA", "HF")
    share = direction / np.linalg.norm(direction)
    order = [n for n in np.argsort(-np.abs(share)) if abs(share[n]) > 0.1]
    return "".join(names[n][0 if share[n] > 0 else 1] for n in order)
