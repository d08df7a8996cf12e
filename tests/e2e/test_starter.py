"""The network that comes with the package: whole, small, with a card, and it segments out of the box."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.model import read_model
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import default_model, segment

MODEL = Path(__file__).parents[2] / "src" / "glioscope" / "models" / "starter"


def test_the_shipped_model_is_whole_and_small():
    assert read_model(default_model()).sequences == ("t1n", "t1c", "t2w", "t2f")
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 30 * 2**20


def test_its_card_names_data_terms_limits_and_all_subsets():
    card = json.loads((MODEL / "card.json").read_text(encoding="utf-8"))
    assert len({tuple(row["sequences"]) for row in card["subsets"]}) == 15
    measured, cross = card["measured"], card["cross_validation"]["scores"]
    assert set(measured["trained_on"]).isdisjoint(measured["held_out"])
    known = {*measured["trained_on"], *measured["held_out"]}
    assert set(card["trained_on"]) == known, "what ships went on from what was measured, over all cases"
    assert set(read_model(MODEL).record["trained_on"]) == known
    assert card["scores"]["all"]["cases"] == len(measured["held_out"])
    assert cross["all"]["cases"] == len(known), "every case is held out once"
    assert sum(table["cases"] for table in cross["by_size"].values()) == cross["all"]["cases"]
    text = (MODEL / "CARD.md").read_text(encoding="utf-8")
    assert "Not a medical device" in text
    assert all(paper in text for paper in card["papers"])


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
