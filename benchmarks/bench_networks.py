"""Seconds per case of trained networks, by engine: the same prepared case through each, in turn, in one run.

    python benchmarks/bench_networks.py MODEL MODEL… --case FOLDER [-o results.json]

Each engine is warmed up on the case, then all are timed in turn (A B A B …), so that a machine whose speed drifts
slows all alike. Ratios are to the first model, pair by pair; quote these rather than seconds.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from glioscope.cases import load_case
from glioscope.inference import InferenceConfig, OpenVinoEngine, TorchEngine, predict_case, tiles
from glioscope.machine import provenance
from glioscope.model import read_model
from glioscope.prepare.preprocessing import prepare
from glioscope.settings import settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--case", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-torch", action="store_true", help="time OpenVINO alone")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    loaded = load_case(options.case)
    jobs = {}
    for folder in options.models:
        spec = read_model(folder)
        prepared = prepare(loaded, spec.preprocessing)
        config = settings(InferenceConfig, {"inference": {"divisor": spec.divisor, **spec.inference}}, "inference")
        windows = len(tiles(prepared.grid.shape, config))
        engines = [OpenVinoEngine(folder / "network.xml")]
        if not options.no_torch:
            engines.append(TorchEngine(folder, spec, device="cpu"))
        for engine in engines:
            jobs[f"{spec.name} | {engine.description}"] = (engine, prepared, spec.outputs, config, windows)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(options.rounds + 1):
        for name, (engine, prepared, outputs, config, _) in jobs.items():
            began = time.perf_counter()
            predict_case(engine, prepared, outputs, config)
            if turn:  # the first turn compiles and warms up
                seconds[name].append(time.perf_counter() - began)
    first = next(iter(seconds))
    rows = [
        {
            "network": name,
            "windows": jobs[name][4],
            "seconds_median": round(statistics.median(times), 3),
            "seconds": [round(t, 3) for t in times],
            "ratio_to_first": round(statistics.median(t / f for t, f in zip(times, seconds[first], strict=True)), 3),
        }
        for name, times in seconds.items()
    ]
    for row in rows:
        print(
            f"{row['seconds_median']:8.2f} s  {row['ratio_to_first']:6.2f}  {row['windows']:2d} windows", row["network"]
        )
    if options.output:
        options.output.write_text(json.dumps({"results": rows, **provenance()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
