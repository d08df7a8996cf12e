"""Make the shipped model folder and its card: how `src/glioscope/models/starter` was made.

    python scripts/make_starter.py WEIGHTS src/glioscope/models/starter --elsewhere MEASURED.json --data BraTS/
        [--partial LGG/images] [--training TEXT] [--precision PRECISION.json] [--keep-cost] [--card-only]
    python scripts/make_starter.py RUN src/glioscope/models/starter [--fold 0] [--training TEXT]
        [--final RUN] [--final-training TEXT] [--cross-validation RUN] [--cross-training TEXT] [--card-only]

The first form ships WEIGHTS (safetensors of `standard`) whose measurements were made elsewhere, on cases kept apart
from development: MEASURED.json, checked by `experiment.elsewhere`. They were trained on all labelled cases of
``--data`` and, with the whole tumour alone known, on those of ``--partial``. Both forms get 8-bit kernels in one file;
``--precision`` adds to the card what `benchmarks/bench_precision.py` found that this costs. A cross-validation that the
card in OUTPUT tells of is kept.

In the second, everything on the card is measured here or was written by `glioscope train`, on held-out cases alone:
scores with intervals, all 15 subsets of the sequences, calibration, expected against true Dice, seconds and memory.
Temperatures are fitted on the same held-out cases and stored in model.json. What takes long to measure is kept in the
run's fold as ``card.json`` and not measured again. With ``--final`` the weights of that run are shipped instead, which
went on from those measured and held no case out (``train --fold none --initial RUN/fold_0/model``); the card says so.
With ``--cross-validation`` the card also gets the scores of every fold of that run, however shortly trained.

``--card-only`` leaves the network in OUTPUT as it is.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from card_words import markdown
from safetensors.numpy import load_file

from glioscope.cases import Case, find_cases, load_case, naming_scheme
from glioscope.errors import GlioscopeError, RunError
from glioscope.evaluation import RegionScores, read_rows, summarise
from glioscope.experiment.card import card_of
from glioscope.experiment.compare import run_rows
from glioscope.experiment.cost import measure_cost
from glioscope.experiment.elsewhere import read_elsewhere
from glioscope.experiment.export import calibration_cases, calibration_images, spread
from glioscope.experiment.judge import held_out_cases
from glioscope.files import read_json, write_json, write_text
from glioscope.inference import export_openvino, quantise, share_weights
from glioscope.labels import REGIONS
from glioscope.machine import processor, provenance
from glioscope.model import ModelSpec, read_model, write_model
from glioscope.prepare.preprocessing import prepare
from glioscope.runs import Run
from glioscope.settings import read_config, settings

SHIPPED = ("network.xml", "network.bin")
GROUPS = {"brats2018": "BraTS 2017-2021", "brats2023": "BraTS-Africa 2023"}
SIZES_ML = ((0, 30), (30, 80), (80, 1000))
"""Classes of whole-tumour volume."""
DATA = (
    {
        "title": "BraTS 2017-2021",
        "terms": "for research, the challenge's papers cited; BraTS 2021 also at TCIA under CC BY 4.0",
        "known": list(REGIONS),
        "papers": [
            "Menze et al. 2015, doi 10.1109/TMI.2014.2377694",
            "Bakas et al. 2017, doi 10.1038/sdata.2017.117",
            "Baid et al. 2021, arXiv 2107.02314",
        ],
    },
    {
        "title": "BraTS-Africa 2023",
        "terms": "for research, the paper cited",
        "known": list(REGIONS),
        "papers": ["Adewole et al. 2023, arXiv 2305.19369"],
    },
)
PARTIAL = {
    "title": "TCGA-LGG, as scanned",
    "terms": "images CC BY 3.0, masks of the whole tumour CC BY-NC-SA 4.0",
    "known": ["WT"],
    "papers": [
        "Pedano et al. 2016, doi 10.7937/K9/TCIA.2016.L4LTD3TK",
        "Buda, Saha and Mazurowski 2019, doi 10.1016/j.compbiomed.2019.05.002",
    ],
}


def scores(rows: list[RegionScores], cases: list[str]) -> dict[str, Any]:
    """Mean, median and interval of Dice, HD95 and lesion-wise Dice by region over some cases."""
    mine = [row for row in rows if row.case_id in cases]
    if not mine:
        return {"cases": 0}
    summary = summarise(mine)
    table: dict[str, Any] = {"cases": len(cases)}
    for region in REGIONS:
        whole, lesions = summary["brats2021"][region], summary["brats2023-gli"][region]
        chosen = {"dice": whole["dice"], "hd95_mm": whole["hd95"], "lesion_dice": lesions["lesion_dice"]}
        table[region] = {
            name: {
                "mean": round(value.mean, 4),
                "median": round(value.median, 4),
                "interval_95": [round(edge, 4) for edge in value.interval_95],
            }
            for name, value in chosen.items()
        }
    return table


def score_tables(rows: list[RegionScores], groups: dict[str, list[str]]) -> dict[str, Any]:
    """The scores over all held-out cases, by data set, and by tumour size."""
    volumes = {row.case_id: row.reference_ml for row in rows if row.protocol == "brats2021" and row.region == "WT"}
    by_size = {f"{low}-{high} ml": [c for c, v in volumes.items() if low <= v < high] for low, high in SIZES_ML}
    return {
        "all": scores(rows, list(volumes)),
        **{name: scores(rows, cases) for name, cases in groups.items()},
        "by_size": {name: scores(rows, cases) for name, cases in by_size.items()},
    }


def steps_and_minutes(fold: Path) -> str:
    """How long a fold trained, from its history."""
    history = (fold / "history.csv").read_text(encoding="utf-8").splitlines()
    last = dict(zip(history[0].split(","), history[-1].split(","), strict=True))
    return f"{int(last['step']):,} steps in {float(last['seconds']) / 60:.0f} minutes on a CPU"


def by_data_set(case_ids: Iterable[str], cases: dict[str, Case]) -> dict[str, list[str]]:
    """Case ids by the title of their data set."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS.values()}
    for case_id in case_ids:
        groups[GROUPS[naming_scheme(cases[case_id])]].append(case_id)
    return groups


