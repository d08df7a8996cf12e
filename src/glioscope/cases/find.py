"""Finding cases on disk in every layout, and reading one into memory."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.cases.known import stated
from glioscope.errors import CaseError, GeometryError, printable
from glioscope.files import is_nifti, nifti_stem, require_file
from glioscope.space.background import with_zero_background
from glioscope.space.grid import MAX_VOXELS, Grid
from glioscope.space.volumes import VolumeFile, read_grid, read_labels, read_volumes

SEQUENCES = ("t1n", "t1c", "t2w", "t2f")
"""BraTS codes: T1 native, T1 with contrast, T2-weighted, T2-FLAIR. The channel order everywhere."""

MAX_CASE_VOXELS = MAX_VOXELS
"""Voxels of all sequences of a case together: as many as four of 512 x 512 x 256, 1 GiB as float32. `segment` was
measured to need 3.4 GB for nearly as many; a case of BraTS has an eighth."""

_NAMES = {
    "t1n": ("t1n", "t1"),
    "t1c": ("t1c", "t1ce", "t1gd"),
    "t2w": ("t2w", "t2"),
    "t2f": ("t2f", "flair"),
    "seg": ("seg", "segm"),
}
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
_DECATHLON_CHANNELS = {"t2f": 0, "t1n": 1, "t1c": 2, "t2w": 3}
_Grouped = dict[tuple[Path, str], dict[str, list[Path]]]
"""Folder and prefix of a case to its files by role."""
_DECATHLON_FILE = re.compile(r"BRATS_\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One imaging session: where its sequences lie, and its reference if there is one."""

    case_id: str
    subject_id: str
    """Folds are split by subject: two sessions of one person never stand on both sides."""
    sequences: Mapping[str, VolumeFile]
    """By sequence code; the absent ones are absent."""
    reference: VolumeFile | None = None
    scheme: str | None = None
    """Label scheme where the layout tells it (Decathlon), else None: told by the values."""
    known: tuple[str, ...] | None = None
    """Regions that the reference knows, where `dataset.toml` says that it does not know all; else None."""

    def __post_init__(self) -> None:
        if self.case_id in ("", ".", "..") or set(self.case_id) & set("/\\") or printable(self.case_id) != self.case_id:
            raise CaseError(
                f"case id {self.case_id!r} cannot name a folder: it is empty, dots alone, or has a slash, a line break "
                "or another character that cannot be shown; rename the files"
            )
        unknown = sorted(set(self.sequences) - set(SEQUENCES))
        if unknown:
            raise CaseError(f"case {self.case_id}: has sequence {unknown}; known are {', '.join(SEQUENCES)}")
        if not self.sequences:
            raise CaseError(f"case {self.case_id}: has no sequence; give at least one of {', '.join(SEQUENCES)}")
        ordered = {s: self.sequences[s] for s in SEQUENCES if s in self.sequences}
        object.__setattr__(self, "sequences", MappingProxyType(ordered))

    @property
    def missing(self) -> tuple[str, ...]:
        """Sequences that this case lacks."""
        return tuple(s for s in SEQUENCES if s not in self.sequences)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedCase:
    """A case in memory, all sequences on one grid in the storage order of its files."""

    case: Case
    grid: Grid
    images: Mapping[str, NDArray[np.float32]]
    """By sequence code, each (i, j, k)."""
    reference: NDArray[np.uint8] | None = None
    """(i, j, k) label map, or None."""


def subject_of(case_id: str) -> str:
    """Return the subject that a case id belongs to.

    ``BraTS-GLI-01234-100`` is session 100 of subject ``BraTS-GLI-01234``; ``Brats18_2013_11_1`` is session 1 of
    ``2013_11`` — of the same person as ``BraTS19_2013_11_1`` and ``Brats17_2013_11_1``. Other ids are
    their own subject.
    """
    if re.fullmatch(r"BraTS-[A-Za-z]+-\d+-\d+", case_id):
        return case_id.rsplit("-", 1)[0]
    match = re.fullmatch(
        r"(?i:brats)\d\d_((?!training|validation)[A-Za-z0-9]+_[A-Za-z0-9]+)_\d+", case_id, re.IGNORECASE
    )
    return match[1] if match else case_id


def _role(path: Path) -> tuple[str, str] | None:
    """Return (prefix, role) of a file name such as ``BraTS2021_00002_t1ce.nii.gz``, or None."""
    match = re.fullmatch(r"(?:(.*)[-_.])?([A-Za-z0-9]+)", nifti_stem(path))
    if match is None or match[2].lower() not in _ROLE_OF:
        return None
    return match[1] or "", _ROLE_OF[match[2].lower()]


