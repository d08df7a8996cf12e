"""Workers as actors of a Ray cluster, one to so many processors of any of its machines.

Ray places them, tells when one or its machine is gone, and places another where there is room. The machines share the
folders of input, output and model, at the same paths, and hold the same version of Glioscope.
"""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from glioscope.errors import DependencyError, GlioscopeError, ModelError, RunError
from glioscope.segmentation import CaseOutcome, SegmentOptions, Worker
from glioscope.segmentation.cluster.crew import AnyCase, Event, brief
from glioscope.segmentation.cluster.processes import threads_of


class _Actor:
    """A worker on some machine of the cluster."""

    def __init__(self, version: str, output: Path, model: Path | None, options: SegmentOptions) -> None:
        self._version = version
        self._job = (output, model, options)
        self._worker: Worker | None = None

    def hello(self) -> tuple[str, GlioscopeError | None]:
        """Return machine and process, and why this worker cannot work, if so."""
        where = f"{platform.node()}:{os.getpid()}"
        here = metadata.version("glioscope")
        if here != self._version:
            return where, RunError(f"{where}: has glioscope {here}, but {self._version} began this; install that there")
        output, model, options = self._job
        try:
            self._worker = Worker(output, model=model, options=options)
        except GlioscopeError as error:
            return where, error
        return where, None

    def segment(self, cases: Sequence[AnyCase]) -> Iterator[CaseOutcome | GlioscopeError]:
        """Yield the outcome of each case; an error that ends this worker's part comes last."""
        assert self._worker is not None
        try:
            for outcome in self._worker.segment(cases):
                yield brief(outcome)
        except (ModelError, RunError) as error:
            yield error


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DependencyError(
            "a cluster needs ray, which is not installed; install it with: pip install 'glioscope[cluster]', or name "
            "--cluster local for processes of this machine"
        ) from error
    return ray


class RayPool:
    """Workers as actors of a Ray cluster.

    Parameters
    ----------
    address : str
        Of the cluster's head.
    output, model, options
        As for `Worker`.
    workers : int, optional
        By default as many as the cluster's processors (with ``device="cuda"``: its GPUs) hold.

    Raises
    ------
    DependencyError
        Ray is not installed.
    RunError
        No cluster answers.
    """

    def __init__(
        self, address: str, output: Path, model: Path | None, options: SegmentOptions, workers: int | None
    ) -> None:
        self._ray = _ray()
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(
                f"cluster {address}: does not answer ({first}); start one with 'ray start --head' and name its address"
            ) from error
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = 1 if options.device == "cuda" else 0
        cores = [int(node.get("CPU", 0)) for node in nodes]
        threads = threads_of(options, min((n for n in cores if n), default=1))
        room = sum(
            min(n // threads, int(node.get("GPU", 0)) if gpus else n) for n, node in zip(cores, nodes, strict=True)
        )
        self.count = workers or max(1, room)
        self._actor = self._ray.remote(_Actor).options(
            num_cpus=threads, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._job = (metadata.version("glioscope"), output, model, replace(options, threads=threads))
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, str]] = {}
        """What is awaited: a reference, or a stream of them, to the worker and what it was asked."""

    def start(self, worker: int) -> None:
        """Ask the cluster for a worker; `ready` comes when there is room for it."""
        self._forget(worker)
        self._actors[worker] = self._actor.remote(*self._job)
        self._pending[self._actors[worker].hello.remote()] = worker, "hello"

    def give(self, worker: int, cases: Sequence[AnyCase]) -> None:
        """Send cases to a worker, which answers for each as it is done."""
        stream = self._actors[worker].segment.options(num_returns="streaming").remote(list(cases))
        self._pending[stream] = worker, "segment"

    def events(self, timeout: float) -> list[Event]:
        """Return what the workers said, and which have died."""
        if not self._pending:
            return []
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=timeout, fetch_local=False)
        if ready:
            ready, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0, fetch_local=False)
        return [event for reference in ready for event in self._heard(reference)]

    def _heard(self, reference: Any) -> Iterator[Event]:
        worker, asked = self._pending[reference]
        try:
            if asked == "hello":
                del self._pending[reference]
                where, error = self._ray.get(reference)
                if error is None:
                    yield Event(worker=worker, kind="ready", where=where)
                else:
                    yield Event(worker=worker, kind="refused", error=error)
                return
            try:
                answer = self._ray.get(next(reference))
            except StopIteration:
                del self._pending[reference]
                yield Event(worker=worker, kind="idle")
                return
            if isinstance(answer, CaseOutcome):
                yield Event(worker=worker, kind="outcome", outcome=answer)
            else:
                del self._pending[reference]
                yield Event(worker=worker, kind="refused", error=answer)
        except self._ray.exceptions.RayError as error:
            self._forget(worker)
            yield Event(worker=worker, kind="died", reason=_death(error))

    def stop(self) -> None:
        """End all workers and leave the cluster."""
        for worker in list(self._actors):
            self._forget(worker)
        self._ray.shutdown()

    def _forget(self, worker: int) -> None:
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._ray.kill(actor)
        self._pending = {reference: asked for reference, asked in self._pending.items() if asked[0] != worker}


def _death(error: Exception) -> str:
    """Return the first line that says more than that an actor died."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "died" in line or "memory" in line or "Error" in line]
    return (telling or lines or [type(error).__name__])[0][:200]