def measurements(run: Run, fold: int) -> dict[str, Any]:
    """Everything on the card that is measured on the held-out cases of one fold."""
    kept = run.fold(fold) / "card.json"
    if kept.is_file():
        print(f"{kept}: measured before")
        return read_json(kept, what="card")
    by_id = {case.case_id: case for case in held_out_cases(run, fold)[1]}
    found = {
        "scores": score_tables(list(read_rows(run.fold(fold) / "evaluation")), by_data_set(by_id, by_id)),
        **card_of(run, fold, progress=lambda done, total, line: print(f"{done}/{total} {line}", flush=True)),
    }
    write_json(kept, found)
    return found


def cross_validation(run: Run, training: str | None) -> dict[str, Any]:
    """Scores over every fold of a run, each case held out once."""
    folds = run.trained_folds()
    cases = {case.case_id: case for fold in folds for case in held_out_cases(run, fold)[1]}
    rows = run_rows(run.folder)
    return {
        "folds": len(folds),
        "training": training or f"each {steps_and_minutes(run.fold(folds[0]))}",
        "scores": score_tables(rows, by_data_set(sorted({row.case_id for row in rows}), cases)),
    }


def data_tables(cases: Iterable[Case], partial: Iterable[str]) -> list[dict[str, Any]]:
    """What was trained on, by data set, with terms and papers."""
    by_id = {case.case_id: case for case in cases}
    groups = by_data_set(by_id, by_id)
    found = [{**table, "cases": len(groups[str(table["title"])])} for table in DATA]
    names = list(partial)
    return [*found, {**PARTIAL, "cases": len(names)}] if names else found


