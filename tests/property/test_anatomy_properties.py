"""Where a mask lies: whatever the mask, distances and touches agree with other code, and left and right swap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy import ndimage

from glioscope.labels import SCHEMES
from glioscope.measure.anatomy.describe import Placed, describe, given
from glioscope.measure.anatomy.locate import locate, scene_of
from glioscope.measure.anatomy.parts import BrainMap, map_from
from glioscope.measure.anatomy.placing import place
from glioscope.measure.midline import Midline
from glioscope.phantom import PhantomConfig, phantom
from glioscope.phantom.parts import phantom_parts
from glioscope.space.grid import Grid
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume

SCHEME = SCHEMES["brats2023"]
CONFIG = PhantomConfig(shape=(84, 100, 84), spacing_mm=(2.0, 2.0, 2.0))
LACKING = ("ventral diencephalon", "hippocampus and amygdala")


def mapped(seed: int, grid: Grid, config: PhantomConfig = CONFIG) -> BrainMap:
    parts = phantom_parts(seed, config)
    masks = {"structures": parts.structures, "lobes": parts.lobes, "areas": parts.areas}
    return map_from(masks, grid, "phantom", lacks=LACKING)


@settings(max_examples=25)
@drawn(seed=st.integers(0, 10_000), spacing=st.tuples(*[st.floats(0.5, 4)] * 3), few=st.floats(0.3, 2.2))
def test_distances_and_touches_agree_with_distance_transforms(
    seed: int, spacing: tuple[float, float, float], few: float
) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid((18, 20, 16), np.diag([*spacing, 1.0]))
    blobs = [ndimage.gaussian_filter(rng.normal(size=grid.shape), 2) for _ in range(3)]
    mask, ventricles, cortex = (b > few * b.std() for b in blobs)
    if not mask.any():
        return
    masks = {"structures": {"cortex": cortex, "ventricles": ventricles}}
    brain = np.ones(grid.shape, bool)
    midline = Midline(normal=np.array([1.0, 0, 0]), point=np.array([8.0, 0, 0]), source="x", asymmetry_mm=0.0)
    found = locate("WT", mask, scene_of(map_from(masks, grid, "blobs"), brain, midline))
    wide = ndimage.binary_dilation(mask, np.ones((3, 3, 3)))
    both = ((found.distances.ventricles_mm, ventricles), (found.distances.cortex_mm, cortex & ~ventricles))
    for told, where in both:
        if not where.any():
            assert told is None
            continue
        truth = ndimage.distance_transform_edt(~where, spacing)[mask].min()
        assert told == pytest.approx(truth, abs=0.006)
    diagonal = float(np.linalg.norm(spacing))
    if min(spacing) * 2 > diagonal:  # then nothing that does not touch is as near
        assert (found.touches_ventricles == "yes") == bool((wide & ventricles).any())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 11])
def test_a_mirrored_phantom_swaps_sides_and_nothing_else(seed: int) -> None:
    made = phantom(seed, CONFIG)
    parts = mapped(seed, made.grid)
    flipped = BrainMap(
        grid=made.grid,
        source=parts.source,
        lacks=parts.lacks,
        **{n: np.flip(getattr(parts, n), 0) for n in ("structures", "lobes", "areas")},
    )
    one = describe(made.labels, SCHEME, given(parts), made.brain).region("WT")
    other = describe(np.flip(made.labels, 0), SCHEME, given(flipped), np.flip(made.brain, 0)).region("WT")
    assert one is not None
    assert other is not None
    assert {one.side, other.side} in ({"left", "right"}, {"crossing"}, {"both"})
    assert one.left_share == pytest.approx(1 - (other.left_share or 0), abs=0.03)  # the plane is found anew
    same = ("lobes", "structures", "cortex_share", "touches_ventricles", "reaches_cortex", "crosses_midline")
    assert all(getattr(one, n) == getattr(other, n) for n in same)


@pytest.mark.slow
def test_the_map_of_a_healthy_twin_finds_its_way_onto_the_moved_patient() -> None:
    """The same head without its tumour is the map; the patient lies turned and shifted, and the tumour has pushed."""
    twin = replace(CONFIG, tumour="none")
    seed = 4
    healthy = phantom(seed, twin)
    own = mapped(seed, healthy.grid, twin)
    moved = replace(CONFIG, pose_mm=(6.0, -5.0, 3.0), pose_degrees=(4.0, -3.0, 8.0))
    made = phantom(seed, moved)
    image = Volume(made.images["t1n"], made.grid)
    truth = phantom_parts(seed, moved)
    overlaps = {}
    for deformable in (False, True):
        placed = place(image, made.brain, made.labels > 0, deformable=deformable, parts=own)
        assert placed.fit.usable
        assert placed.fit.method == ("deformable" if deformable else "affine")
        there = placed.parts.of("cerebellum"), placed.parts.of("white matter", "cortex")
        known = truth.structures["cerebellum"], truth.structures["white matter"] | truth.structures["cortex"]
        overlaps[deformable] = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(there, known, strict=True)]
        assert min(overlaps[deformable]) > 0.85
    assert sum(overlaps[True]) > sum(overlaps[False])


@pytest.mark.slow
def test_half_a_brain_is_not_described_as_a_whole_one() -> None:
    healthy = phantom(4, replace(CONFIG, tumour="none"))
    own = mapped(4, healthy.grid, replace(CONFIG, tumour="none"))
    made = phantom(4, CONFIG)
    half = made.brain & (np.arange(84)[:, None, None] < 42)
    placed: Placed = place(Volume(made.images["t1n"], made.grid), half, made.labels > 0, parts=own)
    found = describe(np.where(half, made.labels, 0).astype(np.uint8), SCHEME, placed, half)
    assert not placed.fit.usable or found.midline != "symmetry of the brain"
    assert found.problems
    nothing = place(Volume(made.images["t1n"], made.grid), half & False, made.labels > 0, parts=own)
    assert not nothing.fit.usable
    assert nothing.problems[0].code == "brain-empty"


def test_shifting_by_whole_voxels_changes_no_answer() -> None:
    """Resampling is not what is tested: a shift of 2 mm on a grid of 2 mm moves voxels as they are."""
    made = phantom(3, CONFIG)
    parts = mapped(3, made.grid)
    shift = np.eye(4)
    shift[0, 3] = 2.0
    labels = resample(Volume(made.labels, made.grid), made.grid, shift, interpolation="nearest")
    brain = resample(Volume(made.brain, made.grid), made.grid, shift, interpolation="nearest")
    arrays = {
        n: resample(Volume(getattr(parts, n), made.grid), made.grid, shift, interpolation="nearest")
        for n in ("structures", "lobes", "areas")
    }
    moved = BrainMap(grid=made.grid, source=parts.source, lacks=parts.lacks, **arrays)
    one = describe(made.labels, SCHEME, given(parts), made.brain).regions
    other = describe(labels, SCHEME, given(moved), brain).regions
    assert [(a.lobes, a.structures, a.eloquent) for a in one] == [(b.lobes, b.structures, b.eloquent) for b in other]
