"""How long a large cohort would take, from rates that were measured, and what would hold it up: a reckoning.

    python benchmarks/plan_cohort.py --core-seconds 4.6 --read-mb 10 --dispatch-ms 3.7 --worker-mb 1700
    …    --cases 100000 --machines 32 --cores 32 --worker-cores 4 --storage-mb-s 500

Core-seconds and megabytes are those of one case (docs/performance.md), the milliseconds those of the command that hands
out the work (bench_cohort.py, "of_these_here"). Prints a table in Markdown.
"""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What was measured, and what is planned on."""

    core_seconds: float
    read_mb: float
    dispatch_ms: float
    worker_mb: float
    cases: int
    machines: int
    cores: int
    worker_cores: int
    storage_mb_s: float


def minutes(rates: Rates) -> dict[str, float]:
    """Minutes that each part would need if it were the only one; the largest is what the cohort takes at least."""
    return {
        "computing": rates.cases * rates.core_seconds / (rates.machines * rates.cores) / 60,
        "reading from shared storage": rates.cases * rates.read_mb / rates.storage_mb_s / 60,
        "handing out, one process": rates.cases * rates.dispatch_ms / 1000 / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("core-seconds", "read-mb", "dispatch-ms", "worker-mb"):
        parser.add_argument(f"--{name}", type=float, required=True)
    for name, number in (("cases", 100_000), ("machines", 32), ("cores", 32), ("worker-cores", 4)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--storage-mb-s", type=float, default=500)
    rates = Rates(**vars(parser.parse_args()))
    parts = minutes(rates)
    slowest = max(parts, key=lambda part: parts[part])
    workers = rates.cores // rates.worker_cores
    print("| what | minutes |\n|---|---|")
    for part, took in parts.items():
        print(f"| {part} | {took:.1f}{' (holds it up)' if part == slowest else ''} |")
    print(f"\n{rates.cases * rates.core_seconds / 3600:,.0f} core-hours; {workers} workers a machine with", end=" ")
    print(f"{workers * rates.worker_mb / 1000:.0f} GB; more than", end=" ")
    enough = parts["computing"] * rates.machines / max(took for part, took in parts.items() if part != "computing")
    print(f"{enough:.0f} machines bring nothing while the rest stays as it is")


if __name__ == "__main__":
    main()
