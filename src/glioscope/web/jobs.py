"""The queue: one job after the other, each in processes of its own, so that a crash costs one job.

A job is a row of command lines of the same program that people type: what the page does, the command line does. A job
has a limit of time and one of memory; it is ended with all it started. What was under way when the server stopped is
begun again at the next start.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glioscope.errors import GlioscopeError
from glioscope.machine.process import Limits, ProcessFailedError, run_process
from glioscope.web.settings import ServerConfig
from glioscope.web.store import JobRow, Store

log = logging.getLogger(__name__)


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
        except (ProcessFailedError, GlioscopeError) as error:
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

        def ended() -> Exception | None:
            if self._stop.is_set():
                return StoppedError()
            return CancelledError() if job.key in self._cancelled else None

        limits = Limits(seconds=self._config.job_seconds, resident_bytes=self._config.job_bytes)
        run_process(step.arguments, self._store.folder(job.key), limits, deadline=deadline, interrupted=ended)
