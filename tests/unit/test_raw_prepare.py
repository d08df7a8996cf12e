"""Raw scans onto one grid and labels back to each scan: places, sides, volumes, files."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from glioscope.cases import load_case
from glioscope.dicom.scans import RawPatient, RawScan
from glioscope.errors import CaseError, ConfigError, GeometryError, LabelError
from glioscope.labels import SCHEMES
from glioscope.phantom import Phantom, PhantomConfig, phantom
from glioscope.phantom.anatomy import CENTRE_MM
from glioscope.phantom.head import MARKER_MM
from glioscope.prepare.bias import correct_bias
from glioscope.prepare.patient import (
    PrepareConfig,
    PreparedRaw,
    choose_reference,
    common_grid,
    prepare_raw,
    to_native,
    write_prepared,
)
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import Grid
from glioscope.space.registration import RegistrationConfig, turn_about
from glioscope.space.resampling import itk_transform, resample
from glioscope.space.volumes import Volume

pytestmark = pytest.mark.slow

SCHEME = SCHEMES["brats2023"]
STILL = RegistrationConfig(start_degrees=0, levels_mm=(4.0,))


def grid(edge: float, shape: tuple[int, int, int], codes: str = "RAS") -> Grid:
    signs = [1 if c in "RAS" else -1 for c in codes]
    return Grid(shape, np.diag([*(s * edge for s in signs), 1.0]))


def patient(**scans: Volume) -> RawPatient:
    return RawPatient(scans={code: RawScan(image=v.data, grid=v.grid) for code, v in scans.items()})


def restored(array: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels in another storage order, the affine worked out by hand: no code of the package takes part."""
    affine = affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    columns = [affine[:, a] for a in order] + [affine[:, 3]]
    return Volume(
        np.ascontiguousarray(array.transpose(order)), Grid(array.transpose(order).shape, np.stack(columns, 1))
    )


ORIENTATIONS = [
    pytest.param(order, flips, id="".join(map(str, order)) + "".join("-+"[not f] for f in flips))
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


@pytest.fixture(scope="module")
def marked() -> Phantom:
    """A head with the skull on, a marker on its right, a tumour, scanned obliquely."""
    config = PhantomConfig(
        shape=(60, 66, 50), spacing_mm=(4.0, 4.0, 4.0), orientation="RAS", skull=True, marker=True,
        rotation_degrees=(8.0, -12.0, 15.0), tumour="typical", noise=0, bias=0,
    )  # fmt: skip
    return phantom(3, config)


def centre_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]