def _nifti_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return all NIfTI files below a folder, sorted, and a line for each folder inside that cannot be read.

    Each real folder is visited once, since links may form loops.
    """
    found: list[Path] = []
    problems: dict[str, str] = {}
    seen: set[Path] = set()
    stack = [folder]
    while stack:
        current = stack.pop()
        try:
            real = current.resolve()
            if real in seen:
                continue
            seen.add(real)
            folders, files = _listed(current)
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
            reason = getattr(error, "strerror", None) or error
            line = f"{current}: cannot be listed ({reason}); check its permissions"
            if current == folder:
                raise CaseError(line) from error
            problems[current.name] = line
            continue
        stack += folders
        found += files
    return sorted(found), problems


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the NIfTI files in a folder, hidden ones left out."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    folders = [entry for entry in entries if entry.is_dir()]
    return folders, [e for e in entries if is_nifti(e) and not e.is_dir()]


def _decathlon_case(path: Path) -> Case:
    stem = nifti_stem(path)
    labels = path.parent.parent / "labelsTr" / path.name
    return Case(
        case_id=stem,
        subject_id=stem,
        sequences={s: VolumeFile(path, c) for s, c in _DECATHLON_CHANNELS.items()},
        reference=VolumeFile(labels) if labels.is_file() else None,
        scheme="msd",
    )


def _case_from(case_id: str, files: Mapping[str, list[Path]]) -> Case:
    doubled = {role: paths for role, paths in files.items() if len(paths) > 1}
    if doubled:
        role, paths = next(iter(doubled.items()))
        names = " and ".join(sorted(p.name for p in paths))
        raise CaseError(f"case {case_id}: has {names} for {role}; one file is needed. Move the other away.")
    for paths in files.values():
        require_file(paths[0])
    single = {role: VolumeFile(paths[0]) for role, paths in files.items()}
    reference = single.pop("seg", None)
    if not single:
        raise CaseError(
            f"case {case_id}: has a segmentation but no sequence; at least one of {', '.join(SEQUENCES)} is needed"
        )
    return Case(case_id=case_id, subject_id=subject_of(case_id), sequences=single, reference=reference)


def case_of_files(files: Mapping[str, Path], *, case_id: str | None = None) -> Case:
    """Return a case of files named one by one.

    Parameters
    ----------
    files : mapping
        Sequence code to file; any of the four.
    case_id : str, optional
        By default what the file names share before the sequence, else the name of their folder.

    Raises
    ------
    CaseError
        A file is absent, a sequence unknown, or none is named.
    """
    for name, path in files.items():
        if not path.is_file():
            raise CaseError(f"{name}: {path}: no such file")
    prefixes = {named[0] if (named := _role(path)) else nifti_stem(path) for path in files.values()}
    shared = prefixes.pop() if len(prefixes) == 1 else ""
    folder = next(iter(files.values())).resolve().parent.name if files else ""
    name = case_id or shared or folder or "case"
    return Case(case_id=name, subject_id=subject_of(name), sequences={s: VolumeFile(p) for s, p in files.items()})


def naming_scheme(case: Case) -> str:
    """Return the label scheme of the year that a case's files are named for.

    Returns
    -------
    str
        `msd` for the Decathlon, `brats2018` for names of 2017 to 2021 (``t1ce``, ``flair``), else `brats2023`.
    """
    if case.scheme is not None:
        return case.scheme
    old = {"t1", "t1ce", "t1gd", "t2", "flair"}
    endings = {re.split(r"[-_.]", nifti_stem(file.path))[-1].lower() for file in case.sequences.values()}
    return "brats2018" if endings & old else "brats2023"


def scan_cases(folder: Path | str) -> tuple[tuple[Case, ...], dict[str, str]]:
    """Walk a folder and return its cases and, by case id, why others cannot be used.

    Parameters
    ----------
    folder : Path
        A case, a data set, or a folder above several; or one Decathlon file. Hidden files are passed over.

    Returns
    -------
    cases : tuple of Case
        Sorted by case id.
    problems : dict
        Case id to one line. No case is ever dropped without a line here.

    Raises
    ------
    CaseError
        The folder does not exist, cannot be listed, or holds no case and no problem; or its `dataset.toml` is wrong.
    """
    folder = Path(folder)
    if folder.is_file() and _DECATHLON_FILE.fullmatch(nifti_stem(folder)):
        return (_decathlon_case(folder),), {}
    if folder.is_file():
        raise CaseError(
            f"{folder}: is one file; name the folder of its case, or each sequence's file with --t1n … --t2f"
        )
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    files, problems = _nifti_files(folder)
    grouped, stray, cases = _sorted_files(files)
    for (parent, prefix), by_role in _merge_odd_segmentations(grouped).items():
        case_id = prefix or parent.name
        try:
            cases.append(_case_from(case_id, by_role))
        except CaseError as error:
            problems[case_id] = str(error)
    problems = _strays(stray, cases) | problems
    doubled = _doubled(cases)
    problems |= doubled
    if not cases and not problems:
        raise CaseError(f"{folder}: holds no case; expected NIfTI files such as <case>/<case>-t1c.nii.gz, or DICOM")
    usable = sorted((c for c in cases if c.case_id not in doubled), key=lambda c: c.case_id)
    return _with_statements(usable, folder), problems


def _with_statements(cases: Sequence[Case], top: Path) -> tuple[Case, ...]:
    """Return the cases with the regions that their references know, where a file beside or above them tells."""
    seen: dict[Path, tuple[str, ...] | None] = {}
    told = (stated(next(iter(case.sequences.values())).path.parent, top, seen) for case in cases)
    return tuple(replace(case, known=known) if known else case for case, known in zip(cases, told, strict=True))


def _merge_odd_segmentations(
    grouped: Mapping[tuple[Path, str], Mapping[str, list[Path]]],
) -> dict[tuple[Path, str], dict[str, list[Path]]]:
    """Give a lone segmentation (BraTS 2020's ``W39_1998.09.19_Segm.nii``) to the one case of its folder."""
    merged = {key: dict(files) for key, files in grouped.items()}
    for parent, prefix in list(merged):
        if set(merged[parent, prefix]) != {"seg"}:
            continue
        hosts = [key for key in merged if key[0] == parent and key[1] != prefix and "seg" not in merged[key]]
        if len(hosts) == 1:
            merged[hosts[0]]["seg"] = merged.pop((parent, prefix))["seg"]
    return merged


def _sorted_files(files: Sequence[Path]) -> tuple[_Grouped, dict[Path, list[Path]], list[Case]]:
    """Return files by case and role, files whose names tell nothing by folder, and the cases of the Decathlon."""
    grouped: _Grouped = defaultdict(lambda: defaultdict(list))
    stray: dict[Path, list[Path]] = defaultdict(list)
    cases = []
    for path in files:
        if _DECATHLON_FILE.fullmatch(nifti_stem(path)):
            if path.parent.name.startswith("images"):
                cases.append(_decathlon_case(path))
        elif (named := _role(path)) is None:
            stray[path.parent].append(path)
        elif named[0].lower().endswith("mask"):  # brainmask_t1c.nii.gz lies beside the scan that it is of
            continue
        else:
            grouped[path.parent, named[0]][named[1]].append(path)
    return grouped, stray, cases


def _strays(stray: Mapping[Path, Sequence[Path]], cases: Sequence[Case]) -> dict[str, str]:
    """Return one line for each folder whose files tell no sequence and that holds no case."""
    homes = {next(iter(case.sequences.values())).path.parent for case in cases}
    return {
        parent.name: f"case {parent.name}: has {stray[parent][0].name}, whose name does not tell its sequence; "
        f"files end in {', '.join(SEQUENCES)} (or t1, t1ce, t2, flair). Rename it or use --t1n … --t2f."
        for parent in sorted(stray.keys() - homes)
    }


def _doubled(cases: Sequence[Case]) -> dict[str, str]:
    """Return one line for each case id that occurs more than once."""
    places: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        places[case.case_id].append(str(next(iter(case.sequences.values())).path.parent))
    return {
        case_id: f"case {case_id}: occurs {len(found)} times ({', '.join(found)}); case ids must differ"
        for case_id, found in places.items()
        if len(found) > 1
    }


def find_cases(folder: Path | str) -> tuple[Case, ...]:
    """Return the cases below a folder, or raise on the first that cannot be used.

    Raises
    ------
    CaseError
        As `scan_cases`, and for any case with a problem.
    """
    cases, problems = scan_cases(folder)
    if problems:
        raise CaseError(next(iter(problems.values())))
    return cases


def load_case(source: Case | Path | str) -> LoadedCase:
    """Read a case into memory and make sure its sequences share one grid.

    Parameters
    ----------
    source : Case or Path
        A `Case`, or the folder of exactly one.

    Raises
    ------
    CaseError
        A file is damaged, or the folder holds no or several cases.
    GeometryError
        The sequences (or the reference) lie on different grids; the message names both. Or they are too large.
    LabelError
        The reference is not a label map.
    """
    case = source if isinstance(source, Case) else _only_case(Path(source))
    names = list(case.sequences)
    grids = {n: read_grid(file) for n, file in case.sequences.items()}  # headers alone: what is wrong shows early
    grid = grids[names[0]]
    for name, other in grids.items():
        _require_same_grid(case, name, other, names[0], grid)
    if len(names) * math.prod(grid.shape) > MAX_CASE_VOXELS:
        raise GeometryError(
            f"case {case.case_id}: has {len(names)} sequences of shape {grid.shape}; at most "
            f"{MAX_CASE_VOXELS // 10**6} million voxels are taken together. Crop them to the head, or write them with "
            "coarser voxels."
        )
    volumes = read_volumes([case.sequences[n] for n in names])
    reference = None
    if case.reference is not None:
        _require_same_grid(case, "reference", read_grid(case.reference), names[0], grid)
        reference = read_labels(case.reference).data
    images = MappingProxyType({n: with_zero_background(v.data) for n, v in zip(names, volumes, strict=True)})
    return LoadedCase(case=case, grid=grid, images=images, reference=reference)


def _only_case(folder: Path) -> Case:
    found = find_cases(folder)
    if len(found) != 1:
        raise CaseError(f"{folder}: holds {len(found)} cases; name the folder of one")
    return found[0]


def _require_same_grid(case: Case, name: str, grid: Grid, other_name: str, other: Grid) -> None:
    if not grid.matches(other):
        raise GeometryError(
            f"case {case.case_id}: {name} has {grid.describe()} but {other_name} has {other.describe()}; "
            "all must share one grid. Run 'glioscope prepare' first."
        )
