"""What a raw scan is: one acquired volume on its own grid, and all of a patient's together.

"Raw" means as the scanner left it: each sequence on its own grid, the skull on, nothing registered. The rooms that
read (`dicom`), name (`sequences`) and prepare (`prepare`) scans hand these records to each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES
from glioscope.errors import CaseError
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile, read_volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomSource:
    """The DICOM instances that a scan was made from, kept so that results can refer to them."""

    series_uid: str
    number: int | None
    """SeriesNumber: what the console shows, the handiest name for a series."""
    instances: tuple[str, ...]
    """SOP instance UIDs in slice order: `instances[k]` holds ``image[:, :, k]``; empty text for a slice that is missing
    and was interpolated. A multi-frame instance stands once for each of its frames."""
    headers: tuple[Any, ...] = field(repr=False)
    """The distinct instances without their pixels, pydicom data sets in slice order. They name the patient: only
    `clinical` reads them, and no text output is made from them."""
    told_apart: bool = True
    """Every slice of a file of its own has a UID of its own; else nothing can refer to them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawScan:
    """One acquired volume, as the scanner left it."""

    image: NDArray[np.float32]
    """(i, j, k), in the order of storage: k runs over the slices of a DICOM series."""
    grid: Grid
    description: str = ""
    """What the series is, in words made from its tags; no name, date or number of the patient is in it."""
    source: DicomSource | None = None
    """None for NIfTI."""
    problems: tuple[str, ...] = ()
    """Missing or doubled slices, a tilted gantry, and the like: one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which series became a sequence, and why."""

    sequence: str
    """t1n, t1c, t2w or t2f."""
    series: str
    """The series as a user may name it: its number and description."""
    reason: str
    """One sentence: the evidence, the score, and the runners-up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawPatient:
    """The scans of one patient, at most one for each sequence."""

    scans: Mapping[str, RawScan]
    """Sequence code to scan, in the order of `SEQUENCES`; a sequence that was not acquired is absent."""
    choices: tuple[Choice, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Series or file that was not used, to the reason."""
    patient: str = ""
    """A short one-way code of the patient's identifier; empty for NIfTI."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Sequences that were not found."""
        return tuple(code for code in SEQUENCES if code not in self.scans)


def read_nifti_scans(files: Mapping[str, Path | VolumeFile]) -> RawPatient:
    """Read raw scans from NIfTI files, one for each sequence, each on its own grid.

    Parameters
    ----------
    files : mapping of str to Path or VolumeFile
        Sequence code (t1n, t1c, t2w, t2f) to `.nii` or `.nii.gz`.

    Raises
    ------
    CaseError
        No file is given, a code is not a sequence, or a file cannot be read as one volume or is the same everywhere.
    """
    unknown = [code for code in files if code not in SEQUENCES]
    if unknown:
        raise CaseError(f"scan has sequence {unknown}; name it one of {', '.join(SEQUENCES)}")
    if not files:
        raise CaseError("no scan is given; at least one sequence is needed")
    scans = {}
    for code in SEQUENCES:
        if code in files:
            volume = read_volume(files[code])
            values = volume.data[np.isfinite(volume.data)]
            if not values.size or values.min() == values.max():
                raise CaseError(f"{_path(files[code])}: the scan is constant; a scan has contrast. Leave it out.")
            scans[code] = RawScan(image=volume.data, grid=volume.grid, description=f"NIfTI file for {code}")
    return RawPatient(scans=MappingProxyType(scans))


def _path(file: Path | VolumeFile) -> Path:
    return file.path if isinstance(file, VolumeFile) else file
