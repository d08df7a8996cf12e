"""What is promised of a click, whatever proposes the voxels; and the flood that needs no network of its own."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import glioscope
from glioscope.errors import CaseError, GeometryError
from glioscope.labels import regions_from_labels, scheme_named
from glioscope.segmentation import SegmentOptions, segment
from glioscope.segmentation.clicks import PLAIN, Click, Scene, Window, flood, refine_scene
from glioscope.segmentation.logits import logits_of, probabilities_of, read_logits
from glioscope.space.grid import Box, Grid
from glioscope.space.volumes import Volume, read_labels
from tiny import SHAPE as TINY
from tiny import write_tiny_case, write_tiny_model

SCHEME = scheme_named("brats2023")
REGIONS = ("WT", "TC", "ET")


def scene_of(shape: tuple[int, int, int], seed: int, spacing: tuple[float, float, float] = (1, 1, 1)) -> Scene:
    """A brain with a margin, grey values and logits of chance, smooth enough to hang together."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[1:-1, 1:-1, 1:-1] = True
    images = {c: np.where(brain, rng.integers(1, 256, shape), 0).astype(np.uint8) for c in ("t1n", "t1c", "t2w", "t2f")}
    logits = np.sort(rng.integers(-40, 40, (3, *shape)), axis=0)[::-1].astype(np.int8)
    return Scene(grid=Grid(shape, np.diag([*spacing, 1.0])), images=images, logits=logits)


def anything(window: Window, click: Click) -> NDArray[np.bool_]:
    """An answer that wants the whole window."""
    return np.ones(window.brain.shape, bool)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16), greedy=st.booleans())
def test_promises_hold_whatever_is_proposed(data: st.DataObject, seed: int, greedy: bool) -> None:
    """The click and 2 mm around it, nothing beyond 48 mm, nested, one direction, the same again, the map untouched."""
    shape, spacing = (14, 12, 10), (1.0, 1.5, 12.0)
    scene = scene_of(shape, seed, spacing)
    labels = np.random.default_rng(seed + 1).integers(0, 4, shape).astype(np.uint8)
    click = Click(
        at=tuple(data.draw(st.integers(1, n - 2)) for n in shape),
        region=data.draw(st.sampled_from(REGIONS)),
        add=data.draw(st.booleans()),
    )
    before = labels.copy()
    answer = anything if greedy else flood
    after = refine_scene(scene, labels, SCHEME, [click], answer=answer)
    assert np.array_equal(labels, before)
    assert np.array_equal(after, refine_scene(scene, labels, SCHEME, [click], answer=answer))
    old, new = regions_from_labels(before, SCHEME), regions_from_labels(after, SCHEME)
    row = REGIONS.index(click.region)
    steps = [np.abs(np.arange(n) - a) * s for n, a, s in zip(shape, click.at, spacing, strict=True)]
    far = np.sqrt(steps[0][:, None, None] ** 2 + steps[1][:, None] ** 2 + steps[2] ** 2)
    brain = scene.images["t1c"] > 0
    assert (new[row][(far <= 2) & brain] == click.add).all()
    outside = np.maximum(np.maximum(steps[0][:, None, None], steps[1][:, None]), steps[2]) > 48
    assert (after[outside] == before[outside]).all()
    assert (after[~brain] == before[~brain]).all()
    assert not (new[2] & ~new[1]).any()
    assert not (new[1] & ~new[0]).any()
    for n in range(3):  # adding takes nothing away, and reaches no region further in; and the other way round
        assert not ((old[n] & ~new[n]) if click.add else (new[n] & ~old[n])).any()
        if (n > row) if click.add else (n < row):
            assert np.array_equal(old[n], new[n])


def test_clicks_one_after_the_other_are_clicks_together() -> None:
    scene = scene_of((14, 12, 10), 5)
    labels = np.zeros((14, 12, 10), np.uint8)
    clicks = [
        Click(at=(4, 4, 4), region="ET"),
        Click(at=(8, 7, 5), region="WT"),
        Click(at=(5, 5, 4), region="TC", add=False),
    ]
    step = labels
    for click in clicks:
        step = refine_scene(scene, step, SCHEME, [click])
    assert np.array_equal(step, refine_scene(scene, labels, SCHEME, clicks))
    assert np.array_equal(labels, refine_scene(scene, labels, SCHEME, []))


def missed_core(*, bridge: int = 0) -> tuple[Scene, NDArray[np.bool_]]:
    """A core of 8 mm that the network nearly saw, in oedema; and a like place 12 mm on, joined by a bridge or not."""
    shape = (48, 40, 40)
    i, j, k = np.ogrid[:48, :40, :40]
    core = (i - 14) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 <= 64
    other = (i - 36) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 <= 64
    doubt = core | other
    if bridge:
        doubt = doubt | ((np.abs(j - 20) < bridge) & (np.abs(k - 20) < bridge) & (i > 14) & (i < 36))
    logits = np.full((3, *shape), -10.0)
    logits[0] = 5.0
    logits[1][doubt] = -1.0
    grey = np.where(doubt, 200, 90).astype(np.uint8)
    images = {"t1c": grey, "t2f": grey}
    return Scene(grid=Grid(shape, np.eye(4)), images=images, logits=logits_of(1 / (1 + np.exp(-logits)))), core


