"""Cases: one imaging session of one subject, found on disk in any layout that BraTS ever used.

Layouts read (design: whoever has the data should not have to rename it):

- BraTS 2017–2020: ``<case>/<case>_{t1,t1ce,t2,flair,seg}.nii[.gz]``; case 355 of 2020 with ``W39_1998.09.19_Segm.nii``
- BraTS 2021: the same names
- BraTS 2023–2025: ``<case>/<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz``; ``BraTS-GLI-01234-100`` is subject 01234
- plain names: ``<case>/{t1n,t1c,t2w,t2f,seg}.nii.gz`` and ``<case>/{t1,t1ce,t2,flair,seg}.nii.gz``
- Medical Segmentation Decathlon: ``imagesTr/BRATS_001.nii.gz``, 4-D, FLAIR/T1w/T1gd/T2w, ``labelsTr``

"Sequence" is what BraTS calls a modality.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError, ConfigError, GeometryError
from glioscope.geometry import Grid
from glioscope.volumes import VolumeFile, read_grid, read_labels, read_volumes

SEQUENCES = ("t1n", "t1c", "t2w", "t2f")
"""BraTS codes: T1 native, T1 with contrast, T2-weighted, T2-FLAIR. The channel order everywhere."""

_NAMES = {
    "t1n": ("t1n", "t1"),
    "t1c": ("t1c", "t1ce", "t1gd"),
    "t2w": ("t2w", "t2"),
    "t2f": ("t2f", "flair"),
    "seg": ("seg", "segm"),
}
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
_DECATHLON_CHANNELS = {"t2f": 0, "t1n": 1, "t1c": 2, "t2w": 3}
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

    def __post_init__(self) -> None:
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
    ``2013_11`` — of the same person as ``BraTS19_2013_11_1`` and ``Brats17_2013_11_1``. Other ids are their own subject.
    """
    if re.fullmatch(r"BraTS-[A-Za-z]+-\d+-\d+", case_id):
        return case_id.rsplit("-", 1)[0]
    match = re.fullmatch(r"(?i:brats)\d\d_((?!training|validation)[A-Za-z0-9]+_[A-Za-z0-9]+)_\d+", case_id, re.IGNORECASE)
    return match[1] if match else case_id


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _role(path: Path) -> tuple[str, str] | None:
    """Return (prefix, role) of a file name such as ``BraTS2021_00002_t1ce.nii.gz``, or None."""
    match = re.fullmatch(r"(?:(.*)[-_.])?([A-Za-z0-9]+)", _stem(path))
    if match is None or match[2].lower() not in _ROLE_OF:
        return None
    return match[1] or "", _ROLE_OF[match[2].lower()]


def _nifti_files(folder: Path) -> list[Path]:
    """Return all NIfTI files below a folder, sorted, each real folder visited once (links may form loops)."""
    found: list[Path] = []
    seen: set[Path] = set()
    stack = [folder]
    while stack:
        current = stack.pop()
        real = current.resolve()
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(current.iterdir())
        except OSError as error:
            raise CaseError(f"{current}: cannot be listed ({error.strerror}); check its permissions") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                stack.append(entry)
            elif entry.name.lower().endswith((".nii", ".nii.gz")):
                found.append(entry)
    return sorted(found)


def _decathlon_case(path: Path) -> Case:
    stem = _stem(path)
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
    single = {role: VolumeFile(paths[0]) for role, paths in files.items()}
    reference = single.pop("seg", None)
    if not single:
        raise CaseError(f"case {case_id}: has a segmentation but no sequence; at least one of {', '.join(SEQUENCES)} is needed")
    return Case(case_id=case_id, subject_id=subject_of(case_id), sequences=single, reference=reference)


