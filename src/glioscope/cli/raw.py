"""What `prepare` was given: DICOM, a folder of NIfTI, or files by name."""

from collections.abc import Mapping
from pathlib import Path

from glioscope.cases import scan_cases
from glioscope.errors import CaseError
from glioscope.raw.dicom import read_dicom
from glioscope.raw.scan import RawPatient, read_nifti_scans


def read_raw(source: Path | None, named: Mapping[str, str]) -> RawPatient:
    """Read one patient's raw scans.

    Parameters
    ----------
    source : Path, optional
        A folder or zip of DICOM, or a folder of NIfTI files named for their sequences.
    named : mapping of str to str
        Sequence code to a DICOM series of the source, or to a NIfTI file where there is no source or it holds NIfTI.

    Raises
    ------
    CaseError
        Nothing was given, or a NIfTI folder holds several cases.
    """
    if source is None:
        return read_nifti_scans({code: Path(value) for code, value in named.items()})
    if source.is_dir() and any(path.name.endswith((".nii", ".nii.gz")) for path in source.rglob("*")):
        return read_nifti_scans({**_scans_of(source), **{code: Path(value) for code, value in named.items()}})
    return read_dicom(source, overrides=named)


def _scans_of(folder: Path) -> dict[str, Path]:
    cases, problems = scan_cases(folder)
    if len(cases) != 1:
        names = ", ".join([case.case_id for case in cases] + list(problems)) or "none"
        raise CaseError(
            f"{folder}: holds several cases ({names}); name one patient's files with --t1n, --t1c, --t2w, --t2f"
        )
    return {code: file.path for code, file in cases[0].sequences.items()}
