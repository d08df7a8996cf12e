"""The report of a case in a real browser: from disk, without a network, by mouse and by keyboard."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glioscope.cases import Case, LoadedCase
from glioscope.labels import scheme_named
from glioscope.report import write_case_report
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile
from summaries import tiny_summary

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
CHROMIUM = next((p for p in (shutil.which("chromium"), shutil.which("chromium-browser")) if p), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]

SHAPE = (48, 56, 40)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it: three sequences, reference, uncertainty, two lesions."""
    rng = np.random.default_rng(0)
    index = np.stack(np.indices(SHAPE), axis=-1) - (np.array(SHAPE) - 1) / 2
    brain = ((index / (np.array(SHAPE) / 2.2)) ** 2).sum(axis=-1) <= 1
    labels = np.zeros(SHAPE, np.uint8)
    labels[28:40, 20:36, 12:28], labels[31:37, 24:32, 16:24] = 2, 3
    labels[12:16, 24:28, 18:22] = 3
    levels = {"t1n": 90, "t1c": 120, "t2f": 150}
    images: dict[str, NDArray[np.float32]] = {
        name: np.where(brain, rng.normal(level, 8, SHAPE) + 50 * (labels > 0), 0).astype(np.float32)
        for name, level in levels.items()
    }
    files = {name: VolumeFile(Path(f"{name}.nii.gz")) for name in images}
    affine = np.diag([1.0, 1, 1, 1])
    loaded = LoadedCase(
        case=Case(case_id="phantom", subject_id="phantom", sequences=files), grid=Grid(SHAPE, affine), images=images
    )
    unsure = np.where(labels > 0, np.float32(0.6), np.float32(0))
    path = tmp_path_factory.mktemp("page") / "report.html"
    reference = np.roll(labels, 2, axis=0)
    told = tiny_summary("phantom", labels=labels, grid=loaded.grid)
    write_case_report(path, loaded, labels, scheme_named("brats2023"), told, reference=reference, uncertainty=unsure)
    return path


def pixels(page: Any, plane: str = "axial") -> int:
    """Return a number that changes when the picture of a plane does."""
    return int(
        page.evaluate(
            """plane => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
                const canvas = document.querySelector(`.view[data-plane=${plane}] canvas`);
                const data = canvas.toDataURL();
                let sum = 0;
                for (let n = 0; n < data.length; n++) sum = (sum * 31 + data.charCodeAt(n)) % 1000000007;
                done(sum);
            })))""",
            plane,
        )
    )


def at(page: Any) -> list[int]:
    return list(page.evaluate("glioscopeViewer.state.at"))


def test_sequence_switch(page: Any) -> None:
    before = pixels(page)
    page.get_by_label("FLAIR", exact=True).check(force=True)
    assert page.evaluate("glioscopeViewer.state.sequence") == 2
    assert pixels(page) != before
    page.keyboard.press("2")
    assert page.get_by_label("T1 contrast", exact=True).is_checked()
    assert pixels(page) == before


