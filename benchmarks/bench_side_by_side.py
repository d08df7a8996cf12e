"""Two versions of Glioscope on the same cases, turn by turn: seconds from cold, and of a cohort.

    python benchmarks/bench_side_by_side.py OLD/src NEW/src -o OUTPUT.json [--model MODEL] [--cases 3] [--rounds 7]

OLD and NEW are source folders, of two git worktrees, say; both run in this interpreter, with the same packages. The
cases are phantoms of the size of BraTS. Each round runs both, the first in turn, so that what else the machine does
falls on both alike; the ratio is that of the medians. Processor seconds are those of the process and its children: on a
machine that others use too they say more than the clock.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from glioscope.files import write_json
from glioscope.machine import git_commit, processor
from glioscope.phantom import write_phantoms


def run(source: Path, cases: list[Path], output: Path, model: Path | None) -> tuple[float, float]:
    """Segment cases in a fresh process; return seconds of the clock, and of the processor."""
    command = [sys.executable, "-m", "glioscope", "segment", *map(str, cases), "-o", str(output), "--overwrite"]
    command += ["--model", str(model)] if model else []
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, check=True, env={**os.environ, "PYTHONPATH": str(source.resolve())}, capture_output=True, cwd="/"
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="for both; default: each its own")
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sources = {"old": options.old, "new": options.new}
    model = options.model.resolve() if options.model else None
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {
        what: {n: [] for n in sources} for what in ("cold", "cohort")
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_phantoms(folder / "data", options.cases)
        cases = sorted(path for path in (folder / "data").iterdir() if path.is_dir())
        for name, source in sources.items():  # compiled networks and files are in their caches afterwards
            run(source, cases[:1], folder / name, model)
        for number in range(options.rounds):
            for name in sorted(sources, reverse=bool(number % 2)):
                taken["cold"][name].append(run(sources[name], cases[:1], folder / name, model))
                taken["cohort"][name].append(run(sources[name], [folder / "data"], folder / name, model))
    found = {
        what: {
            measure: {
                **{name: round(statistics.median(row[column] for row in rows), 3) for name, rows in both.items()},
                "ratio": round(
                    statistics.median(row[column] for row in both["new"])
                    / statistics.median(row[column] for row in both["old"]),
                    4,
                ),
                "ratio_of_the_quickest": round(
                    min(row[column] for row in both["new"]) / min(row[column] for row in both["old"]), 4
                ),
            }
            for column, measure in enumerate(("seconds", "processor_seconds"))
        }
        for what, both in taken.items()
    }
    record = {
        "processor": asdict(processor()),
        "commit": git_commit(),
        "load_average": os.getloadavg()[0],
        "rounds": options.rounds,
        "cases": options.cases,
        **found,
    }
    write_json(options.output, record)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
