"""One date laid over the other: rigid, judged, and left alone where it is right already."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError
from glioscope.measure.visits import SCAN, Visit
from glioscope.prepare.skull import brain_of
from glioscope.results import Flag
from glioscope.results.change import AlignedOn, AlignmentRecord, AsTheyLie
from glioscope.results.preparation import matrix_rows, quality_record
from glioscope.space.registration import RegistrationConfig, register
from glioscope.space.resampling import isotropic_grid, resample
from glioscope.space.volumes import Volume

PREFERENCE = ("t1n", "t1c", "t2w", "t2f", SCAN)
"""What two dates are aligned on. T1 without contrast shows anatomy, and changes least with the tumour."""
SAME_PLACE_MM = 0.3
"""A smaller mean movement of the brain is within the error of the search: the headers' word is taken."""
SAME_BRAIN = 0.95
"""Aligned brains of one person overlap by more (Dice); those of two people by less. See docs/explanation/measure.md."""
_COARSE_MM = 3.0
_MINIMUM_INFORMATION = 0.1
_MINIMUM_COVERAGE = 0.5
_GOOD_COVERAGE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """How the earlier date lies relative to the later one."""

    matrix: NDArray[np.float64]
    """(4, 4), rigid: RAS+ mm of the later date to RAS+ mm of the earlier one."""
    record: AlignmentRecord | AsTheyLie
    flags: tuple[Flag, ...]

    @property
    def brain_overlap(self) -> float | None:
        """Dice of the aligned brains; None where a brain is not known or nothing was aligned."""
        return self.record.brain_overlap if isinstance(self.record, AlignmentRecord) else None


def as_they_lie() -> Alignment:
    """Return the alignment of two dates that share one space already, by the word of the user."""
    record = AsTheyLie(
        method="none: the user says that both dates share one space", matrix_ras_mm=matrix_rows(np.eye(4))
    )
    return Alignment(matrix=np.eye(4), record=record, flags=())


def align(earlier: Visit, later: Visit, config: RegistrationConfig | None = None) -> Alignment:
    """Find how the earlier date lies relative to the later one.

    Raises
    ------
    CaseError
        A date has no scan, the scans do not show one head, or they hardly overlap.
    GeometryError
        A scan does not lie on the grid of its segmentation.
    """
    codes = _choose(earlier, later)
    before, now = earlier.read(codes[0]), later.read(codes[1])
    brain, other = brain_of(now.data, now.grid), brain_of(before.data, before.grid)
    everywhere = np.ones(now.data.shape, bool)
    still = (everywhere if brain is None else brain) & (later.labels.data == 0)
    still = still if still.any() else everywhere
    found = register(now, before, config, mask=still)
    names = f"{earlier.name} and {later.name}"
    quality = found.quality
    if quality is None:
        raise CaseError(f"{names}: {found.problems[0]}; name other scans with --earlier-scan and --later-scan")
    if quality.mutual_information < _MINIMUM_INFORMATION:
        raise CaseError(
            f"{names}: their scans share {quality.mutual_information:.2f} nats of information, less than two scans of "
            f"one head do ({_MINIMUM_INFORMATION:.2f}); are both of one patient?"
        )
    if quality.coverage < _MINIMUM_COVERAGE:
        raise CaseError(
            f"{names}: the earlier scan shows {quality.coverage:.0%} of the head that the later one shows; "
            "they overlap too little to be compared"
        )
    moved = _moved_mm(found.matrix, now.grid.affine, still)
    matrix = np.eye(4) if moved < SAME_PLACE_MM else found.matrix
    overlap = (
        None
        if brain is None or other is None
        else _overlap(Volume(brain, now.grid), Volume(other, before.grid), matrix)
    )
    record = AlignmentRecord(
        method="rigid, mutual information",
        sequences=AlignedOn(earlier=codes[0], later=codes[1]),
        matrix_ras_mm=matrix_rows(matrix),
        quality=quality_record(quality),
        problems=found.problems,
        moved_mm=round(moved, 3),
        headers_kept=moved < SAME_PLACE_MM,
        brain_overlap=None if overlap is None else round(overlap, 4),
    )
    return Alignment(matrix=matrix, record=record, flags=tuple(_flags(found.problems, quality.coverage, overlap)))


def _choose(earlier: Visit, later: Visit) -> tuple[str, str]:
    """Return the sequence of each date to align on: the same one where both have it."""
    for visit in (earlier, later):
        if not visit.scans:
            raise CaseError(
                f"{visit.name}: a label file alone cannot be aligned; name a scan on its grid with --earlier-scan and "
                "--later-scan, or say --aligned if both dates share one space"
            )
    shared = [code for code in PREFERENCE if code in earlier.scans and code in later.scans]
    if shared:
        return shared[0], shared[0]
    first, second = (next(c for c in PREFERENCE if c in visit.scans) for visit in (earlier, later))
    return first, second


def _moved_mm(matrix: NDArray[np.float64], affine: NDArray[np.float64], brain: NDArray[np.bool_]) -> float:
    """Return how far the brain's voxels move on average."""
    step = max(1, round((brain.size / 100_000) ** (1 / 3)))
    thin = np.argwhere(brain[::step, ::step, ::step]) * step
    points = thin @ affine[:3, :3].T + affine[:3, 3]
    return float(np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1).mean())


def _overlap(now: Volume, before: Volume, matrix: NDArray[np.float64]) -> float:
    """Return the Dice of two brains on a coarse grid, of what both scans can see."""
    grid = isotropic_grid(now.grid, _COARSE_MM)
    one = resample(now, grid, interpolation="nearest")
    other = resample(before, grid, matrix, interpolation="nearest")
    seen = resample(Volume(np.ones(before.grid.shape, bool), before.grid), grid, matrix, interpolation="nearest")
    one = one & seen
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(one & other) / total) if total else 0.0


def _flags(problems: tuple[str, ...], coverage: float, overlap: float | None) -> Iterable[Flag]:
    for problem in problems:
        yield Flag("alignment", "warning", problem)
    if coverage < _GOOD_COVERAGE:
        text = f"the earlier scan shows {coverage:.0%} of the head that the later one shows; tumour may lie beyond it"
        yield Flag("coverage", "warning", text)
    if overlap is not None and overlap < SAME_BRAIN:
        yield Flag(
            "other-brain",
            "error",
            f"the aligned brains overlap by {overlap:.2f} (Dice), two scans of one person by {SAME_BRAIN:.2f} or more. "
            "Another patient, surgery between the dates, or a brain cut off: look before reading on",
        )