def test_there_are_48_orientations() -> None:
    assert len(ORIENTATIONS) == 48


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_sides_survive_every_orientation(marked: Phantom, order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    """Prepared and carried back, a scan's labels are themselves voxel for voxel, and left stays left."""
    scan = restored(marked.images["t1c"], marked.grid.affine, order, flips)
    truth = restored(marked.labels, marked.grid.affine, order, flips).data
    prepared = prepare_raw(patient(t1c=scan), PrepareConfig(brain="none", spacing_mm=4.0))
    assert prepared.grid.orientation == "RAS"
    bright = prepared.images["t1c"] == marked.images["t1c"]
    assert bright.all()  # the phantom was drawn in RAS order: the common grid must be that of the drawing
    assert prepared.grid.affine == pytest.approx(marked.grid.affine, abs=1e-9)
    assert np.array_equal(to_native(marked.labels, prepared, "t1c"), truth)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_labels_reach_a_scan_in_every_orientation(
    marked: Phantom, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    """From a fine straight grid to the oblique scan in its storage order: same place, same volume, same side."""
    fine = grid(2.0, (120, 130, 100))
    fine = Grid(fine.shape, turn_about(np.zeros(3), np.zeros(3), [-119.0, -129.0, -99.0]) @ fine.affine)
    scan = restored(marked.labels, marked.grid.affine, order, flips)
    straight = carry_labels(Volume(marked.labels, marked.grid), fine, np.eye(4), SCHEME)
    back = carry_labels(Volume(straight, fine), scan.grid, np.eye(4), SCHEME)
    assert (back > 0).sum() == pytest.approx((scan.data > 0).sum(), rel=0.01)
    for tissue in (scan.data > 0, scan.data == 3):
        carried = back > 0 if tissue.sum() > (scan.data == 3).sum() else back == 3
        assert centre_mm(carried, scan.grid.affine) == pytest.approx(centre_mm(tissue, scan.grid.affine), abs=0.6)
    overlap = ((back > 0) & (scan.data > 0)).sum() / (scan.data > 0).sum()
    assert overlap > 0.9


def test_the_marker_lies_on_the_right_in_the_prepared_scan(marked: Phantom) -> None:
    scan = restored(marked.images["t1c"], marked.grid.affine, (2, 0, 1), (True, False, True))
    prepared = prepare_raw(patient(t1c=scan), PrepareConfig(brain="none"))
    head = prepared.images["t1c"]
    world = prepared.grid.affine[:3, :3] @ np.indices(head.shape).reshape(3, -1) + prepared.grid.affine[:3, 3:]
    marker = np.array(MARKER_MM) - CENTRE_MM  # where it was taped on, in scanner RAS: x grows to the right
    opposite = np.array(MARKER_MM) * [-1, 1, 1] - CENTRE_MM
    right, left = (
        head.reshape(-1)[np.linalg.norm(world - place[:, None], axis=0) < 4].mean() for place in (marker, opposite)
    )
    assert right > 5 * left
    assert prepared.grid.spacing_mm == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("edges", "wanted"),
    [
        ({"t1n": 1, "t1c": 1, "t2w": 1, "t2f": 1}, "t1c"),
        ({"t1n": 1, "t2w": 1, "t2f": 1}, "t1n"),
        ({"t1c": 5, "t2f": 1}, "t2f"),
        ({"t1c": 1.4, "t2f": 1}, "t1c"),
        ({"t2w": 3}, "t2w"),
    ],
)
def test_reference_is_the_best_known_of_the_finest(edges: dict[str, float], wanted: str) -> None:
    grids = {code: Grid((200, 200, int(150 / e)), np.diag([1, 1, e, 1.0])) for code, e in edges.items()}
    assert choose_reference(grids) == wanted


def test_a_slab_is_no_reference_while_there_is_a_whole_head() -> None:
    grids = {"t1c": grid(1.0, (200, 200, 40)), "t2w": grid(1.0, (200, 200, 160))}
    assert choose_reference(grids) == "t2w"
    assert choose_reference({"t1c": grids["t1c"]}) == "t1c"
    assert choose_reference(grids, "t1c") == "t1c"


def test_a_reference_that_is_not_there_is_named() -> None:
    with pytest.raises(CaseError, match="reference t1n: was not scanned; there are t2w"):
        choose_reference({"t2w": grid(1.0, (9, 9, 9))}, "t1n")
    with pytest.raises(CaseError, match="no scan"):
        prepare_raw(RawPatient(scans={}))


def test_a_grid_of_the_right_spacing_is_kept() -> None:
    native = grid(1.01, (10, 20, 30), "LPS")
    common = common_grid(native, 1.0)
    assert common.shape == (10, 20, 30)
    assert common.spacing_mm == pytest.approx((1.01, 1.01, 1.01))
    assert common_grid(Grid((10, 20, 6), np.diag([1, 1, 5.0, 1])), 1.0).shape == (10, 20, 30)


@pytest.fixture(scope="module")
def moved(marked: Phantom) -> tuple[PreparedRaw, np.ndarray]:
    """T1 with contrast, and a FLAIR whose header is off by a known displacement."""
    known = turn_about(np.zeros(3), [6.0, -4.0, 5.0], [8.0, -5.0, 6.0])
    scans = patient(
        t1c=Volume(marked.images["t1c"], marked.grid),
        t2f=Volume(marked.images["t2f"], Grid(marked.grid.shape, known @ marked.grid.affine)),
    )
    return prepare_raw(scans, PrepareConfig(brain="none", spacing_mm=4.0, registration=STILL)), known


def test_a_displaced_scan_is_brought_back(moved: tuple[PreparedRaw, np.ndarray], marked: Phantom) -> None:
    prepared, known = moved
    points = np.c_[np.argwhere(marked.brain), np.ones(marked.brain.sum())] @ marked.grid.affine.T
    error = points @ (prepared.registrations["t2f"].matrix - known).T
    assert np.linalg.norm(error[:, :3], axis=1).mean() < 1
    assert prepared.reference == "t1c"
    assert np.array_equal(prepared.images["t1c"], marked.images["t1c"])
    inside = marked.brain
    assert np.corrcoef(prepared.images["t2f"][inside], marked.images["t2f"][inside])[0, 1] > 0.95
    assert set(prepared.seconds) == {"registration", "brain", "resampling"}


def test_labels_go_back_to_the_displaced_scan(moved: tuple[PreparedRaw, np.ndarray], marked: Phantom) -> None:
    back = to_native(marked.labels, moved[0], "t2f")  # its voxels are those of the phantom: only the header was moved
    tumour = marked.labels > 0
    assert ((back > 0) & tumour).sum() * 2 / ((back > 0).sum() + tumour.sum()) > 0.9
    assert (back > 0).sum() == pytest.approx(tumour.sum(), rel=0.02)


def test_thick_slices_keep_volumes_and_thin_rims() -> None:
    radius = np.linalg.norm(np.indices((60, 60, 60)) - 30.0, axis=0)
    labels = np.select([radius < 10, radius < 12, radius < 22], [1, 3, 2], 0).astype(np.uint8)
    thick = Grid((70, 70, 12), turn_about([30.0, 30, 30], [5, 8, 0], [-5.0, -5.0, 0]) @ np.diag([0.9, 0.9, 5.5, 1]))
    carried = carry_labels(Volume(labels, grid(1.0, labels.shape)), thick, np.eye(4), SCHEME)
    for value in (1, 2, 3):
        millilitres = (carried == value).sum() * thick.voxel_volume_ml
        assert millilitres == pytest.approx((labels == value).sum() / 1000, rel=0.02)


def test_labels_on_their_own_grid_are_themselves() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (7, 8, 9)).astype(np.uint8)
    own = Grid(labels.shape, turn_about(np.zeros(3), [10, 20, 30], [1, 2, 3]) @ np.diag([-0.7, 1.3, 2.0, 1]))
    assert np.array_equal(carry_labels(Volume(labels, own), own, np.eye(4), SCHEME), labels)


