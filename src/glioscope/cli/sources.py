"""What `prepare` and `segment` were given: DICOM, folders of NIfTI, or files by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import typer

from glioscope.cases import scan_cases
from glioscope.dicom.find import DicomCase, find_dicom
from glioscope.dicom.scans import RawPatient, read_nifti_scans
from glioscope.errors import CaseError
from glioscope.files import is_image
from glioscope.segmentation import CaseOutcome, ClinicalFile, Place, find_inputs
from glioscope.space.volumes import VolumeFile

if TYPE_CHECKING:
    from glioscope.prepare.patient import PreparedRaw


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
    if source.is_dir() and any(map(is_image, source.rglob("*"))):
        return read_nifti_scans({**_scans_of(source), **{code: Path(value) for code, value in named.items()}})
    from glioscope.dicom.reading import read_dicom  # brings SimpleITK, which `segment` does without where it can

    return read_dicom(source, overrides=named)


def case_name(source: Path | None) -> str:
    """Return what to call a prepared case: as `segment` would, so never by a patient's name that DICOM tells."""
    if source is None:
        return "case"
    found = find_dicom(source)
    return found[0].case_id if len(found) == 1 else source.resolve().name


def over_atlas(prepared: "PreparedRaw", output: Path, case_id: str) -> tuple[str, ...]:
    """Write a prepared case laid over the atlas, a case of its own beside it, and return what is doubtful.

    Raises
    ------
    DependencyError
        nilearn, which brings the atlas, is not installed.
    """
    from glioscope.prepare.atlas import align_to_atlas, mni152, write_atlas

    found = align_to_atlas(prepared, mni152())
    write_atlas(prepared, found, output / case_id, case_id)
    print(f"{output / case_id}: over {found.template.name}, Dice of the brains {found.overlap:.2f}")
    return found.problems


def _scans_of(folder: Path) -> dict[str, Path]:
    cases, problems = scan_cases(folder)
    if len(cases) != 1:
        names = ", ".join([case.case_id for case in cases] + list(problems)) or "none"
        raise CaseError(
            f"{folder}: holds several cases ({names}); name one patient's files with --t1n, --t1c, --t2w, --t2f"
        )
    return {code: file.path for code, file in cases[0].sequences.items()}


def places(inputs: Sequence[Path], named: Mapping[str, str]) -> Sequence[Place] | Mapping[str, Path | str]:
    """Return what `segment` takes: the inputs, or the files of one case, or one input with series or files named.

    Raises
    ------
    CaseError
        Series are named for an input of several cases.
    """
    if not inputs and not named:
        raise typer.BadParameter("name folders or zips (INPUT…), or the files of one case (--t1n, --t1c, --t2w, --t2f)")
    if not inputs:
        return cast("Mapping[str, Path | str]", named)
    if not named:
        return list(inputs)
    if len(inputs) > 1:
        raise typer.BadParameter("--t1n, --t1c, --t2w and --t2f name the scans of one case; give one INPUT with them")
    cases, problems = find_inputs(inputs[0])
    if len(cases) != 1:
        names = ", ".join([case.case_id for case in cases] + list(problems))
        raise CaseError(f"{inputs[0]}: holds several cases ({names}); name scans for one patient's folder alone")
    case = cases[0]
    if isinstance(case, DicomCase):
        return [replace(case, overrides=dict(named))]
    files = {code: VolumeFile(Path(value)) for code, value in named.items()}
    return [replace(case, sequences={**case.sequences, **files})]


def shard_of(text: str) -> tuple[int, int] | None:
    """Return the part and the number of parts named as I/N; None for an empty text."""
    if not text:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit()):
        raise typer.BadParameter(f"--shard is '{text}'; name the part and how many there are, as in 3/10")
    return int(number), int(count)


def clinical_files(text: str) -> tuple[ClinicalFile, ...]:
    """Return the kinds of clinical files named in a list with commas; none for an empty one."""
    known = get_args(ClinicalFile)
    wanted = [kind.strip().lower() for kind in text.split(",") if kind.strip()]
    if unknown := [kind for kind in wanted if kind not in known]:
        raise typer.BadParameter(f"--dicom names '{unknown[0]}'; choose from {', '.join(known)}")
    return tuple(kind for kind in known if kind in wanted)


def explanation(outcome: CaseOutcome) -> list[str]:
    """Return how raw scans became a case: what was taken for what, and what is doubtful."""
    summary = outcome.summary
    if summary is None or summary.raw is None:
        return []
    raw = summary.raw
    lines = [f"{outcome.case_id}: prepared first, because {raw.why}"]
    lines += [f"  {code}: {entry.series}: {entry.reason}" for code, entry in raw.series.items() if entry.series]
    lines += [f"  {left_out}: not used: {reason}" for left_out, reason in raw.left_out.items()]
    codes = ("scan-", "preparation", "no-dicom")
    return lines + [f"  {flag.message}" for flag in summary.flags if flag.code.startswith(codes)]
