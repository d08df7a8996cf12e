"""A run judged on the cases it never saw, through the path that `segment` takes.

RUN/fold_k/model ──segment──▶ RUN/fold_k/validation/<case>/ ──evaluate──▶ RUN/fold_k/evaluation/
                 └─one case, a process of its own──▶ RUN/fold_k/cost.json: seconds and memory
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glioscope.cases import Case, scan_cases
from glioscope.errors import CaseError, RunError
from glioscope.evaluation import (
    Evaluation,
    RegionScores,
    compare_methods,
    evaluate,
    read_rows,
    write_comparison,
)
from glioscope.files import read_json, write_json
from glioscope.labels import REGIONS
from glioscope.machine import processor
from glioscope.report import write_comparison_report
from glioscope.results import read_summary
from glioscope.runs import Run
from glioscope.segmentation import SegmentOptions, segment

PROTOCOLS = ("whole", "brats2021", "brats2023-gli", "voxel-accuracy")
"""What a run is judged by: plain overlap and distances, the whole-region rules of 2021, lesion-wise, and accuracy."""

COMPARED_BY = "brats2021"
"""Protocol of the tables: whole regions, empty masks by the challenge's rule, so that every case counts."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one case costs, files to file, in a process of its own, everything loaded from cold."""

    case_id: str
    seconds: float
    peak_memory_mb: float
    network_seconds: float
    """Of these, spent in the network."""


