"""Runs set side by side: paired differences of their scores, with what a case costs each."""

from collections.abc import Sequence
from pathlib import Path

from glioscope.errors import RunError
from glioscope.evaluation import RegionScores, compare_methods, read_rows, write_comparison
from glioscope.experiment.cost import run_cost
from glioscope.labels import REGIONS
from glioscope.report import write_comparison_report
from glioscope.runs import Run

COMPARED_BY = "brats2021"
"""Protocol of the tables: whole regions, empty masks by the challenge's rule, so that every case counts."""


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
