"""What an upload holds: whose scans, and which sequence each is. The user may correct it before anything starts.

NIfTI files are told by their names, by the rules of `cases` first, then by the words that radiographers use. DICOM
series are told by `raw`, which reads their tags and pixels; that happens in a process of its own, started as
``python -m glioscope.web.recognise SOURCE RESULT``.
"""

import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from glioscope.cases import SEQUENCES, Case, case_of_files, naming_scheme, scan_cases
from glioscope.dicom.find import find_dicom
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.words import FLAIR, NO_SCAN, T1, T2, about_scan, find, of_contrast, plain
from glioscope.errors import CaseError, GeometryError, GlioscopeError
from glioscope.files import is_nifti, nifti_stem, write_json
from glioscope.report.style import SEQUENCE_NAMES
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile, read_grid
from glioscope.web.store import Kind, Scan
from glioscope.web.uploads import Received, readable, safe_name, unpack_nifti

MOST_CASES = 200
"""Patients in one upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A patient found in an upload."""

    title: str
    kind: Kind
    scans: tuple[Scan, ...]
    choice: Mapping[str, int]
    """Sequence code to the place in `scans`."""
    raw: bool
    """The scans do not lie on one grid: they have to be prepared first."""
    remark: str = ""
    """What the user should look at, or nothing."""

    @property
    def doubtful(self) -> bool:
        """Whether a person should look before it is segmented."""
        return bool(self.remark) or not self.choice


def recognise(received: Received) -> list[Proposal]:
    """Return the patients of an upload.

    Raises
    ------
    CaseError
        It holds no scan; the message says what it holds instead.
    UploadError
        A zip unpacks to too much.
    """
    folder = received.folder
    for archive in [folder / name for name in list(received.names) if name.lower().endswith(".zip")]:
        if not zipfile.is_zipfile(archive):
            shown = received.names[archive.relative_to(folder).as_posix()]
            raise CaseError(f"{shown}: is no zip, or one that was cut off; make it again")
        unpack_nifti(archive, received)
    files = [name for name in received.names if is_nifti(name)]
    if not files:
        return [_dicom(received)]
    fourth = [name for name in files if _is_channels(folder / name)]
    if fourth:
        return [_channels(received, name) for name in fourth]
    groups = _patients(received, files)
    if len(groups) > MOST_CASES:
        raise CaseError(f"the upload holds {len(groups)} patients; at most {MOST_CASES} are taken at once")
    return [_nifti(received, title, names) for title, names in groups.items()]


def sequence_of(name: str) -> str:
    """Return the sequence code that a file name tells, or nothing.

    >>> sequence_of("BraTS2021_00002_t1ce.nii.gz"), sequence_of("Ax T1 post gad.nii"), sequence_of("scan.nii.gz")
    ('t1c', 't1c', '')
    >>> sequence_of("sub-01_ses-post_T1w.nii.gz"), sequence_of("T2_segmentation.nii.gz")
    ('t1n', '')
    """
    text = about_scan(plain(nifti_stem(name)))
    words = text.split()
    if find(NO_SCAN, text):
        return ""
    exact = {"t1n": "t1n", "t1c": "t1c", "t1ce": "t1c", "t1gd": "t1c", "t2w": "t2w", "t2f": "t2f", "flair": "t2f"}
    for word in reversed(words):
        if word in exact:
            return exact[word]
    if find(FLAIR, text):
        return "t2f"
    if find(T1, text):
        return "t1c" if of_contrast(text) else "t1n"
    return "t2w" if find(T2, text) else ""


def _is_channels(path: Path) -> bool:
    """Return whether a file is a 4-D one of the Decathlon."""
    try:
        read_grid(VolumeFile(path, 3))
    except (CaseError, GeometryError):
        return False
    return True


def _patients(received: Received, files: Sequence[str]) -> dict[str, list[str]]:
    """Return files by patient: several only where the names say so without doubt."""
    try:
        cases, problems = scan_cases(received.folder)
    except CaseError:
        cases, problems = (), {}
    several = len(cases) > 1 and not problems and all(len(case.sequences) > 1 for case in cases)
    if several:
        return {case.case_id: _names_of(received, case) for case in cases}
    return {_title(received, files, cases): list(files)}


def _names_of(received: Received, case: Case) -> list[str]:
    return [file.path.relative_to(received.folder).as_posix() for file in case.sequences.values()]


def _title(received: Received, files: Sequence[str], cases: Sequence[Case]) -> str:
    if given := readable(received.fields.get("title", "")):
        return given
    if len(cases) == 1 and cases[0].case_id != received.folder.name:
        return cases[0].case_id
    folders = {Path(name).parent.name for name in files}
    return (folders.pop() if len(folders) == 1 else "") or "patient"


