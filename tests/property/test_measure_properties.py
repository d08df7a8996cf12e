"""What must hold for the measurements of any label map on any grid."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from glioscope.labels import scheme_named
from glioscope.measure import measure
from glioscope.results.stored import as_json
from glioscope.space.grid import Grid, reorient

SCHEME = scheme_named("brats2023")
ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*axes)
]


@st.composite
def label_maps(draw: st.DrawFn) -> NDArray[np.uint8]:
    """A few boxes of tumour in a small map; sometimes none."""
    labels = np.zeros((14, 12, 10), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        start = [draw(st.integers(0, n - 2)) for n in labels.shape]
        size = [draw(st.integers(1, 6)) for _ in range(3)]
        labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = draw(st.integers(1, 3))
    return labels


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any spacing, a turn about each axis, an origin."""
    a, b, c = (draw(st.floats(-0.4, 0.4)) for _ in range(3))
    turn = np.eye(3)
    for angle, (i, j) in ((a, (1, 2)), (b, (0, 2)), (c, (0, 1))):
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([draw(st.floats(0.5, 4)) for _ in range(3)])
    affine[:3, 3] = [draw(st.floats(-90, 90)) for _ in range(3)]
    return Grid((14, 12, 10), affine)


@given(labels=label_maps(), grid=grids(), codes=st.sampled_from(ORIENTATIONS))
@settings(max_examples=60)
def test_storage_order_changes_nothing(labels: NDArray[np.uint8], grid: Grid, codes: str) -> None:
    turned, other = reorient(labels, grid, codes)
    one, two = measure(labels, grid, SCHEME), measure(np.ascontiguousarray(turned), other, SCHEME)
    assert one.volumes_ml == two.volumes_ml
    assert one.lesion_count == two.lesion_count
    if one.diameters:
        assert two.diameters.maximum_3d_mm == pytest.approx(one.diameters.maximum_3d_mm, abs=0.02)


@given(labels=label_maps(), grid=grids())
@settings(max_examples=60)
def test_lengths_are_ordered_and_bounded(labels: NDArray[np.uint8], grid: Grid) -> None:
    found = measure(labels, grid, SCHEME)
    json.dumps(as_json(found), allow_nan=False)
    volumes = found.volumes_ml
    assert 0 <= volumes["ET"] <= volumes["TC"] <= volumes["WT"]
    assert sum(found.tissues_ml.values()) == pytest.approx(volumes["WT"], abs=1e-3)
    for name, parts in found.lesions.items():
        assert sum(p.volume_ml for p in parts) == pytest.approx(volumes[name], abs=1e-3 + 1e-4 * len(parts))
    lengths = found.diameters
    if lengths is None:
        assert not labels.any()
        return
    assert 0 < lengths.perpendicular_mm <= lengths.longest_mm + 0.02
    assert lengths.longest_mm <= lengths.maximum_3d_mm + 0.02
    tissue = np.argwhere(np.isin(labels, SCHEME.regions[lengths.region]))
    centres = tissue @ grid.affine[:3, :3].T
    across = float(pdist(centres).max()) if len(centres) > 1 else 0.0
    assert lengths.maximum_3d_mm <= across + max(grid.spacing_mm) + 0.02


@given(labels=label_maps(), grid=grids())
@settings(max_examples=40)
def test_twice_the_spacing_is_twice_the_length(labels: NDArray[np.uint8], grid: Grid) -> None:
    affine = grid.affine.copy()
    affine[:3] *= 2
    one, two = measure(labels, grid, SCHEME), measure(labels, Grid(grid.shape, affine), SCHEME)
    assert two.volumes_ml["WT"] == pytest.approx(8 * one.volumes_ml["WT"], rel=1e-3, abs=1e-3)
    if one.diameters:
        assert two.diameters.maximum_3d_mm == pytest.approx(2 * one.diameters.maximum_3d_mm, abs=0.03)
        assert two.diameters.longest_mm == pytest.approx(2 * one.diameters.longest_mm, abs=0.03)


@st.composite
def ellipsoids(draw: st.DrawFn) -> tuple[NDArray[np.uint8], Grid, NDArray[np.float64]]:
    """An ellipsoid whose axes follow the grid's, on an anisotropic grid turned any way; labels, grid, semi-axes."""
    grid = draw(grids())
    spacing = np.array([draw(st.floats(0.6, 1.2)), draw(st.floats(0.6, 1.2)), draw(st.floats(1.0, 1.5))])
    radii = np.array([draw(st.floats(14, 22)) for _ in range(3)])  # smaller balls of voxels are 1 % off themselves
    shape = tuple(int(2 * r / s) + 5 for r, s in zip(radii, spacing, strict=True))
    affine = grid.affine.copy()
    affine[:3, :3] *= spacing / np.array(grid.spacing_mm)
    off = np.array([draw(st.floats(-0.5, 0.5)) for _ in range(3)])
    index = np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2 + off
    inside = (((index * spacing) / radii) ** 2).sum(axis=-1) <= 1
    return inside.astype(np.uint8) * 3, Grid(shape, affine), radii  # type: ignore[arg-type]


@given(made=ellipsoids(), codes=st.sampled_from(ORIENTATIONS))
@settings(max_examples=30)
def test_ellipsoids_have_their_volume_and_diameters(
    made: tuple[NDArray[np.uint8], Grid, NDArray[np.float64]], codes: str
) -> None:
    """Volume within 1 %, diameters within a voxel: the in-plane ones of the larger two semi-axes in the slice."""
    labels, grid, radii = made
    turned, other = reorient(labels, grid, codes)
    found = measure(np.ascontiguousarray(turned), other, SCHEME)
    truth = 4 / 3 * np.pi * radii.prod() / 1000
    assert found.volumes_ml["ET"] == pytest.approx(truth, rel=0.01)
    i, j, k = grid.spacing_mm
    lengths = found.diameters
    assert lengths.maximum_3d_mm == pytest.approx(2 * radii.max(), abs=max(i, j, k))
    long, short = sorted(2 * radii[:2], reverse=True)
    assert lengths.longest_mm == pytest.approx(long, abs=max(i, j))
    if long / short > 1.15:  # of a circle any direction is the longest, and the chord across it as long
        assert lengths.perpendicular_mm == pytest.approx(short, abs=max(i, j))
