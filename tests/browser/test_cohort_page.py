"""The page of a cohort in a real browser: sorted by a click and by the keyboard, whole in print."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glioscope.report import write_cohort_report
from glioscope.results import Flag, write_summary
from summaries import tiny_summary

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
CHROMIUM = next((p for p in (shutil.which("chromium"), shutil.which("chromium-browser")) if p), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]
A4 = 688
"""Pixels between the margins of the paper."""


@pytest.fixture
def cohort(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Three cases: the smallest tumour is flagged, the second could not be read."""
    for case, ml in (("a-case-with-a-long-name-of-its-own-2026-11", 120.4), ("b", 9.6), ("c", 41.0)):
        flags = (Flag(code="unsure-ET", severity="warning", message="look"),) * (case == "b")
        summary = tiny_summary(case, flags=flags)
        found = replace(summary.measurements, volumes_ml={"WT": ml, "TC": 1.0, "ET": 0.5})
        (tmp_path / case).mkdir()
        write_summary(tmp_path / case / "summary.json", replace(summary, measurements=found))
    (tmp_path / "failures.csv").write_text("case_id,reason\nd,t1c: voxels cannot be read\n", encoding="utf-8")
    context = browser.new_context(offline=True)
    view = context.new_page()
    view.goto(write_cohort_report(tmp_path).as_uri())
    yield view
    context.close()


def order(page: Any) -> str:
    return "".join(name[0] for name in page.locator("tbody th").all_inner_texts())


def test_a_heading_sorts_by_click_and_by_keyboard(cohort: Any) -> None:
    assert order(cohort) == "dbac"  # failed, flagged, then by name
    heading = cohort.get_by_role("button", name="WT, ml")
    heading.click()
    first = order(cohort)
    heading.press("Enter")
    assert {first, order(cohort)} == {"dbca", "acbd"}  # 9.6 comes before 41.0: numbers, not text
    assert cohort.locator("th[aria-sort]").inner_text().startswith("WT, ml")


def test_no_column_is_lost_in_print_or_on_a_narrow_screen(cohort: Any) -> None:
    cohort.set_viewport_size({"width": 800, "height": 900})
    hidden = "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert cohort.evaluate(hidden) == 0
    cohort.emulate_media(media="print")
    cohort.set_viewport_size({"width": A4, "height": 900})
    assert cohort.evaluate(hidden) == 0
    assert cohort.evaluate("() => document.documentElement.scrollWidth") <= A4
    assert cohort.get_by_text("Research use only").is_visible()