def test_labels_outside_the_field_of_view_are_lost() -> None:
    labels = np.zeros((10, 10, 10), np.uint8)
    own = grid(1.0, labels.shape)
    assert not carry_labels(Volume(labels, own), own, np.eye(4), SCHEME).any()
    labels[4:6, 4:6, 4:6] = 3
    away = Grid((5, 5, 5), turn_about(np.zeros(3), np.zeros(3), [100.0, 0, 0]) @ np.eye(4))
    assert not carry_labels(Volume(labels, own), away, np.eye(4), SCHEME).any()


def test_wrong_use_of_the_way_back_is_named(moved: tuple[PreparedRaw, np.ndarray]) -> None:
    prepared = moved[0]
    labels = np.zeros(prepared.grid.shape, np.uint8)
    with pytest.raises(CaseError, match="sequence t2w: was not scanned; there are t1c, t2f"):
        to_native(labels, prepared, "t2w")
    with pytest.raises(GeometryError, match="labels have shape"):
        to_native(labels[1:], prepared, "t1c")
    labels[0, 0, 0] = 9
    with pytest.raises(LabelError, match="has label 9"):
        to_native(labels, prepared, "t1c")


def test_files_are_a_case_that_can_be_read(moved: tuple[PreparedRaw, np.ndarray], tmp_path: Path) -> None:
    prepared = moved[0]
    case = write_prepared(prepared, tmp_path / "p-1", "p-1", steps=True)
    read = load_case(tmp_path / "p-1")
    assert read.case.case_id == case.case_id == "p-1"
    for code in ("t1c", "t2f"):
        assert np.array_equal(read.images[code], prepared.images[code])
        written = sitk.ReadTransform(str(tmp_path / "p-1" / f"p-1-{code}.tfm"))
        wanted = itk_transform(prepared.registrations[code].matrix)
        for point in ((0.0, 0.0, 0.0), (40.0, -30.0, 20.0)):
            assert written.TransformPoint(point) == pytest.approx(wanted.TransformPoint(point), abs=1e-5)
    record = json.loads((tmp_path / "p-1" / "prepare.json").read_text("utf-8"))
    assert record["reference"] == "t1c"
    assert record["sequences"]["t2f"]["registration"]["quality"]["coverage"] > 0.9
    names = {path.name for path in (tmp_path / "p-1").iterdir()}
    assert {"p-1-brain.nii.gz", "p-1-t2f-head.nii.gz"} <= names
    loaded = prepared.loaded("p-1", tmp_path / "p-1")
    assert loaded.case == read.case
    assert loaded.grid.matches(read.grid)


def brain_stub(monkeypatch: pytest.MonkeyPatch, mask: np.ndarray) -> None:
    monkeypatch.setattr("glioscope.prepare.patient.brain_share", lambda scan, method: mask.astype(np.float32))