def cost(folder: Path, cases: list[Case]) -> dict[str, Any]:
    """Seconds and memory of a case from cold: the median of three, after one that left the compiled network behind."""
    case = sorted(cases, key=lambda one: one.case_id)[len(cases) // 2]
    measure_cost(folder, case)
    found = [measure_cost(folder, case) for _ in range(3)]
    return {
        "case_id": case.case_id,
        "seconds": round(statistics.median(one.seconds for one in found), 3),
        "network_seconds": round(statistics.median(one.network_seconds for one in found), 3),
        "peak_memory_mb": round(max(one.peak_memory_mb for one in found), 1),
        "processor": asdict(processor()),
    }


def ship_weights(weights: Path, output: Path, cases: list[Case], spec: ModelSpec) -> None:
    """Write both forms of the network with one file of weights."""
    import torch

    from glioscope.model.network import NetworkConfig, build

    network = build(settings(NetworkConfig, {"network": spec.network}, "network"))
    try:
        network.load_state_dict({name: torch.from_numpy(np.float32(v)) for name, v in load_file(weights).items()})
    except RuntimeError as error:
        raise RunError(f"{weights}: does not fit the network '{spec.network['name']}'") from error
    for old in output.glob("network*"):
        old.unlink()
    export_openvino(network, output, sequences=len(spec.sequences), onnx=False)
    write_model(output, spec, SHIPPED)
    images = calibration_images((prepare(load_case(case), spec.preprocessing) for case in spread(cases)), spec)
    quantise(output, images)
    print(f"8-bit kernels decide {share_weights(output, images):.4%} of voxels as before")


def from_weights(options: argparse.Namespace) -> None:
    """Ship weights that were measured elsewhere."""
    found = read_elsewhere(options.elsewhere)
    cases = sorted((case for case in find_cases(options.data) if case.reference), key=lambda case: case.case_id)
    partial = sorted(case.case_id for case in find_cases(options.partial)) if options.partial else []
    trained_on = sorted({*partial, *(case.case_id for case in cases)})
    both = sorted({*trained_on} & {*found.held_out})
    if both:
        raise RunError(f"{options.elsewhere}: measured on cases that were trained on ({', '.join(both[:3])})")
    spec = replace(read_model(options.output), name="starter", temperature=found.calibration.temperature)
    config = read_config("standard")
    made = provenance()
    made["versions"].pop("platform", None)
    record = {
        **{key: made[key] for key in ("time", "versions", "processor")},
        "parameters": spec.record["parameters"],
        "trained_on": trained_on,
        "whole_tumour_alone": partial,
    }
    spec = replace(spec, inference=config["inference"], record=record)
    if not options.card_only:
        ship_weights(options.run, options.output, cases, spec)
    content = asdict(found)
    old = read_json(options.output / "card.json", what="card")
    card = {
        "network": spec.network,
        "parameters": spec.record["parameters"],
        "training": options.training,
        "trained_on": trained_on,
        "data": data_tables(cases, partial),
        "measured": {"network": "the network that is shipped", "elsewhere": True, "held_out": list(found.held_out)},
        "scores": {**content["scores"], "by_size": content["by_size"]},
        **{key: content[key] for key in ("subsets", "calibration", "expected_dice", "others", "words")},
        "cost": old["cost"] if options.keep_cost else cost(options.output, cases),
        "processor": asdict(processor()),
    }
    if options.precision:
        card["precision"] = read_json(options.precision, what="precision")["engines"]
    if "cross_validation" in old:
        card["cross_validation"] = old["cross_validation"]
    card["papers"] = [paper for table in card["data"] for paper in table["papers"]]
    write_json(options.output / "card.json", card)
    write_text(options.output / "CARD.md", markdown(card))


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN_OR_WEIGHTS")
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--elsewhere", type=Path, help="measurements of WEIGHTS made on cases kept apart")
    parser.add_argument("--data", type=Path, help="labelled cases that WEIGHTS were trained on")
    parser.add_argument("--partial", type=Path, help="cases trained on with the whole tumour alone known")
    parser.add_argument("--precision", type=Path, help="what 8 bits cost: a file of benchmarks/bench_precision.py")
    parser.add_argument("--training", help="in words, where the run went on from another's weights")
    parser.add_argument("--final", type=Path, help="run that held no case out, whose weights are shipped")
    parser.add_argument("--final-training", help="in words, how those weights came from the ones measured")
    parser.add_argument("--cross-validation", type=Path, help="run with all folds trained and scored")
    parser.add_argument("--cross-training", help="in words, how each of them trained")
    parser.add_argument("--keep-cost", action="store_true", help="seconds and memory are those of the card there")
    parser.add_argument("--card-only", action="store_true", help="write the card alone")
    options = parser.parse_args()
    if options.elsewhere and not (options.data and options.training):
        parser.error("--elsewhere needs --data, the cases that were trained on, and --training, how, in words")
    return options


def from_run(options: argparse.Namespace) -> None:
    """Ship a run's network, measured here."""
    run = Run(options.run)
    spec = read_model(run.fold(options.fold) / "model")
    found = measurements(run, options.fold)
    training = options.training or steps_and_minutes(run.fold(options.fold))
    part = run.folds()[options.fold]
    source, shipped_spec, here = run.fold(options.fold) / "model", spec, "the network that is shipped"
    trained_on = part.train
    if options.final:
        source = Run(options.final).fold(0) / "model"
        shipped_spec = read_model(source)
        here = f"the weights before the last training, on all cases; they had seen {len(part.train)}"
        trained_on = Run(options.final).folds()[0].train
        training = options.final_training or f"{training}; then {steps_and_minutes(source.parent)} on all cases"
    card = {
        "network": spec.network,
        "parameters": spec.record["parameters"],
        "training": training,
        "trained_on": list(trained_on),
        "measured": {
            "network": here,
            "trained_on": list(part.train),
            "held_out": list(part.validation),
        },
        **found,
        "data": list(DATA),
        "papers": [paper for table in DATA for paper in table["papers"]],
    }
    if options.cross_validation:
        card["cross_validation"] = cross_validation(Run(options.cross_validation), options.cross_training)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "card.json", card)
    write_text(options.output / "CARD.md", markdown(card))
    print(json.dumps(card["scores"]["all"], indent=1))
    if options.card_only:
        return
    for name in SHIPPED:
        shutil.copyfile(source / name, options.output / name)
    kept = ("time", "versions", "processor", "parameters", "trained_on")
    record = {key: shipped_spec.record[key] for key in kept}
    record["versions"] = {name: version for name, version in record["versions"].items() if name != "platform"}
    temperature = tuple(found["calibration"]["temperature"])
    write_model(options.output, replace(shipped_spec, name="starter", temperature=temperature, record=record), SHIPPED)
    quantise(options.output, calibration_cases(run, options.fold, spec))


def main() -> None:
    options = arguments()
    try:
        (from_weights if options.elsewhere else from_run)(options)
    except GlioscopeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
