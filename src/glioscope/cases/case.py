"""A case: one imaging session, where its files lie, and its reading into memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError, GeometryError, printable
from glioscope.space.grid import MAX_VOXELS, Grid
from glioscope.space.volumes import VolumeFile

SEQUENCES = ("t1n", "t1c", "t2w", "t2f")
"""BraTS codes: T1 native, T1 with contrast, T2-weighted, T2-FLAIR. The channel order everywhere."""

MAX_CASE_VOXELS = MAX_VOXELS
"""Voxels of all sequences of a case together: as many as four of 512 x 512 x 256, 1 GiB as float32. `segment` was
measured to need 3.4 GB for nearly as many; a case of BraTS has an eighth."""


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
    """Label scheme of the reference, where the layout tells it or `schemes` has decided it; else None."""
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
    reference_problem: str = ""
    """Why the case's reference was not read; empty where it was, or where there is none."""


def require_same_grid(case: Case, name: str, grid: Grid, other_name: str, other: Grid) -> None:
    """Raise `GeometryError` naming both grids unless they are one."""
    if not grid.matches(other):
        raise GeometryError(
            f"case {case.case_id}: {name} has {grid.describe()} but {other_name} has {other.describe()}; "
            "all must share one grid. Run 'glioscope prepare' first."
        )
