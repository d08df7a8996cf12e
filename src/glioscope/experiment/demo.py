"""The whole route on synthetic patients: what `glioscope demo` does, step by step, in the order a user would.

    phantoms ──▶ check ──▶ train `original` and `standard` alike ──▶ validate ──▶ compare ──▶ segment ──▶ report

At 3 mm a training step takes a fraction of a second, so two networks learn something in minutes on two cores. Read it
as a recipe: each step is one call of the Python interface.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glioscope.cases import check_dataset
from glioscope.evaluation import summarise
from glioscope.experiment.judging import compare_runs, run_rows, validate_run
from glioscope.experiment.training import TrainOptions, train_run
from glioscope.files import write_json, write_text
from glioscope.labels import REGIONS
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import segment
from glioscope.training import Progress

GRID = PhantomConfig(shape=(80, 80, 52), spacing_mm=(3.0, 3.0, 3.0))
"""240 × 240 × 156 mm, the BraTS field of view, at 3 mm."""

SETTINGS = (
    "preprocessing.spacing_mm=3.0",
    "training.window=brain",
    "training.minimum_tumour=0",
    "training.validations=8",
)
"""What both networks share here."""

STANDARD = ("training.stages=[{spacing_mm = 1, share = 1.0}]",)
"""One stage: the grid is coarse already (a stage counts in voxels of the network's own spacing)."""


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
    say: Callable[[str], None] = lambda _line: None,
    on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None,
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
    say : callable
        Called with one line as each step begins or ends.

    Raises
    ------
    RunError
        The output cannot be written, or holds an earlier demo.
    """
    began = time.monotonic()
    say(f"1/6  {cases} synthetic patients")
    dataset = output / "phantoms"
    write_phantoms(dataset, cases, seed=seed, config=GRID)
    say("2/6  check the data set")
    found = check_dataset(dataset)
    write_json(output / "check" / "fingerprint.json", found.as_dict())
    write_text(output / "check" / "fingerprint.csv", found.as_csv())
    say(f"     {len(found.records)} cases, {sum(bool(r.problems) for r in found.records)} with remarks")
    runs = []
    for name, own in (("original", ()), ("standard", STANDARD)):
        say(f"3/6  train '{name}' for {minutes:g} minutes, four fifths of the patients")
        train_run(
            dataset,
            output / name,
            options=TrainOptions(config=name, overrides=(*SETTINGS, *own), minutes=minutes),
            on_progress=lambda _fold, progress, name=name: on_progress(name, progress),  # type: ignore[misc]
        )
        runs.append(output / name)
    say("4/6  score both on the other fifth, through the path that 'segment' takes")
    for run in runs:
        validate_run(run)
    say("5/6  compare")
    comparison = compare_runs(runs, output / "comparison")
    say("6/6  segment a patient neither has seen")
    write_phantoms(output / "new", 1, seed=seed + 1000, config=GRID)
    result = segment(output / "new", output / "patient", model=output / "standard" / "fold_0" / "model")
    return DemoResult(
        output=output,
        comparison=comparison,
        patient=result.output / result.outcomes[0].case_id / "report.html",
        dice={run.name: _mean_dice(run) for run in runs},
        seconds=time.monotonic() - began,
    )


def _mean_dice(run: Path) -> dict[str, float]:
    summary = summarise(run_rows(run))["brats2021"]
    return {region: summary[region]["dice"].mean for region in REGIONS}
