"""Which idea pays? Branches of equal length from one base, one thing changed in each, judged on cases held out.

    python benchmarks/branches.py runs/base LGG/ -o runs/branches [--steps 80] [--seeds 0 1] [--rows all plain …]

`runs/base` is a run of `glioscope train` with fold 0; its checkpoint's mean weights are the base, its folds say what is
held out. `LGG/` holds cases on one grid whose references know the whole tumour alone (`dataset.toml`): every second is
trained on, the others are scored. Cases of the base's data set must not be among them (`--leave-out`).

Each row trains the same number of samples from the same seed and is scored at the same spacing. A row is written when
it is done and not done again; a row that was cut short goes on. Differences are paired by case, means over seeds, with
the project's bootstrap intervals over the cases. Prints a table, writes branches.json.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from glioscope.cases import load_case, scan_cases
from glioscope.evaluation.tables import bootstrap_interval, subject_weights
from glioscope.files import read_json, write_json
from glioscope.labels import REGIONS
from glioscope.machine import processor, provenance
from glioscope.model.network import NetworkConfig, build
from glioscope.prepare.preprocessing import PreprocessingConfig, load_prepared, prepare, save_prepared
from glioscope.runs import Run
from glioscope.training import FoldFiles, FoldSettings, Stage, TrainingConfig, train_fold
from glioscope.training.augment import AugmentConfig
from glioscope.training.losses import LossConfig
from glioscope.training.samples import Samples, averaged, padded
from glioscope.training.steps import forward

FOLD = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a branch changes of the reference row, `all`."""

    augment: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, float] = field(default_factory=dict)
    partial: bool = True
    """Whether half of the cases known in part are trained on."""


NEW = ("paste", "unenhance", "thick_slices", "misregister", "curve", "saturate", "tight_brain", "hospital_subsets")
ROWS = {
    "all": Row(),
    "plain": Row(augment=dict.fromkeys(NEW, 0.0)),
    "without partial cases": Row(partial=False),
    "without paste": Row(augment={"paste": 0.0}),
    "without unenhance": Row(augment={"unenhance": 0.0}),
    "without thick_slices": Row(augment={"thick_slices": 0.0}),
    "hard_cases 2": Row(training={"hard_cases": 2.0}),
    "batch 2, half the steps": Row(training={"batch": 2}),
    "without misregister": Row(augment={"misregister": 0.0}),
    "without tight_brain": Row(augment={"tight_brain": 0.0}),
    "without curve": Row(augment={"curve": 0.0}),
    "without saturate": Row(augment={"saturate": 0.0}),
    "without hospital_subsets": Row(augment={"hospital_subsets": 0.0}),
    "elastic 0.25": Row(augment={"elastic": 0.25}),
    "partial_cases 1": Row(training={"partial_cases": 1.0}),
}
"""The first is what the others are held against."""


def settings_of(row: Row, seed: int, options: argparse.Namespace) -> FoldSettings:
    batch = int(row.training.get("batch", 1))
    training = TrainingConfig(
        **{
            "optimiser": "muon",
            "stages": (Stage(spacing_mm=options.spacing, scale=(0.75, 1.5), patch=tuple(options.patch)),),
            "steps": options.steps // batch,
            "learning_rate": options.rate,
            "ema": 0.98 ** (1.0 * batch),
            "validations": 1,
            "seed": seed,
            **row.training,
        }
    )
    augment = replace(AugmentConfig(), **row.augment)
    return FoldSettings(network=NetworkConfig(), augment=augment, loss=LossConfig(), training=training)


