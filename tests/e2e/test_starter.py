"""The network that comes with the package: whole, small, with a card, and it segments out of the box."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.inference import load_engine
from glioscope.model import read_model
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import default_model, segment

MODEL = Path(__file__).parents[2] / "src" / "glioscope" / "models" / "starter"


def test_the_shipped_model_is_whole_and_small():
    assert read_model(default_model()).sequences == ("t1n", "t1c", "t2w", "t2f")
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 11 * 2**20


def test_both_its_forms_read_one_file_of_weights():
    assert {file.name for file in MODEL.glob("*.bin")} == {"network.bin"}
    rng = np.random.default_rng(0)
    image, presence = rng.normal(size=(4, 16, 16, 16)).astype(np.float32), np.ones(4, bool)
    fine, coarse = (load_engine(MODEL, device="cpu", precision=name)(image, presence) for name in ("fp32", "int8"))
    assert np.ptp(fine) > 1
    assert 0 < np.abs(fine - coarse).mean() < 0.1 * np.ptp(fine)


def test_its_card_names_data_terms_limits_and_all_subsets():
    card = json.loads((MODEL / "card.json").read_text(encoding="utf-8"))
    assert len({tuple(row["sequences"]) for row in card["subsets"]}) == 15
    spec = read_model(MODEL)
    assert set(card["trained_on"]) == set(spec.record["trained_on"])
    assert set(card["trained_on"]).isdisjoint(card["measured"]["held_out"])
    assert sum(table["cases"] for table in card["data"]) == len(card["trained_on"])
    (partial,) = (table for table in card["data"] if table["known"] == ["WT"])
    assert partial["cases"] == len(spec.record["whole_tumour_alone"])
    assert card["scores"]["all"]["cases"] == len(card["measured"]["held_out"])
    assert list(spec.temperature) == card["calibration"]["temperature"]
    text = (MODEL / "CARD.md").read_text(encoding="utf-8")
    assert "Not a medical device" in text
    assert f"{len(card['measured']['held_out'])} cases kept apart from development" in text
    assert all(paper in text for paper in card["papers"])
    assert all(table["terms"] in text for table in card["data"])


def test_its_card_says_what_to_expect_of_every_kind_of_scan():
    lines = (MODEL / "CARD.md").read_text(encoding="utf-8").splitlines()
    begin, end = (lines.index(f"## {title}") for title in ("What to expect of your scan", "Scores"))
    rows = [line for line in lines[begin:end] if line.startswith("| ")][1:]
    assert len(rows) >= 12
    assert all(row.rstrip(" |").endswith(".") for row in rows), "each with its sentence"


@pytest.mark.slow
def test_it_segments_a_patient_without_one_sequence_and_says_what_that_costs(tmp_path):
    grid = PhantomConfig(shape=(80, 80, 52), spacing_mm=(3.0, 3.0, 3.0))
    (folder,) = write_phantoms(tmp_path / "data", 1, seed=5, config=grid)
    (folder / f"{folder.name}-t2w.nii.gz").unlink()
    result = segment(tmp_path / "data", tmp_path / "out")
    summary = result.outcomes[0].summary
    assert summary is not None
    assert summary["model"]["name"] == "starter"
    assert summary["missing_sequences"] == ["t2w"]
    flags = " ".join(flag["message"] for flag in summary["flags"])
    assert "Dice" in flags
    labels = nib.load(tmp_path / "out" / folder.name / "segmentation.nii.gz")
    assert labels.shape == (80, 80, 52)
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2, 3}