def test_the_brain_is_cut_out_with_a_margin(marked: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    brain_stub(monkeypatch, marked.brain)
    scan = Volume(marked.images["t1c"] + 5, marked.grid)
    prepared = prepare_raw(patient(t1c=scan), PrepareConfig(spacing_mm=4.0, margin_mm=8.0))
    assert (prepared.images["t1c"] != 0).sum() == marked.brain.sum() == prepared.brain.sum()
    lines = [np.flatnonzero(prepared.brain.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    assert all(line[0] in (0, 2) for line in lines)  # 8 mm are two voxels, where the field reaches that far
    assert prepared.heads["t1c"].min() >= 0
    assert prepared.brain_from == ("t1c",)
    assert not prepared.stripped_before
    assert prepared.problems == ()


def test_a_scan_that_misses_the_brain_is_reported(marked: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    brain_stub(monkeypatch, marked.brain)
    half = Volume(marked.images["t2f"][:, :, :30], Grid((60, 66, 30), marked.grid.affine))
    scans = patient(t1c=Volume(marked.images["t1c"], marked.grid), t2f=half)
    prepared = prepare_raw(scans, PrepareConfig(spacing_mm=4.0, registration=STILL))
    assert any(text.startswith("t2f: covers") for text in prepared.problems)
    assert not prepared.images["t2f"][:, :, -8:].any()


def test_no_brain_leaves_the_scan_as_it_is(marked: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    brain_stub(monkeypatch, np.zeros(marked.grid.shape))
    prepared = prepare_raw(patient(t1c=Volume(marked.images["t1c"], marked.grid)), PrepareConfig(spacing_mm=4.0))
    assert prepared.problems == ("no brain was found in t1c, so nothing was taken off; is this a scan of the head?",)
    assert prepared.brain.all()


def test_an_odd_brain_volume_is_reported(marked: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.zeros(marked.grid.shape)
    small[20:30, 20:30, 20:30] = 1  # 64 ml
    brain_stub(monkeypatch, small)
    prepared = prepare_raw(patient(t1c=Volume(marked.images["t1c"], marked.grid)), PrepareConfig(spacing_mm=4.0))
    assert prepared.problems == ("the brain found has 64 ml; 700 to 2300 ml is usual",)


def test_a_constant_scan_is_named() -> None:
    flat = Volume(np.full((4, 4, 4), np.nan, np.float32), grid(1.0, (4, 4, 4)))
    with pytest.raises(CaseError, match="t2w: the scan is constant"):
        prepare_raw(patient(t2w=flat))


def test_fine_voxels_are_averaged() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (40, 40, 40)).astype(np.float32)
    prepared = prepare_raw(patient(t1n=Volume(noise, grid(0.5, noise.shape))), PrepareConfig(brain="none"))
    assert prepared.grid.shape == (20, 20, 20)
    assert prepared.images["t1n"].std() < 4.5  # the mean of eight has 10 / √8 = 3.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing_mm": 0.0}, "spacing_mm is 0.0"),
        ({"brain": "bet"}, "brain is 'bet'"),
        ({"reference": "dwi"}, "reference is 'dwi'"),
        ({"margin_mm": -1.0}, "margin_mm is -1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**settings)  # type: ignore[arg-type]


def test_shading_is_taken_out(marked: Phantom) -> None:
    clean = marked.images["t1n"]
    ramp = np.exp(np.linspace(-0.5, 0.5, clean.shape[1], dtype=np.float32))[None, :, None]
    shaded = Volume(clean * ramp, marked.grid)
    white = marked.brain & (clean > np.percentile(clean[marked.brain], 60))

    def spread(image: np.ndarray) -> float:
        return float(image[white].std() / image[white].mean())

    corrected = correct_bias(shaded, marked.brain)
    assert spread(corrected) < 0.6 * spread(shaded.data)
    assert corrected[marked.brain].mean() == pytest.approx(shaded.data[marked.brain].mean(), rel=0.01)
    nothing = np.zeros(clean.shape, bool)
    assert np.array_equal(correct_bias(shaded, nothing), shaded.data)


REAL = Path(__file__).parents[3] / "shared" / "data" / "raw" / "TCGA-FG-6692"


@pytest.mark.slow
def test_a_real_patient_is_prepared() -> None:
    if not REAL.is_dir():
        pytest.skip("the raw scans of TCGA-FG-6692 are not beside this checkout")
    from glioscope.dicom.scans import read_nifti_scans
    from glioscope.space.volumes import read_volume

    codes = ("t1n", "t1c", "t2w", "t2f")
    scans = read_nifti_scans({code: REAL / f"{code}.nii.gz" for code in codes})
    prepared = prepare_raw(scans)
    assert prepared.problems == ()
    for code in codes:
        native = prepared.natives[code]
        inverse = np.linalg.inv(prepared.registrations[code].matrix)
        mask = resample(Volume(prepared.brain, prepared.grid), native, inverse) > 0.5
        other = read_volume(REAL / f"brainmask_{code}.nii.gz").data > 0
        assert 2 * (mask & other).sum() / (mask.sum() + other.sum()) >= 0.97
