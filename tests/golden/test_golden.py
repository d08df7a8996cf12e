"""Scores against other people's programs: the official golden set where it is at hand, and own pairs everywhere."""

import json
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioscope.evaluation import evaluate_pair, golden_profiles, pair_as_json
from glioscope.space.volumes import read_labels, write_volume
from golden import make_pairs

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3] / "shared" / "metrics_golden" / "public"
OWN_PAIRS = sorted(make_pairs.pairs())
OFFICIAL = sorted(p.parent.name for p in SHARED.glob("*/expected.json"))

LESION_SCORES = {
    "lesion_dice": "LesionWise_Score_Dice",
    "lesion_hd95": "LesionWise_Score_HD95",
    "tp": "Num_TP",
    "fp": "Num_FP",
    "fn": "Num_FN",
    "lesion_nsd_border_0.5mm": "LesionWise_Score_NSD @ 0.5",
    "lesion_nsd_border_1mm": "LesionWise_Score_NSD @ 1.0",
}
LEGACY = {"dice": "Legacy_Dice", "hd95": "Legacy_HD95", "sensitivity": "Sensitivity", "specificity": "Specificity"}
WHOLE = {
    "dice": "dice",
    "iou": "iou",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "hd95": "sd_hd95",
    "nsd_0.5mm": "sd_nsd_0.5mm",
    "nsd_1mm": "sd_nsd_1mm",
    "nsd_2mm": "sd_nsd_2mm",
}


def differences(want: dict[str, Any], got: dict[str, Any], names: dict[str, str], *, tolerance: float) -> list[str]:
    """Return one line per score that is wrong or lacking; `names` maps ours to theirs."""
    wrong = []
    for ours, theirs in names.items():
        if theirs not in want:
            continue
        expected, found = float(want[theirs]), float(got.get(ours, "nan"))
        same = (math.isnan(expected) and math.isnan(found)) or expected == found
        if not same and not abs(found - expected) <= tolerance * max(1, abs(expected)):
            wrong.append(f"{ours}: expected {expected}, got {found}")
    return wrong


def compare(
    expected: dict[str, Any], found: dict[str, Any], names: dict[str, str], tolerance: float = 1e-6
) -> list[str]:
    """Compare region by region."""
    return [
        f"{region} {line}"
        for region, want in expected.items()
        for line in differences(want, found.get(region, {}), names, tolerance=tolerance)
    ]


# --- own pairs -------------------------------------------------------------------------------------------------------


def expected(name: str) -> dict[str, Any]:
    return json.loads((DATA / "expected.json").read_text())["scores"][name]


@cache
def found(name: str) -> dict[str, Any]:
    protocols = ["whole", "brats2023-gli", "brats2023-men", "brats2023-met", "brats2026"]
    with tempfile.TemporaryDirectory() as scratch:
        make_pairs.write_pair(Path(scratch), name)
        files = (Path(scratch) / f"{name}-prediction.nii.gz", Path(scratch) / f"{name}-reference.nii.gz")
        return pair_as_json(evaluate_pair(*files, protocols, scheme="brats2024"))


def same_names(scores: dict[str, Any]) -> dict[str, str]:
    return {metric: metric for region in scores.values() for metric in region}


def test_there_are_own_pairs() -> None:
    assert len(OWN_PAIRS) == 10
    assert sum(p.stat().st_size for p in DATA.iterdir()) < 300_000


def test_own_pairs_are_the_maps_that_the_other_programs_scored() -> None:
    """The maps are made anew for each run; another numpy or scipy must not make others unnoticed."""
    assert make_pairs.digests() == json.loads((DATA / "expected.json").read_text())["maps"]


@pytest.mark.parametrize("name", OWN_PAIRS)
@pytest.mark.parametrize("part", ["whole", "brats2023-gli", "brats2023-men", "brats2023-met", "brats2026"])
def test_own_pairs_as_other_programs_score_them(name, part) -> None:
    want = expected(name)[part]
    assert compare(want, found(name)[part], same_names(want)) == []


@pytest.mark.parametrize("name", [n for n in OWN_PAIRS if "monai" in expected(n)])
def test_own_pairs_as_monai_scores_them(name) -> None:
    want = expected(name)["monai"]  # MONAI computes in single precision
    assert compare(want, found(name)["whole"], same_names(want), tolerance=1e-5) == []


# --- the official golden set -----------------------------------------------------------------------------------------

needs_official = pytest.mark.skipif(
    not OFFICIAL, reason=f"the golden set is not at {SHARED}; own pairs are tested above"
)


@cache
def official(name: str) -> dict[str, Any]:
    return json.loads((SHARED / name / "expected.json").read_text())


@cache
def profiles(name: str) -> dict[str, Any]:
    return golden_profiles(SHARED / name / "pred.nii.gz", SHARED / name / "ref.nii.gz")


@needs_official
@pytest.mark.parametrize("name", OFFICIAL or ["absent"])
def test_official_whole_region(name) -> None:
    want = official(name)["surface_distance"]["regions"]
    assert compare(want, profiles(name)["whole"], WHOLE) == []
    want = official(name)["official_brats2023"]["challenges"]["BraTS-GLI"]["regions"]
    assert compare(want, profiles(name)["legacy2023"], LEGACY) == []


@needs_official
@pytest.mark.parametrize("name", OFFICIAL or ["absent"])
@pytest.mark.parametrize("year", ["2023", "2024"])
def test_official_lesion_wise(name, year) -> None:
    for challenge, want in official(name)[f"official_brats{year}"]["challenges"].items():
        task = challenge.removeprefix("BraTS-").lower()
        if task in ("ped", "men-rt"):
            continue  # other labels, see below
        assert compare(want["regions"], profiles(name)[f"brats{year}-{task}"], LESION_SCORES) == [], task


@needs_official
@pytest.mark.parametrize("name", OFFICIAL or ["absent"])
def test_official_paediatric(name) -> None:
    files = (SHARED / name / "pred.nii.gz", SHARED / name / "ref.nii.gz")
    found = pair_as_json(evaluate_pair(*files, ["brats2024-ped"], scheme="brats2024-ped"))["brats2024-ped"]
    want = official(name)["official_brats2024"]["challenges"]["BraTS-PED"]["regions"]
    assert compare(want, found, LESION_SCORES) == []


@needs_official
@pytest.mark.parametrize("name", OFFICIAL or ["absent"])
def test_official_radiotherapy(name, tmp_path) -> None:
    """The target volume is label 1 alone; the official program passes over the others, Glioscope refuses them."""
    files = []
    for side in ("pred", "ref"):
        volume = read_labels(SHARED / name / f"{side}.nii.gz")
        files.append(tmp_path / f"{side}.nii.gz")
        write_volume(files[-1], (volume.data == 1).astype(np.uint8), volume.grid)
    found = pair_as_json(evaluate_pair(*files, ["brats2024-men-rt"]))["brats2024-men-rt"]
    want = official(name)["official_brats2024"]["challenges"]["BraTS-MEN-RT"]["regions"]
    assert compare(want, found, LESION_SCORES) == []


@needs_official
@pytest.mark.parametrize("name", OFFICIAL or ["absent"])
def test_official_one_to_one(name) -> None:
    results = official(name)["official_brats2026_panoptica"]["results_gli_correct_spacing"]
    want = {region.upper(): scores for region, scores in results.items() if isinstance(scores, dict)}
    names = {n: n for n in ("tp", "fp", "fn", "rq", "sq_dsc", "sq_hd95", "sq_nsd")}
    assert compare(want, profiles(name)["bipartite"], names) == []
