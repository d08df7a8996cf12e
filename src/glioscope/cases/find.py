"""Finding cases on disk in every layout. No image is passed over without a word: what is not read is named.

folder ──survey──▶ cases, by case id why others cannot be used, by file why an image is not read
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glioscope.cases.case import SEQUENCES, Case
from glioscope.cases.described import DECATHLON_FILE, described_cases, in_images_folder
from glioscope.cases.known import stated
from glioscope.cases.names import SESSION_FOLDER, Named, named, place_name, subject_of
from glioscope.errors import CaseError
from glioscope.files import is_image, nifti_stem, require_file
from glioscope.space.volumes import VolumeFile

_FOREIGN = {
    ".mgz": "FreeSurfer's format is not read; convert it to .nii.gz",
    ".mgh": "FreeSurfer's format is not read; convert it to .nii.gz",
    ".mnc": "MINC is not read; convert it to .nii.gz",
    ".img": "has no .hdr beside it",
}
"""Images of other kinds, by suffix."""
_ABOUT_A_CASE = re.compile(r"case \S+; \S+(?= is read)")
"""What differs from case to case in a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What lies below a folder."""

    cases: tuple[Case, ...]
    """Sorted by case id."""
    problems: Mapping[str, str]
    """Case id to one line. No case is ever dropped without a line here."""
    unused: Mapping[Path, str]
    """Image to why it is not read, though its case may be."""


@dataclass(slots=True)
class _Group:
    """The files of one case, as they are gathered."""

    prefix: str
    folder: Path
    files: dict[str, list[tuple[Path, tuple[str, ...]]]] = field(default_factory=lambda: defaultdict(list))
    """By role, each with its variant."""


def survey(folder: Path | str) -> Survey:
    """Walk a folder and return what it holds.

    Parameters
    ----------
    folder : Path
        A case, a data set, or a folder above several; or one Decathlon file. Hidden files and results of ``segment``
        are passed over.

    Raises
    ------
    CaseError
        The folder does not exist, cannot be listed, or holds no case and no problem.
    """
    folder = Path(folder)
    if folder.is_file():
        if DECATHLON_FILE.fullmatch(nifti_stem(folder)):
            cases, problems, unused = described_cases([folder])
            return Survey(cases=tuple(cases), problems=problems, unused=unused)
        raise CaseError(
            f"{folder}: is one file; name the folder of its case, or each sequence's file with --t1n … --t2f"
        )
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    files, problems, unused = _images_below(folder)
    inside = [path for path in files if in_images_folder(path)]
    cases, more, left = described_cases(inside)
    references = {case.reference.path for case in cases if case.reference}
    unused |= {
        path: "a label map without images"
        for path in files
        if inside and path.parent.name.startswith("labels") and path not in references
    }
    read = {*inside, *references, *unused}
    groups, stray = _grouped([path for path in files if path not in read], unused)
    unused |= left
    problems |= more
    for group, case_id, subject in _identified(_joined(groups, unused), folder, unused):
        try:
            cases.append(_case_from(group, case_id, subject, unused))
        except CaseError as error:
            problems[case_id] = str(error)
    problems = _strays(stray, cases, unused) | problems
    doubled = _doubled(cases)
    problems |= doubled
    if not cases and not problems:
        raise CaseError(f"{folder}: holds no case; expected NIfTI files such as <case>/<case>-t1c.nii.gz, or DICOM")
    kept = _with_statements(sorted((c for c in cases if c.case_id not in doubled), key=lambda c: c.case_id), folder)
    return Survey(cases=kept, problems=problems, unused=dict(sorted(unused.items())))


def scan_cases(folder: Path | str) -> tuple[tuple[Case, ...], dict[str, str]]:
    """Return the cases below a folder, and by case id why others cannot be used; as `survey`, without single images."""
    found = survey(folder)
    return found.cases, dict(found.problems)


def find_cases(folder: Path | str) -> tuple[Case, ...]:
    """Return the cases below a folder, or raise on the first that cannot be used.

    Raises
    ------
    CaseError
        As `survey`, and for any case with a problem.
    """
    cases, problems = scan_cases(folder)
    if problems:
        raise CaseError(next(iter(problems.values())))
    return cases


# Files

_RESULT = "a result of 'glioscope segment', not a scan"
_RESULT_FOLDERS = ("native", "prepared", "dicom")
"""What `segment` makes below the folder of a case."""


def _images_below(folder: Path) -> tuple[list[Path], dict[str, str], dict[Path, str]]:
    """Return all images below a folder, sorted; a line for each folder that cannot be read; images not to be read.

    Each real folder is visited once, since links may form loops.
    """
    found: list[Path] = []
    problems: dict[str, str] = {}
    unused: dict[Path, str] = {}
    seen: set[Path] = set()
    stack = [folder]
    while stack:
        current = stack.pop()
        try:
            real = current.resolve()
            if real in seen:
                continue
            seen.add(real)
            entries = [entry for entry in sorted(current.iterdir()) if not entry.name.startswith(".")]
            folders = [entry for entry in entries if entry.is_dir()]
            names = {entry.name.lower() for entry in entries}
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
            reason = getattr(error, "strerror", None) or error
            line = f"{current}: cannot be listed ({reason}); check its permissions"
            if current == folder:
                raise CaseError(line) from error
            problems[current.name] = line
            continue
        images = [entry for entry in entries if is_image(entry) and not entry.is_dir()]
        if current != folder and _is_result(current, names):
            written = _written(current)
            unused |= {entry: _RESULT for entry in images if entry.name in written}
            images = [entry for entry in images if entry.name not in written]  # results may lie beside their scans
            folders = [entry for entry in folders if entry.name not in _RESULT_FOLDERS]
            if not images:
                unused[current] = _RESULT
                continue
        stack += folders
        unused |= {e: f"a pair lacks its {e.stem}.img" for e in images if _half_a_pair(e, names)}
        found += [entry for entry in images if entry not in unused]
        unused |= {e: _FOREIGN[e.suffix.lower()] for e in entries if _is_foreign(e, names)}
    return sorted(found), problems, unused


def _half_a_pair(path: Path, names: set[str]) -> bool:
    stem = path.name[:-4].lower()
    return path.suffix.lower() == ".hdr" and not {f"{stem}.img", f"{stem}.img.gz"} & names


def _is_foreign(path: Path, names: set[str]) -> bool:
    suffix = path.suffix.lower()
    return (
        suffix in _FOREIGN and not path.is_dir() and not (suffix == ".img" and f"{path.name[:-4].lower()}.hdr" in names)
    )


def _is_result(folder: Path, names: set[str]) -> bool:
    """Return whether a folder is what `segment` wrote for a case, or its derivative of BIDS."""
    if {"summary.json", "segmentation.nii.gz"} <= names:
        return True
    if "dataset_description.json" not in names:
        return False
    try:
        made = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8")).get("GeneratedBy", [])
        return any(str(maker.get("Name", "")).lower() == "glioscope" for maker in made)
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _written(folder: Path) -> set[str]:
    """Return the names of what `segment` wrote into a folder, by its own record; of all files if that is damaged."""
    try:
        outputs = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["outputs"]
        return {str(name) for name in outputs}
    except (OSError, ValueError, KeyError, TypeError):
        return {entry.name for entry in folder.iterdir()}


# Groups


def _grouped(files: Sequence[Path], unused: dict[Path, str]) -> tuple[list[_Group], dict[Path, list[Path]]]:
    """Return files by case and role, and those whose names tell nothing by folder; note those that are no scans."""
    groups: dict[tuple[Path, str], _Group] = {}
    stray: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        told = named(path)
        if told is None:
            stray[path.parent].append(path)
        elif told is not None and not told.role:
            unused[path] = told.reason
        elif told is not None:
            group = groups.setdefault((path.parent, told.prefix), _Group(told.prefix, path.parent))
            group.files[told.role].append((path, _variant(path, told)))
    return list(groups.values()), stray


def _variant(path: Path, told: Named) -> tuple[str, ...]:
    return (*(("derivatives",) if "derivatives" in path.parts else ()), *told.variant)


def _joined(groups: Sequence[_Group], unused: dict[Path, str]) -> list[_Group]:
    """Return groups of whole cases.

    A reference in a folder of its own goes to the case of its prefix (UPENN-GBM); one of another prefix to the only
    case of its folder (``W39_1998.09.19_Segm.nii`` of BraTS 2020); parts of one BIDS session, and copies that differ in
    their variant alone, come together. Plain names below the folder of a case are copies made of it (LUMIERE).
    """
    whole = [group for group in groups if set(group.files) != {"seg"}]
    by_prefix: dict[str, list[_Group]] = defaultdict(list)
    for group in whole:
        if group.prefix:
            by_prefix[group.prefix].append(group)
    for same in by_prefix.values():
        for other in same[1:]:
            if _apart(same[0], other):
                for role, files in other.files.items():
                    same[0].files[role] += files
                whole.remove(other)
    for group in [group for group in groups if set(group.files) == {"seg"}]:
        hosts = [g for g in whole if group.prefix and g.prefix == group.prefix]
        hosts = hosts or [g for g in whole if g.folder == group.folder and "seg" not in g.files]
        if len(hosts) == 1:
            hosts[0].files["seg"] += group.files["seg"]
        else:
            whole.append(group)
    return _without_copies(whole, unused)


def _without_copies(whole: list[_Group], unused: dict[Path, str]) -> list[_Group]:
    homes = {group.folder for group in whole}
    for group in [g for g in whole if not g.prefix and homes & set(g.folder.parents)]:
        above = next(folder for folder in group.folder.parents if folder in homes)
        for files in group.files.values():
            unused.update({path: f"lies below {above.name}, whose own scans are read" for path, _ in files})
        whole.remove(group)
    return whole


def _apart(a: _Group, b: _Group) -> bool:
    """Return whether two groups of one prefix can be one case: no role has the same variant in both."""
    taken = {(role, variant) for role, files in a.files.items() for _, variant in files}
    return not any((role, variant) in taken for role, files in b.files.items() for _, variant in files)


def _identified(groups: Sequence[_Group], root: Path, unused: Mapping[Path, str]) -> list[tuple[_Group, str, str]]:
    """Return each group with its case id and subject; visits in folders of their own are told apart by them."""
    found = []
    for group in groups:
        if group.prefix:
            found.append((group, group.prefix, subject_of(group.prefix)))
        else:
            found.append((group, *place_name(group.folder, root)))
    for levels in (1, 2, 3):
        ids = defaultdict(list)
        for n, (_, case_id, _) in enumerate(found):
            ids[case_id].append(n)
        for numbers in (numbers for numbers in ids.values() if len(numbers) > 1):
            members = [found[n][0] for n in numbers]
            if not any(group.prefix for group in members):
                for n in numbers:
                    found[n] = (found[n][0], *place_name(found[n][0].folder, root, levels=levels))
            elif all(SESSION_FOLDER.fullmatch(group.folder.name) for group in members):
                for n in numbers:
                    group, case_id, subject = found[n]
                    found[n] = (group, f"{case_id}_{group.folder.name}", subject)
    return found


def _case_from(group: _Group, case_id: str, subject: str, unused: dict[Path, str]) -> Case:
    usual = _usual_variant(group)
    single: dict[str, VolumeFile] = {}
    for role, files in group.files.items():
        path = _plainest(case_id, role, files, usual)
        others = {other: f"also {role} of case {case_id}; {path.name} is read" for other, _ in files if other != path}
        unused.update(others)
        require_file(path)
        single[role] = VolumeFile(path)
    reference = single.pop("seg", None)
    if not single:
        raise CaseError(
            f"case {case_id}: has a segmentation but no sequence; at least one of {', '.join(SEQUENCES)} is needed"
        )
    return Case(case_id=case_id, subject_id=subject, sequences=single, reference=reference)


_REPEATS = ("run-", "acq-", "rec-", "echo-")


def _usual_variant(group: _Group) -> tuple[str, ...]:
    """Return the variant that most sequences of a case have, the plainer of two: one processing for all is best."""
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for role, files in group.files.items():
        for variant in {_processing(variant) for _, variant in files}:
            counts[variant] += role != "seg"
    return min(counts, key=lambda variant: (-counts[variant], len(variant), variant))


def _processing(variant: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in variant if not word.startswith(_REPEATS))


def _plainest(case_id: str, role: str, files: Sequence[tuple[Path, tuple[str, ...]]], usual: tuple[str, ...]) -> Path:
    """Return the file to read of those for one role, or raise where two are alike."""

    def worth(entry: tuple[Path, tuple[str, ...]]) -> tuple[bool, int, bool, str]:
        _, variant = entry
        repeats = [word for word in variant if word.startswith(_REPEATS)]
        runs = "".join(chr(0x10FFFF - ord(c)) for word in repeats if word.startswith("run-") for c in word[4:].zfill(4))
        return _processing(variant) != usual, len(variant), not runs, runs + " ".join(variant)

    ordered = sorted(files, key=worth)
    alike = [path for path, variant in ordered if variant == ordered[0][1]]
    if len(alike) > 1:
        names = " and ".join(sorted(path.name for path in alike))
        raise CaseError(f"case {case_id}: has {names} for {role}; one file is needed. Move the other away.")
    return ordered[0][0]


# What is left


def _with_statements(cases: Sequence[Case], top: Path) -> tuple[Case, ...]:
    """Return the cases with the regions that their references know, where a file beside or above them tells."""
    seen: dict[Path, tuple[str, ...] | None] = {}
    told = (stated(next(iter(case.sequences.values())).path.parent, top, seen) for case in cases)
    return tuple(replace(case, known=known) if known else case for case, known in zip(cases, told, strict=True))


def _strays(stray: Mapping[Path, Sequence[Path]], cases: Sequence[Case], unused: dict[Path, str]) -> dict[str, str]:
    """Return one line for each folder whose files tell no sequence; beside or below a case they are noted alone."""
    homes = {file.path.parent for case in cases for file in case.sequences.values()}
    problems = {}
    for folder, paths in sorted(stray.items()):
        if folder in homes or homes & set(folder.parents):
            unused.update(dict.fromkeys(paths, "its name does not tell a sequence"))
            continue
        problems[folder.name] = (
            f"case {folder.name}: has {paths[0].name}, whose name does not tell its sequence; "
            f"files end in {', '.join(SEQUENCES)} (or t1, t1ce, t2, flair). Rename it or use --t1n … --t2f."
        )
    return problems


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


def unused_in_words(unused: Mapping[Any, str]) -> tuple[str, ...]:
    """Return a line for each reason why images are not read: how many, the reason, and which they are.

    >>> unused_in_words({"a_dwi.nii": "DWI, none of the four sequences"})
    ('1 image: DWI, none of the four sequences: a_dwi.nii',)
    """
    reasons: dict[str, list[str]] = defaultdict(list)
    for path, reason in unused.items():
        about = _ABOUT_A_CASE.sub("another", reason)
        reasons[about].append(path.name if isinstance(path, Path) else str(path))
    lines = []
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{len(names)} image{'s' if len(names) > 1 else ''}: {reason}: {', '.join(names[:3])}{more}")
    return tuple(lines)


def case_of_files(files: Mapping[str, Path], *, case_id: str | None = None) -> Case:
    """Return a case of files named one by one.

    Parameters
    ----------
    files : mapping
        Sequence code to file; any of the four.
    case_id : str, optional
        By default what the file names share before the sequence, else the name of their folder. Links are not followed
        for it: the stores of git-annex name files by their checksum.

    Raises
    ------
    CaseError
        A file is absent, a sequence unknown, or none is named.
    """
    for name, path in files.items():
        if not path.is_file():
            if path.is_symlink():
                require_file(path)
            raise CaseError(f"{name}: {path}: no such file")
    prefixes = {told.prefix if (told := named(path)) else nifti_stem(path) for path in files.values()}
    shared = prefixes.pop() if len(prefixes) == 1 else ""
    folder = Path(os.path.abspath(next(iter(files.values())))).parent.name if files else ""  # noqa: PTH100 (no links)
    name = case_id or shared or folder or "case"
    return Case(case_id=name, subject_id=subject_of(name), sequences={s: VolumeFile(p) for s, p in files.items()})
