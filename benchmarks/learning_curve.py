"""Do hours or data hold a network back? The same number of steps on 25, 50 and all training cases of one fold.

    python benchmarks/learning_curve.py BraTS/ -o runs/curve [--cases 25 50] [--steps 1000] [--spacing 3]

Each network starts anew from one seed and sees as many samples as the others; fewer cases are a random part of more.
It trains coarsely, so that the whole curve takes minutes. Scored at that spacing, on every held-out case, at the last
step: Dice of WT, TC and ET, and the Dice on the samples trained on just before. Prints a table, writes curve.json.
"""

import argparse
import csv
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glioscope.cases import Fold, scan_cases
from glioscope.experiment.train import TrainOptions, train
from glioscope.files import write_json
from glioscope.machine import processor
from glioscope.runs import Run

FOLD = 0
REPORTED = ("step", "seconds", "train_dice", "val_dice_WT", "val_dice_TC", "val_dice_ET", "val_dice")


def begun(run: Run, whole: Run, cases: int) -> None:
    """Lay the prepared cases and a fold with so many training cases where a run looks for them."""
    part = whole.folds()[FOLD]
    chosen = random.Random(0).sample(part.train, len(part.train))[:cases]
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.prepared.exists():
        run.prepared.symlink_to(whole.prepared.resolve())
    run.write_folds([Fold(tuple(sorted(chosen)), part.validation)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", type=int, default=[25, 50])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--spacing", type=int, default=3)
    options = parser.parse_args()

    cases = len(scan_cases(options.dataset)[0])
    settings = [
        f"training.stages=[{{spacing_mm={options.spacing}, share=1.0}}]",
        f"training.steps={options.steps}",
        f"training.validation_cases={cases}",
        "training.validations=2",
    ]
    whole = Run(options.output / "all")
    rows: list[dict[str, Any]] = []
    for count in (None, *options.cases):  # all cases first: that run prepares and deals
        run = Run(options.output / str(count)) if count else whole
        if count:
            begun(run, whole, count)
        going_on = run.config_file.is_file()
        train(options.dataset, run.folder, options=TrainOptions(overrides=settings, fold=FOLD, resume=going_on))
        with (run.fold(FOLD) / "history.csv").open(newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        rows.append({"cases": len(run.folds()[FOLD].train), **{name: float(last[name]) for name in REPORTED}})
        print(json.dumps(rows[-1]), flush=True)
    rows.sort(key=lambda row: row["cases"])
    record = {"spacing_mm": options.spacing, "held_out": len(whole.folds()[FOLD].validation), "rows": rows}
    write_json(options.output / "curve.json", {**record, "processor": asdict(processor())})
    print("\n| cases | steps | Dice in training | WT | TC | ET |\n|---|---|---|---|---|---|")
    for row in rows:
        figures = " | ".join(f"{row[name]:.3f}" for name in REPORTED[2:6])
        print(f"| {row['cases']} | {row['step']:.0f} | {figures} |")


if __name__ == "__main__":
    main()
