"""The plan for a large cohort, reckoned by hand."""

import runpy
from pathlib import Path

import pytest

PLAN = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "plan_cohort.py"))


def test_minutes_of_each_part() -> None:
    rates = PLAN["Rates"](
        core_seconds=6, read_mb=30, dispatch_ms=12, worker_mb=1, cases=1000, machines=5, cores=4, worker_cores=2,
        storage_mb_s=100,
    )  # fmt: skip
    assert PLAN["minutes"](rates) == {
        "computing": pytest.approx(5),  # 6,000 core-seconds on 20 cores
        "reading from shared storage": pytest.approx(5),  # 30,000 MB
        "handing out, one process": pytest.approx(0.2),  # 12 s
    }
