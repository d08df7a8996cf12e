"""Flags on cases and results that are odd in one known way, and silence on those that are not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, Case, LoadedCase
from glioscope.errors import GeometryError
from glioscope.labels import scheme_named
from glioscope.quality import check_input, check_output, margin, uncertainty
from glioscope.quality.inputs import Card, SubsetRow, not_measurable
from glioscope.results import Flag
from glioscope.results.stored import as_json
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile

SCHEME = scheme_named("brats2023")
SHAPE = (64, 72, 64)
GRID = Grid(SHAPE, np.diag([2.5, 2.5, 2.5, 1]))
SIGNAL = {  # background, fluid, grey matter, white matter, vessel
    "t1n": (0, 60, 200, 280, 180),
    "t1c": (0, 60, 205, 285, 900),
    "t2w": (0, 900, 330, 240, 200),
    "t2f": (0, 60, 330, 250, 180),
}


def tissues() -> NDArray[np.uint8]:
    """A brain of about 1.4 l: white matter in grey matter in fluid, ventricles, vessels; narrow below, wide behind."""
    i, j, k = (np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)]) for axis, n in enumerate(SHAPE))
    x, y, z = (i - 31.5) / 27, (j - 35.5) / 33, (k - 31.5) / 27
    width = 1 - 0.45 * y - 0.50 * np.clip(-z, 0, 1)
    radius = np.sqrt((x / width) ** 2 + y**2 + (z * 1.05) ** 2)
    brain = np.zeros(SHAPE, np.uint8)
    for level, value in ((1.0, 1), (0.95, 2), (0.8, 3)):
        brain[radius <= level] = value
    brain[(np.abs(x) < 0.12) & (np.abs(y) < 0.45) & (np.abs(z) < 0.25)] = 1
    brain[(i % 13 == 6) & (j % 13 == 6) & (radius <= 0.9)] = 4
    return brain


TISSUES = tissues()


def synthetic(
    *, only: tuple[str, ...] = SEQUENCES, slots: Mapping[str, str] | None = None, grid: Grid = GRID
) -> LoadedCase:
    """A case as read; `slots` says which image lies in which slot where that is not its own."""
    rng = np.random.default_rng(3)
    made = {}
    for name, signal in SIGNAL.items():
        clean = np.array(signal, np.float32)[TISSUES]
        made[name] = np.where(TISSUES > 0, np.clip(clean + rng.normal(0, 18, SHAPE), 1, None), 0).astype(np.float32)
    images = {slot: made[(slots or {}).get(slot, slot)] for slot in only}
    files = {name: VolumeFile(Path(f"{name}.nii.gz")) for name in only}
    return LoadedCase(case=Case(case_id="case", subject_id="case", sequences=files), grid=grid, images=images)


def with_image(loaded: LoadedCase, name: str, image: NDArray[np.float32]) -> LoadedCase:
    return replace(loaded, images={**loaded.images, name: image})


def codes(flags: tuple[Flag, ...], *, info: bool = False) -> set[str]:
    return {flag.code for flag in flags if info or flag.severity != "info"}


def test_a_good_case_is_not_flagged() -> None:
    assert codes(check_input(synthetic())) == set()


def test_missing_sequence_and_its_cost() -> None:
    loaded = synthetic(only=("t1n", "t2w", "t2f"))
    flags = check_input(loaded)
    assert codes(flags) == {"missing-t1c"}
    assert flags[0].code == "missing-t1c"
    assert "Enhancing tumour" in flags[0].message
    full = SubsetRow(sequences=SEQUENCES, WT=0.9, TC=0.85, ET=0.8)
    card = Card(subsets=(full, SubsetRow(sequences=("t1n", "t2w", "t2f"), WT=0.88, TC=0.6, ET=0.3)))
    assert "WT 0.88 instead of 0.90, TC 0.60 instead of 0.85" in check_input(loaded, card=card)[0].message


def test_nan_is_counted_as_background() -> None:
    loaded = synthetic()
    image = loaded.images["t2w"].copy()
    image[30, 30, 30:33] = np.nan, np.inf, -np.inf
    flag = next(f for f in check_input(with_image(loaded, "t2w", image)) if f.code == "not-finite-t2w")
    assert flag.severity == "warning"
    assert "3 voxels" in flag.message
    image[:10] = np.nan
    flags = check_input(with_image(loaded, "t2w", image))
    assert {f.severity for f in flags if f.code == "not-finite-t2w"} == {"error"}


def test_constant_image() -> None:
    loaded = synthetic()
    assert codes(check_input(with_image(loaded, "t1n", np.ones(SHAPE, np.float32)))) >= {"constant-t1n"}
    alone = synthetic(only=("t2f",))
    flags = check_input(with_image(alone, "t2f", np.zeros(SHAPE, np.float32)))
    assert "constant-t2f" in codes(flags)


def test_head_with_skull() -> None:
    loaded = synthetic()
    air = np.random.default_rng(0).uniform(5, 20, SHAPE).astype(np.float32)  # 4.6 litres with the brain
    images = {name: np.where(image == 0, air, image) for name, image in loaded.images.items()}
    found = codes(check_input(replace(loaded, images=images)))
    assert found == {"not-skull-stripped"}


def test_same_image_twice() -> None:
    flags = check_input(synthetic(slots={"t1c": "t1n"}))
    assert codes(flags) == {"same-t1n-t1c"}
    assert {f.severity for f in flags if f.code == "same-t1n-t1c"} == {"error"}


@pytest.mark.parametrize("swap", [("t1n", "t2w"), ("t2w", "t2f"), ("t1c", "t2w"), ("t1n", "t2f")])
def test_exchanged_sequences(swap: tuple[str, str]) -> None:
    one, two = swap
    flags = check_input(synthetic(slots={one: two, two: one}))
    assert codes(flags) == {"wrong-slot"}
    message = next(f.message for f in flags if f.code == "wrong-slot")
    assert f"{one} looks like {two}" in message
    assert f"{two} looks like {one}" in message


def test_no_contrast_given() -> None:
    loaded = synthetic(only=("t1n", "t1c"))
    rng = np.random.default_rng(5)
    plain = np.where(TISSUES > 0, loaded.images["t1n"] + rng.normal(0, 20, SHAPE), 0).astype(np.float32)
    assert "no-contrast" in codes(check_input(with_image(loaded, "t1c", plain)))


def test_sequence_that_covers_less() -> None:
    loaded = synthetic()
    image = loaded.images["t2f"].copy()
    image[:, :30] = 0
    flags = check_input(with_image(loaded, "t2f", image))
    assert "partial-t2f" in codes(flags)


def test_brain_cut_by_the_border() -> None:
    loaded = synthetic()
    images = {name: image[:, :, :36] for name, image in loaded.images.items()}
    cropped = replace(loaded, images=images, grid=Grid((64, 72, 36), GRID.affine))
    flag = next(f for f in check_input(cropped) if f.code == "cropped")
    assert "upper border" in flag.message


def test_small_brain() -> None:
    grid = Grid(SHAPE, np.diag([1.5, 1.5, 1.5, 1]))
    assert "brain-volume" in codes(check_input(synthetic(grid=grid)))


def test_turned_over() -> None:
    loaded = synthetic()
    below = {name: image[:, :, ::-1] for name, image in loaded.images.items()}
    assert "upside-down" in codes(check_input(replace(loaded, images=below)))
    behind = {name: image[:, ::-1] for name, image in loaded.images.items()}
    assert "back-to-front" in codes(check_input(replace(loaded, images=behind)))


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (np.diag([1.0, 1, 5, 1]), "thick-slices"),
        (np.diag([2.0, 2, 2, 1]), "spacing"),
        (np.array([[0, 0, 2.5, 0], [2.5, 0, 0, 0], [0, 2.5, 0, 0], [0, 0, 0, 1]]), None),
        (np.array([[0, 0, 2.5, 0], [0, 2.5, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]]), "storage-order"),
    ],
)
def test_odd_grids(affine: NDArray[np.float64], code: str | None) -> None:
    found = codes(check_input(synthetic(grid=Grid(SHAPE, affine))), info=True)
    assert code is None or code in found


def test_oblique_grid() -> None:
    turn = np.radians(20)
    affine = np.eye(4)
    affine[:3, :3] = 2.5 * np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    assert "oblique" in codes(check_input(synthetic(grid=Grid(SHAPE, affine))), info=True)


def labels_with(*boxes: tuple[int, tuple[slice, slice, slice]]) -> NDArray[np.uint8]:
    labels = np.zeros((40, 40, 40), np.uint8)
    for value, place in boxes:
        labels[place] = value
    return labels


SMALL = Grid((40, 40, 40), np.eye(4))
BRAIN = np.zeros((40, 40, 40), bool)
BRAIN[4:36, 4:36, 4:36] = True


def test_credible_result_has_no_flag() -> None:
    labels = labels_with((2, np.s_[10:24, 10:24, 10:24]), (3, np.s_[14:20, 14:20, 14:20]))
    assert check_output(labels, SMALL, scheme=SCHEME, brain=BRAIN) == ()


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (labels_with(), "empty"),
        (labels_with((3, np.s_[10:12, 10:12, 10:12])), "tiny"),
        (labels_with((3, np.s_[5:35, 5:35, 5:35])), "huge"),
        (labels_with((3, np.s_[0:14, 10:20, 10:20])), "outside-brain"),
    ],
)
def test_incredible_results(labels: NDArray[np.uint8], code: str) -> None:
    assert codes(check_output(labels, SMALL, scheme=SCHEME, brain=BRAIN)) == {code}


def test_many_fragments() -> None:
    labels = labels_with(*((3, np.s_[i : i + 3, j : j + 3, 10:20]) for i in (6, 14, 22, 30) for j in (6, 14, 22, 30)))
    flag = next(f for f in check_output(labels, SMALL, scheme=SCHEME) if f.code == "fragments")
    assert flag.severity == "warning"
    assert "16 separate parts" in flag.message


def test_no_enhancing_tumour_is_a_note() -> None:
    flags = check_output(labels_with((1, np.s_[10:20, 10:20, 10:20])), SMALL, scheme=SCHEME)
    assert [(f.code, f.severity) for f in flags] == [("no-enhancing-tumour", "info")]


def test_unsure_network() -> None:
    labels = labels_with((3, np.s_[10:20, 10:20, 10:20]))
    probabilities = np.zeros((3, 40, 40, 40), np.float32)
    probabilities[:, 10:20, 10:20, 10:20] = np.array([0.99, 0.95, 0.55]).reshape(3, 1, 1, 1)
    flags = check_output(labels, SMALL, scheme=SCHEME, probabilities=probabilities)
    assert codes(flags) == {"unsure-ET"}
    assert "55%" in flags[0].message


def test_shapes_must_agree() -> None:
    with pytest.raises(GeometryError, match="label map"):
        check_output(np.zeros((3, 3, 3), np.uint8), SMALL, scheme=SCHEME)


def test_uncertainty_by_hand() -> None:
    p = np.array([[0.0, 1.0, 0.5, 0.25], [0.0, 0.9, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]]).reshape(3, 4, 1, 1)
    bits = [0, -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)), 1, -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))]
    assert uncertainty(p).ravel() == pytest.approx(bits, abs=1e-5)
    assert margin(p).ravel() == pytest.approx([1, 0.8, 0, 0.5], abs=1e-6)


def test_flag_as_json() -> None:
    assert as_json(Flag("empty", "warning", "none")) == {"code": "empty", "severity": "warning", "message": "none"}


def test_a_region_that_the_card_rates_too_low_is_not_measurable() -> None:
    full = SubsetRow(sequences=("t1n", "t1c", "t2w", "t2f"), WT=0.9, TC=0.7, ET=0.7)
    card = Card(subsets=(full, SubsetRow(sequences=("t1n", "t2w"), WT=0.8, TC=0.4, ET=0.07)))
    assert not_measurable(["t2w", "t1n"], card) == {"ET": 0.07}
    assert not_measurable(["t1n", "t1c", "t2w", "t2f"], card) == {}
    assert not_measurable(["t2f"], card) == {}
    assert not_measurable(["t2f"], None) == {}
