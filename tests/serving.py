"""`glioscope serve` as a process of its own, and a browser in front of it, for tests of its pages."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiny import write_tiny_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000
"""Milliseconds; a segmentation is a cold start of the program."""


class Server:
    """A server with a tiny network, on a port that was free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model = write_tiny_model(folder / "model")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self, *options: str) -> None:
        places = ["--data", str(self._folder / "data"), "--model", str(self._model), *options]
        command = [sys.executable, "-m", "glioscope", "serve", "--port", str(self._port), *places]
        self._process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for _ in range(1500):
            try:
                urllib.request.urlopen(f"{self.address}/login", timeout=5).close()
            except OSError:
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(30) in (0, -signal.SIGTERM)  # in order, or by the signal raised again after that


EXPECTED = ("the server responded with a status of 4", "ERR_CONNECTION_RESET", "ERR_CONNECTION_REFUSED")
"""What the console may say: requests that a test wants to fail."""


@contextmanager
def watched_page(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """Yield an empty page; an error on its console or a request to anywhere else fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, "accept_downloads": True, **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())
    yield page
    context.close()
    assert [text for text in said if not any(part in text for part in EXPECTED)] == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def upload(page: Any, address: str, files: list[str]) -> None:
    """Choose files on the first page."""
    page.goto(address)
    page.locator("#choose-files").set_input_files(files)


def drawn(page: Any) -> int:
    """Return how many voxels hold a label in the editor."""
    return int(page.evaluate("glioscopeCase.map.labels.reduce((sum, v) => sum + (v > 0), 0)"))


def at(page: Any, x: float, y: float, plane: str = "axial") -> tuple[float, float]:
    """Return the point of the window at these shares of a picture's width and height."""
    box = page.locator(f"[data-plane={plane}] canvas").bounding_box()
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def stroke(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag in the axial picture from one share of its width and height to another."""
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()
