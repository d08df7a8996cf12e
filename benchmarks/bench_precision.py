"""What a lower precision costs: the same cases by each engine, Dice against the reference, and seconds.

    python benchmarks/bench_precision.py RUN [--fold 0] [--model int8=FOLDER] [--cases N] [-o results.json]
    python benchmarks/bench_precision.py MODEL --data BraTS/ [--precisions bf16 int8] [--model bf16-before=FOLDER]

Every case goes through the path of `segment` up to the regions. Of a run, the held-out cases of a fold are taken and
its own model; with ``--data``, all labelled cases of a folder and a model folder. The model runs in each of
``--precisions`` (fp32 and, where the processor multiplies it, bf16), the first of which the others are compared with;
each ``--model NAME=FOLDER`` adds another model folder in the precision that its name begins with (``int8=model``,
``bf16-before=old``) or else in auto precision. A name that is there already takes its place, to compare forms of
another folder.
The engines take turns on each case, so a machine whose speed drifts slows all alike.

On cases that a network was trained on, Dice says nothing of its accuracy; differences still tell what a form costs.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from glioscope.cases import Case, find_cases, load_case
from glioscope.evaluation.metrics import dice
from glioscope.experiment.judge import held_out_cases
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
from glioscope.model import ModelSpec, read_model
from glioscope.prepare.preprocessing import prepare
from glioscope.runs import Run
from glioscope.settings import settings


def engines_of(model: Path, precisions: Sequence[str], others: Sequence[str]) -> dict[str, Engine]:
    """The model in each precision, and others as they come."""
    folders = dict.fromkeys(precisions, model) | {
        name: Path(folder) for name, folder in (entry.split("=", 1) for entry in others)
    }
    found = {}
    for name, folder in folders.items():
        begins = name.partition("-")[0]
        found[name] = load_engine(
            folder, device="cpu", precision=cast(Precision, begins) if begins in get_args(Precision) else "auto"
        )
    return found


class Bench:
    """Scores and seconds of several engines on the same cases."""

    def __init__(self, engines: dict[str, Engine], spec: ModelSpec) -> None:
        self.engines, self.spec = engines, spec
        self.config = settings(InferenceConfig, {"inference": {"divisor": spec.divisor, **spec.inference}}, "inference")
        self.scores: dict[str, list[list[float]]] = {name: [] for name in engines}
        self.seconds: dict[str, list[float]] = {name: [] for name in engines}

    def take(self, case: Case) -> None:
        """Every engine segments one case."""
        prepared = prepare(load_case(case), self.spec.preprocessing)
        assert prepared.reference is not None
        voxel_ml = prepared.grid.voxel_volume_ml
        for name, engine in self.engines.items():
            predict_case(engine, prepared, self.spec.outputs, self.config)  # compiles for this shape
            began = time.perf_counter()
            probabilities = predict_case(engine, prepared, self.spec.outputs, self.config)
            self.seconds[name].append(time.perf_counter() - began)
            found = regions_from_probabilities(probabilities, self.config, voxel_ml=voxel_ml, outputs=self.spec.outputs)
            pairs = zip(prepared.reference, found, strict=True)
            self.scores[name].append([float(np.nan_to_num(dice(a, b), nan=1.0)) for a, b in pairs])

    def table(self) -> dict[str, Any]:
        """Per engine: mean Dice, how far it lies from the first engine's, and seconds."""

        def by_region(values: Any) -> dict[str, float]:
            return dict(zip(REGIONS, np.round(values, 4).tolist(), strict=True))

        reference = np.array(next(iter(self.scores.values())))
        rows = {}
        for name, scores in self.scores.items():
            difference = np.array(scores) - reference
            rows[name] = {
                "dice": by_region(np.mean(scores, axis=0)),
                "mean_difference": by_region(difference.mean(axis=0)),
                "largest_difference": by_region(np.abs(difference).max(axis=0)),
                "seconds_median": round(float(np.median(self.seconds[name])), 3),
            }
        return rows


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN_OR_MODEL")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--data", type=Path, help="labelled cases; RUN_OR_MODEL is then a model folder")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"] if processor().has_bf16 else ["fp32"])
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--cases", type=int)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.data:
        model, cases = options.run, [case for case in find_cases(options.data) if case.reference]
    else:
        model = Run(options.run).fold(options.fold) / "model"
        _, cases = held_out_cases(Run(options.run), options.fold)
    bench = Bench(engines_of(model, options.precisions, options.model), read_model(model))
    step = max(1, len(cases) // options.cases) if options.cases and options.data else 1
    for case in cases[::step][: options.cases]:
        bench.take(case)
        print(case.case_id, {name: np.round(rows[-1], 4).tolist() for name, rows in bench.scores.items()}, flush=True)
    record = {"cases": len(next(iter(bench.scores.values()))), "engines": bench.table()}
    for name, row in record["engines"].items():
        print(name, row)
    if options.output:
        options.output.write_text(json.dumps(record | provenance(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
