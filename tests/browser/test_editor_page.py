"""Correcting in a real browser: nothing drawn is lost, and nothing is saved that was not drawn."""

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from serving import CHROMIUM, Server, at, drawn, stroke, watched_page
from tiny import write_tiny_case

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
pytest.importorskip("fastapi", reason="fastapi is not installed: no test of the server")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]
TUMOUR = 216
"""Voxels of it in the tiny case."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with watched_page(browser, server.address) as view:
        yield view


@pytest.fixture
def case(page: Any, server: Server, tmp_path: Path) -> str:
    """The address of a segmented case, opened in `page`."""
    folder = write_tiny_case(tmp_path)
    files = [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    boundary = "0123456789"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + body
        for _, (name, body) in files
    ]
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="start"\r\n\r\n1'.encode()
    body = b"\r\n".join([*parts, start, f"--{boundary}--\r\n".encode()])
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    key = page.request.post(f"{server.address}/api/uploads", data=body, headers=headers).json()[0]["key"]
    finished(page, server, key)
    address = f"{server.address}/cases/{key}"
    opened(page, address)
    return address


def finished(page: Any, server: Server, key: str) -> None:
    for _ in range(600):
        if page.request.get(f"{server.address}/api/cases/{key}").json()["state"] == "done":
            return
        time.sleep(0.1)
    raise AssertionError("the case is not done")


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#workspace[data-ready=yes]")


def bitmap(page: Any) -> list[int]:
    found: list[int] = page.evaluate("[...glioscopeCase.map.labels]")
    return found


def test_undo_goes_back_click_by_click_to_what_was_loaded_and_redo_forth(page: Any, case: str) -> None:
    """Thirty clicks with the brush: more than any viewer's own stack once held."""
    loaded = bitmap(page)
    page.keyboard.press("b")
    for n in range(30):
        page.mouse.click(*at(page, 0.25 + 0.017 * n, 0.68 + 0.03 * (n % 4)))
    steps = int(page.locator("#workspace").get_attribute("data-steps"))
    painted = bitmap(page)
    assert steps >= 24
    for n in range(steps):
        assert not page.evaluate("glioscopeCase.map.asLoaded()"), f"as loaded after {n} of {steps} steps"
        page.keyboard.press("Control+z")
    page.get_by_text("As it was loaded").wait_for()
    assert bitmap(page) == loaded
    assert page.get_by_role("button", name="Save as version 2").is_disabled()
    page.keyboard.press("Control+z")
    assert bitmap(page) == loaded
    for _ in range(steps):
        page.keyboard.press("Control+y")
    assert bitmap(page) == painted
    page.keyboard.press("Control+z")
    assert "As it was loaded" not in page.locator("#save-note").inner_text()
    assert page.get_by_role("button", name="Save as version 2").is_enabled()


def test_a_drawing_on_what_was_segmented_again_is_not_saved_and_not_lost(
    page: Any, case: str, server: Server, tmp_path: Path
) -> None:
    page.keyboard.press("b")
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.wait_for_selector("#workspace[data-steps='1']")
    painted = bitmap(page)
    key = case.rpartition("/")[2]
    choice = page.request.get(f"{server.address}/api/cases/{key}").json()["choice"]
    choice.pop("t1c")
    page.request.post(f"{server.address}/api/cases/{key}/start", data={"choice": choice})
    finished(page, server, key)
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("segmented again since you opened it").wait_for()
    assert page.request.get(f"{server.address}/api/cases/{key}").json()["version"] == 1
    assert bitmap(page) == painted
    assert page.get_by_role("button", name="Save mine as a branch").is_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my drawing").click()
    body = gzip.decompress(Path(download.value.path()).read_bytes())
    labels = np.asarray(nib.Nifti1Image.from_bytes(body).dataobj)
    assert labels.ravel(order="F").tolist() == painted
    page.get_by_role("button", name="Load version 1, drop mine").click()
    page.wait_for_selector("#workspace[data-ready=yes][data-steps='0']")


