"""Brain extraction: what the networks give, what becomes of it, and other programs in their place."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from glioscope.errors import ConfigError, DependencyError, ModelError
from glioscope.phantom import Phantom, PhantomConfig, phantom
from glioscope.prepare import brain
from glioscope.prepare.brain import brain_mask, brain_share, choose_sequences, looks_stripped, outline
from glioscope.space.grid import Grid, reorient
from glioscope.space.volumes import Volume, read_volume

REAL = Path(__file__).parents[3] / "shared" / "data" / "raw" / "TCGA-FG-6692"


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture(scope="module")
def head() -> Phantom:
    return phantom(7, PhantomConfig(shape=(104, 116, 88), spacing_mm=(2.0, 2.0, 2.0), orientation="RAS", skull=True))


@pytest.mark.parametrize(
    ("available", "method", "wanted"),
    [
        (("t1n", "t1c", "t2w", "t2f"), "builtin", ("t1n", "t1c")),
        (("t1c", "t2f"), "builtin", ("t1c",)),
        (("t2w", "t2f"), "builtin", ("t2f",)),
        (("t2w",), "builtin", ("t2w",)),
        (("t1n", "t1c", "t2w", "t2f"), "hd-bet", ("t1n",)),
    ],
)
def test_the_best_suited_scans_are_outlined(available: tuple[str, ...], method: str, wanted: tuple[str, ...]) -> None:
    assert choose_sequences(available, method) == wanted  # type: ignore[arg-type]


def test_mask_is_the_largest_piece_without_holes() -> None:
    share = np.zeros((10, 10, 10), np.float32)
    share[1:6, 1:6, 1:6] = 0.9
    share[3, 3, 3] = 0.1  # a hole
    share[8:, 8:, 8:] = 0.9  # another piece
    wanted = np.zeros((10, 10, 10), bool)
    wanted[1:6, 1:6, 1:6] = True
    assert np.array_equal(brain_mask(share), wanted)


def test_nothing_above_one_half_is_no_brain() -> None:
    assert not brain_mask(np.full((4, 4, 4), 0.5, np.float32)).any()


def test_the_outline_is_of_what_differs_from_a_constant_border() -> None:
    image = np.full((12, 12, 12), -3.0, np.float32)
    image[4:9, 4:9, 4:9] = 5
    image[6, 6, 6] = -3  # background's value inside
    wanted = np.zeros(image.shape, bool)
    wanted[4:9, 4:9, 4:9] = True
    assert np.array_equal(outline(image), wanted)
    assert looks_stripped(Volume(image, Grid(image.shape, np.eye(4))), wanted)


def test_noise_has_no_outline() -> None:
    image = np.random.default_rng(0).random((12, 12, 12), np.float32)
    assert not outline(image).any()
    assert not looks_stripped(Volume(image, Grid(image.shape, np.eye(4))), np.zeros(image.shape, bool))


def test_without_a_method_all_is_kept() -> None:
    scan = Volume(np.zeros((3, 4, 5), np.float32), Grid((3, 4, 5), np.eye(4)))
    assert (brain_share(scan, "none") == 1).all()


def test_a_constant_image_has_no_brain() -> None:
    scan = Volume(np.full((6, 6, 6), 4.0, np.float32), Grid((6, 6, 6), np.eye(4)))
    assert (brain_share(scan) == 0).all()


def test_an_unknown_method_is_named() -> None:
    scan = Volume(np.zeros((3, 4, 5), np.float32), Grid((3, 4, 5), np.eye(4)))
    with pytest.raises(ConfigError, match="brain method is 'bet'; choose one of builtin"):
        brain_share(scan, "bet")  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["change", "remove", "no sums"])
def test_damaged_networks_are_not_loaded(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(brain.MODEL_FOLDER, tmp_path / "brain")
    if damage == "change":
        with (tmp_path / "brain" / "locate.bin").open("r+b") as file:
            file.write(b"x")
    else:
        (tmp_path / "brain" / ("locate.bin" if damage == "remove" else "checksums.json")).unlink()
    monkeypatch.setattr(brain, "MODEL_FOLDER", tmp_path / "brain")
    brain._network.cache_clear()
    with pytest.raises(ModelError, match="install Glioscope again"):
        brain._network("locate")


def test_card_names_authors_licence_and_origin() -> None:
    card = (brain.MODEL_FOLDER / "CARD.md").read_text("utf-8")
    assert "10.1016/j.compbiomed.2024.108845" in card
    assert "MIT License" in (brain.MODEL_FOLDER / "LICENSE").read_text("utf-8")


FAKES = {
    "hd-bet": ("hd-bet", 'cp "$2" "${4%.nii.gz}_bet.nii.gz"'),
    "synthstrip": ("mri_synthstrip", 'cp "$2" "$6"'),
}


def install(folder: Path, method: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / FAKES[method][0]
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("method", ["hd-bet", "synthstrip"])
def test_other_programs_are_used_where_they_are(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, method, FAKES[method][1], monkeypatch)  # the fake calls every bright voxel brain
    image = np.zeros((6, 5, 4), np.float32)
    image[2:4, 1:3, 1:3] = 7
    scan = Volume(image, Grid(image.shape, np.diag([-1.0, 2.0, 3.0, 1.0])))
    assert np.array_equal(brain_share(scan, method), (image > 0).astype(np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["hd-bet", "synthstrip"])
def test_an_absent_program_is_named(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scan = Volume(np.eye(4, dtype=np.float32)[None], Grid((1, 4, 4), np.eye(4)))
    with pytest.raises(DependencyError, match=f"{FAKES[method][0]} is not on the path.*--brain builtin"):
        brain_share(scan, method)  # type: ignore[arg-type]


def test_a_program_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "hd-bet", "echo out of memory >&2; exit 9", monkeypatch)
    scan = Volume(np.eye(4, dtype=np.float32)[None], Grid((1, 4, 4), np.eye(4)))
    with pytest.raises(ModelError, match="exit code 9: out of memory"):
        brain_share(scan, "hd-bet")


def test_a_mask_on_another_grid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.nii.gz"
    brain.write_volume(other, np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)))
    install(tmp_path, "synthstrip", f'cp "{other}" "$6"', monkeypatch)
    scan = Volume(np.eye(4, dtype=np.float32)[None], Grid((1, 4, 4), np.eye(4)))
    with pytest.raises(ModelError, match="its mask has shape"):
        brain_share(scan, "synthstrip")


@pytest.mark.slow
def test_the_brain_of_a_phantom_is_found_in_any_storage_order(head: Phantom) -> None:
    scan = Volume(head.images["t1n"], head.grid)
    mask = brain_mask(brain_share(scan))
    assert dice(mask, head.brain) > 0.93
    turned, grid = reorient(scan.data, scan.grid, "PIL")
    back, _ = reorient(brain_mask(brain_share(Volume(turned, grid))), grid, "RAS")
    assert np.array_equal(back, mask)


@pytest.mark.slow
def test_a_stripped_scan_keeps_its_own_outline(head: Phantom) -> None:
    scan = Volume(np.where(head.brain, head.images["t1c"], 0).astype(np.float32), head.grid)
    share = brain_share(scan)
    assert np.array_equal(brain_mask(share), outline(scan.data))
    assert looks_stripped(scan, share > 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "least"), [("t1n", 0.97), ("t1c", 0.97), ("t2f", 0.955), ("t2w", 0.93)])
def test_real_scans_agree_with_another_program(code: str, least: float) -> None:
    if not REAL.is_dir():
        pytest.skip("the raw scans of TCGA-FG-6692 are not beside this checkout")
    mask = brain_mask(brain_share(read_volume(REAL / f"{code}.nii.gz")))
    assert dice(mask, read_volume(REAL / f"brainmask_{code}.nii.gz").data > 0) >= least
