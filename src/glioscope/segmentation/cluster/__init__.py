"""A cohort on several workers: processes of this machine, or of many through Ray. Nothing is lost when one dies.

    cases ──▶ Crew ──chunks──▶ workers, each with its own compiled model ──▶ OUT/<case>/ (written by the worker)
               ▲                      │
               └──────outcomes────────┘        OUT/manifest.jsonl: who did what, when, and why not

The crew decides, and knows neither processes nor Ray (`crew`); a pool of workers does the work (`processes`, `on_ray`).
A case is done when its summary.json says so, as in `segmentation`; the manifest is a log, and nothing is decided by it.
"""

from pathlib import Path

from glioscope.segmentation import SegmentOptions
from glioscope.segmentation.cluster.crew import Crew, WorkerPool
from glioscope.segmentation.cluster.on_ray import RayPool
from glioscope.segmentation.cluster.processes import ProcessPool

__all__ = ["Crew", "WorkerPool", "crew_at"]

LOCAL = "local"
MANIFEST = "manifest.jsonl"


def crew_at(
    address: str,
    output: Path | str,
    *,
    model: Path | str | None,
    options: SegmentOptions,
    workers: int | None = None,
) -> Crew:
    """Return a crew to hand to `segment`, which ends it.

    Parameters
    ----------
    address : str
        ``local`` for processes of this machine, which need no Ray; else where a Ray cluster's head listens, as in
        ``10.0.0.1:6379``.
    output, model, options
        As for `segment`; the folders must lie at the same place on every machine.
    workers : int, optional
        By default as many as the processors hold, with ``options.threads`` (4 by default) each.

    Raises
    ------
    DependencyError
        Ray is needed and not installed.
    RunError
        No cluster answers at the address.
    """
    output = Path(output).resolve()
    place = Path(model).resolve() if model is not None else None
    kind = ProcessPool if address == LOCAL else RayPool
    return Crew(kind(address, output, place, options, workers), output / MANIFEST)
