"""What is in a data set and what is wrong with it: its fingerprint.

folder ──check_dataset──▶ Fingerprint: a record per case, what cannot be read, what occurs twice
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases.find import SEQUENCES, Case, load_case, scan_cases
from glioscope.errors import CaseError, GeometryError, LabelError
from glioscope.files import csv_text
from glioscope.labels import detect_scheme, scheme_named
from glioscope.machine.progress import OnProgress, silent
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_grid


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
    digests: Mapping[str, str]
    """Sequence to the SHA-256 of its voxels, however the file is packed."""
    labels: Mapping[int, int]
    """Label value to voxel count; empty without a reference."""
    wt_ml: float | None
    known: tuple[str, ...]
    """Regions that the reference knows, where `dataset.toml` says that it does not know all; else empty."""
    problems: tuple[str, ...]
    """What is wrong, one line each; empty when all is well."""


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

    @property
    def sound(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.unusable or self.same_images or any(record.problems for record in self.records))

    def summary(self) -> dict[str, Any]:
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
            "label_voxels": {str(value): n for value, n in sorted(labels.items())},
            "wt_ml": dict(
                zip(("min", "median", "max"), np.quantile(volumes, (0, 0.5, 1)).round(3).tolist(), strict=True)
            )
            if volumes
            else None,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "summary": self.summary(),
            "unusable": dict(self.unusable),
            "same_subject": {s: list(c) for s, c in self.same_subject.items()},
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


def _row(record: CaseRecord) -> dict[str, Any]:
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


def check_dataset(folder: Path, *, progress: OnProgress = silent) -> Fingerprint:
    """Read every case below a folder and say what is there and what is wrong.

    Parameters
    ----------
    folder : Path
        As for `scan_cases`.
    progress : callable
        Told cases read, cases in all, and the case id.

    Raises
    ------
    CaseError
        The folder does not exist, or holds no case and no problem.
    """
    cases, unusable = scan_cases(folder)
    records = []
    for case in cases:
        records.append(check_case(case))
        progress(len(records), len(cases), case.case_id)
    subjects: dict[str, list[str]] = defaultdict(list)
    for record in records:
        subjects[record.subject_id].append(record.case_id)
    return Fingerprint(
        records=tuple(records),
        unusable=unusable,
        same_subject={subject: tuple(ids) for subject, ids in subjects.items() if len(ids) > 1},
        same_images=_sharing_images(records),
    )


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


def check_case(case: Case) -> CaseRecord:
    """Read one case and say what is in it and what is wrong with it; never raises for bad data."""
    problems = [f"lacks {', '.join(case.missing)}"] if case.missing else []
    grid: Grid | None = None
    try:
        grid = read_grid(next(iter(case.sequences.values())))
        loaded = load_case(case)
    except (CaseError, GeometryError, LabelError) as error:
        return _record(case, grid, problems=(*problems, str(error)))
    intensity, digests = {}, {}
    for name, image in loaded.images.items():
        range_of, wrong = _check_image(name, image)
        problems += wrong
        if range_of is not None:
            intensity[name] = range_of
            digests[name] = hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    for digest, count in Counter(digests.values()).items():
        if count > 1:
            problems.append(f"{' and '.join(n for n, d in digests.items() if d == digest)} are the same image")
    labels, wt_ml, wrong = _check_reference(case, loaded.reference, loaded.grid)
    found = {"intensity": intensity, "digests": digests, "labels": labels, "wt_ml": wt_ml}
    return _record(case, loaded.grid, **found, problems=(*problems, *wrong))


def _check_image(name: str, image: NDArray[np.float32]) -> tuple[tuple[float, float, float] | None, list[str]]:
    """Return (minimum, mean inside the brain, maximum), None for a constant image, and what is wrong."""
    finite = np.isfinite(image)
    bad = image.size - int(np.count_nonzero(finite))
    wrong = [f"{name} holds {bad} voxels that are NaN or infinite"] if bad else []
    values = image[finite] if bad else image
    if values.size == 0 or values.min() == values.max():
        return None, [*wrong, f"{name} is constant"]
    inside = values[values != 0]
    return (float(values.min()), float(inside.mean(dtype=np.float64)), float(values.max())), wrong


def _check_reference(
    case: Case, reference: NDArray[np.uint8] | None, grid: Grid
) -> tuple[dict[int, int], float | None, list[str]]:
    """Return voxels per label, volume of the whole tumour, and what is wrong."""
    if reference is None:
        return {}, None, []
    counts = np.bincount(reference.ravel())
    labels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    try:
        scheme = scheme_named(case.scheme) if case.scheme else detect_scheme(labels, subject="reference")
    except LabelError as error:
        return labels, None, [str(error)]
    if case.known and "WT" not in case.known:
        return labels, None, []
    voxels = sum(labels.get(value, 0) for value in scheme.regions["WT"])
    return labels, voxels * grid.voxel_volume_ml, [] if voxels else ["reference holds no tumour"]


def _record(case: Case, grid: Grid | None, **found: Any) -> CaseRecord:
    empty: dict[str, Any] = {"intensity": {}, "digests": {}, "labels": {}, "wt_ml": None}
    return CaseRecord(
        case_id=case.case_id,
        subject_id=case.subject_id,
        sequences=tuple(case.sequences),
        shape=grid.shape if grid else (),
        spacing_mm=tuple(round(s, 4) for s in grid.spacing_mm) if grid else (),
        orientation=grid.orientation if grid else "",
        known=case.known or (),
        **(empty | found),
    )
