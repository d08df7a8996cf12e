"""What is in one case and what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases.case import Case
from glioscope.cases.heads import coarse_head
from glioscope.cases.loading import load_scans
from glioscope.cases.schemes import scheme_of_reference
from glioscope.errors import CaseError, GeometryError, LabelError
from glioscope.labels import LabelScheme, unknown_values
from glioscope.space.background import foreground
from glioscope.space.grid import Grid
from glioscope.space.orientation import doubts_in_words
from glioscope.space.outliers import far_out, highest_plausible
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
    scheme: str
    """Label scheme that the data set was found to be in; empty where there is no reference or the question is open."""
    volumes_ml: Mapping[str, float]
    """Region of that scheme to its volume in the reference: WT, TC, ET, and others such as the cavity (RC)."""
    wt_ml: float | None
    known: tuple[str, ...]
    """Regions that the reference knows, where `dataset.toml` says that it does not know all; else empty."""
    problems: tuple[str, ...]
    """What is wrong, one line each; empty when all is well."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """One case as read, before the scheme of its data set is known."""

    case: Case
    record: CaseRecord
    voxel_ml: float
    heads: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Sequence to `heads.coarse_head`."""


def check_case(case: Case) -> CaseRecord:
    """Read one case and say what is in it and what is wrong with it; never raises for bad data."""
    found = examine(case)
    if not found.record.labels:
        return found.record
    try:
        scheme = scheme_of_reference(case, [*found.record.labels])
    except LabelError as error:
        return replace(found.record, problems=(*found.record.problems, str(error)))
    return in_scheme(found, scheme)


def examine(case: Case) -> Examined:
    """Read one case and say all of it that needs no label scheme."""
    problems = [f"lacks {', '.join(case.missing)}"] if case.missing else []
    grid: Grid | None = None
    try:
        grid = read_grid(next(iter(case.sequences.values())))
        loaded = load_scans(case)
    except (CaseError, GeometryError, LabelError) as error:
        return Examined(case=case, record=_record(case, grid, problems=(*problems, str(error))), voxel_ml=0)
    problems += [text for _, text in doubts_in_words((name, file.path) for name, file in case.sequences.items())]
    intensity, digests, heads = {}, {}, {}
    for name, image in loaded.images.items():
        range_of, wrong = _check_image(name, image)
        problems += wrong
        if range_of is not None:
            intensity[name] = range_of
            digests[name] = hashlib.sha256(np.ascontiguousarray(image.T).data).hexdigest()  # k slowest: as stored
            if not wrong:
                heads[name] = coarse_head(image, foreground(image))
    for digest, count in Counter(digests.values()).items():
        if count > 1:
            problems.append(f"{' and '.join(n for n, d in digests.items() if d == digest)} are the same image")
    labels = _counts(loaded.reference)
    problems += [loaded.reference_problem] if loaded.reference_problem else []
    found = {"intensity": intensity, "digests": digests, "labels": labels, "problems": tuple(problems)}
    return Examined(
        case=case, record=_record(case, loaded.grid, **found), voxel_ml=loaded.grid.voxel_volume_ml, heads=heads
    )


def in_scheme(found: Examined, scheme: LabelScheme) -> CaseRecord:
    """Return the record of a case with a reference, its volumes by a scheme; a label it does not know is a problem."""
    record, case = found.record, found.case
    if unknown := unknown_values(record.labels, scheme):
        return replace(record, scheme=scheme.name, problems=(*record.problems, f"reference {unknown}"))
    volumes = {
        region: sum(record.labels.get(value, 0) for value in values) * found.voxel_ml
        for region, values in scheme.regions.items()
        if case.known is None or region in case.known
    }
    whole = volumes.get("WT")
    empty = () if whole is None or whole else ("reference holds no tumour",)
    return replace(record, scheme=scheme.name, volumes_ml=volumes, wt_ml=whole, problems=(*record.problems, *empty))


def _check_image(name: str, image: NDArray[np.float32]) -> tuple[tuple[float, float, float] | None, list[str]]:
    """Return (minimum, mean inside the brain, maximum), None for a constant image, and what is wrong."""
    finite = np.isfinite(image)
    bad = image.size - int(np.count_nonzero(finite))
    wrong = [f"{name} holds {bad} voxels that are NaN or infinite"] if bad else []
    values = image[finite] if bad else image
    if values.size == 0 or values.min() == values.max():
        return None, [*wrong, f"{name} is constant"]
    if (limit := highest_plausible(values)) is not None:
        wrong.append(far_out(name, values, limit))
    inside = values[foreground(values)]
    return (float(values.min()), float(inside.mean(dtype=np.float64)), float(values.max())), wrong


def _counts(reference: NDArray[np.uint8] | None) -> dict[int, int]:
    """Return voxels per label; empty without a reference."""
    if reference is None:
        return {}
    counts = np.bincount(reference.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _record(case: Case, grid: Grid | None, **found: Any) -> CaseRecord:
    empty: dict[str, Any] = {"intensity": {}, "digests": {}, "labels": {}, "wt_ml": None}
    empty |= {"scheme": "", "volumes_ml": {}}
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
