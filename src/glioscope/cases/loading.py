"""A case read into memory, its sequences on one grid."""

import math
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.cases.case import MAX_CASE_VOXELS, Case, LoadedCase, require_same_grid
from glioscope.cases.find import find_cases
from glioscope.errors import CaseError, GeometryError, GlioscopeError
from glioscope.space.background import with_zero_background
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_grid, read_labels, read_volumes


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
        require_same_grid(case, name, other, names[0], grid)
    if len(names) * math.prod(grid.shape) > MAX_CASE_VOXELS:
        raise GeometryError(
            f"case {case.case_id}: has {len(names)} sequences of shape {grid.shape}; at most "
            f"{MAX_CASE_VOXELS // 10**6} million voxels are taken together. Crop them to the head, or write them with "
            "coarser voxels."
        )
    volumes = read_volumes([case.sequences[n] for n in names])
    images = MappingProxyType({n: with_zero_background(v.data) for n, v in zip(names, volumes, strict=True)})
    return LoadedCase(case=case, grid=grid, images=images, reference=read_reference(case, grid))


def read_reference(case: Case, grid: Grid) -> NDArray[np.uint8] | None:
    """Return the reference of a case whose scans lie on `grid`, or None if it has none; errors as `load_case`."""
    if case.reference is None:
        return None
    require_same_grid(case, "reference", read_grid(case.reference), next(iter(case.sequences)), grid)
    return read_labels(case.reference).data


def load_scans(case: Case, *, with_reference: bool = True) -> LoadedCase:
    """Read a case for which the reference is not needed: one that cannot be used is left out, with its reason.

    Raises
    ------
    CaseError, GeometryError
        As `load_case`, for the scans alone.
    """
    loaded = load_case(replace(case, reference=None))
    if not with_reference or case.reference is None:
        return loaded
    try:
        return replace(loaded, case=case, reference=read_reference(case, loaded.grid))
    except GlioscopeError as error:
        return replace(loaded, reference_problem=str(error))


def _only_case(folder: Path) -> Case:
    found = find_cases(folder)
    if len(found) != 1:
        raise CaseError(f"{folder}: holds {len(found)} cases; name the folder of one")
    return found[0]
