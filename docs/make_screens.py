"""Write docs/images/report.jpg and server.jpg: the page of a synthetic patient, and the server's page of the same.

    python docs/make_screens.py [--chromium /usr/bin/chromium]

Needs Chromium and `playwright`; the network in the package segments the patient. No real person is shown.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from glioscope.cli import main
from glioscope.phantom import write_phantoms

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def report(browser: Any, case: Path, out: Path) -> None:
    """Segment a case from the command line, and picture the top of its page."""
    main(["segment", str(case), "-o", str(out)])
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.goto((out / case.name / "report.html").as_uri())
    page.wait_for_selector("#viewer[data-ready=all]")
    page.screenshot(path=IMAGES / "report.jpg", type="jpeg", quality=80)


def server(browser: Any, case: Path, data: Path) -> None:
    """Upload a case to a server of its own, and picture its page once it is segmented."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "glioscope", "serve", "--port", str(port), "--data", str(data)]
    running = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(address).close()
                break
            except OSError:
                time.sleep(0.2)
        page = browser.new_page(viewport={"width": 1300, "height": 880})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.locator("#choose-files").set_input_files(sorted(str(p) for p in case.iterdir() if "seg" not in p.name))
        page.get_by_text("All four sequences are there.").wait_for()
        page.get_by_role("button", name="Segment").click()
        page.wait_for_selector("#workspace[data-ready=yes]")
        page.wait_for_timeout(1000)  # the first picture, drawn by the processor
        page.screenshot(path=IMAGES / "server.jpg", type="jpeg", quality=80)
    finally:
        running.terminate()
        running.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=options.chromium, args=FLAGS)
        patient = write_phantoms(Path(scratch) / "patients", 1, seed=1)[0]
        report(chromium, patient, Path(scratch) / "out")
        server(chromium, patient, Path(scratch) / "data")
        chromium.close()
