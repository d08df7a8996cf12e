"""The whole route on synthetic patients: what `glioscope demo` does, step by step, in the order a user would.

    phantoms ──▶ check ──▶ train `original` and `standard` alike ──▶ validate ──▶ compare ──▶ segment ──▶ report

At 3 mm a training step takes a fraction of a second, so two networks learn something in minutes on two cores. Read it
as a recipe: each step is one call of the Python interface.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from glioscope.cases import check_dataset
from glioscope.errors import RunError
from glioscope.evaluation import summarise
from glioscope.experiment.compare import compare_runs, run_rows
from glioscope.experiment.judge import validate_run
from glioscope.experiment.train import TrainOptions, train
from glioscope.files import write_json, write_text
from glioscope.labels import REGIONS
from glioscope.machine.progress import OnProgress, silent
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import segment

GRID = PhantomConfig(shape=(80, 80, 52), spacing_mm=(3.0, 3.0, 3.0))
"""240 × 240 × 156 mm, the BraTS field of view, at 3 mm."""

SETTINGS = (
    "preprocessing.spacing_mm=3.0",
    "training.window=brain",
    "training.minimum_tumour=0",
    "training.validations=8",
)
"""What both networks share here."""

NETWORKS = (("original", ()), ("standard", ("training.stages=[{share = 1.0}]",)))
"""Configurations that are trained, and what each needs besides: `standard` one stage, as the grid is coarse already."""

STEPS = 6

MARK = "made-by-glioscope-demo.txt"
"""In a folder that a demo made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Where to look."""

    output: Path
    comparison: Path
    """Page with both networks side by side."""
    patient: Path
    """Report of the segmented patient."""
    dice: dict[str, dict[str, float]]
    """Run to region to mean Dice on held-out phantoms."""
    seconds: float


def run_demo(
    output: Path,
    *,
    minutes: float = 1.75,
    cases: int = 20,
    seed: int = 0,
    progress: OnProgress = silent,
) -> DemoResult:
    """Run the whole route on phantoms and write everything below one folder.

    Parameters
    ----------
    output : Path
        Gets phantoms/, check/, original/, standard/, comparison/ and patient/.
    minutes : float
        Training budget of each network.
    cases : int
        Synthetic patients to train and validate on; a fifth of them is held out.
    seed : int
        Same seed, same patients.
    progress : callable
        Told, in steps of six, what is being done.

    Raises
    ------
    RunError
        The output cannot be written, or holds an earlier demo, or files that no demo made.
    """
    began = time.monotonic()
    _claim(output)
    progress(0, STEPS, f"{cases} synthetic patients")
    dataset = output / "phantoms"
    write_phantoms(dataset, cases, seed=seed, config=GRID)
    progress(1, STEPS, "check the data set")
    found = check_dataset(dataset)
    write_json(output / "check" / "fingerprint.json", found.as_dict())
    write_text(output / "check" / "fingerprint.csv", found.as_csv())
    progress(2, STEPS, f"{len(found.records)} cases, {sum(bool(r.problems) for r in found.records)} with remarks")
    runs = [
        _trained(output / name, dataset, own, minutes, partial(_told, progress, 2 + place / len(NETWORKS), name))
        for place, (name, own) in enumerate(NETWORKS)
    ]
    progress(3, STEPS, "score both on the other fifth, through the path that 'segment' takes")
    for run in runs:
        validate_run(run)
    progress(4, STEPS, "compare")
    comparison = compare_runs(runs, output / "comparison")
    progress(5, STEPS, "segment a patient neither has seen")
    write_phantoms(output / "new", 1, seed=seed + 1000, config=GRID)
    result = segment(output / "new", output / "patient", model=output / "standard" / "fold_0" / "model")
    progress(STEPS, STEPS, "done")
    return DemoResult(
        output=output,
        comparison=comparison,
        patient=result.output / result.outcomes[0].case_id / "report.html",
        dice={run.name: _mean_dice(run) for run in runs},
        seconds=time.monotonic() - began,
    )


def _claim(output: Path) -> None:
    """Mark the folder as the demo's, so that `make demo` may delete it; refuse one that holds anything else."""
    mark = output / MARK
    if output.is_dir() and any(output.iterdir()) and not mark.is_file():
        raise RunError(f"{output}: holds files that no demo made; choose another folder with --output")
    write_text(mark, "Made by 'glioscope demo'. 'make demo' and 'make clean' delete this folder.\n")


def _trained(run: Path, dataset: Path, own: tuple[str, ...], minutes: float, progress: OnProgress) -> Path:
    """Train one of the two networks on four fifths of the patients, and return its run."""
    train(
        dataset,
        run,
        options=TrainOptions(config=run.name, overrides=(*SETTINGS, *own), minutes=minutes),
        progress=progress,
    )
    return run


def _told(progress: OnProgress, before: float, name: str, done: float, total: float, line: str) -> None:
    """Pass on how far a network is, as a part of the step in which all are trained."""
    progress(before + min(done / total, 0.99) / len(NETWORKS), STEPS, f"{name}: {line}")


def _mean_dice(run: Path) -> dict[str, float]:
    summary = summarise(run_rows(run))["brats2021"]
    return {region: summary[region]["dice"].mean for region in REGIONS}
