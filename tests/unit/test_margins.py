"""A margin around the tumour: its width, and what cuts it."""

import numpy as np
import pytest

from glioscope.errors import ConfigError
from glioscope.labels import SCHEMES
from glioscope.measure.anatomy.describe import Placed, given
from glioscope.measure.anatomy.margins import grow
from glioscope.measure.anatomy.parts import LOBES, STRUCTURES, BrainMap
from glioscope.measure.midline import Midline
from glioscope.space.grid import Grid

SCHEME = SCHEMES["brats2023"]
SHAPE = (60, 60, 60)
AFFINE = np.eye(4)
AFFINE[:3, 3] = -29.5
GRID = Grid(SHAPE, AFFINE)
MIDDLE = Midline(normal=np.array([1.0, 0, 0]), point=np.zeros(3), source="by hand", asymmetry_mm=0.5)
BRAIN = np.ones(SHAPE, bool)


def placed() -> Placed:
    """Cerebellum below k = 20, callosum through the middle at k 40 to 44."""
    structures = np.full(SHAPE, STRUCTURES.index("white matter"), np.uint8)
    structures[:, :, :20] = STRUCTURES.index("cerebellum")
    structures[:, 25:35, 40:44] = STRUCTURES.index("corpus callosum")
    lobes = np.full(SHAPE, LOBES.index("frontal"), np.uint8)
    return given(BrainMap(grid=GRID, structures=structures, lobes=lobes, areas=np.zeros(SHAPE, np.uint8), source="x"))


def cube(i: int, j: int, k: int, edge: int = 4, value: int = 3) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[i : i + edge, j : j + edge, k : k + edge] = value
    return labels


def test_a_margin_of_ten_millimetres_is_ten_millimetres() -> None:
    labels = cube(10, 30, 40, edge=1)
    found = grow(labels, SCHEME, BRAIN, GRID, margin_mm=8)
    where = np.argwhere(found.ctv) - (10, 30, 40)
    assert np.linalg.norm(where, axis=1).max() == 8
    assert found.ctv.sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)
    assert found.cut_by == ("brain surface",)
    assert (found.gtv == (labels > 0)).all()


def test_the_surface_of_the_brain_cuts() -> None:
    brain = BRAIN.copy()
    brain[:, 34:] = False
    found = grow(cube(10, 28, 40), SCHEME, brain, GRID, margin_mm=10)
    assert not found.ctv[:, 34:].any()
    assert found.ctv[:, 20].any()


def test_the_falx_cuts_but_for_the_callosum() -> None:
    found = grow(cube(24, 10, 50), SCHEME, BRAIN, GRID, margin_mm=12, placed=placed(), midline=MIDDLE)
    assert not found.ctv[30:].any()
    assert "falx" in found.cut_by
    joined = grow(cube(24, 28, 40), SCHEME, BRAIN, GRID, margin_mm=12, placed=placed(), midline=MIDDLE)
    right = np.argwhere(joined.ctv[30:])
    assert len(right)
    assert set(right[:, 2]) <= set(range(40, 44))
    without = grow(cube(24, 10, 50), SCHEME, BRAIN, GRID, margin_mm=12, placed=placed())
    assert without.ctv[30:].any()


def test_a_tumour_on_both_sides_is_not_cut_by_the_falx() -> None:
    found = grow(cube(22, 10, 45, edge=16), SCHEME, BRAIN, GRID, margin_mm=5, placed=placed(), midline=MIDDLE)
    assert "falx" not in found.cut_by
    assert found.ctv[38:].any()


@pytest.mark.parametrize(("k", "free"), [(22, slice(20, None)), (14, slice(0, 20))])
def test_the_tentorium_cuts(k: int, free: slice) -> None:
    found = grow(cube(10, 30, k), SCHEME, BRAIN, GRID, margin_mm=8, placed=placed(), midline=MIDDLE)
    elsewhere = found.ctv.copy()
    elsewhere[:, :, free] = False
    assert "tentorium" in found.cut_by
    assert not elsewhere.any()


def test_without_a_core_the_whole_tumour_counts_and_nothing_grows_from_nothing() -> None:
    assert grow(cube(10, 30, 40, value=2), SCHEME, BRAIN, GRID, margin_mm=5).gtv.sum() == 64
    empty = grow(cube(10, 30, 40) * 0, SCHEME, BRAIN, GRID, margin_mm=5)
    assert not empty.ctv.any()
    assert "nothing was segmented" in empty.told()


@pytest.mark.parametrize("mm", [0.0, 41.0])
def test_margins_beyond_reason_are_refused(mm: float) -> None:
    with pytest.raises(ConfigError, match="margin is"):
        grow(cube(10, 30, 40), SCHEME, BRAIN, GRID, margin_mm=mm)
