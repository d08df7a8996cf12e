"""Workers as processes of this machine; Ray is not needed."""

import copyreg
import multiprocessing
import os
import platform
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

from glioscope.errors import GlioscopeError, ModelError, RunError
from glioscope.machine import cores
from glioscope.segmentation import SegmentOptions, Worker
from glioscope.segmentation.cluster.crew import AnyCase, Event, brief

THREADS = 4
"""Of one worker: more workers with fewer threads each get more done, but each holds a model in memory."""


def _read_only(mapping: dict[str, object]) -> MappingProxyType[str, Any]:
    return MappingProxyType(mapping)


# A case holds its sequences in a read-only view, which Python does not send to another process by itself.
copyreg.pickle(MappingProxyType, lambda view: (_read_only, (dict(view),)))


def threads_of(options: SegmentOptions, free: int) -> int:
    """Return the threads of one worker on a machine of so many cores."""
    return max(1, min(options.threads or THREADS, free))


@dataclass(slots=True, eq=False)
class _Process:
    process: BaseProcess
    pipe: Connection


class ProcessPool:
    """Workers as processes of this machine.

    Parameters
    ----------
    address : str
        Not used: it is this machine.
    output, model, options
        As for `Worker`.
    workers : int, optional
        By default as many as the cores hold.
    """

    def __init__(
        self, address: str, output: Path, model: Path | None, options: SegmentOptions, workers: int | None
    ) -> None:
        free = cores()
        threads = threads_of(options, free)
        self.count = workers or max(1, free // threads)
        self._job = (output, model, replace(options, threads=threads))
        self._context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._processes: dict[int, _Process] = {}

    def start(self, worker: int) -> None:
        """Begin to start a worker; it says `ready` when it has found its model."""
        self._end(worker)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._job), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._processes[worker] = _Process(process, ours)

    def give(self, worker: int, cases: Sequence[AnyCase]) -> None:
        """Send cases to a worker; of one that has just died the next events tell."""
        with suppress(OSError):
            self._processes[worker].pipe.send(list(cases))

    def events(self, timeout: float) -> list[Event]:
        """Return what the workers said, and which have died."""
        speaking = wait([entry.pipe for entry in self._processes.values()], timeout)
        found = []
        for number, entry in list(self._processes.items()):
            if entry.pipe not in speaking:
                continue
            try:
                found.append(replace(entry.pipe.recv(), worker=number))
            except (EOFError, OSError):
                entry.process.join(10)
                code = entry.process.exitcode
                self._end(number)
                found.append(Event(worker=number, kind="died", reason=_death(code)))
        return found

    def stop(self) -> None:
        """End all workers at once; what each was writing stays whole or absent."""
        for number in list(self._processes):
            self._end(number)

    def _end(self, worker: int) -> None:
        entry = self._processes.pop(worker, None)
        if entry is not None:
            entry.process.kill()
            entry.process.join()
            entry.process.close()
            entry.pipe.close()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}, often for want of memory" if name == "SIGKILL" else name
    return f"exit code {code}"


def _serve(pipe: Connection, output: Path, model: Path | None, options: SegmentOptions) -> None:
    """Work until the pipe ends; which worker this is the other end knows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started the crew
    try:
        worker = Worker(output, model=model, options=options)
        pipe.send(Event(worker=0, kind="ready", where=f"{platform.node()}:{os.getpid()}"))
        while True:
            for outcome in worker.segment(pipe.recv()):
                pipe.send(Event(worker=0, kind="outcome", outcome=brief(outcome)))
            pipe.send(Event(worker=0, kind="idle"))
    except (EOFError, BrokenPipeError):  # the one who started the crew is gone
        return
    except (ModelError, RunError) as error:
        pipe.send(Event(worker=0, kind="refused", error=error))
    except GlioscopeError as error:
        pipe.send(Event(worker=0, kind="refused", error=RunError(str(error))))
