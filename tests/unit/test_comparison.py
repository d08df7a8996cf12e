"""Methods side by side, on tables small enough to check by hand."""

import csv
import io
import math

import numpy as np
import pytest

from glioscope.errors import CaseError, ConfigError
from glioscope.evaluation import RegionScores, as_csv, as_latex, as_markdown, compare_methods, write_comparison
from glioscope.evaluation.comparison import better_sign


def table(dice: list[float], hd95: list[float] | None = None, region: str = "WT") -> list[RegionScores]:
    hd95 = [1.0] * len(dice) if hd95 is None else hd95
    return [
        RegionScores(case_id=f"case{n}", protocol="whole", region=region, scores={"dice": d, "hd95": h})
        for n, (d, h) in enumerate(zip(dice, hd95, strict=True))
    ]


def test_difference_is_paired_and_signed() -> None:
    found = compare_methods(
        {"old_net": table([0.5, 0.6, 0.7, 0.8]), "new": table([0.6, 0.7, 0.8, 0.9])}, protocol="whole", metrics=["dice"]
    )
    (d,) = found.differences
    assert (d.first, d.second, d.n, d.left_out) == ("old_net", "new", 4, 0)
    assert d.difference == pytest.approx(0.1)
    assert d.interval_95 == pytest.approx((0.1, 0.1))  # every case gains the same
    assert d.p == pytest.approx(2 / 2**4)  # the smallest that four pairs allow
    assert found.mean_rank == {"old_net": 2, "new": 1}


def test_undefined_and_infinite_values_leave_the_pair_and_are_counted() -> None:
    found = compare_methods(
        {"a": table([0.5] * 4, [1, math.nan, math.inf, 4]), "b": table([0.5] * 4, [2, 2, 2, 2])}, protocol="whole"
    )
    dice, hd95 = found.differences
    assert (hd95.n, hd95.left_out, hd95.difference) == (2, 2, -0.5)
    assert dice.n == 4
    assert math.isnan(dice.p)  # no case differs


def test_ranks_by_hand() -> None:
    """Dice ranks a, b, c: case0 1 2 3; case1 ties a and b at 1.5. HD95, lower better: case0 3 2 1; case1 all tie."""
    found = compare_methods(
        {"a": table([0.9, 0.8], [9, 5]), "b": table([0.8, 0.8], [5, 5]), "c": table([0.7, 0.1], [1, 5])},
        protocol="whole",
    )
    assert found.mean_rank == pytest.approx({"a": (2 + 1.75) / 2, "b": (2 + 1.75) / 2, "c": (2 + 2.5) / 2})


def test_no_value_ranks_last_and_nobodys_value_ranks_nowhere() -> None:
    methods = {"a": table([0.9, math.nan], [math.inf, 1]), "b": table([0.8, math.nan], [50, math.nan])}
    found = compare_methods(methods, protocol="whole")
    assert found.mean_rank == pytest.approx({"a": (1.5 + 1) / 2, "b": (1.5 + 2) / 2})


def test_permutation_test_tells_a_better_method_from_an_equal_one() -> None:
    rng = np.random.default_rng(3)
    dice = rng.uniform(0.5, 0.9, 20)
    noise = rng.normal(0, 0.05, 20)
    methods = {"a": table(list(dice)), "better": table(list(dice + 0.05)), "equal": table(list(dice + noise))}
    found = compare_methods(methods, protocol="whole", metrics=["dice"])
    assert found.rank_p["a", "better"] < 0.001
    assert found.rank_p["a", "equal"] > 0.05


def test_holm_corrects_in_steps() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(0.5, 0.9, 12)
    methods = {"a": table(list(base)), "b": table(list(base + 0.1)), "c": table(list(base + rng.normal(0, 0.1, 12)))}
    found = compare_methods(methods, protocol="whole", metrics=["dice"]).differences
    p = sorted(d.p for d in found)
    steps = [min(1, p[0] * 3), min(1, p[1] * 2), p[2]]
    assert sorted(d.p_holm for d in found) == pytest.approx(np.maximum.accumulate(steps).tolist())


def test_only_shared_cases_count() -> None:
    found = compare_methods({"a": table([0.5, 0.6, 0.7]), "b": table([0.5, 0.6])}, protocol="whole")
    assert found.cases == ("case0", "case1")
    assert found.left_out == ("case2",)


@pytest.mark.parametrize(
    ("methods", "options", "error", "message"),
    [
        ({"a": table([0.5])}, {}, ConfigError, "two or more"),
        ({"a": table([0.5]), "b": []}, {}, CaseError, "a has 1, b has 0"),
        (
            {"a": table([0.5]), "b": table([0.5])},
            {"metrics": ["dize"]},
            ConfigError,
            "no metric dize; it has dice, hd95",
        ),
        ({"a": table([0.5]), "b": table([0.5])}, {"regions": ["RC"]}, ConfigError, "no region RC"),
    ],
)
def test_what_cannot_be_compared(methods, options, error, message) -> None:
    with pytest.raises(error, match=message):
        compare_methods(methods, protocol="whole", **options)


@pytest.mark.parametrize(
    ("metric", "sign"), [("dice", 1), ("hd95", -1), ("lesion_hd95", -1), ("fp", -1), ("sq_hd95", -1), ("rq", 1)]
)
def test_which_way_is_better(metric, sign) -> None:
    assert better_sign(metric) == sign


def test_tables_for_a_paper(tmp_path) -> None:
    methods = {
        "old_net": table([0.5, 0.6, 0.7, 0.8], [12, 13, 14, 15]),
        "new": table([0.6, 0.7, 0.8, 0.9], [1, 2, 3, 4]),
    }
    found = compare_methods(methods, protocol="whole")
    assert "| WT | dice | old_net | new | 4 | 0.650 | 0.750 | 0.100 | 0.100 to 0.100 | 0.125 | 0.250 |" in as_markdown(
        found
    )
    assert r"WT & hd95 & old\_net & new & 4 & 13.50 & 2.500 & -11.00" in as_latex(found)
    assert as_latex(found).count(r"\\") == 4
    (dice, hd95) = csv.DictReader(io.StringIO(as_csv(found)))
    assert (dice["metric"], float(hd95["difference"]), float(dice["mean_rank_first"])) == ("dice", -11.0, 2.0)
    write_comparison(found, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"comparison.md", "comparison.tex", "comparison.csv"}