@pytest.mark.parametrize("bridge", [0, 1])
def test_one_click_brings_a_missed_core_and_nothing_beyond_a_narrow_way(bridge: int) -> None:
    """A bridge one voxel wide, along which a plain flood leaks into the other place."""
    scene, core = missed_core(bridge=bridge)
    labels = np.full(scene.grid.shape, 2, np.uint8)
    found = regions_from_labels(refine_scene(scene, labels, SCHEME, [Click(at=(15, 19, 20), region="TC")]), SCHEME)[1]
    assert 2 * (found & core).sum() / (found.sum() + core.sum()) > 0.95
    assert not found[30:].any()
    if bridge:
        leaky = refine_scene(
            scene, labels, SCHEME, [Click(at=(15, 19, 20), region="TC")], answer=lambda w, c: flood(w, c, PLAIN)
        )
        assert regions_from_labels(leaky, SCHEME)[1][30:].any()


def test_a_core_taken_out_becomes_oedema_and_an_island_of_it_nothing() -> None:
    scene, core = missed_core()
    scene = Scene(grid=scene.grid, images=scene.images, logits=-scene.logits)
    labels = np.where(core, 3, 2).astype(np.uint8)
    without = refine_scene(scene, labels, SCHEME, [Click(at=(14, 20, 20), region="TC", add=False)])
    assert set(np.unique(without[core])) == {2}
    labels = np.where(core, 3, 0).astype(np.uint8)
    assert not refine_scene(scene, labels, SCHEME, [Click(at=(14, 20, 20), region="WT", add=False)])[core].any()


@pytest.mark.parametrize(
    ("click", "told"),
    [
        (Click(at=(14, 0, 0), region="WT"), "outside the image, whose last voxel is (13, 11, 9)"),
        (Click(at=(-1, 0, 0), region="WT"), "outside the image"),
        (Click(at=(0, 5, 5), region="WT"), "outside the brain"),
        (Click(at=(5, 5, 5), region="XX"), "region 'XX' is not known"),
    ],
)
def test_a_click_that_cannot_be_answered_says_why(click: Click, told: str) -> None:
    with pytest.raises(CaseError, match=r"^the click: ") as raised:
        refine_scene(scene_of((14, 12, 10), 1), np.zeros((14, 12, 10), np.uint8), SCHEME, [click])
    assert told in str(raised.value)


def test_enhancement_is_not_clicked_without_contrast() -> None:
    scene = scene_of((14, 12, 10), 1)
    images = {code: image for code, image in scene.images.items() if code != "t1c"}
    bare = Scene(grid=scene.grid, images=images, logits=scene.logits)
    clicks = [Click(at=(5, 5, 5), region="WT"), Click(at=(5, 5, 5), region="ET")]
    with pytest.raises(CaseError, match="click 2: enhancing tumour is not seen without T1 with contrast"):
        refine_scene(bare, np.zeros((14, 12, 10), np.uint8), SCHEME, clicks)


def test_logits_are_kept_in_eighths() -> None:
    chances = np.array([0, 1e-6, 0.2, 0.5, 0.9, 1], np.float32)
    assert logits_of(chances).tolist() == [-127, -111, -11, 0, 18, 127]
    assert probabilities_of(logits_of(chances)) == pytest.approx(chances, abs=0.015)


def test_a_case_is_refined_from_what_segment_kept_as_from_the_network(tmp_path: Path) -> None:
    case, model = write_tiny_case(tmp_path), write_tiny_model(tmp_path / "model")
    options = SegmentOptions(report=False, save_logits=True)
    segment(case, tmp_path / "out", model=model, options=options)
    folder = tmp_path / "out" / case.name
    made = read_labels(folder / "segmentation.nii.gz")
    kept = read_logits(folder / "logits.npz", made.grid)
    assert kept.shape == (3, *TINY)
    assert np.array_equal(kept[0] > 0, made.data > 0)
    part = Box((-1, 2, 3), (9, 12, 13))
    assert np.array_equal(read_logits(folder / "logits.npz", made.grid, part)[:, 1:], kept[:, :9, 2:12, 3:13])
    click = [glioscope.Click(at=(5, 6, 5), region="ET")]
    found = glioscope.refine(case, folder / "segmentation.nii.gz", click, logits=folder / "logits.npz")
    again = glioscope.refine(case, Volume(made.data, made.grid), click, model=model)
    assert np.array_equal(found.data, again.data)
    assert found.data[5, 6, 5] == 3
    assert np.array_equal(read_labels(folder / "segmentation.nii.gz").data, made.data)
    with pytest.raises(GeometryError, match="correct it on the grid of the scans"):
        glioscope.refine(case, Volume(made.data[1:], Grid((19, 24, 16), np.eye(4))), click, model=model)
    with pytest.raises(CaseError, match="logits cannot be read"):
        glioscope.refine(case, made, click, logits=tmp_path / "absent.npz")
