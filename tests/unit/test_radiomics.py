"""Radiomics: the IBSI digital phantom against the published consensus, what is left out, what is refused."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

from glioscope.errors import ConfigError, DependencyError
from glioscope.labels import SCHEMES
from glioscope.measure import radiomics as room
from glioscope.measure.radiomics import RadiomicsConfig, radiomics
from glioscope.results.radiomics import Radiomics
from glioscope.results.stored import as_json
from glioscope.space.grid import Grid

SCHEME = SCHEMES["brats2023"]
N = 0  # outside the region
SLICES = (
    ((1, 4, 4, 1, 1), (1, 4, 6, 1, 1), (4, 1, 6, 4, 1), (4, 4, 6, 4, 1)),
    ((1, 4, 4, 1, 1), (1, 1, 6, 1, 1), (N, 1, 3, 1, 1), (4, 4, 6, 1, 1)),
    ((1, 4, 4, N, N), (1, 1, 1, 1, 1), (1, 1, N, 1, 1), (1, 1, 6, 1, 1)),
    ((1, 4, 4, N, N), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 6, 1, 1)),
)
"""The digital phantom of the IBSI reference manual (arXiv 1612.07003), voxels of 2 mm; indices z, y, x."""
CONSENSUS = {
    "morph_volume": (556, 4),
    "morph_vol_approx": (592, 4),
    "morph_area_mesh": (388, 3),
    "morph_sphericity": (0.843, 0.005),
    "morph_diam": (13.1, 0.1),
    "stat_mean": (2.15, 0.005),
    "stat_var": (3.05, 0.005),
    "stat_skew": (1.08, 0.005),
    "stat_kurt": (-0.355, 0.001),
    "stat_median": (1, 0),
    "stat_p10": (1, 0),
    "stat_p90": (4, 0),
    "stat_iqr": (3, 0),
    "stat_mad": (1.55, 0.005),
    "stat_rmad": (1.11, 0.005),
    "stat_energy": (567, 0),
    "stat_rms": (2.77, 0.005),
    "cm_joint_max": (0.509, 0.001),
    "cm_joint_avg": (2.15, 0.005),
    "cm_joint_entr": (2.57, 0.005),
    "cm_contrast": (5.12, 0.005),
    "cm_energy": (0.291, 0.001),
    "cm_corr": (0.183, 0.001),
}
"""Values and tolerances of the manual; co-occurrence in three dimensions, merged over directions."""


def digital_phantom() -> tuple[np.ndarray, np.ndarray, Grid]:
    values = np.array(SLICES, np.float32).transpose(2, 1, 0)
    wide = np.pad(values, 3, constant_values=1)
    labels = np.pad((values != N).astype(np.uint8) * 3, 3)
    return np.where(wide == N, 1, wide).astype(np.float32), labels, Grid(wide.shape, np.diag([2.0, 2, 2, 1]))


@pytest.mark.slow
def test_the_digital_phantom_has_the_values_of_the_consensus() -> None:
    if find_spec("mirp") is None:
        pytest.skip("mirp is not installed")
    image, labels, grid = digital_phantom()
    found = radiomics({"t1c": image}, labels, grid, SCHEME, RadiomicsConfig(spacing_mm=None, bins=None))
    assert [region.region for region in found.regions] == ["WT", "TC", "ET"]
    values = found.regions[2].features
    for name, (value, tolerance) in CONSENSUS.items():
        key = next(k for k in values if k == name or k.startswith(f"{name}_d1_3d_v_mrg"))
        assert values[key] == pytest.approx(value, abs=max(tolerance, 1e-6)), name
    assert sum(key.startswith(("rlm_", "szm_")) for key in values) > 20
    assert found.settings["bins"] is None
    assert Radiomics is type(found)
    json.dumps(as_json(found), allow_nan=False)


def test_small_regions_are_named_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_library", lambda: None)
    monkeypatch.setattr(room.metadata, "version", lambda name: "0")
    image, labels, grid = digital_phantom()
    found = radiomics({"t1c": image, "t2f": image}, labels * 0, grid, SCHEME)
    assert found.regions == ()
    assert set(found.left_out) == {f"{code} {name}" for code in ("t1c", "t2f") for name in ("WT", "TC", "ET")}


def test_without_the_library_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mirp", None)
    image, labels, grid = digital_phantom()
    with pytest.raises(DependencyError, match=r"pip install 'glioscope\[radiomics\]'"):
        radiomics({"t1c": image}, labels, grid, SCHEME)


@pytest.mark.parametrize(("field", "value"), [("spacing_mm", 0.0), ("bins", 2)])
def test_settings_beyond_reason_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"radiomics {field} is"):
        RadiomicsConfig(**{field: value})  # type: ignore[arg-type]
