"""A Ray cluster of two nodes on this machine, and a cohort segmented on it while things are killed."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from glioscope.results.verifying import verify
from glioscope.segmentation.cluster.crew import ManifestEntry, read_manifest

MARK = "GLIOSCOPE_TEST_NODE"
ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def _free_port() -> int:
    with socket.socket() as entry:
        entry.bind(("127.0.0.1", 0))
        return int(entry.getsockname()[1])


def _processes(mark: str) -> list[int]:
    """Processes that were started with the mark in their environment, which their children inherit."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class TwoNodes:
    """Two `ray start`, each with one processor."""

    ips: Mapping[str, str] = {"head": "127.0.0.1", "second": "127.0.0.1"}

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="glio-ray-"))  # short: sockets have paths of a hundred characters
        self.port = _free_port()
        self.address = f"{self.ips['head']}:{self.port}"

    def inside(self, _name: str) -> list[str]:
        """What a command that runs on a node begins with."""
        return []

    def __enter__(self) -> Self:
        for attempt in range(3):  # Ray gives itself 30 seconds, which on a busy machine may not be enough
            try:
                head = (f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
                self._start("head", "--head", *head)
                self.add_node()
                break
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                self._kill("")
                if attempt == 2:
                    last = (error.stderr or b"no answer").decode().strip().splitlines()[-1]
                    pytest.skip(f"this machine is too busy for Ray, which did not start three times: {last}")
        return self

    def add_node(self) -> None:
        """Start the second node, unless it is there."""
        if not _processes(f"{self.folder}:second"):
            self._start("second", f"--address={self.address}")

    def _start(self, name: str, *options: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        memory = f"--object-store-memory={80 * 1024**2}"
        command = [*self.inside(name), str(ray), "start", *options, "--num-cpus=1", memory, "--disable-usage-stats"]
        command += [f"--node-ip-address={self.ips[name]}"]
        environment = ENVIRONMENT | {MARK: f"{self.folder}:{name}"}
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=180)

    def kill_second_node(self) -> None:
        """As if its machine lost power."""
        self._kill("second")

    def _kill(self, name: str) -> None:
        for _ in range(3):  # some start others
            for process in _processes(f"{self.folder}:{name}"):
                kill(process)
            time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill("")
        shutil.rmtree(self.folder, ignore_errors=True)


class TwoMachines(TwoNodes):
    """Two nodes, each in a network of its own with one cable between them, as two machines with a shared disk."""

    ips: Mapping[str, str] = {"head": "10.213.77.1", "second": "10.213.77.2"}

    def __enter__(self) -> Self:
        if shutil.which("ip") is None:
            pytest.skip("needs the command 'ip'")
        with ExitStack() as undo:  # whatever fails or is skipped from here on, no network is left behind
            undo.callback(self._remove_networks)
            self._lay_cable()
            super().__enter__()
            undo.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._remove_networks()

    def _lay_cable(self) -> None:
        try:
            for name in self.ips:
                self._ip("netns", "add", self._space(name))
        except subprocess.CalledProcessError as failure:
            pytest.skip(f"needs the right to make networks: {failure.stderr.decode().strip()}")
        spaces = {name: ("netns", self._space(name)) for name in self.ips}
        self._ip("link", "add", "head", *spaces["head"], "type", "veth", "peer", "name", "second", *spaces["second"])
        for name, address in self.ips.items():
            self._ip("-n", self._space(name), "address", "add", f"{address}/24", "dev", name)
            for device in ("lo", name):
                self._ip("-n", self._space(name), "link", "set", device, "up")

    def _remove_networks(self) -> None:
        for name in self.ips:
            subprocess.run(["ip", "netns", "delete", self._space(name)], check=False, capture_output=True)

    def inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name)]

    def cut(self) -> None:
        """Pull the cable out: both nodes live on and cannot hear each other."""
        self._ip("-n", self._space("head"), "link", "set", "head", "down")

    def _space(self, name: str) -> str:
        return f"{self.folder.name}-{name}"

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


class Driver:
    """`glioscope segment --cluster` in a process of its own."""

    def __init__(self, cohort: Path, output: Path, address: str, inside: Sequence[str] = ()) -> None:
        self.output = output
        command = [*inside, sys.executable, "-m", "glioscope", "segment", str(cohort / "data"), "-o", str(output)]
        command += ["--model", str(cohort / "model"), "--no-report", "--cluster", address, "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)

    def events(self, kind: str) -> list[ManifestEntry]:
        """Those of the manifest."""
        return [entry for entry in read_manifest(self.output / "manifest.jsonl") if entry.event == kind]

    def until(self, met: Callable[[], bool], *, seconds: float = 240) -> None:
        """Wait for something to come true, as long as the driver lives."""
        end = time.monotonic() + seconds
        while not met():
            assert self.process.poll() is None, self.process.communicate()[0].decode()
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.02)

    def until_answered(self, more: int) -> None:
        """Wait for the outcomes of so many more cases."""

        def answered() -> int:
            return len(self.events("done")) + len(self.events("skipped"))

        before = answered()
        self.until(lambda: answered() >= before + more)

    def worker(self) -> int:
        """The process that was given a case last."""
        return int(self.events("given")[-1].worker.rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill it, and wait until Ray has ended its workers."""
        workers = {int(entry.worker.rsplit(":", 1)[1]) for entry in self.events("ready")}
        self.process.kill()
        self.process.communicate()
        end = time.monotonic() + 60
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < end, "workers outlived their driver"
            time.sleep(0.05)

    def finish(self) -> str:
        text, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, text.decode()
        return text.decode()


def kill(process: int) -> None:
    """Kill it, if it is still there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def nothing_lost(cohort: Path, output: Path) -> None:
    """Every case has one row, one whole result, and was answered for once in each run."""
    names = sorted(path.name for path in (cohort / "data").iterdir())
    with (output / "cohort.csv").open(newline="", encoding="utf-8") as file:
        rows = [row["case_id"] for row in csv.DictReader(file) if row["status"] != "failed"]
    assert rows == names
    found = verify(output)
    assert found.mismatches == ()
    assert {check.owner for check in found.checks} == set(names)
    done = Counter(entry.case for entry in read_manifest(output / "manifest.jsonl") if entry.event == "done")
    assert set(done) <= set(names)
    assert max(done.values(), default=0) <= 1, f"done twice: {done.most_common(3)}"
    assert not list(output.rglob(".*")), "a half-written file was left"
