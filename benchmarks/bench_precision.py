"""What a lower precision costs: the same held-out cases by each engine, Dice against the reference, and seconds.

    python benchmarks/bench_precision.py RUN [--fold 0] [--model int8=FOLDER] [--cases N] [-o results.json]

Every case goes through the path of `segment` up to the regions. Without ``--model`` the fold's own model runs in fp32
and, where the processor multiplies it, bf16; each ``--model NAME=FOLDER`` adds another model folder, in the precision
of its name (``int8=model`` after ``glioscope export RUN -o model --int8``) or else in auto precision. ``fp32=FOLDER``
takes the place of the fold's own, to compare both forms of one folder.
The engines take turns on each case, so a machine whose speed drifts slows all alike.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from glioscope.cases import load_case
from glioscope.evaluation.metrics import dice
from glioscope.experiment.judging import held_out_cases
from glioscope.inference import (
    Engine,
    InferenceConfig,
    Precision,
    load_engine,
    predict_case,
    regions_from_probabilities,
)
from glioscope.labels import REGIONS
from glioscope.machine import processor, provenance
from glioscope.model import read_model
from glioscope.prepare.preprocessing import prepare
from glioscope.runs import Run
from glioscope.settings import settings


def engines_of(model: Path, others: list[str]) -> dict[str, Engine]:
    """The fold's model in fp32 and bf16, and others as they come."""
    found = {"fp32": load_engine(model, precision="fp32")}
    if processor().has_bf16:
        found["bf16"] = load_engine(model, precision="bf16")
    for entry in others:
        name, folder = entry.split("=", 1)
        found[name] = load_engine(Path(folder), precision=name if name in get_args(Precision) else "auto")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--cases", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    model = Run(options.run).fold(options.fold) / "model"
    spec = read_model(model)
    config = settings(InferenceConfig, {"inference": {"divisor": spec.divisor, **spec.inference}}, "inference")
    engines = engines_of(model, options.model)
    scores: dict[str, list[list[float]]] = {name: [] for name in engines}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    _, cases = held_out_cases(Run(options.run), options.fold)
    for case in cases[: options.cases]:
        prepared = prepare(load_case(case), spec.preprocessing)
        assert prepared.reference is not None
        voxel_ml = prepared.grid.voxel_volume_ml
        for name, engine in engines.items():
            predict_case(engine, prepared, spec.outputs, config)  # compiles for this shape
            began = time.perf_counter()
            probabilities = predict_case(engine, prepared, spec.outputs, config)
            seconds[name].append(time.perf_counter() - began)
            found = regions_from_probabilities(probabilities, config, voxel_ml=voxel_ml, outputs=spec.outputs)
            pairs = zip(prepared.reference, found, strict=True)
            scores[name].append([float(np.nan_to_num(dice(a, b), nan=1.0)) for a, b in pairs])
        print(case.case_id, {name: np.round(values[-1], 4).tolist() for name, values in scores.items()}, flush=True)
    reference = np.array(scores["fp32"])
    record: dict[str, Any] = {"cases": len(reference), "engines": {}}
    for name in engines:
        difference = np.array(scores[name]) - reference
        record["engines"][name] = {
            "dice": dict(zip(REGIONS, np.array(scores[name]).mean(axis=0).round(4).tolist(), strict=True)),
            "mean_difference": dict(zip(REGIONS, difference.mean(axis=0).round(4).tolist(), strict=True)),
            "largest_difference": dict(zip(REGIONS, np.abs(difference).max(axis=0).round(4).tolist(), strict=True)),
            "seconds_median": round(float(np.median(seconds[name])), 3),
        }
        print(name, record["engines"][name])
    if options.output:
        options.output.write_text(json.dumps(record | provenance(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
