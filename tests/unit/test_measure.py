"""Volumes and lengths against what geometry says of ellipsoids."""

import itertools
import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from glioscope.errors import GeometryError, LabelError
from glioscope.labels import scheme_named
from glioscope.measure import measure
from glioscope.measure.diameters import diameters
from glioscope.measure.midline import find_midline
from glioscope.measure.rano import BY_DIAMETERS, BY_VOLUME, Rule, Sizes, category, percent
from glioscope.phantom import PhantomConfig, phantom
from glioscope.phantom.scan import head_affine
from glioscope.results import Lesion
from glioscope.results.stored import as_json
from glioscope.space.grid import Grid, reorient

SCHEME = scheme_named("brats2023")
ONE_MM = Grid((64, 64, 64), np.diag([1.0, 1.0, 1.0, 1.0]))


def ellipsoid(
    grid: Grid, centre: tuple[float, ...], semi_axes: tuple[float, ...], turn: float = 0.0
) -> NDArray[np.bool_]:
    """Voxels whose centre lies in an ellipsoid given in mm, turned about z by `turn` degrees."""
    index = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3)
    mm = index @ grid.affine[:3, :3].T + grid.affine[:3, 3] - np.array(centre)
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    mm = mm @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return ((mm / np.array(semi_axes)) ** 2).sum(axis=1).reshape(grid.shape) <= 1


def enhancing(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * 3


@pytest.mark.parametrize("turn", [0, 20, 45, 70])
def test_turned_ellipsoid_has_its_volume_and_diameters(turn: float) -> None:
    found = measure(enhancing(ellipsoid(ONE_MM, (32, 31, 30), (22, 12, 16), turn)), ONE_MM, SCHEME)
    truth = 4 / 3 * math.pi * 22 * 12 * 16 / 1000
    assert found.volumes_ml["ET"] == pytest.approx(truth, rel=0.01)
    assert found.volumes_ml == dict.fromkeys(("WT", "TC", "ET"), found.volumes_ml["ET"])
    assert found.diameters.longest_mm == pytest.approx(44, abs=1)
    assert found.diameters.perpendicular_mm == pytest.approx(24, abs=1)
    assert found.diameters.maximum_3d_mm == pytest.approx(44, abs=1)
    product = found.diameters.longest_mm * found.diameters.perpendicular_mm
    assert found.diameters.product_mm2 == pytest.approx(product, rel=0.001)


def test_longest_direction_out_of_plane_counts_only_in_3d() -> None:
    found = measure(enhancing(ellipsoid(ONE_MM, (32, 32, 32), (10, 8, 25))), ONE_MM, SCHEME).diameters
    assert found.longest_mm == pytest.approx(20, abs=1)
    assert found.maximum_3d_mm == pytest.approx(50, abs=1)


def test_anisotropic_and_oblique_grid_measures_the_same_lesion() -> None:
    turn = np.radians(12)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.9, 1.1, 3.0])
    affine[:3, 3] = [-40, -50, -30]
    grid = Grid((90, 90, 30), affine)
    mask = ellipsoid(grid, (0, 0, 10), (20, 20, 20))
    found = measure(enhancing(mask), grid, SCHEME)
    assert found.volumes_ml["ET"] == pytest.approx(4 / 3 * math.pi * 8, rel=0.01)
    assert found.diameters.longest_mm == pytest.approx(40, abs=1.1)
    assert found.diameters.perpendicular_mm == pytest.approx(40, abs=1.1)
    assert found.diameters.maximum_3d_mm == pytest.approx(40, abs=3)
    assert found.lesions["ET"][0].centroid_mm == pytest.approx([0, 0, 10], abs=0.2)


def test_rectangle_by_hand() -> None:
    """A plate of 30 × 40 voxels: its diagonal joins outer faces of two corner voxels, 29 × 40 mm apart."""
    labels = np.zeros((64, 64, 64), np.uint8)
    labels[10:40, 10:50, 20:24] = 3
    found = measure(labels, ONE_MM, SCHEME).diameters
    assert found.longest_mm == pytest.approx(math.hypot(29, 40), abs=0.01)
    assert found.slices == 4
    (ax, ay, az), (bx, by, bz) = found.longest_ends_mm
    (cx, cy, _), (dx, dy, _) = found.perpendicular_ends_mm
    assert az == bz == pytest.approx(20)
    assert (bx - ax) * (dx - cx) + (by - ay) * (dy - cy) == pytest.approx(0, abs=1)
    assert math.hypot(bx - ax, by - ay) == pytest.approx(found.longest_mm, abs=0.02)
    assert math.hypot(dx - cx, dy - cy) == pytest.approx(found.perpendicular_mm, abs=0.02)


