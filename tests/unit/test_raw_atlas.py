"""A brain laid over an atlas: a stretch that is known, the real template, what is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from glioscope.cases import load_case
from glioscope.phantom import PhantomConfig, phantom
from glioscope.prepare import atlas as room
from glioscope.prepare.atlas import Template, align_to_atlas, mni152, write_atlas
from glioscope.prepare.patient import PrepareConfig, PreparedRaw
from glioscope.space.grid import Grid
from glioscope.space.registration import Registration
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared() -> PreparedRaw:
    """A phantom without skull at 2 mm, as if prepared."""
    made = phantom(3, PhantomConfig(shape=(96, 112, 88), spacing_mm=(2.0, 2.0, 2.0)))
    brain = np.logical_or.reduce([image > 0 for image in made.images.values()])
    images = {code: np.asarray(image, np.float32) for code, image in made.images.items()}
    return PreparedRaw(
        images=images,
        heads=images,
        brain=brain,
        grid=made.grid,
        reference="t1c",
        natives=dict.fromkeys(images, made.grid),
        registrations=dict.fromkeys(images, Registration(matrix=np.eye(4))),
        brain_from=("t1c",),
        stripped_before=True,
        problems=(),
        seconds={},
        config=PrepareConfig(),
    )


def known_stretch() -> np.ndarray:
    """Template to patient: axes by 1.08, 0.94 and 1.05, 6° about z, 7 mm aside."""
    turn = np.radians(6)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrix[:3, :3] @= np.diag([1.08, 0.94, 1.05])
    matrix[:3, 3] = (7, -4, 3)
    return matrix


def mean_error_mm(found: np.ndarray, truth: np.ndarray, brain: Volume) -> float:
    """How far apart two matrices bring the points of a brain."""
    points = np.argwhere(brain.data > 0)[::501] @ brain.grid.affine[:3, :3].T + brain.grid.affine[:3, 3]
    points = np.c_[points, np.ones(len(points))]
    return float(np.linalg.norm((points @ (found - truth).T)[:, :3], axis=1).mean())


def test_a_known_stretch_is_found(prepared: PreparedRaw, tmp_path: Path) -> None:
    truth = known_stretch()
    grid = prepared.grid
    stretched = resample(Volume(prepared.images["t1n"], grid), grid, truth)
    template = Template(name="stretched", volume=Volume(stretched, grid))
    found = align_to_atlas(prepared, template)

    assert mean_error_mm(found.matrix, truth, Volume(stretched, grid)) < 0.5
    assert found.sequence == "t1n"
    carried = resample(Volume(prepared.brain.astype(np.float32), grid), grid, truth) > 0.5
    both = 2 * (carried & (stretched > 0)).sum() / (carried.sum() + (stretched > 0).sum())
    assert found.overlap == pytest.approx(both, abs=0.005)  # below 1: interpolation widens the template
    assert found.problems == ()
    assert found.volume_factor == pytest.approx(1 / (1.08 * 0.94 * 1.05), rel=0.01)

    write_atlas(prepared, found, tmp_path / "p-atlas", "p-atlas")
    case = load_case(tmp_path / "p-atlas")
    assert case.grid.matches(grid)
    assert set(case.images) == {"t1n", "t1c", "t2w", "t2f"}
    record = json.loads((tmp_path / "p-atlas" / "atlas.json").read_text())
    assert record["template"] == {"name": "stretched", "sha256": template.sha256}
    ras = np.array([10.0, -20.0, 30.0])  # ITK counts x and y the other way
    moved = sitk.ReadTransform(str(tmp_path / "p-atlas" / "p-atlas-atlas.tfm")).TransformPoint((-10.0, 20.0, 30.0))
    np.testing.assert_allclose(np.array(moved) * (-1, -1, 1), (found.matrix @ [*ras, 1])[:3], atol=1e-6)


def test_it_lies_over_the_real_template(prepared: PreparedRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nilearn")
    monkeypatch.setattr(room, "LEVELS_MM", (8.0,))
    template = mni152()
    assert template.name.startswith("MNI152, nilearn ")
    found = align_to_atlas(prepared, template)
    assert found.overlap > 0.9
    assert found.problems == ()


def test_a_poor_fit_is_said(prepared: PreparedRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = np.zeros(prepared.grid.shape, np.float32)
    shell[::4] = 1  # no brain: slices
    monkeypatch.setattr(room, "LEVELS_MM", (8.0,))
    found = align_to_atlas(
        prepared, Template(name="slices", volume=Volume(shell, Grid(shell.shape, prepared.grid.affine)))
    )
    assert "atlas: the brain covers the template with a Dice of 0." in found.problems[0]


def test_the_first_sequence_that_is_like_the_template_is_laid_over_it(
    prepared: PreparedRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LEVELS_MM", (8.0,))
    fewer = replace(prepared, images={code: prepared.images[code] for code in ("t2f", "t1c")})
    template = Template(name="itself", volume=Volume(prepared.images["t1c"], prepared.grid))
    found = align_to_atlas(fewer, template)
    assert found.sequence == "t1c"
    assert mean_error_mm(found.matrix, np.eye(4), template.volume) < 2  # a quarter of the one level's voxels
