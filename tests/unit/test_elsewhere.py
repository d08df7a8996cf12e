"""Measurements made elsewhere: what fits is read, what does not is told in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glioscope.errors import RunError
from glioscope.experiment.card import subsets
from glioscope.experiment.elsewhere import read_elsewhere

SEQUENCES = ("t1n", "t1c", "t2w", "t2f")


def statistic(mean: float) -> dict[str, Any]:
    return {"mean": mean, "median": mean, "interval_95": [mean, mean]}


def table(cases: int) -> dict[str, Any]:
    row = {"dice": statistic(0.5), "hd95_mm": statistic(9.0), "lesion_dice": statistic(0.4)}
    return {"cases": cases, "WT": row, "TC": row, "ET": row} if cases else {"cases": 0}


def measured() -> dict[str, Any]:
    """Two cases, of two data sets and one size."""
    rows = [{"sequences": list(s), "cases": 2, "WT": 0.9, "TC": 0.8, "ET": 0.7} for s in subsets(SEQUENCES)]
    guess = {"mean_absolute_error": 0.1, "spearman": 0.5}
    return {
        "held_out": ["a", "b"],
        "scores": {
            "all": table(2),
            "here": table(1),
            "there": table(1),
            "by_size": {"small": table(0), "large": table(2)},
        },
        "subsets": rows,
        "calibration": {
            "temperature": [1.75, 2.7, 3.32],
            "error_before": [0.1, 0.2, 0.3],
            "error_after": [0.0, 0.1, 0.1],
            "curve": [[[0.05, 0.04, 900]]] * 3,
        },
        "expected_dice": {"WT": guess, "TC": guess, "ET": guess},
    }


def written(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    content = measured()
    change(content)
    path = folder / "measured.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_fits_is_read(tmp_path: Path) -> None:
    found = read_elsewhere(written(tmp_path))
    assert found.held_out == ("a", "b")
    assert found.scores["there"].cases == 1
    assert found.by_size["small"].WT is None
    large = found.by_size["large"].ET
    assert large is not None
    assert large.hd95_mm.interval_95 == (9.0, 9.0)
    assert found.calibration.temperature == (1.75, 2.7, 3.32)
    assert found.others == ()


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no scores": (lambda m: m.pop("scores"), "lacks scores"),
    "no sizes": (lambda m: m["scores"].pop("by_size"), "lacks scores with a table by_size"),
    "scores are no table": (lambda m: m.update(scores=3), "lacks scores"),
    "no temperatures": (lambda m: m["calibration"].pop("temperature"), "calibration.temperature: Field required"),
    "temperature 0": (
        lambda m: m["calibration"].update(temperature=[0, 1, 1]),
        "calibration.temperature.0: Input should be greater than 0",
    ),
    "Dice above 1": (lambda m: m["subsets"][3].update(ET=1.2), "subsets.3.ET: Input should be less than"),
    "a score that is none": (
        lambda m: m["scores"]["all"]["WT"]["dice"].update(mean=float("nan")),
        "scores.all.WT.dice.mean",
    ),
    "a case twice": (lambda m: m.update(held_out=["a", "a"]), "names a case twice"),
    "another number of cases": (lambda m: m.update(held_out=["a"]), "names 1 cases, and scores.all is not of as many"),
    "data sets do not add up": (lambda m: m["scores"].update(there=table(2)), "data sets have 3 cases"),
    "sizes do not add up": (lambda m: m["scores"]["by_size"].update(large=table(1)), "sizes have 1 cases"),
    "a region absent": (lambda m: m["scores"]["here"].pop("TC"), "lacks a region"),
    "a subset absent": (lambda m: m["subsets"].pop(), "not of the 15 subsets"),
    "a subset twice": (lambda m: m["subsets"].append(m["subsets"][0]), "not of the 15 subsets"),
    "words of what has no scores": (lambda m: m.update(words={"huge": "Good."}), "words speak of ['huge']"),
    "a region of the guess absent": (lambda m: m["expected_dice"].pop("ET"), "expected_dice is not of WT, TC, ET"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_one_line(tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    path = written(tmp_path, change)
    with pytest.raises(RunError) as caught:
        read_elsewhere(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text("{ half", encoding="utf-8")
    with pytest.raises(RunError, match="is not a file of measurements in JSON"):
        read_elsewhere(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(RunError, match="is it a file of measurements"):
        read_elsewhere(path)