def validate_run(
    run_folder: Path,
    *,
    folds: Sequence[int] | None = None,
    dataset: Path | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[int, Evaluation]:
    """Predict and score the held-out cases of each trained fold.

    Parameters
    ----------
    run_folder : Path
        Written by `train_run`.
    folds : sequence of int, optional
        By default every fold that has a model.
    dataset : Path, optional
        Where the cases lie now; by default where they lay in training.

    Returns
    -------
    dict
        Fold to evaluation; also written to ``RUN/fold_k/evaluation``.

    Raises
    ------
    RunError
        The folder is not a run, or no fold is trained.
    CaseError
        A held-out case is gone from the data set.
    """
    run = Run(run_folder)
    chosen = run.trained_folds() if folds is None else tuple(folds)
    if not chosen:
        raise RunError(f"{run_folder}: has no trained fold yet; let 'glioscope train' finish one")
    return {fold: _validate_fold(run, fold, dataset, protocols, progress) for fold in chosen}


def held_out_cases(run: Run, fold: int, *, dataset: Path | None = None) -> tuple[Path, list[Case]]:
    """Return the data set, and the cases that a fold did not train on.

    Parameters
    ----------
    dataset : Path, optional
        Where the cases lie now; by default where they lay in training.

    Raises
    ------
    RunError
        The fold held none out.
    CaseError
        A held-out case is gone from the data set.
    """
    wanted = run.folds()[fold].validation
    if not wanted:
        raise RunError(f"{run.folder}: fold {fold} held no case out; there is nothing to validate on")
    return _cases_of(run, wanted, f"fold {fold}", dataset)


def _cases_of(run: Run, wanted: Sequence[str], part: str, dataset: Path | None) -> tuple[Path, list[Case]]:
    place = dataset or Path(read_json(run.folder / "record.json", what="run")["dataset"])
    found = {case.case_id: case for case in scan_cases(place)[0]}
    absent = [name for name in wanted if name not in found]
    if absent:
        raise CaseError(f"{place}: lacks {', '.join(absent[:3])} of {part}; put them back and resume the run")
    return place, [found[name] for name in wanted]


def score_test_part(
    run_folder: Path,
    *,
    dataset: Path | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    progress: Progress = lambda _what, _done, _all: None,
) -> Evaluation:
    """Predict and score the test part of a run, its trained folds answering together; to be done once, at the end.

    Returns
    -------
    Evaluation
        Also written to ``RUN/test_evaluation``; the predictions are in ``RUN/test``.

    Raises
    ------
    RunError
        No test part was set aside (``training.test_share``), or no fold is trained.
    CaseError
        A test case is gone from the data set.
    """
    run = Run(run_folder)
    wanted = run.test_cases()
    if not wanted:
        raise RunError(f"{run_folder}: set no test part aside; train with --set training.test_share=0.15")
    place, cases = _cases_of(run, wanted, "the test part", dataset)
    segment(
        cases,
        run.folder / "test",
        model=run.folder,
        options=SegmentOptions(report=False),
        progress=lambda done, total, _line: progress("predicting", done, total),
    )
    output = run.folder / "test_evaluation"
    return evaluate(run.folder / "test", place, output, protocols, cases=wanted, progress=progress)


def _validate_fold(
    run: Run, fold: int, dataset: Path | None, protocols: Sequence[str], progress: Progress
) -> Evaluation:
    place, cases = held_out_cases(run, fold, dataset=dataset)
    wanted = [case.case_id for case in cases]
    output = run.fold(fold) / "validation"
    segment(
        cases,
        output,
        model=run.fold(fold) / "model",
        options=SegmentOptions(report=False),
        progress=lambda done, total, _line: progress("predicting", done, total),
    )
    evaluation = evaluate(output, place, run.fold(fold) / "evaluation", protocols, cases=wanted, progress=progress)
    write_json(run.fold(fold) / "cost.json", _cost_record(run.fold(fold) / "model", cases))
    return evaluation


def run_rows(run_folder: Path) -> list[RegionScores]:
    """Return the scores of every validated fold of a run, a case once.

    Raises
    ------
    RunError
        No fold is validated.
    """
    run = Run(run_folder)
    tables = [run.fold(fold) / "evaluation" for fold in run.trained_folds()]
    rows = [row for table in tables if (table / "cases.csv").is_file() for row in read_rows(table)]
    if not rows:
        raise RunError(f"{run_folder}: has no validated fold; 'glioscope train' validates when it ends")
    return rows


def compare_runs(run_folders: Sequence[Path], output: Path) -> Path:
    """Set validated runs side by side; the first is what the others are compared with.

    Writes ``comparison.html``, and the tables of the paired differences as Markdown, LaTeX and CSV.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    RunError
        A run is not validated yet.
    CaseError
        The runs share no held-out case.
    """
    names = _distinct_names(run_folders)
    methods = {name: run_rows(folder) for name, folder in zip(names, run_folders, strict=True)}
    costs = {name: run_cost(folder) for name, folder in zip(names, run_folders, strict=True)}
    comparison = compare_methods(methods, protocol=COMPARED_BY, regions=REGIONS)
    write_comparison(comparison, output)
    page = output / "comparison.html"
    write_comparison_report(
        page, methods, comparison=comparison, costs={name: cost for name, cost in costs.items() if cost}
    )
    return page


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' own names, or their paths where two folders share one."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def run_cost(run_folder: Path) -> dict[str, float]:
    """Return seconds and peak memory of one case, from the first fold that measured them; empty if none did."""
    run = Run(run_folder)
    for fold in run.trained_folds():
        file = run.fold(fold) / "cost.json"
        if file.is_file():
            record = read_json(file, what="cost")
            return {
                "seconds_per_case": record["seconds"],
                "network_seconds": record["network_seconds"],
                "peak_memory_mb": record["peak_memory_mb"],
            }
    return {}


def _cost_record(model: Path, cases: Sequence[Case]) -> dict[str, Any]:
    middle = sorted(cases, key=lambda case: case.case_id)[len(cases) // 2]
    cost = measure_cost(model, middle)
    return {
        "case_id": cost.case_id,
        "seconds": round(cost.seconds, 3),
        "network_seconds": round(cost.network_seconds, 3),
        "peak_memory_mb": round(cost.peak_memory_mb, 1),
        "processor": asdict(processor()),
    }


METER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
child = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - began, "peak": used}))
sys.exit(child.returncode)
"""
"""Runs a command and prints what it cost. A process of its own and small: Linux counts the memory of the parent at the
moment of the fork as the child's, so a large parent would be measured instead."""


def measure_cost(model: Path, case: Case) -> Cost:
    """Segment one case in a fresh process, without a report, and return what it cost.

    Raises
    ------
    RunError
        The process failed; its last line is the message.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "glioscope", "segment", *_as_arguments(case), "-o", scratch]
        command += ["--model", str(model), "--no-report"]
        meter = subprocess.run([sys.executable, "-c", METER, *command], capture_output=True, text=True, check=False)
        if meter.returncode:
            last = (meter.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(f"case {case.case_id}: segmentation in a process of its own failed: {last}")
        cost = json.loads(meter.stdout)
        summary = read_summary(next(Path(scratch).glob("*/summary.json")))
    return Cost(
        case_id=case.case_id,
        seconds=cost["seconds"],
        peak_memory_mb=cost["peak"] / (1024**2 if sys.platform == "darwin" else 1024),
        network_seconds=summary.seconds["predict"],
    )


def _as_arguments(case: Case) -> list[str]:
    """Return what names this case alone to `glioscope segment`, whatever else lies in its folder."""
    files = case.sequences.items()
    if any(file.channel is not None for _, file in files):  # Decathlon: all sequences in one file
        return [str(next(iter(case.sequences.values())).path)]
    return [part for name, file in files for part in (f"--{name}", str(file.path))]