def gathered(run: Run, partial: Path, out: Path, leave_out: Sequence[str]) -> list[str]:
    """Lay all prepared cases into one folder and return the ids of those known in part, sorted."""
    folder = out / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    for file in run.prepared.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    cases, problems = scan_cases(partial)
    for line in problems.values():
        print(line)
    names = []
    for case in cases:
        if case.reference is None or any(case.case_id.startswith(name) for name in leave_out):
            continue
        if case.known is None:
            raise SystemExit(f"case {case.case_id}: nothing says what its reference knows; add dataset.toml")
        if not (folder / f"{case.case_id}.json").is_file():
            save_prepared(folder, prepare(load_case(case), PreprocessingConfig()))
        names.append(case.case_id)
    return sorted(names)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A case to be scored."""

    image: torch.Tensor
    """(1, c, i, j, k), padded."""
    reference: torch.Tensor
    """(r, i, j, k) bool, not padded."""
    presence: torch.Tensor
    """(1, c)."""
    known: tuple[str, ...]


def held_cases(prepared: Path, names: Sequence[str], factor: int) -> dict[str, Held]:
    """Read the cases to be scored, once for all rows."""
    found = {}
    for name in names:
        case = load_prepared(prepared, name)
        image, regions = averaged(case, factor, torch.device("cpu"))
        shape = padded(image.shape[1:], NetworkConfig().divisor)
        pad = [part for n, m in zip(image.shape[:0:-1], shape[::-1], strict=True) for part in (0, m - n)]
        presence = torch.tensor(case.presence, dtype=torch.float32)[None]
        found[name] = Held(nn.functional.pad(image, pad)[None], regions >= 0.5, presence, case.known)
    return found


def scores(network: nn.Module, cases: Mapping[str, Held]) -> dict[str, list[float | None]]:
    """Return Dice of each region by case, over the whole brain; 1 where both are empty, None where it is not known."""
    found: dict[str, list[float | None]] = {}
    device = next(network.parameters()).device
    precision = "bf16" if device.type == "cuda" or processor().has_bf16 else "fp32"
    with torch.inference_mode():
        for name, case in cases.items():
            logits = forward(network, case.image.to(device), case.presence.to(device), precision, deep=False)[0][0]
            i, j, k = case.reference.shape[1:]
            predicted = (logits.float() > 0)[:, :i, :j, :k].cpu()
            overlap = (predicted & case.reference).sum((1, 2, 3))
            size = predicted.sum((1, 2, 3)) + case.reference.sum((1, 2, 3))
            dice = [2 * int(o) / int(s) if int(s) else 1.0 for o, s in zip(overlap, size, strict=True)]
            found[name] = [d if region in case.known else None for region, d in zip(REGIONS, dice, strict=True)]
    return found


def read_once() -> None:
    """Let all rows share the training cases at a stage's spacing, which each would read again."""
    read, kept = Samples._source, {}

    def shared(samples: Samples, name: str, stage: Stage) -> Any:
        if (name, stage.spacing_mm) not in kept:
            kept[name, stage.spacing_mm] = read(samples, name, stage)
        return kept[name, stage.spacing_mm]

    Samples._source = shared  # type: ignore[method-assign]


def difference(row: Mapping[str, Any], reference: Mapping[str, Any], region: int, cases: Sequence[str]) -> list[float]:
    """Return mean, lower and upper end of the paired difference of a region's Dice: by case, means over seeds."""
    seeds = sorted(set(row) & set(reference))
    per_case = np.array(
        [np.mean([row[s]["dice"][c][region] - reference[s]["dice"][c][region] for s in seeds]) for c in cases]
    )
    low, high = bootstrap_interval(per_case, subject_weights(list(cases)))
    return [round(float(x), 4) for x in (per_case.mean(), low, high)]


