"""Make the shipped model folder and its card from runs of training: how `src/glioscope/models/starter` was made.

    python scripts/make_starter.py RUN src/glioscope/models/starter [--fold 0] [--training TEXT]
        [--final RUN] [--final-training TEXT] [--cross-validation RUN] [--cross-training TEXT] [--card-only]

Everything on the card is measured here or was written by `glioscope train`, on held-out cases alone: scores with
intervals, all 15 subsets of the sequences, calibration, expected against true Dice, seconds and memory. Temperatures
are fitted on the same held-out cases and stored in model.json. What takes long to measure is kept in the run's fold
as ``card.json`` and not measured again.

With ``--final`` the weights of that run are shipped instead, which went on from those measured and held no case out
(``train --fold none --initial RUN/fold_0/model``); the card says so. With ``--cross-validation`` the card also gets the
scores of every fold of that run, however shortly trained. ``--card-only`` leaves the network in OUTPUT as it is.
"""

import argparse
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from glioscope.cases import Case, naming_scheme
from glioscope.evaluation import RegionScores, read_rows, summarise
from glioscope.experiment.card import BINS, expected_dice_error, measure_card, subset_table
from glioscope.experiment.export import calibration_cases
from glioscope.experiment.judging import held_out_cases, run_rows
from glioscope.files import read_json, write_json, write_text
from glioscope.inference import quantise
from glioscope.labels import REGIONS
from glioscope.machine import processor
from glioscope.model import read_model, write_model
from glioscope.runs import Run

SHIPPED = ("network.xml", "network.bin")
GROUPS = {"brats2018": "BraTS 2017-2021", "brats2023": "BraTS-Africa 2023"}
SIZES_ML = ((0, 30), (30, 80), (80, 1000))
"""Classes of whole-tumour volume."""
PAPERS = (
    "Menze et al. 2015, doi 10.1109/TMI.2014.2377694",
    "Bakas et al. 2017, doi 10.1038/sdata.2017.117",
    "Baid et al. 2021, arXiv 2107.02314",
    "Adewole et al. 2023, arXiv 2305.19369",
)


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


def with_interval(score: dict[str, Any], digits: int) -> str:
    """A mean and its interval."""
    low, high = score["interval_95"]
    return f"{score['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def curve_lines(curve: list[list[list[float]]]) -> list[str]:
    """Of voxels with a probability so high, how many are tumour, for people."""
    lines = ["| probability | " + " | ".join(REGIONS) + " |", "|---|" + "---|" * len(REGIONS)]
    for number, bins in enumerate(zip(*curve, strict=True)):
        cells = " | ".join(f"{share:.3f} (at {mean:.3f})" for mean, share, _ in bins)
        lines.append(f"| {number / BINS:.1f} to {(number + 1) / BINS:.1f} | {cells} |")
    return lines


def score_lines(tables: dict[str, Any]) -> list[str]:
    """A table of scores for people."""
    lines = [
        "| cases | n | region | Dice | median | HD95, mm | lesion-wise Dice |",
        "|---|---|---|---|---|---|---|",
    ]
    flat = {name: table for name, table in tables.items() if name != "by_size"}
    flat |= {f"tumour of {name}": table for name, table in tables["by_size"].items()}
    for name, table in flat.items():
        if not table["cases"]:
            continue
        for region in REGIONS:
            dice, far, lesion = (table[region][key] for key in ("dice", "hd95_mm", "lesion_dice"))
            cells = [with_interval(dice, 3), f"{dice['median']:.3f}", with_interval(far, 1), with_interval(lesion, 3)]
            lines.append(f"| {name} | {table['cases']} | {region} | {' | '.join(cells)} |")
    return lines


def cross_lines(card: dict[str, Any]) -> list[str]:
    """What a cross-validation found, for people; nothing without one."""
    cross = card.get("cross_validation")
    if cross is None:
        return []
    return [
        "",
        "## Cross-validation",
        "",
        f"Every case once in the fold held out, {cross['folds']} networks: {cross['training']}.",
        "They tell how the scores spread over all cases, not how good the shipped network is, which trained longer.",
        "",
        *score_lines(cross["scores"]),
    ]


def subset_lines(card: dict[str, Any]) -> list[str]:
    """What every subset of the sequences brings, for people."""
    lines = ["", "## Any subset of the sequences", "", "Mean Dice on the held-out cases.", ""]
    lines += ["| T1 | T1c | T2 | FLAIR | WT | TC | ET |", "|---|---|---|---|---|---|---|"]
    for row in card["subsets"]:
        marks = " | ".join("x" if s in row["sequences"] else "" for s in ("t1n", "t1c", "t2w", "t2f"))
        lines.append(f"| {marks} | {row['WT']:.3f} | {row['TC']:.3f} | {row['ET']:.3f} |")
    return lines


