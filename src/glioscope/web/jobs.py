"""The queue: one job after the other, each in processes of its own, so that a crash costs one job.

A job is a row of command lines of the same program that people type: what the page does, the command line does. A job
has a limit of time and one of memory; it is ended with all it started. What was under way when the server stopped is
begun again at the next start.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glioscope.errors import GlioscopeError
from glioscope.web.settings import GIB, ServerConfig
from glioscope.web.store import JobRow, Store

log = logging.getLogger(__name__)
_PAUSE = 0.1
"""Seconds between two looks at a job."""
_LOG_BYTES = 64 * 1024
"""Read from the end of a job's log to find its last word."""


class JobError(Exception):
    """A job that failed, with one line for the user."""


class StoppedError(Exception):
    """The server is stopping; the job is to be done at its next start."""


class CancelledError(Exception):
    """The case was deleted while its job ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One process of a job."""

    what: str
    """For the user: "segmenting"."""
    arguments: tuple[str, ...]
    """After the name of the interpreter."""


Plan = Callable[[JobRow], tuple[Sequence[Step], Callable[[], None]]]
"""A job to the steps it takes, and what is done when all went well."""


class Runner:
    """Threads that take jobs from the list.

    Parameters
    ----------
    store : Store
        Where jobs stand.
    config : ServerConfig
        Workers and limits.
    plan : Plan
        What each job is made of.
    failed : callable
        Called with a job and why it failed; marks its case.
    """

    def __init__(self, store: Store, config: ServerConfig, plan: Plan, failed: Callable[[JobRow, str], None]) -> None:
        self._store, self._config, self._plan, self._failed = store, config, plan, failed
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._steps: dict[int, str] = {}
        self._cancelled: set[str] = set()
        self._threads = [threading.Thread(target=self._work, name=f"job-{n}") for n in range(config.workers)]

    def start(self) -> None:
        """Put back what a stop cut off, and begin."""
        for job in self._store.requeue():
            self._failed(job, f"was under way at {job.attempts} stops of the server and is not tried again by itself")
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the jobs under way, put them back in the queue, and wait for the threads."""
        self._stop.set()
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def wake(self) -> None:
        """Say that there is work."""
        with self._wake:
            self._wake.notify_all()

    def step(self, number: int) -> str:
        """Return what a running job is doing."""
        return self._steps.get(number, "")

    def cancel(self, key: str) -> None:
        """End what runs for a case, before it is deleted."""
        self._cancelled.add(key)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                job = self._store.take()
            except GlioscopeError as error:  # a full disk: try again later
                log.warning("the queue cannot be read: %s", error)
                job = None
            if job is None:
                with self._wake:
                    self._wake.wait(1.0)
                continue
            self._do(job)

    def _do(self, job: JobRow) -> None:
        try:
            steps, finish = self._plan(job)
            deadline = time.monotonic() + self._config.job_seconds
            for step in steps:
                self._steps[job.number] = step.what
                self._run(job, step, deadline)
            self._steps[job.number] = "writing"
            finish()
        except StoppedError:
            self._store.put_back(job)
        except CancelledError:
            self._cancelled.discard(job.key)
            shutil.rmtree(self._store.folder(job.key), ignore_errors=True)  # what it wrote to the last
        except (JobError, GlioscopeError) as error:
            self._give_up(job, " ".join(str(error).split()))
        except Exception as error:
            log.exception("job %d failed", job.number)
            self._give_up(job, f"defect, please report: {type(error).__name__}: {error}")
        finally:
            self._steps.pop(job.number, None)

    def _give_up(self, job: JobRow, reason: str) -> None:
        reason = reason.replace(f"{self._store.folder(job.key)}/", "").replace(str(self._store.folder(job.key)), "")
        try:
            self._failed(job, reason)
        except GlioscopeError as error:
            log.warning("job %d failed (%s), and that cannot be written down: %s", job.number, reason, error)

    def _run(self, job: JobRow, step: Step, deadline: float) -> None:
        """Run one process to its end, or end it."""
        journal, mark = self._store.folder(job.key) / "job.log", self._store.folder(job.key) / "job.pid"
        _end_orphan(mark)
        with journal.open("ab") as output:
            output.write(f"\n$ {' '.join(step.arguments)}\n".encode())
            output.flush()
            start = output.tell()
            process = subprocess.Popen(
                [sys.executable, *step.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._store.folder(job.key),
                start_new_session=True,
            )
            try:
                mark.write_text(f"{process.pid} {_born(process.pid)}", "ascii")
                self._watch(job, process, deadline)
            finally:
                _end(process)
                mark.unlink(missing_ok=True)
        if process.returncode != 0:
            raise JobError(_last_word(journal, start, process.returncode))

    def _watch(self, job: JobRow, process: "subprocess.Popen[bytes]", deadline: float) -> None:
        looked = 0
        while process.poll() is None:
            if self._stop.is_set():
                raise StoppedError
            if job.key in self._cancelled:
                raise CancelledError
            if time.monotonic() > deadline:
                raise JobError(f"took longer than {self._config.job_seconds / 60:.0f} minutes and was ended")
            looked += 1
            if looked % 3 == 0 and resident_bytes(process.pid) > self._config.job_bytes:
                raise JobError(f"needed more than {self._config.job_bytes / GIB:.3g} GB of memory and was ended")
            try:
                process.wait(_PAUSE)
            except subprocess.TimeoutExpired:
                continue


def resident_bytes(leader: int) -> int:
    """Return the resident memory of a process and all of its session; 0 where the system does not tell."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 21 and fields[3] == str(leader):  # the session; a job's first process leads its own
            total += int(fields[21]) * _PAGE
    return total


_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started: asked first, then made to."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, sent)
                process.wait(3.0)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _born(pid: int) -> str:
    """Return when a process began, in the system's own count; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _end_orphan(mark: Path) -> None:
    """End what a server that was killed left running for a case, if it is that very process."""
    try:
        pid, _, born = mark.read_text("ascii").partition(" ")
    except OSError:
        return
    if born and _born(int(pid)) == born:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid), signal.SIGKILL)


def _last_word(journal: Path, start: int, code: int) -> str:
    """Return why a process failed: what the program said last, or how it ended."""
    with journal.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _LOG_BYTES))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line.removeprefix("glioscope: ") for line in lines if line.startswith("glioscope: ")]
    if said and code == 2:
        return said[-1]
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps the machine ran out of memory" if -code == signal.SIGKILL else ""
        return f"the program was ended by {name}{hint}"
    return f"defect, please report: {lines[-1] if lines else f'the program ended with code {code}'}"
