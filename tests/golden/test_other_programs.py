"""The same masks through other programs, where these are installed; `data/expected.json` stands in elsewhere."""

import numpy as np
import pytest

from glioscope.evaluation.metrics import dice, hausdorff_95, surface_areas, surface_dice

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, about themselves
SPACINGS = [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.7, 1.2, 2.5)]


def two_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    grid, a = np.indices((26, 24, 22)), np.zeros((26, 24, 22), bool)
    for _ in range(3):
        centre, radii = rng.uniform(5, 18, 3), rng.uniform(2, 6, 3)
        a |= sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
    return a, np.roll(a, tuple(rng.integers(-2, 3, 3)), (0, 1, 2)) ^ (rng.random(a.shape) < 0.002)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_surface_distance(spacing, seed, monkeypatch) -> None:
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # surface-distance 0.1 uses the name that numpy 2 dropped
    sd = pytest.importorskip("surface_distance")
    a, b = two_masks(seed)
    theirs = sd.compute_surface_distances(a, b, spacing)
    assert hausdorff_95(a, b, spacing) == pytest.approx(sd.compute_robust_hausdorff(theirs, 95), rel=1e-12)
    assert surface_dice(a, b, spacing) == pytest.approx(sd.compute_surface_dice_at_tolerance(theirs, 1.0), rel=1e-12)
    reversed_bits = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    table = sd.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    assert surface_areas(spacing)[reversed_bits] == pytest.approx(table, abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_monai(spacing) -> None:
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    a, b = two_masks(1)
    first, second = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b))
    assert dice(a, b) == pytest.approx(float(metrics.compute_dice(second, first)), rel=1e-6)
    nsd = metrics.compute_surface_dice(
        second, first, [1.0], include_background=True, spacing=spacing, use_subvoxels=True
    )
    assert surface_dice(a, b, spacing) == pytest.approx(float(nsd), abs=1e-5)  # MONAI: single precision
