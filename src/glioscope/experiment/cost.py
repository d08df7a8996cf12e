"""What one case costs, files to file, in a process of its own: seconds and memory."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from glioscope.cases import Case
from glioscope.errors import RunError
from glioscope.files import read_json
from glioscope.machine import processor
from glioscope.results import read_summary
from glioscope.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one case costs, files to file, in a process of its own, everything loaded from cold."""

    case_id: str
    seconds: float
    peak_memory_mb: float
    network_seconds: float
    """Of these, spent in the network."""


def run_cost(run_folder: Path) -> dict[str, float]:
    """Return seconds and peak memory of one case, from the first fold that measured them; empty if none did."""
    run = Run(run_folder)
    for fold in run.trained_folds():
        file = run.fold(fold) / "cost.json"
        if file.is_file():
            record = read_json(file, what="cost")
            return {
                "seconds_per_case": record["seconds"],
                "network_seconds": record["network_seconds"],
                "peak_memory_mb": record["peak_memory_mb"],
            }
    return {}


def cost_record(model: Path, cases: Sequence[Case]) -> dict[str, object]:
    """Return what the case in the middle costs, by its name, as ``cost.json`` holds it."""
    middle = sorted(cases, key=lambda case: case.case_id)[len(cases) // 2]
    cost = measure_cost(model, middle)
    return {
        "case_id": cost.case_id,
        "seconds": round(cost.seconds, 3),
        "network_seconds": round(cost.network_seconds, 3),
        "peak_memory_mb": round(cost.peak_memory_mb, 1),
        "processor": asdict(processor()),
    }


METER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
child = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - began, "peak": used}))
sys.exit(child.returncode)
"""
"""Runs a command and prints what it cost. A process of its own and small: Linux counts the memory of the parent at the
moment of the fork as the child's, so a large parent would be measured instead."""


def measure_cost(model: Path, case: Case) -> Cost:
    """Segment one case in a fresh process, without a report, and return what it cost.

    Raises
    ------
    RunError
        The process failed; its last line is the message.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "glioscope", "segment", *_as_arguments(case), "-o", scratch]
        command += ["--model", str(model), "--no-report"]
        meter = subprocess.run([sys.executable, "-c", METER, *command], capture_output=True, text=True, check=False)
        if meter.returncode:
            last = (meter.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(f"case {case.case_id}: segmentation in a process of its own failed: {last}")
        cost = json.loads(meter.stdout)
        summary = read_summary(next(Path(scratch).glob("*/summary.json")))
    return Cost(
        case_id=case.case_id,
        seconds=cost["seconds"],
        peak_memory_mb=cost["peak"] / (1024**2 if sys.platform == "darwin" else 1024),
        network_seconds=summary.seconds["predict"],
    )


def _as_arguments(case: Case) -> list[str]:
    """Return what names this case alone to `glioscope segment`, whatever else lies in its folder."""
    files = case.sequences.items()
    if any(file.channel is not None for _, file in files):  # Decathlon: all sequences in one file
        return [str(next(iter(case.sequences.values())).path)]
    return [part for name, file in files for part in (f"--{name}", str(file.path))]
