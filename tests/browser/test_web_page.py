"""The server in a real browser: upload, correct, save, download, restart; and rubbish, told as such."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from serving import CHROMIUM, Server, drawn, stroke, upload, watched_page
from tiny import write_tiny_case

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
pytest.importorskip("fastapi", reason="fastapi is not installed: no test of the server")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """An empty page; an error on its console or a request to anywhere else fails the test."""
    with watched_page(browser, server.address) as view:
        yield view


def check_sequences(page: Any) -> None:
    """Set a scan wrongly, see that it is refused, set it right."""
    page.get_by_text("All four sequences are there.").wait_for()
    scan = page.get_by_label("Sequence of BraTS-GLI-00001-000-t2f.nii.gz")
    assert scan.input_value() == "t2f"
    scan.select_option("t2w")
    assert page.get_by_role("button", name="Segment").is_disabled()
    assert "Two scans are set to T2" in page.locator("#choice-note").inner_text()
    scan.select_option("t2f")


def look(page: Any) -> None:
    """Switch a region and the sequence: the picture changes, the labels do not."""
    assert "0.2 ml" in page.locator("#facts").inner_text()
    assert drawn(page) == 216
    picture = page.locator("[data-plane=axial] canvas")
    before = picture.screenshot()
    page.get_by_label("WT", exact=True).first.uncheck(force=True)
    assert picture.screenshot() != before
    page.keyboard.press("w")
    assert page.get_by_label("WT", exact=True).first.is_checked()
    page.keyboard.press("4")
    page.wait_for_selector("#workspace[data-sequence=t2f]")
    assert page.get_by_label("FLAIR").is_checked()
    assert drawn(page) == 216


def correct(page: Any) -> int:
    """Paint, undo, paint again, save; return how many voxels hold a label then."""
    assert page.get_by_role("button", name="Save as version 2").is_disabled()
    page.keyboard.press("b")
    page.locator("#labels").get_by_label("Oedema").check(force=True)
    assert page.get_by_label("Brush").is_checked()
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.wait_for_selector("#workspace[data-steps='1']")
    assert drawn(page) > 216
    page.get_by_role("button", name="Undo").click()
    assert drawn(page) == 216
    assert page.get_by_role("button", name="Undo").is_disabled()
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.wait_for_selector("#workspace[data-steps='1']")
    page.get_by_label("Note").fill("oedema at the edge")
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("Saved as version 2").wait_for()
    assert page.locator("#version option").count() == 2
    return drawn(page)


def save_too_late(page: Any) -> None:
    """Correct version 1 where another browser has saved version 2: refused, then saved as a branch."""
    page.keyboard.press("x")
    stroke(page, (0.45, 0.4), (0.55, 0.5))
    page.wait_for_selector("#workspace[data-steps='1']")
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("version 2 was saved in the meantime").wait_for()
    page.get_by_role("button", name="Save mine as a branch").click()
    page.get_by_text("Saved as version 3").wait_for()
    assert "corrected from 1" in page.locator("#version option").first.inner_text()


def downloaded(page: Any) -> int:
    """Download the version shown and return how many of its voxels hold a label."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Segmentation, NIfTI").click()
    assert download.value.suggested_filename == "BraTS-GLI-00001-000_segmentation.v2.nii.gz"
    body = gzip.decompress(Path(download.value.path()).read_bytes())
    return int(np.count_nonzero(np.asarray(nib.Nifti1Image.from_bytes(body).dataobj)))


def test_from_upload_to_correction_and_back_after_a_restart(page: Any, server: Server, tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path)
    upload(page, server.address, sorted(str(path) for path in folder.iterdir()))
    page.wait_for_url("**/cases/*")
    check_sequences(page)
    page.get_by_role("button", name="Segment").click()
    page.get_by_role("progressbar", name="Progress").wait_for()
    page.wait_for_selector("#workspace[data-ready=yes]")
    look(page)
    other = page.context.new_page()  # a second browser on the same case, on version 1
    other.on("dialog", lambda dialog: dialog.accept())
    other.goto(page.url)
    other.wait_for_selector("#workspace[data-ready=yes]")
    painted = correct(page)
    save_too_late(other)
    other.close()
    assert downloaded(page) == painted

    address = page.url
    server.stop()
    server.start()
    page.goto(server.address)
    row = page.get_by_role("row", name="BraTS-GLI-00001-000")
    row.get_by_text("version 3").wait_for()
    assert "Done" in row.inner_text()
    page.goto(address)
    page.wait_for_selector("#workspace[data-ready=yes]")
    page.get_by_label("Version").select_option("2")
    page.get_by_text("corrected from 1: oedema").wait_for(state="attached")
    page.wait_for_function(f"() => glioscopeCase.map.labels.reduce((sum, v) => sum + (v > 0), 0) === {painted}")
    page.get_by_role("button", name="Delete case").click()
    page.get_by_text("None yet.").wait_for()


def test_a_folder_of_rubbish_and_an_upload_cut_off(page: Any, server: Server, tmp_path: Path) -> None:
    """A folder is walked through; an upload that stops half-way says so and leaves the page as it was."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("not a scan", encoding="utf-8")
    page.goto(server.address)
    page.locator("#choose-folder").set_input_files(str(tmp_path / "letters"))
    page.get_by_role("alert").filter(has_text="one.txt: no scan is in it").wait_for()
    page.route("**/api/uploads", lambda route: route.abort("connectionreset"))
    page.locator("#choose-files").set_input_files([str(tmp_path / "letters" / "one.txt")])
    page.get_by_role("alert").filter(has_text="The upload was cut off; nothing was kept.").wait_for()
    page.get_by_text("None yet.").wait_for()


def test_rubbish_is_told_as_such(page: Any, server: Server) -> None:
    """Dropped on the page, with a name that is no markup."""
    page.goto(server.address)
    dropped = page.evaluate_handle(
        """name => { const all = new DataTransfer(); all.items.add(new File(['not a scan'], name)); return all; }""",
        "letter <b>to\u202e mother.docx",
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    note = page.get_by_role("alert").filter(has_text="no scan is in it")
    note.wait_for()
    assert "letter <b>to mother.docx" in note.inner_text()
    assert page.url.rstrip("/") == server.address


def test_logging_in(page: Any, server: Server) -> None:
    """A form of the page itself: the browser says where it comes from, and the cookie is kept."""
    server.stop()
    server.start("--token", "a secret of many letters")
    page.goto(server.address)
    page.get_by_label("Token").fill("not the secret")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("That is not the token.").wait_for()
    page.get_by_label("Token").fill("a secret of many letters")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Cases").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Token").wait_for()
    server.stop()
    server.start()


def test_every_control_has_a_name_and_the_notice_is_there(page: Any, server: Server) -> None:
    for path in ("/", "/docs", "/login", "/cases/0123456789abcdef"):
        page.goto(f"{server.address}{path}")
        assert page.get_by_text("Research use only.").is_visible()
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('input, select, button, canvas, img, progress')].filter(e =>
                e.type !== 'hidden' && !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.alt
                && !e.textContent.trim()).length"""
        )
        assert unnamed == 0