def scan_cases(folder: Path) -> tuple[tuple[Case, ...], dict[str, str]]:
    """Walk a folder and return its cases and, by case id, why others cannot be used.

    Parameters
    ----------
    folder : Path
        A case, a data set, or a folder above several. Hidden files are passed over.

    Returns
    -------
    cases : tuple of Case
        Sorted by case id.
    problems : dict
        Case id to one line. No case is ever dropped without a line here.

    Raises
    ------
    CaseError
        The folder does not exist, cannot be listed, or holds no case and no problem.
    """
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    grouped: dict[tuple[Path, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    stray: dict[Path, list[Path]] = defaultdict(list)
    cases: list[Case] = []
    for path in _nifti_files(folder):
        if _DECATHLON_FILE.fullmatch(_stem(path)):
            if path.parent.name.startswith("images"):
                cases.append(_decathlon_case(path))
            continue
        named = _role(path)
        if named is None:
            stray[path.parent].append(path)
        else:
            grouped[path.parent, named[0]][named[1]].append(path)
    problems: dict[str, str] = {}
    for (parent, prefix), files in _merge_odd_segmentations(grouped).items():
        case_id = prefix or parent.name
        try:
            cases.append(_case_from(case_id, files))
        except CaseError as error:
            problems[case_id] = str(error)
    for parent, paths in stray.items():
        if not any(c for c in cases if next(iter(c.sequences.values())).path.parent == parent):
            problems.setdefault(
                parent.name,
                f"case {parent.name}: has {paths[0].name}, whose name does not tell its sequence; "
                f"files end in {', '.join(SEQUENCES)} (or t1, t1ce, t2, flair). Rename it or use --t1n … --t2f.",
            )
    for case_id in _doubled(c.case_id for c in cases):
        places = [str(next(iter(c.sequences.values())).path.parent) for c in cases if c.case_id == case_id]
        problems[case_id] = f"case {case_id}: occurs {len(places)} times ({', '.join(places)}); case ids must differ"
        cases = [c for c in cases if c.case_id != case_id]
    if not cases and not problems:
        raise CaseError(f"{folder}: holds no case; expected NIfTI files such as <case>/<case>-t1c.nii.gz")
    return tuple(sorted(cases, key=lambda c: c.case_id)), problems


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


def _doubled(names: Iterable[str]) -> list[str]:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    return [name for name, n in counts.items() if n > 1]


def find_cases(folder: Path) -> tuple[Case, ...]:
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


def load_case(source: Case | Path) -> LoadedCase:
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
        The sequences (or the reference) lie on different grids; the message names both.
    LabelError
        The reference is not a label map.
    """
    if isinstance(source, Path):
        found = find_cases(source)
        if len(found) != 1:
            raise CaseError(f"{source}: holds {len(found)} cases; name the folder of one")
        case = found[0]
    else:
        case = source
    names = list(case.sequences)
    volumes = read_volumes([case.sequences[n] for n in names])
    grid = volumes[0].grid
    for name, volume in zip(names, volumes, strict=True):
        _require_same_grid(case, name, volume.grid, names[0], grid)
    reference = None
    if case.reference is not None:
        labels = read_labels(case.reference)
        _require_same_grid(case, "reference", labels.grid, names[0], grid)
        reference = labels.data
    images = MappingProxyType({n: v.data for n, v in zip(names, volumes, strict=True)})
    return LoadedCase(case=case, grid=grid, images=images, reference=reference)


def _require_same_grid(case: Case, name: str, grid: Grid, other_name: str, other: Grid) -> None:
    if not grid.matches(other, tolerance_mm=0.1):
        raise GeometryError(
            f"case {case.case_id}: {name} has {grid.describe()} but {other_name} has {other.describe()}; all must share "
            "one grid. Run 'glioscope prepare' first."
        )


@dataclass(frozen=True, slots=True)
class Fold:
    """Case ids of one split, disjoint by subject."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def make_folds(
    cases: Sequence[Case], *, count: int, seed: int, volumes_ml: Mapping[str, float] | None = None
) -> tuple[Fold, ...]:
    """Split cases into folds by subject, each fold with the same spread of tumour volumes.

    Subjects are ordered by volume, cut into groups of `count`, and each group dealt at random over the folds, so that
    no fold gets all the small tumours.

    Parameters
    ----------
    count : int
        Number of folds, 2 up to the number of subjects.
    seed : int
        Same seed, same folds.
    volumes_ml : mapping, optional
        Case id to whole-tumour volume, to stratify by; without it subjects are dealt at random.

    Raises
    ------
    ConfigError
        There are fewer subjects than folds, or `count` is below 2.
    """
    by_subject: dict[str, list[str]] = defaultdict(list)
    for case in sorted(cases, key=lambda c: c.case_id):
        by_subject[case.subject_id].append(case.case_id)
    subjects = sorted(by_subject)
    if not 2 <= count <= len(subjects):
        raise ConfigError(f"{count} folds asked of {len(subjects)} subjects; choose 2 to {len(subjects)}")
    rng = np.random.default_rng(seed)
    order = [subjects[i] for i in rng.permutation(len(subjects))]
    if volumes_ml is not None:
        order.sort(key=lambda s: max(volumes_ml.get(c, 0.0) for c in by_subject[s]))
    member: dict[str, int] = {}
    for start in range(0, len(order), count):
        group = order[start : start + count]
        for subject, fold in zip(group, rng.permutation(count), strict=False):
            member[subject] = int(fold)
    folds = []
    for fold in range(count):
        held = {s for s in subjects if member[s] == fold}
        validation = tuple(sorted(c for s in held for c in by_subject[s]))
        train = tuple(sorted(c for s in subjects if s not in held for c in by_subject[s]))
        folds.append(Fold(train, validation))
    return tuple(folds)


def make_split(
    cases: Sequence[Case],
    *,
    validation: float,
    test: float,
    seed: int,
    volumes_ml: Mapping[str, float] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Split cases by subject into train, validation and test, in about the shares asked for.

    Parameters
    ----------
    validation, test : float
        Shares of the subjects, each in [0, 1), together below 1. The smallest share that is not 0 gets at least one.

    Returns
    -------
    dict
        Keys ``train``, ``validation``, ``test``; case ids, sorted.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigError(f"shares validation={validation} and test={test} must be at least 0 and together below 1")
    subjects = sorted({c.subject_id for c in cases})
    rng = np.random.default_rng(seed)
    order = [subjects[i] for i in rng.permutation(len(subjects))]
    if volumes_ml is not None:
        largest = {s: max(volumes_ml.get(c.case_id, 0.0) for c in cases if c.subject_id == s) for s in subjects}
        order.sort(key=largest.__getitem__)
    wanted = {"validation": validation, "test": test, "train": 1 - validation - test}
    given = dict.fromkeys(wanted, 0)
    member = {}
    for n, subject in enumerate(order, start=1):  # always serve the part furthest behind its share
        part = max(wanted, key=lambda p: wanted[p] * n - given[p])
        given[part] += 1
        member[subject] = part
    return {
        part: tuple(sorted(c.case_id for c in cases if member[c.subject_id] == part))
        for part in ("train", "validation", "test")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """What `check` found in one case: one row of the fingerprint table."""

    case_id: str
    subject_id: str
    sequences: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    orientation: str
    intensity: Mapping[str, tuple[float, float, float]]
    """Sequence to (minimum, mean inside the brain, maximum)."""
    labels: Mapping[int, int]
    """Label value to voxel count; empty without a reference."""
    wt_ml: float | None
    problems: tuple[str, ...]
    """What is wrong, one line each; empty when all is well."""


def check_case(case: Case) -> CaseRecord:
    """Read one case and say what is in it and what is wrong with it; never raises for bad data."""
    problems: list[str] = []
    if case.missing:
        problems.append(f"lacks {', '.join(case.missing)}")
    grid: Grid | None = None
    try:
        grid = read_grid(next(iter(case.sequences.values())))
        loaded = load_case(case)
    except (CaseError, GeometryError, ValueError) as error:
        return _record(case, grid, problems=(*problems, str(error)))
    intensity: dict[str, tuple[float, float, float]] = {}
    for name, image in loaded.images.items():
        finite = np.isfinite(image)
        if not finite.all():
            problems.append(f"{name} holds {int((~finite).sum())} voxels that are NaN or infinite")
        values = image[finite]
        if values.size == 0 or values.min() == values.max():
            problems.append(f"{name} is constant")
            continue
        inside = values[values != 0]
        intensity[name] = (float(values.min()), float(inside.mean(dtype=np.float64)), float(values.max()))
    labels: dict[int, int] = {}
    wt_ml = None
    if loaded.reference is not None:
        values, counts = np.unique(loaded.reference, return_counts=True)
        labels = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
        wt_ml = sum(n for v, n in labels.items() if v) * loaded.grid.voxel_volume_ml
        if max(labels) > 4:
            problems.append(f"has label values {sorted(labels)}; BraTS maps hold 0 to 4")
        if set(labels) == {0}:
            problems.append("reference is empty")
    return _record(case, loaded.grid, intensity=intensity, labels=labels, wt_ml=wt_ml, problems=tuple(problems))


def _record(case: Case, grid: Grid | None, **found: Any) -> CaseRecord:
    return CaseRecord(
        case_id=case.case_id,
        subject_id=case.subject_id,
        sequences=tuple(case.sequences),
        shape=grid.shape if grid else (),
        spacing_mm=tuple(round(s, 4) for s in grid.spacing_mm) if grid else (),
        orientation=grid.orientation if grid else "",
        **({"intensity": {}, "labels": {}, "wt_ml": None} | found),
    )