def test_the_brush_paints_after_the_version_was_switched(page: Any, case: str) -> None:
    page.keyboard.press("b")
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("Saved as version 2").wait_for()
    page.get_by_label("Version").select_option("1")
    page.wait_for_selector("#workspace[data-different='0'][data-steps='0']")
    assert drawn(page) == TUMOUR
    assert page.get_by_label("Brush").is_checked()
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.wait_for_selector("#workspace[data-steps='1']")
    assert drawn(page) > TUMOUR


def click(page: Any, button: str = "left") -> None:
    """Click on a dark place beside the tumour with the tool, and wait for the answer."""
    page.mouse.click(*at(page, 0.6, 0.7), button=button)
    page.locator("#stage:not(.waiting)").wait_for()
    page.locator("#save-note:not(:empty)").wait_for()


def test_a_click_is_taken_back_by_escape_and_kept_by_enter_and_a_right_click_removes(page: Any, case: str) -> None:
    loaded = bitmap(page)
    page.keyboard.press("c")
    click(page)
    page.get_by_text("added to TC").wait_for()
    added = bitmap(page)
    assert added != loaded
    page.keyboard.press("Escape")
    assert bitmap(page) == loaded
    assert page.get_by_role("button", name="Save as version 2").is_disabled()
    click(page)
    page.get_by_text("added to TC").wait_for()
    assert bitmap(page) == added  # the same click, the same answer
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert bitmap(page) == added
    click(page, "right")
    page.get_by_text("removed from TC").wait_for()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert bitmap(page) == loaded
    page.keyboard.press("Control+y")
    assert bitmap(page) == added


def test_while_the_server_is_away_nothing_drawn_is_lost(page: Any, case: str, server: Server) -> None:
    page.keyboard.press("b")
    stroke(page, (0.3, 0.7), (0.4, 0.75))
    page.wait_for_selector("#workspace[data-steps='1']")
    drawing = bitmap(page)
    server.stop()
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("The server does not answer. Is it still running? Your drawing is still here.").wait_for()
    page.keyboard.press("c")
    click(page)
    page.get_by_text("The server does not answer. Is it still running? Your drawing is as it was.").wait_for()
    assert bitmap(page) == drawing
    server.start()
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("Saved as version 2").wait_for()
    assert bitmap(page) == drawing


def test_segmenting_again_leads_back(page: Any, case: str) -> None:
    """From the form by a button, and from the new result to the one before."""
    page.get_by_role("button", name="Change sequences…").click()
    page.get_by_role("button", name="Back to the result").click()
    page.wait_for_selector("#workspace[data-ready=yes]")
    page.get_by_role("button", name="Change sequences…").click()
    page.get_by_label("Sequence of BraTS-GLI-00001-000-t1c.nii.gz").select_option("")
    page.get_by_role("button", name="Segment").click()
    page.wait_for_selector("#workspace[data-ready=yes]")
    assert page.get_by_label("T1 contrast").count() == 0
    page.get_by_role("button", name="Bring back the result before").click()
    page.get_by_label("T1 contrast").wait_for(state="attached")


def test_arrow_keys_go_through_slices_and_every_key_listed_works(page: Any, case: str) -> None:
    before = page.evaluate("glioscopeCase.scene.at")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("glioscopeCase.scene.at") == [before[0], before[1], before[2] + 1]
    page.locator("[data-plane=sagittal] canvas").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("glioscopeCase.scene.at") == [before[0] - 1, before[1], before[2] + 1]
    page.keyboard.press("?")
    listed = page.locator("#key-list kbd").all_inner_texts()
    page.keyboard.press("?")
    for key, tool in {"C": "click", "B": "brush", "X": "erase", "F": "fill", "I": "island", "M": "distance"}.items():
        assert key in listed
        page.keyboard.press(key.lower())
        assert page.locator("#stage").get_attribute("data-tool") == tool
    letters = [key for key in listed if len(key) == 1]
    assert len(letters) == len(set(letters))