def _nifti(received: Received, title: str, names: Sequence[str]) -> Proposal:
    scans: list[Scan] = []
    grids: list[Grid | None] = []
    for name in sorted(names):
        shown = received.names[name]
        try:
            grid = read_grid(received.folder / name)
        except (CaseError, GeometryError) as error:
            scans.append(Scan(name=shown, file=name, problem=_problem(error, received.folder / name)))
            grids.append(None)
            continue
        scans.append(Scan(name=shown, file=name, guess=sequence_of(shown), detail=_told(shown, grid)))
        grids.append(grid)
    remarks = []
    choice: dict[str, int] = {}
    for code in SEQUENCES:
        places = [n for n, scan in enumerate(scans) if scan.guess == code]
        if places:
            choice[code] = places[0]
        if len(places) > 1:
            listed = " and ".join(scans[n].name for n in places[:3])
            remarks.append(f"{listed} are both named for {SEQUENCE_NAMES[code]}: choose one")
    broken = [scan for scan in scans if scan.problem]
    if len(broken) == len(scans):
        raise CaseError(f"{broken[0].name}: {broken[0].problem}")
    remarks += [f"{scan.name} cannot be used: {scan.problem}" for scan in broken]
    if not choice:
        remarks.append("the file names do not tell the sequences: choose them")
    chosen = [grids[n] for n in choice.values()]
    return Proposal(
        title=title,
        kind="nifti",
        scans=tuple(scans),
        choice=choice,
        raw=not _one_grid([g for g in chosen if g]),
        remark="; ".join(remarks),
    )


def _one_grid(grids: Sequence[Grid]) -> bool:
    return all(grid.matches(grids[0]) for grid in grids)


def _detail(grid: Grid) -> str:
    size = " × ".join(str(n) for n in grid.shape)
    return f"{size} voxels of {' × '.join(f'{s:.3g}' for s in grid.spacing_mm)} mm"


def _told(name: str, grid: Grid) -> str:
    no_scan = find(NO_SCAN, about_scan(plain(nifti_stem(name))))
    return f"{_detail(grid)}; by its name a label map or mask, no scan" if no_scan else _detail(grid)


def _problem(error: GlioscopeError, path: Path) -> str:
    return str(error).replace(f"{path}: ", "").replace(str(path), path.name)


def _channels(received: Received, name: str) -> Proposal:
    order = ("t2f", "t1n", "t1c", "t2w")
    shown = received.names[name]
    scans = tuple(Scan(name=f"{shown}, channel {n + 1}", file=name, guess=code) for n, code in enumerate(order))
    return Proposal(
        title=nifti_stem(shown),
        kind="channels",
        scans=scans,
        choice={code: order.index(code) for code in SEQUENCES},
        raw=False,
    )


def _dicom(received: Received) -> Proposal:
    """Return a patient whose series are still to be read, or raise `CaseError` where nothing is DICOM."""
    source = dicom_source(received.folder)
    try:
        found = find_dicom(source)
    except CaseError as error:
        raise CaseError(_problem(error, source)) from error
    if len(found) > 1:
        raise CaseError(f"the upload holds DICOM of {len(found)} patients; upload one at a time")
    if not found:
        shown = ", ".join(list(received.names.values())[:3])
        more = f" and {len(received.names) - 3} more" if len(received.names) > 3 else ""
        raise CaseError(
            f"{shown}{more}: no scan is in it. Give NIfTI files (.nii, .nii.gz), a DICOM folder, or a zip of either"
        )
    given = readable(received.fields.get("title", ""))
    stem = readable(Path(next(iter(received.names.values()))).stem) if source.is_file() else ""
    return Proposal(title=given or stem or "patient", kind="dicom", scans=(), choice={}, raw=True)


def dicom_source(folder: Path) -> Path:
    """Return the one zip of a folder, or the folder itself."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return files[0] if len(files) == 1 and zipfile.is_zipfile(files[0]) else folder


def case_id_of(title: str) -> str:
    """Return a name for files and folders made from a title."""
    return safe_name(title, fallback="patient").rstrip(".")


def scheme_of(folder: Path, scans: Mapping[str, Scan]) -> str:
    """Return the label scheme of the year that the files are named for."""
    return naming_scheme(case_of_files({code: folder / scan.file for code, scan in scans.items()}, case_id="case"))


def read_series(source: Path) -> tuple[list[Scan], dict[str, int], str]:
    """Read the series of a DICOM source: all of them, which was taken for which sequence, and a remark."""
    patient = read_dicom(source)
    scans, choice = [], {}
    for n, one in enumerate(patient.choices):
        scan = patient.scans[one.sequence]
        detail = f"{_detail(scan.grid)}: {one.reason}"
        scans.append(Scan(name=one.series, file="", guess=one.sequence, detail=detail))
        choice[one.sequence] = n
    left_out = ((name, reason) for name, reason in patient.left_out.items() if name.startswith("series "))
    scans += [Scan(name=name, file="", detail=reason) for name, reason in left_out]
    missing = ", ".join(patient.missing)
    return scans, choice, f"not found: {missing}" if missing else ""


def main(source: str, result: str) -> int:
    """Read a DICOM source and write what it holds as JSON; return the exit code."""
    try:
        scans, choice, remark = read_series(Path(source))
    except GlioscopeError as error:
        sys.stderr.write(f"glioscope: {' '.join(str(error).split())}\n")
        return 2
    write_json(Path(result), {"scans": [asdict(scan) for scan in scans], "choice": choice, "remark": remark})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:3]))
