"""The network that comes with the package: whole, small, with a card, and it segments out of the box."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.inference import load_engine
from glioscope.model import read_model
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import default_model, segment

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "src" / "glioscope" / "models" / "starter"


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
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert [row for row in rows if row not in results] == [], "the page of results has the same table"


def test_its_page_is_what_its_record_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from card_words import expectation, markdown

    card = json.loads((MODEL / "card.json").read_text(encoding="utf-8"))
    assert markdown(card) == (MODEL / "CARD.md").read_text(encoding="utf-8")
    full = {"sequences": ["t1n", "t1c", "t2w", "t2f"], "WT": 0.9, "TC": 0.8, "ET": 0.8}
    row = {"sequences": ["t1c", "t2f"], "WT": 0.89, "TC": 0.75, "ET": 0.79}
    assert expectation(row, full) == "Whole tumour as with all four; core and enhancement a little worse."
    row = {"sequences": ["t2f"], "WT": 0.8, "TC": 0.8, "ET": 0.8}
    assert expectation(row, full) == "Whole tumour clearly worse; core and enhancement are guesses without contrast."
    assert expectation({**full, "sequences": ["t1c"], "WT": 0.89}, full) == "All regions as with all four."


def test_what_the_readme_claims_is_on_its_card():
    scores = json.loads((MODEL / "card.json").read_text(encoding="utf-8"))["scores"]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    claims = re.findall(r"\*\*(0\.\d+) / (0\.\d+) / (0\.\d+)\*\* on (\d+) of (BraTS(?:-Africa)?)", text)
    tables = {"BraTS": scores["BraTS 2017-2021"], "BraTS-Africa": scores["BraTS-Africa 2023"]}
    assert [name for *_, name in claims] == list(tables)
    for *means, cases, name in claims:
        assert int(cases) == tables[name]["cases"]
        for region, claimed in zip(("WT", "TC", "ET"), means, strict=True):
            assert float(claimed) == pytest.approx(tables[name][region]["dice"]["mean"], abs=0.00051)


@pytest.mark.slow
def test_it_segments_a_patient_without_one_sequence_and_says_what_that_costs(tmp_path):
    grid = PhantomConfig(shape=(80, 80, 52), spacing_mm=(3.0, 3.0, 3.0))
    (folder,) = write_phantoms(tmp_path / "data", 1, seed=5, config=grid)
    (folder / f"{folder.name}-t2w.nii.gz").unlink()
    result = segment(tmp_path / "data", tmp_path / "out")
    summary = result.outcomes[0].summary
    assert summary is not None
    assert summary.model.name == "starter"
    assert summary.missing_sequences == ("t2w",)
    flags = " ".join(flag.message for flag in summary.flags)
    assert "Dice" in flags
    labels = nib.load(tmp_path / "out" / folder.name / "segmentation.nii.gz")
    assert labels.shape == (80, 80, 52)
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2, 3}