def summed_up(
    results: Mapping[str, Mapping[str, Any]], complete: Sequence[str], partial: Sequence[str]
) -> list[dict[str, Any]]:
    reference = results["all"]
    rows = []
    for name, row in results.items():
        means = {
            region: float(np.mean([row[s]["dice"][c][n] for s in row for c in complete]))
            for n, region in enumerate(REGIONS)
        }
        means["WT partial"] = float(np.mean([row[s]["dice"][c][0] for s in row for c in partial]))
        entry: dict[str, Any] = {
            "row": name,
            "seeds": len(row),
            "seconds": round(float(np.mean([row[s]["seconds"] for s in row]))),
            "dice": {k: round(v, 4) for k, v in means.items()},
        }
        if name != "all":
            against = {r: difference(row, reference, n, complete) for n, r in enumerate(REGIONS)}
            against["WT partial"] = difference(row, reference, 0, partial)
            entry["difference"] = against
        rows.append(entry)
    return rows


def shown(rows: Sequence[Mapping[str, Any]]) -> None:
    print("\n| row | seeds | s | WT | TC | ET | WT, lower grade |\n|---|---|---|---|---|---|---|")
    for row in rows:
        if "difference" in row:
            cells = [f"{d:+.3f} ({lo:+.3f} to {hi:+.3f})" for d, lo, hi in row["difference"].values()]
        else:
            cells = [f"{value:.3f}" for value in row["dice"].values()]
        print(f"| {row['row']} | {row['seeds']} | {row['seconds']} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("partial", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--spacing", type=int, default=2)
    parser.add_argument("--patch", nargs=3, type=int, default=[64, 80, 64], help="voxels of a training window")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--leave-out", nargs="*", default=[], help="beginnings of ids of cases known in part")
    options = parser.parse_args()

    run, out = Run(options.base), options.output
    part, names = run.folds()[FOLD], gathered(run, options.partial, out, options.leave_out)
    taught, held = names[::2], names[1::2]
    base = torch.load(run.fold(FOLD) / "last.pt", map_location="cpu", weights_only=True)
    counts = {"trained": [len(part.train), len(taught)], "held_out": [len(part.validation), len(held)]}
    about = {"base_steps": base["step"], "steps": options.steps, "spacing_mm": options.spacing, "rate": options.rate}
    print(json.dumps({**about, **counts}), flush=True)
    judged = held_cases(out / "prepared", [*part.validation, *held], options.spacing)
    read_once()
    results: dict[str, dict[str, Any]] = {}
    for name, seed in [("base", 0), *((name, seed) for seed in options.seeds for name in options.rows)]:
        place = out / f"{name.replace(' ', '_').replace(',', '')}_{seed}"
        if not (place / "scores.json").is_file():
            began = time.monotonic()
            network = branch(place, ROWS.get(name), seed, base["average"], (part.train, taught), options)
            seconds = round(time.monotonic() - began, 1)
            write_json(place / "scores.json", {"seconds": seconds, "dice": scores(network, judged)})
        results.setdefault(name, {})[str(seed)] = read_json(place / "scores.json", what="row")
        print(json.dumps({"row": name, "seed": seed, "seconds": results[name][str(seed)]["seconds"]}), flush=True)
        if "all" in results:
            rows = summed_up(_comparable(results), part.validation, held)
            write_json(out / "branches.json", {**about, **counts, **provenance(), "rows": rows})
    shown(rows)


def branch(
    place: Path,
    row: Row | None,
    seed: int,
    base: Mapping[str, torch.Tensor],
    cases: tuple[Sequence[str], Sequence[str]],
    options: argparse.Namespace,
) -> nn.Module:
    """Return the network of a row, or the base itself; `cases` are complete ones and ones known in part."""
    if row is None:
        network = build(NetworkConfig())
        network.load_state_dict(dict(base))
        return network.eval()
    train = tuple(sorted((*cases[0], *(cases[1] if row.partial else ()))))
    files = FoldFiles(folder=place, prepared=options.output / "prepared", train=train)
    return train_fold(files, settings_of(row, seed, options), resume=True, initial=base)


def _comparable(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the results with the base, which has no seed, standing for each seed of the reference."""
    reference = results["all"]
    return {name: dict.fromkeys(reference, row["0"]) if name == "base" else row for name, row in results.items()}


if __name__ == "__main__":
    main()
