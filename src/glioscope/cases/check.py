"""What is in a data set and what is wrong with it: its fingerprint.

folder ──check_dataset──▶ Fingerprint: a record per case, what cannot be read, what occurs twice
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from glioscope.cases.case import SEQUENCES, Case
from glioscope.cases.examine import CaseRecord, Examined, examine, in_scheme
from glioscope.cases.find import survey
from glioscope.cases.heads import nearly_same
from glioscope.cases.schemes import decided
from glioscope.cases.subjects import with_subjects
from glioscope.files import csv_text
from glioscope.labels import scheme_named
from glioscope.machine.progress import OnProgress, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What is in a data set."""

    records: tuple[CaseRecord, ...]
    unusable: Mapping[str, str]
    """Case id to one line, for what `scan_cases` could not make a case of."""
    same_subject: Mapping[str, tuple[str, ...]]
    """Subject to its cases, where it has several: folds keep them together."""
    same_images: tuple[tuple[str, ...], ...]
    """Groups of cases that share the voxels of a sequence: the same scan under two names."""

    same_heads: tuple[tuple[str, str], ...] = ()
    """Pairs of cases of two subjects that show nearly the same head: visits of one person, or one scan packed anew."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Image, below the folder, to why it is not read."""
    questions: tuple[str, ...] = ()
    """What must be answered with a scheme before the references can be used."""

    @property
    def sound(self) -> bool:
        """Whether nothing at all is wrong."""
        wrong = (self.unusable, self.same_images, self.same_heads, self.questions)
        return not any(wrong) and not any(record.problems for record in self.records)

    def summary(self) -> dict[str, object]:
        """Return the data set in numbers, ready for JSON."""
        volumes = [r.wt_ml for r in self.records if r.wt_ml is not None]
        labels: Counter[int] = Counter()
        for record in self.records:
            labels.update(record.labels)
        return {
            "cases": len(self.records),
            "subjects": len({r.subject_id for r in self.records}),
            "unusable": len(self.unusable),
            "with_reference": sum(bool(r.labels) for r in self.records),
            "reference_knows": _tally(" ".join(r.known) or "all" for r in self.records if r.labels),
            "sequences": {s: sum(s in r.sequences for r in self.records) for s in SEQUENCES},
            "shapes": _tally("×".join(map(str, r.shape)) for r in self.records if r.shape),
            "spacing_mm": _tally(" ".join(f"{s:g}" for s in r.spacing_mm) for r in self.records if r.spacing_mm),
            "orientations": _tally(r.orientation for r in self.records if r.orientation),
            "schemes": _tally(r.scheme or "open" for r in self.records if r.labels),
            "unused_images": len(self.unused),
            "label_voxels": {str(value): n for value, n in sorted(labels.items())},
            "wt_ml": dict(
                zip(("min", "median", "max"), np.quantile(volumes, (0, 0.5, 1)).round(3).tolist(), strict=True)
            )
            if volumes
            else None,
            "cavities": sum(r.volumes_ml.get("RC", 0) > 0 for r in self.records),
        }

    def as_dict(self) -> dict[str, object]:
        """Return everything, ready for JSON."""
        return {
            "summary": self.summary(),
            "unusable": dict(self.unusable),
            "same_subject": {s: list(c) for s, c in self.same_subject.items()},
            "unused": dict(self.unused),
            "questions": list(self.questions),
            "same_heads": [list(pair) for pair in self.same_heads],
            "same_images": [list(group) for group in self.same_images],
            "cases": [asdict(record) for record in self.records],
        }

    def as_csv(self) -> str:
        """Return a table with a row per case, the unusable ones too."""
        rows = [_row(record) for record in self.records]
        rows += [{"case_id": case_id, "problems": line} for case_id, line in self.unusable.items()]
        columns = (
            "case_id",
            "subject_id",
            "sequences",
            "shape",
            "spacing_mm",
            "orientation",
            "labels",
            "known",
            "wt_ml",
            "problems",
        )
        return csv_text(columns, ([row.get(column, "") for column in columns] for row in rows))


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _row(record: CaseRecord) -> dict[str, str]:
    return {
        "case_id": record.case_id,
        "subject_id": record.subject_id,
        "sequences": " ".join(record.sequences),
        "shape": "×".join(map(str, record.shape)),
        "spacing_mm": " ".join(f"{s:g}" for s in record.spacing_mm),
        "orientation": record.orientation,
        "labels": " ".join(str(value) for value in record.labels),
        "known": " ".join(record.known),
        "wt_ml": "" if record.wt_ml is None else f"{record.wt_ml:.3f}",
        "problems": "; ".join(record.problems),
    }


def check_dataset(
    folder: Path,
    *,
    scheme: str | None = None,
    subjects: Path | None = None,
    progress: OnProgress = silent,
) -> Fingerprint:
    """Read every case below a folder and say what is there and what is wrong.

    Parameters
    ----------
    folder : Path
        As for `survey`.
    scheme : str, optional
        Label scheme of the references; by default told by names and by the values in all of them.
    subjects : Path, optional
        A table of subjects, as `with_subjects` reads it.
    progress : callable
        Told cases read, cases in all, and the case id.

    Raises
    ------
    CaseError
        The folder does not exist, or holds no case and no problem; or the table is none.
    LabelError
        The scheme named is not known.
    """
    there = survey(folder)
    cases = with_subjects(there.cases, subjects)
    examined: list[Examined] = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(cases) or 1)) as pool:  # unpacking lets go of the lock
        for found in pool.map(examine, cases):
            examined.append(found)
            progress(len(examined), len(cases), found.case.case_id)
    values = {found.case.case_id: [*found.record.labels] for found in examined if found.record.labels}
    told, questions = decided([found.case for found in examined], values, scheme=scheme)
    records = [_told(found, case, questions) for found, case in zip(examined, told, strict=True)]
    by_subject: dict[str, list[str]] = defaultdict(list)
    for record in records:
        by_subject[record.subject_id].append(record.case_id)
    same = _sharing_images(records)
    return Fingerprint(
        records=tuple(records),
        unusable=there.problems,
        unused={str(path.relative_to(folder) if folder.is_dir() else path): why for path, why in there.unused.items()},
        questions=tuple(dict.fromkeys(questions.values())),
        same_subject={subject: tuple(ids) for subject, ids in by_subject.items() if len(ids) > 1},
        same_images=same,
        same_heads=_other_same_heads(examined, same),
    )


def _told(found: Examined, case: Case, questions: Mapping[str, str]) -> CaseRecord:
    if not found.record.labels:
        return found.record
    if case.case_id in questions:
        return replace(found.record, problems=(*found.record.problems, questions[case.case_id]))
    assert case.scheme is not None
    return in_scheme(found, scheme_named(case.scheme))


def _other_same_heads(examined: Sequence[Examined], same: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Return pairs of cases of two subjects with nearly one head, those that share images left out."""
    pairs = nearly_same(
        {one.case.case_id: one.heads for one in examined}, {one.case.case_id: one.case.subject_id for one in examined}
    )
    return tuple(pair for pair in pairs if not any(set(pair) <= set(group) for group in same))


def _sharing_images(records: Sequence[CaseRecord]) -> tuple[tuple[str, ...], ...]:
    """Return groups of case ids joined by a common image, each group sorted."""
    holders: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for digest in record.digests.values():
            holders[digest].add(record.case_id)
    groups: list[set[str]] = []
    for ids in holders.values():
        touching = [group for group in groups if group & ids]
        groups = [group for group in groups if not group & ids] + [set().union(ids, *touching)]
    return tuple(sorted(tuple(sorted(group)) for group in groups if len(group) > 1))
