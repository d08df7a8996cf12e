"""`glioscope compare`: trained networks side by side."""

from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.options import Output


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Run folders; the first is the measure of the others.")
    ],
    output: Output,
) -> None:
    """Set trained networks side by side: scores with differences and intervals, seconds, memory."""
    from glioscope.experiment.compare import compare_runs

    page = compare_runs(runs, output)
    print(f"{page}: {len(runs)} runs side by side")