def test_click_moves_the_crosshair_in_all_planes(page: Any) -> None:
    before = at(page), pixels(page, "coronal"), pixels(page, "sagittal")
    box = page.locator(".view[data-plane=axial] canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.6)
    now = at(page)
    assert now[2] == before[0][2]
    assert now[0] < data_shape(page)[0] / 2  # left in the picture is the patient's right: small i in LPS
    assert pixels(page, "coronal") != before[1]
    assert pixels(page, "sagittal") != before[2]
    assert "mm" in page.locator("#v-readout").inner_text()


def data_shape(page: Any) -> list[int]:
    return list(page.evaluate("glioscopeViewer.data.shape"))


def test_wheel_and_slider_change_the_slice(page: Any) -> None:
    start = at(page)
    page.locator(".view[data-plane=axial] canvas").hover()
    page.mouse.wheel(0, -100)
    assert pixels(page)
    assert at(page)[2] == start[2] + 1
    slider = page.get_by_label("coronal slice", exact=True)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert pixels(page)
    assert at(page)[1] == start[1] + 1


def test_regions_toggle_by_mouse_and_key(page: Any) -> None:
    full = pixels(page)
    page.get_by_label("WT", exact=True).uncheck(force=True)
    assert pixels(page) != full
    page.locator("h1").click()
    page.keyboard.press("w")
    assert page.get_by_label("WT", exact=True).is_checked()
    assert pixels(page) == full
    page.keyboard.press("o")
    bare = pixels(page)
    assert bare != full
    page.get_by_label("Opacity").fill("0")
    page.keyboard.press("o")
    assert pixels(page) == bare


def test_layers(page: Any) -> None:
    shown = {pixels(page)}
    for name in ("Reference", "Difference", "Uncertainty"):
        page.locator("#v-layers").get_by_label(name, exact=True).check(force=True)
        shown.add(pixels(page))
    assert len(shown) == 4
    page.keyboard.press("u")
    assert page.evaluate("glioscopeViewer.state.layer") == "segmentation"


def test_jump_to_lesions(page: Any) -> None:
    page.locator("h1").click()
    page.keyboard.press("n")
    first = at(page)
    page.keyboard.press("n")
    pixels(page)
    second = at(page)
    assert first != second
    shape = data_shape(page)
    assert abs(second[0] - first[0]) > shape[0] / 4
    assert "segmentation: enhancing tumour" in page.locator("#v-readout").inner_text()
    page.locator("#v-lesions").select_option("0")
    assert at(page) == first


def test_keyboard_alone(page: Any) -> None:
    start = at(page)
    page.locator(".view[data-plane=sagittal] canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    pixels(page)
    assert at(page) == [start[0] + 1, start[1] - 1, start[2] + 1]
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "coronal slice"
    page.get_by_role("button", name="Reset").click()
    assert at(page) == start


def test_pictures_stand_without_scripts(browser: Any, page_file: Path) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    view = context.new_page()
    view.goto(page_file.as_uri())
    assert not view.locator("#viewer").is_visible()
    assert view.locator(".stills img").count() >= 15
    context.close()


def test_space_says_why_it_cannot_start(browser: Any, page_file: Path) -> None:
    context = browser.new_context(offline=True)
    context.add_init_script(
        """const own = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind === 'webgl2' ? null : own.call(this, kind, ...rest); };"""
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("#viewer[data-ready=all]")
    button = page.get_by_role("button", name="3-D")
    assert button.is_disabled()
    assert "the slices show the same" in button.get_attribute("title")
    packed = page.evaluate(
        """async () => {
            const text = document.getElementById('niivue-packed').textContent.trim();
            const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
            return (await new Response(stream).text()).length;
        }"""
    )
    assert packed > 1_000_000
    context.close()


def coloured(picture: bytes) -> tuple[int, int]:
    """Return how many pixels of a picture are coloured and how many grey, below the note and without the cube."""
    with Image.open(io.BytesIO(picture)) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.int16)[60:-80, 90:]
    spread = np.ptp(pixels, axis=2)
    return int((spread > 60).sum()), int(((spread < 12) & (pixels.mean(axis=2) > 30)).sum())


def test_space_draws_the_tumour_inside_the_brain(browser: Any, page_file: Path) -> None:
    """By the processor: these browsers have no graphics card."""
    context = browser.new_context(offline=True, viewport={"width": 440, "height": 600})  # few pixels, each a ray
    view = context.new_page()
    view.goto(page_file.as_uri())
    view.wait_for_selector("#viewer[data-ready=all]")
    view.get_by_role("button", name="3-D").click()
    view.wait_for_selector("#v-space-box[data-ready=yes]", timeout=120_000)
    box = view.locator("#v-space-box")
    tumour, brain = coloured(box.screenshot())
    assert tumour > 1000
    assert brain > 1000
    view.keyboard.press("o")  # overlays off
    view.wait_for_function("() => glioscopeViewer.space.inside.img.every((v) => v === 0)")
    assert coloured(box.screenshot())[0] < tumour / 20
    context.close()


def test_every_control_has_a_name(page: Any) -> None:
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, canvas, img')].filter(e =>
            !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.alt
            && !e.textContent.trim()).length"""
    )
    assert unnamed == 0


def test_the_table_of_lesions_leads_into_the_viewer(page: Any) -> None:
    buttons = page.get_by_role("button", name="Show lesion")
    assert buttons.count() == 2
    places = []
    for n in range(2):
        buttons.nth(n).click()
        pixels(page)
        places.append(at(page))
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
        assert "segmentation: enhancing tumour" in page.locator("#v-readout").inner_text()
    assert places[0] != places[1]


def test_the_legend_says_what_is_shown(page: Any) -> None:
    legend = page.locator("#v-legend")
    assert "whole tumour" in legend.inner_text()
    page.locator("#v-layers").get_by_label("Difference", exact=True).check(force=True)
    pixels(page)
    assert "missed by the segmentation" in legend.inner_text()
    assert "whole tumour" not in legend.inner_text()
    page.keyboard.press("o")
    pixels(page)
    assert not legend.inner_text()


def test_text_stands_out_from_its_ground(page: Any) -> None:
    """At least 4.5 to 1, as WCAG 2 asks of text, for whatever is written on a plain ground."""
    faint = page.evaluate(
        """() => {
            const levels = (text) => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
            const ground = (e) => {
                for (; e; e = e.parentElement) {
                    const colour = levels(getComputedStyle(e).backgroundColor);
                    if (colour.length < 4 || colour[3] === 1) return colour;
                }
                return [255, 255, 255];
            };
            const found = [];
            for (const e of document.querySelectorAll('body *')) {
                const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
                if (!own || !e.checkVisibility() || e.disabled || /SCRIPT|STYLE|OPTION/.test(e.tagName)) continue;
                if (e.closest('.frame, .canvas, .skip')) continue;
                const [a, b] = [light(levels(getComputedStyle(e).color)), light(ground(e))];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (ratio < 4.5) found.push(`${e.tagName} ${e.className}: ${ratio.toFixed(2)}`);
            }
            return found;
        }"""
    )
    assert faint == []


def test_it_prints_on_a_few_pages_without_the_viewer(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#viewer").is_visible()
    assert page.get_by_text("Research use only").is_visible()
    assert page.get_by_text("Measurements").is_visible()
    printed = page.pdf(prefer_css_page_size=True)
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 4