def test_single_voxel() -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[3, 4, 5] = 3
    found = measure(labels, Grid((8, 8, 8), np.diag([2.0, 1, 1, 1])), SCHEME)
    assert found.diameters.longest_mm == 2
    assert found.diameters.perpendicular_mm == 1
    assert found.diameters.maximum_3d_mm == 2
    assert found.lesions["ET"] == (Lesion(volume_ml=0.002, centroid_mm=(6.0, 4.0, 5.0)),)


def test_ring_is_measured_across_its_hole() -> None:
    ball, hole = (ellipsoid(ONE_MM, (32, 32, 32), (r, r, r)) for r in (15, 12))
    labels = np.where(hole, 1, enhancing(ball)).astype(np.uint8)
    found = measure(labels, ONE_MM, SCHEME)
    assert found.diameters.region == "ET"
    assert found.diameters.longest_mm == pytest.approx(30, abs=1)
    assert found.diameters.perpendicular_mm == pytest.approx(30, abs=1)
    assert found.tissues_ml["NCR"] == pytest.approx(4 / 3 * math.pi * 12**3 / 1000, rel=0.02)


def test_two_lesions_are_never_measured_as_one() -> None:
    one, two = ellipsoid(ONE_MM, (15, 15, 20), (8, 8, 8)), ellipsoid(ONE_MM, (50, 50, 40), (6, 6, 6))
    found = measure(enhancing(one | two), ONE_MM, SCHEME)
    assert found.lesion_count == {"WT": 2, "TC": 2, "ET": 2}
    assert found.lesions["ET"][0].volume_ml > found.lesions["ET"][1].volume_ml
    assert found.lesions["ET"][1].centroid_mm == pytest.approx([50, 50, 40], abs=0.01)
    assert found.diameters.longest_mm == pytest.approx(16, abs=1)
    assert found.measurable.lesions == 2


def test_corner_neighbours_are_one_lesion() -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2, 2, 2] = labels[3, 3, 3] = 3
    assert measure(labels, Grid((8, 8, 8), np.eye(4)), SCHEME).lesion_count["ET"] == 1


@pytest.mark.parametrize(("radius", "measurable"), [(7, True), (4, False)])
def test_measurable_by_size(radius: float, measurable: bool) -> None:
    found = measure(enhancing(ellipsoid(ONE_MM, (30, 30, 30), (radius,) * 3)), ONE_MM, SCHEME).measurable
    assert found.by_size is measurable
    assert "Wen et al. 2023" in found.source
    assert "margins" in found.not_judged


def test_one_slice_is_not_measurable() -> None:
    labels = np.zeros((40, 40, 8), np.uint8)
    labels[5:30, 5:30, 3] = 3
    found = measure(labels, Grid((40, 40, 8), np.eye(4)), SCHEME).measurable
    assert not found.by_size
    assert "1 slice" in found.reason


