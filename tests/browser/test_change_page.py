"""The page of a change between two dates in a real browser: from disk, without a network."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioscope.measure import ChangeOptions, change
from glioscope.report import write_change_report
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
CHROMIUM = next((p for p in (shutil.which("chromium"), shutil.which("chromium-browser")) if p), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]

SHAPE = (48, 56, 40)
GRID = Grid(SHAPE, np.diag([1.0, 1, 1, 1]))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lesion that grew to the patient's right, in a ball of noise, both dates in one space."""
    folder = tmp_path_factory.mktemp("change")
    rng = np.random.default_rng(0)
    index = np.stack(np.indices(SHAPE), axis=-1) - (np.array(SHAPE) - 1) / 2
    brain = ((index / (np.array(SHAPE) / 2.2)) ** 2).sum(axis=-1) <= 1
    for date, right in (("earlier", 34), ("later", 40)):
        labels = np.zeros(SHAPE, np.uint8)
        labels[22:right, 20:34, 14:26] = 3
        scan = np.where(brain, rng.normal(100, 8, SHAPE) + 60 * (labels > 0), 0).astype(np.float32)
        write_volume(folder / f"{date}-seg.nii.gz", labels, GRID)
        write_volume(folder / f"{date}.nii.gz", scan, GRID)
    options = ChangeOptions(aligned=True, earlier_scan=folder / "earlier.nii.gz", later_scan=folder / "later.nii.gz")
    change(folder / "earlier-seg.nii.gz", folder / "later-seg.nii.gz", folder / "out", options=options)
    return write_change_report(folder / "out")


def test_the_first_screen_says_what_changed(page: Any) -> None:
    verdicts = page.locator(".verdict")
    assert verdicts.count() == 2
    assert "Progressive disease" in verdicts.nth(1).inner_text()
    assert "+50 %" in verdicts.nth(1).inner_text()
    box = verdicts.nth(1).bounding_box()
    assert box["y"] + box["height"] < 900
    assert "Research use only" in page.locator(".notice").inner_text()


def test_what_grew_lies_on_the_patients_right(page: Any) -> None:
    """Storage is RAS here, so i = 37 is right of the earlier lesion; the picture shows right on the left."""
    found = page.evaluate(
        """() => { const v = window.glioscopeViewer, [ni, nj, nk] = v.data.shape, at = [];
            v.maps.segmentation.forEach((code, n) => { if (code & 8) at.push(n % ni); });
            return [Math.min(...at), Math.max(...at), ni, v.data.affine[0][0]]; }"""
    )
    low, high, count, step = found
    assert step < 0  # i grows to the left
    assert high - low == 5
    assert high < count / 2


def test_both_dates_can_be_looked_at_and_the_change_is_named(page: Any) -> None:
    names = page.locator("#v-sequences .chip span").all_inner_texts()
    assert names == ["scan later", "scan earlier"]
    page.locator("#v-sequences input").nth(1).check(force=True)
    page.evaluate("() => { const v = window.glioscopeViewer; v.move(v.state.at); }")
    assert page.evaluate("() => window.glioscopeViewer.state.sequence") == 1
    page.evaluate(
        """() => { const v = window.glioscopeViewer, [ni, nj] = v.data.shape;
            const n = v.maps.segmentation.findIndex((code) => code & 8);
            v.move([n % ni, Math.floor(n / ni) % nj, Math.floor(n / ni / nj)]); }"""
    )
    page.wait_for_function("() => document.getElementById('v-readout').textContent.includes('change: core grown')")


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1")
