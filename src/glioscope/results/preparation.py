"""How raw scans became a case, and the way back to each of them: the part `raw` of a summary, and `prepare.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glioscope.results.stored import Stored, optional

if TYPE_CHECKING:
    from glioscope.space.registration import Quality, Registration

Matrix = tuple[tuple[float, ...], ...]
"""Four rows of four; the last column is in millimetres."""


def matrix_rows(matrix: NDArray[np.float64]) -> Matrix:
    """Return a matrix (4, 4) as it is stored."""
    return tuple(tuple(row) for row in matrix.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile(Stored):
    """A scan that went in."""

    file: str
    """Its path when it was read."""
    channel: int | None
    """Of a file that holds several sequences, counted from 0; None of a file that holds one."""
    sha256: str
    """Of the whole file, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFiles(Stored):
    """All files of a DICOM patient; their paths are not told, for they may name the patient."""

    files: int
    """A count."""
    sha256: str
    """Of the files' checksums joined in order, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRecord(Stored):
    """What was taken for a sequence."""

    series: str
    """The DICOM series; empty for NIfTI."""
    reason: str
    """Why it was chosen."""
    description: str
    """What the series is, in words; no name, date or number of the patient."""
    problems: tuple[str, ...]
    """What is doubtful about it, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineGrid(Stored):
    """A grid with its place in space."""

    shape: tuple[int, int, int]
    """Voxels along i, j, k, counts."""
    affine_ras_mm: Matrix
    """Voxel indices to RAS+ millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationQuality(Stored):
    """How good a registration is, measured after it was found."""

    mutual_information: float
    """Of the two scans, nats."""
    contrast: float
    """Height of the peak above its surroundings: 0 none, near 1 a sharp one."""
    coverage: float
    """Share of the reference's head in the scan's field of view, 0 to 1."""
    shift_mm: float
    """How far the head's centre moved away from the scanner's coordinates, millimetres."""
    turn_degrees: float
    """How far the head turned, degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRecord(Stored):
    """Where a scan lies relative to the reference."""

    matrix_ras_mm: Matrix
    """A point of the reference in RAS+ millimetres to the same tissue in the scan's."""
    quality: RegistrationQuality | None
    """None where nothing was searched."""
    problems: tuple[str, ...]
    """What is doubtful, a sentence each."""


def quality_record(quality: "Quality") -> RegistrationQuality:
    """Return the quality of a registration as it is stored, rounded to four decimals."""
    return RegistrationQuality(**{name: round(value, 4) for name, value in asdict(quality).items()})


def registration_record(found: "Registration") -> RegistrationRecord:
    """Return a registration as it is stored."""
    return RegistrationRecord(
        matrix_ras_mm=matrix_rows(found.matrix),
        quality=None if found.quality is None else quality_record(found.quality),
        problems=found.problems,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSequence(Stored):
    """A scan as it came, and how it was aligned."""

    native_grid: AffineGrid
    """Of the scan as it came."""
    registration: RegistrationRecord
    """Reference to scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainRecord(Stored):
    """How the skull was taken off."""

    method: str
    """Who found the brain."""
    found_in: tuple[str, ...]
    """Sequences that it was found in."""
    ml: float
    """Its volume, millilitres."""
    stripped_before: bool
    """The scans came without a skull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation(Stored):
    """How scans were brought onto one grid, skull off."""

    case_id: str | None = optional()
    """In prepare.json; a summary names its case itself."""
    reference: str
    """Sequence that gave the grid."""
    grid: AffineGrid
    """The common one."""
    sequences: Mapping[str, PreparedSequence]
    """By sequence."""
    brain: BrainRecord
    """How the skull was taken off."""
    problems: tuple[str, ...]
    """What is doubtful, a sentence each."""
    seconds: Mapping[str, float]
    """Step to wall-clock seconds."""
    config: Mapping[str, object]
    """The settings, as `prepare.PrepareConfig` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeMap(Stored):
    """The segmentation on a scan's own grid."""

    file: str
    """Below the case's folder."""
    sha256: str
    """Of the file, 64 hexadecimal digits."""
    shape: tuple[int, int, int]
    """Voxels along i, j, k, counts."""
    spacing_mm: tuple[float, float, float]
    """Voxel edges along i, j, k, millimetres."""
    volumes_ml: Mapping[str, float]
    """Region to millilitres on this grid; those of `measurements` are of the common grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOrigin(Stored):
    """How raw scans became the case that was segmented."""

    why: str
    """What showed that the input is raw."""
    inputs: Mapping[str, InputFile | DicomFiles]
    """Sequence to the file that was given; of DICOM `dicom` to all files."""
    patient: str
    """A short one-way code of the patient's identifier; empty for NIfTI."""
    series: Mapping[str, SeriesRecord]
    """Sequence to what was taken for it."""
    left_out: Mapping[str, str]
    """Series to why it was not used."""
    preparation: Preparation
    """Grids, transforms and their quality, brain."""
    native: Mapping[str, NativeMap]
    """Sequence to the segmentation on its own grid."""