def test_thick_slices_ask_for_twice_their_thickness() -> None:
    grid = Grid((40, 40, 10), np.diag([1.0, 1, 7, 1]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:19, 10:19, 3:6] = 3  # 12 mm across its corners
    found = measure(labels, grid, SCHEME).measurable
    assert "14 mm" in found.rule
    assert not found.by_size


def test_without_enhancement_the_core_is_measured_and_not_measurable() -> None:
    core = ellipsoid(ONE_MM, (30, 30, 30), (9, 9, 9))
    found = measure(core.astype(np.uint8), ONE_MM, SCHEME)
    assert found.diameters.region == "TC"
    assert found.measurable.by_size is False
    assert found.measurable.reason == "no enhancing tumour was found"
    assert found.volumes_ml["ET"] == 0


def test_empty_map_gives_zeros_and_json() -> None:
    found = measure(np.zeros(ONE_MM.shape, np.uint8), ONE_MM, SCHEME)
    assert found.volumes_ml == {"WT": 0, "TC": 0, "ET": 0}
    assert found.lesions == {"WT": (), "TC": (), "ET": ()}
    assert found.diameters is None
    assert found.side is None
    assert "NaN" not in json.dumps(as_json(found), allow_nan=False)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_side_follows_the_patient_not_the_storage(codes: str) -> None:
    grid = Grid((64, 64, 64), np.array([[1.0, 0, 0, -31.5], [0, 1, 0, -31.5], [0, 0, 1, -31.5], [0, 0, 0, 1]]))
    labels, turned = reorient(enhancing(ellipsoid(grid, (15, 0, 0), (8, 8, 8))), grid, codes)
    found = measure(np.ascontiguousarray(labels), turned, SCHEME)
    assert found.side.side == "right"
    assert found.side.share == 1
    assert found.side.centre_to_midline_mm == pytest.approx(15, abs=0.1)
    assert found.diameters.longest_mm == pytest.approx(16, abs=1)


def brain_at(centre: tuple[float, ...], yaw: float = 0.0) -> NDArray[np.bool_]:
    """A brain of sorts: longer than wide, narrower in front, mirror-symmetric about its own midline."""
    head = ellipsoid(ONE_MM, centre, (18, 25, 22), yaw)
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return head | ellipsoid(ONE_MM, (centre[0] + 18 * s, centre[1] - 18 * c, centre[2] - 8), (14, 10, 12), yaw)


def test_brain_sets_the_midline() -> None:
    labels = enhancing(ellipsoid(ONE_MM, (26, 32, 32), (4, 4, 4)))
    alone = measure(labels, ONE_MM, SCHEME).side
    assert alone.side == "left"
    assert alone.midline.source == "middle of the image"
    found = measure(labels, ONE_MM, SCHEME, brain=brain_at((20, 32, 32))).side
    assert found.side == "right"
    assert found.midline_x_mm == pytest.approx(20, abs=0.3)
    assert found.centre_to_midline_mm == pytest.approx(6, abs=0.3)
    assert found.midline.source == "symmetry of the brain"


@pytest.mark.parametrize("yaw", [-20, -8, 12])
def test_midline_turns_with_the_head(yaw: float) -> None:
    """In front of the middle of a head turned to one side, the midline lies towards that side."""
    front = 15
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    place = (32 - front * s + 6 * c, 32 + front * c + 6 * s, 32)
    labels = enhancing(ellipsoid(ONE_MM, place, (3, 3, 3)))
    found = measure(labels, ONE_MM, SCHEME, brain=brain_at((32, 32, 32), yaw)).side
    assert found.side == "right"
    assert found.centre_to_midline_mm == pytest.approx(6, abs=0.6)
    assert found.midline.tilt_degrees == pytest.approx(abs(yaw), abs=1.5)


def test_a_bulge_on_one_side_hardly_moves_the_midline() -> None:
    brain = brain_at((32, 32, 32)) | ellipsoid(ONE_MM, (48, 36, 36), (6, 8, 8))
    midline = find_midline(ONE_MM, brain)
    assert midline.x_at(np.array([32.0, 32, 32])) == pytest.approx(32, abs=1.2)


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_midline_of_phantoms_lies_between_their_hemispheres(codes: str) -> None:
    """The phantom's own midline is x = 0 of its head, whose place is known; poses and tumours move neither."""
    config = PhantomConfig(
        shape=(80, 84, 40),
        spacing_mm=(2.5, 2.5, 5.0),
        orientation="LPS",
        pose_mm=(9.0, -6.0, 4.0),
        pose_degrees=(6.0, -9.0, 12.0),
        rotation_degrees=(0.0, 7.0, 0.0),
    )
    made = phantom(3, config)
    brain, grid = reorient(made.brain, made.grid, codes)
    midline = find_midline(grid, np.ascontiguousarray(brain))
    head = head_affine(made.grid, config)
    index = np.argwhere(made.brain)[::40]
    truth = (index @ head[:3, :3].T + head[:3, 3])[:, 0]
    found = midline.signed_mm(index @ made.grid.affine[:3, :3].T + made.grid.affine[:3, 3])
    assert np.abs(found - truth).mean() < 1.2
    assert np.abs(found - truth).max() < 4


@pytest.mark.parametrize(
    ("boxes", "side"),
    [
        ([(10, 20)], "left"),
        ([(40, 50)], "right"),
        ([(20, 44)], "crossing"),  # 12 mm on either side
        ([(30, 44)], "right"),  # 2 mm past the midline: within its error
        ([(10, 20), (40, 50)], "both"),
        ([(10, 20), (40, 43)], "left"),  # what lies on the right is a speck
    ],
)
def test_side_says_both_and_crossing(boxes: list[tuple[int, int]], side: str) -> None:
    labels = np.zeros(ONE_MM.shape, np.uint8)
    for start, stop in boxes:
        depth = 8 if stop - start > 3 else 3
        labels[start:stop, 20 : 20 + depth, 20 : 20 + depth] = 3
    found = measure(labels, ONE_MM, SCHEME).side  # the middle of the image is x = 31.5
    assert found.side == side
    assert found.heavier in ("left", "right")


def test_the_slice_of_a_ring_is_the_one_across_its_middle() -> None:
    """Every slice of a thin shell holds about as many voxels; the widest ring is wanted."""
    ball, hole = (ellipsoid(ONE_MM, (32, 32, 32), (r, r, r)) for r in (16, 15))
    found = measure(enhancing(ball & ~hole), ONE_MM, SCHEME).diameters
    assert found.longest_mm == pytest.approx(32, abs=1)
    assert abs(found.longest_ends_mm[0][2] - 32) <= 2


def test_scheme_with_a_cavity_keeps_it_apart() -> None:
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[2:6, 2:6, 2:6], labels[8:12, 8:12, 8:12] = 3, 4
    found = measure(labels, Grid((16, 16, 16), np.eye(4)), scheme_named("brats2024"))
    assert found.volumes_ml["WT"] == pytest.approx(0.064)
    assert found.volumes_ml["RC"] == pytest.approx(0.064)


def test_shape_mismatch_and_unknown_label() -> None:
    with pytest.raises(GeometryError, match=r"label map: has shape \(4, 4, 4\)"):
        measure(np.zeros((4, 4, 4), np.uint8), ONE_MM, SCHEME)
    with pytest.raises(GeometryError, match="brain mask"):
        measure(np.zeros(ONE_MM.shape, np.uint8), ONE_MM, SCHEME, brain=np.zeros((2, 2, 2), bool))
    labels = np.zeros(ONE_MM.shape, np.uint8)
    labels[0, 0, 0] = 9
    with pytest.raises(LabelError, match=r"9 \(1 voxels\)"):
        measure(labels, ONE_MM, SCHEME)


@pytest.mark.parametrize(
    ("rule", "change", "code"),
    [
        *(
            (BY_DIAMETERS, c, k)
            for c, k in ((25, "PD"), (24.9, "SD"), (0, "SD"), (-49.9, "SD"), (-50, "PR"), (-99, "PR"))
        ),
        *((BY_VOLUME, c, k) for c, k in ((40, "PD"), (39.9, "SD"), (0, "SD"), (-64.9, "SD"), (-65, "PR"), (-99, "PR"))),
    ],
)
def test_thresholds_of_rano(rule: Rule, change: float, code: str) -> None:
    """Wen et al. 2023: 25 % and 50 % of the products of diameters, 40 % and 65 % of the volume, themselves included."""
    sizes = Sizes(
        earlier=1000,
        later=1000 + 10 * change,
        enhancing_earlier=True,
        enhancing_later=True,
        measurable_earlier=True,
        new_measurable=False,
        became_measurable=False,
    )
    found = category(sizes, rule)
    assert found.code == code
    assert found.percent == pytest.approx(change)
    assert rule.quantity in found.rule


def test_percent_of_nothing() -> None:
    assert percent(0, 0) == 0
    assert percent(0, 3) is None
    assert percent(4, 0) == -100


@pytest.mark.parametrize("seed", range(12))
def test_diameters_are_those_of_all_pairs_and_of_scipys_hull(seed: int) -> None:
    """Few and many voxels, on a line, scattered or one blob; anisotropic and sheared. Every pair is measured here."""
    rng = np.random.default_rng(seed)
    voxels = np.unique(rng.integers(0, (9, 1 + seed, 7), (rng.integers(1, 200), 3)), axis=0)
    affine = np.diag([1.0, 1.3, 2.5, 1.0])
    affine[:3, :3] += rng.normal(0, 0.05, (3, 3))
    grid = Grid((20, 20, 20), affine)
    found = diameters(voxels, grid, "ET")
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    faces = (voxels[:, None] + steps).reshape(-1, 3) @ affine[:3, :3].T
    assert found.maximum_3d_mm == pytest.approx(cdist(faces, faces).max(), abs=0.006)
    areas, lengths = {}, {}
    for k in np.unique(voxels[:, 2]):
        plane = voxels[voxels[:, 2] == k]
        corners = [plane[:, :2] + np.array(c) for c in itertools.product((-0.5, 0.5), repeat=2)]
        areas[k] = ConvexHull(np.concatenate(corners)).volume
        points = (plane[:, None] + steps[[0, 1, 3, 4]]).reshape(-1, 3) @ affine[:3, :3].T
        lengths[k] = cdist(points, points).max()
    largest = min(k for k in areas if areas[k] > max(areas.values()) - 1e-9)
    assert found.longest_mm == pytest.approx(lengths[largest], abs=0.006)
