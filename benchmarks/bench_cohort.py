"""A cohort of small cases through `segment`: cases an hour, memory over time, with and without a cluster.

    python benchmarks/bench_cohort.py --cases 1000 --route here                    one process, as without --cluster
    python benchmarks/bench_cohort.py --cases 1000 --route local --workers 2       two processes
    python benchmarks/bench_cohort.py --cases 1000 --route 127.0.0.1:6379          a Ray cluster that is running
    python benchmarks/bench_cohort.py --cases 1000 --route ray                     two Ray nodes, started for this
    …                                                                --kills 5     and so many workers killed
    …                                       --model starter --shape 96 112 96      the network in the package

Cases are boxes of 20×24×16 voxels and the network is one layer, so what is measured is everything but the network: the
overhead of Glioscope and of the cluster, at its worst. With the network in the package and larger boxes the network
counts most, as with patients: for the gain of a second worker. One thread a worker. Prints JSON.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from glioscope.machine import processor
from glioscope.results.verifying import verify
from glioscope.segmentation import SegmentOptions, default_model, segment
from glioscope.segmentation.cluster import crew_at
from glioscope.segmentation.cluster.crew import read_manifest
from tiny import SHAPE, tiny_images, write_tiny_case, write_tiny_model


def memory_mb(process: int) -> float:
    """Resident memory that no other process shares, from the kernel's own count; 0 once it is gone."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    private = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")]
    return sum(private) / 1024


def processor_seconds(process: int) -> float:
    """Processor time of a process and all its threads; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter(threading.Thread):
    """Reads memory and processor time of this process and of its workers every second.

    Processor time tells what a case costs also on a machine that is busy with other work, where the clock does not.
    """

    def __init__(self, manifest: Path) -> None:
        super().__init__(daemon=True)
        self.rows: list[dict[str, float]] = []
        self.done = 0
        self.ended = threading.Event()
        self._manifest = manifest
        self._read = 0

    def _new_workers(self) -> set[int]:
        """Those that the manifest names since it was last looked at."""
        if not self._manifest.is_file():
            return set()
        with self._manifest.open("rb") as file:
            file.seek(self._read)
            lines = [line for line in file if line.endswith(b"\n")]
        self._read += sum(map(len, lines))
        events = [json.loads(line) for line in lines if b'"ready"' in line]
        return {int(event["worker"].rsplit(":", 1)[1]) for event in events}

    def run(self) -> None:
        spent: dict[int, float] = {}
        workers: set[int] = set()
        while not self.ended.wait(1.0):
            workers |= self._new_workers()
            used = [memory for memory in map(memory_mb, workers) if memory]
            for process in (*workers, os.getpid()):
                spent[process] = max(spent.get(process, 0.0), processor_seconds(process))
            self.rows.append(
                {
                    "done": self.done,
                    "this_mb": round(memory_mb(os.getpid()), 1),
                    "worker_mb": round(max(used, default=0), 1),
                    "processor_seconds": round(sum(spent.values()), 2),
                    "of_these_here": round(spent[os.getpid()], 2),
                }
            )


def cost_of_a_case(rows: list[dict[str, float]], cases: int, key: str) -> float:
    """Processor milliseconds per case, from a fifth of the cases on, when all is loaded."""
    begun = next((row for row in rows if row["done"] >= cases / 5), None)
    if begun is None or rows[-1]["done"] <= begun["done"]:
        return 0.0
    return round(1000 * (rows[-1][key] - begun[key]) / (rows[-1]["done"] - begun["done"]), 1)


def growth(rows: list[dict[str, float]], key: str) -> float:
    """Memory over the last tenth of the run less that after the first tenth, when all is loaded; medians."""
    values = [row[key] for row in rows if row[key]]
    if len(values) < 20:
        return 0.0
    tenth = len(values) // 10
    early, late = sorted(values[tenth : 2 * tenth]), sorted(values[-tenth:])
    return round(late[len(late) // 2] - early[len(early) // 2], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--route", default="here")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--model", choices=("tiny", "starter"), default="tiny")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="voxels of 1 mm")
    parser.add_argument("--report", action="store_true", help="write report.html of each case")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        if arguments.route == "ray":
            from ray_cluster import TwoNodes

            arguments.route = stack.enter_context(TwoNodes()).address
        print(json.dumps(measure(Path(scratch), arguments), indent=1))


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = default_model() if arguments.model == "starter" else write_tiny_model(folder / "model")
    for n in range(arguments.cases):
        write_tiny_case(folder / "data", f"p{n:05d}", images=tiny_images(tuple(arguments.shape), seed=n))
    output, options = folder / "out", SegmentOptions(report=arguments.report, threads=1)
    crew = None
    if arguments.route != "here":
        crew = crew_at(arguments.route, output, model=model, options=options, workers=arguments.workers)
    meter = Meter(output / "manifest.jsonl")
    kills = sorted(random.Random(0).sample(range(arguments.cases // 10, arguments.cases * 9 // 10), arguments.kills))
    first: list[float] = []

    def progress(done: int, _all: int, _line: str) -> None:
        first.append(time.perf_counter()) if not first else None
        meter.done = done
        while kills and done >= kills[0]:
            kills.pop(0)
            given = [entry for entry in read_manifest(output / "manifest.jsonl") if entry.event == "given"]
            try:
                os.kill(int(given[-1]["worker"].rsplit(":", 1)[1]), signal.SIGKILL)
            except ProcessLookupError:
                continue

    meter.start()
    load = os.getloadavg()[0]
    began = time.perf_counter()
    result = segment(folder / "data", output, model=model, options=options, crew=crew, progress=progress)
    seconds = time.perf_counter() - began
    meter.ended.set()
    meter.join()
    steady = time.perf_counter() - first[0]
    events = [entry.event for entry in read_manifest(output / "manifest.jsonl")]
    return {
        "cases": arguments.cases,
        "route": arguments.route,
        "model": arguments.model,
        "shape": list(arguments.shape),
        "seconds": round(seconds, 1),
        "cases_per_hour": round(3600 * (arguments.cases - 1) / steady),
        "started_after_seconds": round(first[0] - began, 1),
        "processor_ms_per_case": cost_of_a_case(meter.rows, arguments.cases, "processor_seconds"),
        "of_these_here": cost_of_a_case(meter.rows, arguments.cases, "of_these_here"),
        "done": len(result.with_status("done")),
        "failed": len(result.with_status("failed")),
        "workers_started": events.count("ready"),
        "workers_died": events.count("died"),
        "given": events.count("given"),
        "mismatches": len(verify(output).mismatches),
        "growth_mb": {"this": growth(meter.rows, "this_mb"), "worker": growth(meter.rows, "worker_mb")},
        "peak_mb_here": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "memory": meter.rows[:: max(1, len(meter.rows) // 12)],
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "processor": asdict(processor()),
    }


if __name__ == "__main__":
    main()