def trust_lines(card: dict[str, Any]) -> list[str]:
    """How far probabilities and expected scores can be trusted, for people."""
    calibration = card["calibration"]
    lines = [
        "",
        "## How far to trust it",
        "",
        "| region | temperature | error before | error after | expected Dice is off by |",
        "|---|---|---|---|---|",
    ]
    for index, region in enumerate(REGIONS):
        before, after = calibration["error_before"][index], calibration["error_after"][index]
        off = card["expected_dice"][region]["mean_absolute_error"]
        lines.append(f"| {region} | {calibration['temperature'][index]:.2f} | {before:.3f} | {after:.3f} | {off:.3f} |")
    return [
        *lines,
        "",
        "Error: expected calibration error over voxels with a probability from 0.01 to 0.99, before and after dividing",
        "the logits by the temperature, which was fitted on the same cases. Expected Dice: what the network guesses of",
        "its own score from its probabilities, over all subsets of the sequences; mean absolute error.",
        "",
        "Of the voxels of a probability (with these temperatures), the share that is tumour; in brackets their mean",
        "probability:",
        "",
        *curve_lines(calibration["curve"]),
    ]


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    measured = card["measured"]
    lines = [
        "# Starter network",
        "",
        "**For research use only. Not a medical device.** A first network, so that `glioscope segment` works after",
        "`pip install`: few training cases, a short training. Numbers below are of cases it was not trained on.",
        "",
        f"- **Network**: `{card['network']['name']}`, {card['parameters']:,} parameters, OpenVINO form, fp16 weights,",
        "  and an int8 form for x86 processors without bf16. Scores are of the first; the other loses less than",
        "  0.003 of mean Dice (docs/performance.md).",
        f"- **Trained on**: {len(card['trained_on'])} cases of BraTS 2017-2021 and BraTS-Africa 2023 (see card.json);",
        f"  {card['training']}. Images were copies reduced to 8 bits.",
        f"- **Measured on**: {len(measured['held_out'])} cases of the same sources (a fold of five, dealt by patient),",
        f"  with {measured['network']}.",
        "- **Terms**: BraTS data are for research; cite the papers below when you publish results of this network.",
        "- **Intended use**: pre-treatment glioma of adults, 1 mm, brain extracted, as BraTS prepares scans.",
        "- **Not for**: children, operated brains, other diseases, treatment decisions.",
        "",
        "## Scores on held-out cases",
        "",
        "Dice and HD95 by the rules of BraTS 2021 (empty masks count by its rule), lesion-wise Dice by those of 2023;",
        "mean, in brackets the 95 % bootstrap interval.",
        "",
        *score_lines(card["scores"]),
        *cross_lines(card),
    ]
    lines += [*subset_lines(card), *trust_lines(card)]
    cost = card["cost"]
    lines += [
        "",
        "## Cost",
        "",
        f"{cost['seconds']:.1f} s and {cost['peak_memory_mb']:.0f} MB for one 240×240×155 case, four files to file,",
        f"the whole process from cold, of which {cost['network_seconds']:.1f} s in the network "
        f"({cost['processor']['model']}, {cost['processor']['cores']} cores).",
        "",
        "## Papers to cite",
        "",
        *[f"- {paper}" for paper in PAPERS],
        "",
        "Made by `scripts/make_starter.py` from a run of `glioscope train`.",
    ]
    return "\n".join(lines) + "\n"


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
    _, cases = held_out_cases(run, fold)
    measured, calibration = measure_card(
        run.fold(fold) / "model", cases, progress=lambda done, total: print(f"{done}/{total}", flush=True)
    )
    by_id = {case.case_id: case for case in cases}
    found = {
        "scores": score_tables(list(read_rows(run.fold(fold) / "evaluation")), by_data_set(by_id, by_id)),
        "subsets": subset_table(measured),
        "calibration": {k: np.round(v, 4).tolist() if k != "curve" else v for k, v in asdict(calibration).items()},
        "expected_dice": expected_dice_error(measured),
        "cost": read_json(run.fold(fold) / "cost.json", what="cost"),
        "processor": asdict(processor()),
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


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--training", help="in words, where the run went on from another's weights")
    parser.add_argument("--final", type=Path, help="run that held no case out, whose weights are shipped")
    parser.add_argument("--final-training", help="in words, how those weights came from the ones measured")
    parser.add_argument("--cross-validation", type=Path, help="run with all folds trained and scored")
    parser.add_argument("--cross-training", help="in words, how each of them trained")
    parser.add_argument("--card-only", action="store_true", help="write the card alone")
    return parser.parse_args()


def main() -> None:
    options = arguments()
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
        "papers": list(PAPERS),
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


if __name__ == "__main__":
    main()
