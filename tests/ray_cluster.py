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
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from glioscope.cluster.crew import read_manifest
from glioscope.verify import verify

ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return [entry.getsockname()[1] for entry in sockets]
    finally:
        for entry in sockets:
            entry.close()


def _processes(word: str) -> list[int]:
    """Processes whose command line holds the word, this one apart."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and int(entry.name) != os.getpid()
                and word.encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class TwoNodes:
    """Two `ray start`, each with one processor."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="glio-ray-"))  # short: sockets have paths of a hundred characters
        self.port, self._manager = _free_ports(2)
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for attempt in range(3):  # Ray gives itself 30 seconds, which on a busy machine may not be enough
            try:
                self._start("--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
                self.add_node()
                break
            except subprocess.CalledProcessError as error:
                self._kill_all()
                if attempt == 2:
                    raise AssertionError(error.stderr.decode()) from error
        return self

    def add_node(self) -> None:
        """Start the second node."""
        self._start(f"--address={self.address}", f"--node-manager-port={self._manager}")

    def _start(self, *options: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        memory = f"--object-store-memory={80 * 1024**2}"
        command = [str(ray), "start", *options, "--num-cpus=1", memory, "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT, timeout=180)

    def kill_second_node(self) -> None:
        """As if its machine lost power."""
        for process in _processes(f"--node_manager_port={self._manager}"):
            os.kill(process, signal.SIGKILL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_all(self) -> None:
        for _ in range(3):  # some start others
            for process in _processes(str(self.folder)):
                kill(process)
            time.sleep(0.2)


class Driver:
    """`glioscope segment --cluster` in a process of its own."""

    def __init__(self, cohort: Path, output: Path, address: str) -> None:
        self.output = output
        command = [sys.executable, "-m", "glioscope", "segment", str(cohort / "data"), "-o", str(output)]
        command += ["--model", str(cohort / "model"), "--no-report", "--cluster", address, "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)

    def events(self, kind: str) -> list[dict[str, str]]:
        """Those of the manifest."""
        return [entry for entry in read_manifest(self.output / "manifest.jsonl") if entry["event"] == kind]

    def until(self, met: Callable[[], bool], *, seconds: float = 240) -> None:
        """Wait for something to come true, as long as the driver lives."""
        end = time.monotonic() + seconds
        while not met():
            assert self.process.poll() is None, self.process.communicate()[0].decode()
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.02)

    def worker(self) -> int:
        """The process that was given a case last."""
        return int(self.events("given")[-1]["worker"].rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill it, and wait until Ray has ended its workers."""
        workers = {int(entry["worker"].rsplit(":", 1)[1]) for entry in self.events("ready")}
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
    done = Counter(entry["case"] for entry in read_manifest(output / "manifest.jsonl") if entry["event"] == "done")
    assert set(done) <= set(names)
    assert not list(output.rglob(".*")), "a half-written file was left"
