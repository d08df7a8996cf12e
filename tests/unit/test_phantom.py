"""Synthetic patients: equations by hand, pictures by what a radiologist would check, files by reading them back."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from glioscope.cases import SEQUENCES, find_cases, load_case
from glioscope.errors import ConfigError, RunError
from glioscope.phantom import LAYOUTS, Phantom, PhantomConfig, phantom, write_phantoms
from glioscope.phantom.artefacts import bias_field, move, rician, thicken
from glioscope.phantom.fields import blend, ellipsoid, refine, share, tube
from glioscope.phantom.scan import grid_of
from glioscope.phantom.signal import (
    Tissue,
    draw_scanner,
    inversion_recovery,
    nulling_time,
    signals,
    spin_echo,
    tissues,
    with_contrast,
)
from glioscope.space.grid import reorient

SMALL = PhantomConfig(shape=(56, 56, 40), spacing_mm=(4.0, 4.0, 4.0))
CLEAN = replace(SMALL, noise=0.0, bias=0.0, slice_thickness_mm=0.0)
TISSUE = Tissue(t1_ms=1000, t2_ms=100, density=0.5)


def points(*axes: list[float]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(a, np.float32) for a in axes)


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return phantom(5, replace(SMALL, tumour="typical"))


def centre_mm(made: Phantom) -> np.ndarray:
    """Centre of mass of the whole tumour in scanner millimetres."""
    index = np.append(np.argwhere(made.labels > 0).mean(axis=0), 1)
    return (made.grid.affine @ index)[:3]


class TestFields:
    def test_share_is_a_ramp_across_the_surface(self) -> None:
        distance = np.array([-2, -1, -0.5, 0, 0.5, 1, 2], np.float32)
        np.testing.assert_allclose(share(distance, 2.0), [1, 1, 0.75, 0.5, 0.25, 0, 0])

    def test_ellipsoid_distance_on_its_axes(self) -> None:
        distance = ellipsoid(points([10, 12, 0], [0, 0, 20], [0, 0, 0]), (0, 0, 0), (10, 20, 30))
        np.testing.assert_allclose(distance, [0, 2, 0], atol=1e-3)

    def test_tube_distance_beside_and_beyond_its_end(self) -> None:
        distance = tube(points([5, 13], [3, 0], [0, 0]), ((0, 0, 0, 1), (10, 0, 0, 2)))
        np.testing.assert_allclose(distance, [3 - 1.5, 3 - 2], atol=1e-5)

    def test_blend_is_the_union_away_from_the_seam(self) -> None:
        first, second = points([-5.0, 1.0], [7.0, 1.0])
        np.testing.assert_allclose(blend(first, second, 2.0), [-5, 0.5])

    def test_refine_interpolates_each_axis(self) -> None:
        coarse = np.arange(8, dtype=np.float32).reshape(2, 2, 2)  # 4 i + 2 j + k
        fine = refine(coarse, (3, 2, 2), [np.array([0, 0.5, 9.0]), np.arange(2.0), np.arange(2.0)])
        np.testing.assert_allclose(fine[:, 1, 1], [3, 5, 7])


class TestSignal:
    def test_spin_echo_by_hand(self) -> None:
        assert spin_echo(TISSUE, tr_ms=1000, te_ms=100) == pytest.approx(0.5 * (1 - np.exp(-1)) * np.exp(-1))

    def test_inversion_recovery_by_hand(self) -> None:
        value = inversion_recovery(TISSUE, tr_ms=2000, ti_ms=1000, te_ms=50)
        assert value == pytest.approx(0.5 * abs(1 - 2 * np.exp(-1) + np.exp(-2)) * np.exp(-0.5))

    def test_nulling_time_gives_no_signal(self) -> None:
        time = nulling_time(2500, 9000)
        assert inversion_recovery(replace(TISSUE, t1_ms=2500), tr_ms=9000, ti_ms=time, te_ms=0) == pytest.approx(0)

    def test_gadolinium_shortens_both_times(self) -> None:
        after = with_contrast(TISSUE, 1.0, 1.5)
        assert after.t1_ms == pytest.approx(1000 / (1 + 4.78))
        assert after.t2_ms == pytest.approx(1000 / (10 + 6.1))

    @pytest.mark.parametrize("field", [1.5, 3.0])
    @pytest.mark.parametrize("seed", range(6))
    def test_contrasts_are_those_of_radiology(self, field: float, seed: int) -> None:
        scanner, table = draw_scanner(np.random.default_rng(seed), field), tissues(field)
        value = {t: dict(zip(SEQUENCES, signals(table[t], scanner), strict=True)) for t in table}
        leaking = signals(table["solid"], scanner, contrast_millimolar=0.4)[1]
        t1, t2, flair = ({t: v[s] for t, v in value.items()} for s in ("t1n", "t2w", "t2f"))
        assert t1["white"] > t1["thalamus"] > t1["grey"] > t1["solid"] > t1["necrosis"]
        assert t2["csf"] > t2["necrosis"] > t2["oedema"] > t2["grey"] > t2["white"]
        assert flair["oedema"] > flair["grey"] > flair["white"] > flair["csf"]
        assert leaking > 1.1 * t1["white"]


class TestArtefacts:
    def test_rician_background_is_rayleigh(self) -> None:
        noise = rician(np.random.default_rng(0), np.zeros((40, 40, 40), np.float32), 2.0)
        assert noise.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)

    def test_nothing_asked_nothing_done(self) -> None:
        rng, image = np.random.default_rng(0), np.random.default_rng(1).random((6, 7, 8), np.float32)
        np.testing.assert_array_equal(rician(rng, image, 0), image)
        np.testing.assert_array_equal(move(rng, image, 0), image)
        np.testing.assert_array_equal(thicken(image, 1.0, 1.2), image)
        assert (bias_field(rng, (3, 4, 5), 0) == 1).all()

    def test_bias_field_is_smooth_and_near_one(self) -> None:
        field = bias_field(np.random.default_rng(2), (40, 40, 40), 0.1)
        assert field.shape == (40, 40, 40)
        assert 0.5 < field.min() < field.max() < 2
        assert np.abs(np.diff(field, axis=0)).max() < 0.05

    def test_thick_slices_are_means_joined_by_lines(self) -> None:
        image = np.zeros((1, 1, 9), np.float32)
        image[..., 4] = 3
        np.testing.assert_allclose(
            thicken(image, 1.0, 3.0)[0, 0], [0, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 0], atol=1e-6
        )

    def test_motion_keeps_the_mean_and_ghosts_along_j(self) -> None:
        image = np.zeros((4, 64, 4), np.float32)
        image[1:3, 24:40] = 1
        moved = move(np.random.default_rng(3), image, 4.0)
        assert moved.mean() == pytest.approx(image.mean(), rel=0.15)
        assert np.abs(moved - image).max() > 0.05
        assert (moved[0] < 1e-6).all()


class TestPatient:
    def test_what_comes_out(self, patient: Phantom) -> None:
        assert list(patient.images) == list(SEQUENCES)
        for image in patient.images.values():
            assert image.shape == patient.grid.shape == patient.labels.shape == patient.brain.shape
            assert image.dtype == np.float32
            assert np.isfinite(image).all()
            assert (image[~patient.brain] == 0).all()
            assert (image[patient.brain] >= 1).all()
        assert patient.labels.dtype == np.uint8
        assert set(np.unique(patient.labels)) == {0, 1, 2, 3}
        assert not patient.labels[~patient.brain].any()
        json.dumps(dict(patient.description))

    def test_volumes_told_are_those_drawn(self, patient: Phantom) -> None:
        counts = np.bincount(patient.labels.ravel(), minlength=4) * 0.064
        told = patient.description["volumes_ml"]
        np.testing.assert_allclose([told["NCR"], told["ED"], told["ET"]], counts[1:], atol=1e-3)

    def test_same_seed_same_bytes_other_seed_other_patient(self, patient: Phantom) -> None:
        again = phantom(5, replace(SMALL, tumour="typical"))
        other = phantom(6, replace(SMALL, tumour="typical"))
        for sequence in SEQUENCES:
            assert again.images[sequence].tobytes() == patient.images[sequence].tobytes()
            assert not np.array_equal(other.images[sequence], patient.images[sequence])
        np.testing.assert_array_equal(again.labels, patient.labels)

    @pytest.mark.parametrize("seed", range(4))
    def test_the_tumour_looks_like_one(self, seed: int) -> None:
        made = phantom(seed, replace(CLEAN, tumour="typical"))
        healthy = made.brain & ~ndimage.binary_dilation(made.labels > 0, iterations=2)
        oedema, enhancing = made.labels == 2, made.labels == 3
        assert made.images["t2f"][oedema].mean() > 1.15 * np.median(made.images["t2f"][healthy])
        uptake = made.images["t1c"] / np.maximum(made.images["t1n"], 1)
        assert np.median(uptake[enhancing]) > 1.15 * np.median(uptake[healthy])

    def test_brains_have_a_human_size(self) -> None:
        volumes = [phantom(s, replace(CLEAN, tumour="none")).brain.sum() * 0.064 for s in range(5)]
        assert 1250 < min(volumes) < max(volumes) < 2000

    def test_no_tumour(self) -> None:
        made = phantom(1, replace(SMALL, tumour="none"))
        assert not made.labels.any()
        assert made.description["foci"] == []

    def test_no_enhancement(self) -> None:
        made = phantom(2, replace(SMALL, tumour="no-enhancement"))
        assert set(np.unique(made.labels)) == {0, 1, 2}

    def test_multifocal(self) -> None:
        made = phantom(3, replace(SMALL, tumour="multifocal"))
        assert len(made.description["foci"]) >= 2
        for focus in made.description["foci"]:
            index = np.rint(np.linalg.inv(made.grid.affine) @ np.append(focus["centre_mm"], 1))[:3].astype(int)
            around = tuple(slice(i - 2, i + 3) for i in index)
            assert made.labels[around].any()

    def test_small(self) -> None:
        made = phantom(4, replace(SMALL, tumour="small", spacing_mm=(3.0, 3.0, 3.0), shape=(72, 72, 52)))
        assert 0.5 < (made.labels > 0).sum() * 0.027 < 12


class TestGrid:
    def test_the_default_is_the_grid_of_brats(self) -> None:
        grid = grid_of(PhantomConfig())
        assert grid.shape == (240, 240, 155)
        np.testing.assert_array_equal(grid.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])

    @pytest.mark.parametrize("codes", ["RAS", "LAS", "PIR", "SAL"])
    def test_storage_order_does_not_change_the_patient(self, codes: str) -> None:
        base = replace(CLEAN, shape=(48, 48, 48), tumour="typical")
        reference, turned = phantom(8, base), phantom(8, replace(base, orientation=codes))
        assert turned.grid.orientation == codes
        for name, image in turned.images.items():
            back, grid = reorient(image, turned.grid, "LPS")
            assert grid.matches(reference.grid)
            assert np.abs(back - reference.images[name]).mean() < 0.01 * reference.images[name].mean()
        labels, _ = reorient(turned.labels, turned.grid, "LPS")
        assert (labels != reference.labels).mean() < 1e-3

    def test_an_oblique_scan_shows_the_same_place(self) -> None:
        base = replace(CLEAN, tumour="typical")
        straight, oblique = phantom(9, base), phantom(9, replace(base, rotation_degrees=(12.0, -8.0, 20.0)))
        assert np.abs(oblique.grid.affine[:3, :3]).min() > 0.1
        np.testing.assert_allclose(oblique.grid.spacing_mm, 4.0)
        np.testing.assert_allclose(centre_mm(oblique), centre_mm(straight), atol=1.0)

    def test_a_moved_head_moves_unknown_to_the_affine(self) -> None:
        base = replace(CLEAN, tumour="typical")
        still, moved = phantom(9, base), phantom(9, replace(base, pose_mm=(8.0, -4.0, 4.0)))
        assert moved.grid.matches(still.grid)
        np.testing.assert_allclose(centre_mm(moved) - centre_mm(still), (8, -4, 4), atol=0.6)

    def test_thick_voxels_hold_the_same_tumour(self) -> None:
        cube = phantom(7, replace(CLEAN, shape=(84, 84, 60), spacing_mm=(2.5, 2.5, 2.5), tumour="typical"))
        slab = phantom(7, replace(CLEAN, shape=(84, 84, 20), spacing_mm=(2.5, 2.5, 7.5), tumour="typical"))
        volumes = [(p.labels > 0).sum() * p.grid.voxel_volume_ml for p in (cube, slab)]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.06)
        np.testing.assert_allclose(centre_mm(slab), centre_mm(cube), atol=1.5)

    def test_skull_surrounds_the_same_brain(self) -> None:
        bare, full = phantom(3, CLEAN), phantom(3, replace(CLEAN, skull=True))
        np.testing.assert_array_equal(bare.labels, full.labels)
        shell = ndimage.binary_dilation(full.brain, iterations=5) & ~ndimage.binary_dilation(full.brain, iterations=2)
        assert full.images["t1n"][shell].mean() > 0.3 * full.images["t1n"][full.brain].mean()

    def test_fluid_between_brain_and_bone_is_thin(self) -> None:
        config = replace(CLEAN, shape=(112, 124, 96), spacing_mm=(2.0, 2.0, 2.0), skull=True, tumour="none")
        made = phantom(2, config)
        away = ndimage.distance_transform_edt(~made.brain, sampling=config.spacing_mm)
        vault = np.indices(made.brain.shape)[2] > 56  # above the base, where nothing but bone and scalp lies
        t2 = made.images["t2w"]
        assert np.median(t2[vault & (away > 3) & (away < 5)]) < 0.5 * np.median(t2[made.brain])

    @pytest.mark.parametrize("codes", ["LPS", "RAS"])
    def test_the_marker_is_on_the_right(self, codes: str) -> None:
        config = replace(CLEAN, skull=True, orientation=codes, tumour="none")
        plain, marked = phantom(3, config), phantom(3, replace(config, marker=True))
        spot = np.argwhere(np.abs(marked.images["t2w"] - plain.images["t2w"]) > 30).mean(axis=0)
        assert (plain.grid.affine @ np.append(spot, 1))[0] > 70


class TestConfig:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"shape": (240, 240)}, "shape is .* three axes"),
            ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm is .* 0.2 to 20"),
            ({"orientation": "LPX"}, "orientation is 'LPX'; it needs one each"),
            ({"orientation": "LRS"}, "orientation is 'LRS'"),
            ({"field_tesla": 7.0}, "field_tesla is 7.0; choose 1.5 or 3.0"),
            ({"tumour": "huge"}, "tumour is 'huge'; choose one of random"),
            ({"noise": -1.0}, "must not be negative"),
            ({"marker": True}, "set skull"),
        ],
    )
    def test_wrong_settings_are_named(self, change: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            PhantomConfig(**change)

    def test_negative_seed(self) -> None:
        with pytest.raises(ConfigError, match="seed is -1"):
            phantom(-1, SMALL)


class TestFiles:
    CONFIG = PhantomConfig(shape=(24, 24, 20), spacing_mm=(9.0, 9.0, 9.0), tumour="typical")

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_is_found_and_holds_the_truth(self, layout: str, tmp_path: Path) -> None:
        paths = write_phantoms(tmp_path / "set", 2, layout=layout, seed=20, config=self.CONFIG)  # type: ignore[arg-type]
        assert len(paths) == 2
        cases = find_cases(tmp_path / "set")
        assert len({c.subject_id for c in cases}) == 2
        enhancing = 4 if layout in ("brats2018", "brats2021") else 3
        core, oedema = (2, 1) if layout == "msd" else (1, 2)
        for index, case in enumerate(cases):
            assert not case.missing
            loaded, truth = load_case(case), phantom(20 + index, self.CONFIG)
            assert loaded.grid.matches(truth.grid)
            assert loaded.reference is not None
            for value, meant in ((core, 1), (oedema, 2), (enhancing, 3)):
                np.testing.assert_array_equal(loaded.reference == value, truth.labels == meant)
            for sequence in SEQUENCES:
                np.testing.assert_allclose(loaded.images[sequence], truth.images[sequence], atol=0.5)

    def test_names_of_the_years(self, tmp_path: Path) -> None:
        new = write_phantoms(tmp_path / "new", 1, config=self.CONFIG)[0]
        old = write_phantoms(tmp_path / "old", 1, layout="brats2021", config=self.CONFIG)[0]
        assert {p.name for p in new.iterdir()} == {
            f"BraTS-GLI-00000-000-{s}.nii.gz" for s in ("t1n", "t1c", "t2w", "t2f", "seg")
        }
        assert {p.name for p in old.iterdir()} == {
            f"BraTS2021_00000_{s}.nii.gz" for s in ("t1", "t1ce", "t2", "flair", "seg")
        }

    def test_decathlon_index(self, tmp_path: Path) -> None:
        write_phantoms(tmp_path, 1, layout="msd", config=self.CONFIG)
        index = json.loads((tmp_path / "dataset.json").read_text())
        assert index["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
        assert index["numTraining"] == len(index["training"]) == 1
        assert (tmp_path / index["training"][0]["label"]).is_file()

    def test_written_again_the_case_is_replaced_and_nothing_left_over(self, tmp_path: Path) -> None:
        first = write_phantoms(tmp_path, 1, config=self.CONFIG)[0]
        (first / "stale.txt").write_text("old")
        write_phantoms(tmp_path, 1, config=self.CONFIG)
        assert not (first / "stale.txt").exists()
        assert [p.name for p in tmp_path.iterdir()] == [first.name]

    def test_unwritable_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match=re.escape(f"{tmp_path / 'file'}")):
            write_phantoms(tmp_path / "file", 1, config=self.CONFIG)

    @pytest.mark.parametrize(
        ("layout", "count", "message"), [("brats1999", 1, "layout 'brats1999'"), ("msd", 0, "0 phantoms")]
    )
    def test_wrong_wishes(self, layout: str, count: int, message: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            write_phantoms(tmp_path, count, layout=layout)  # type: ignore[arg-type]
