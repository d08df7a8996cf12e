"""`glioscope report`: pages written again."""

from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch


def report(
    folder: Annotated[Path, typer.Argument(help="What segment, change, train or evaluate wrote.")],
    beside: Annotated[
        Path | None, typer.Option(help="For a run: another run to draw next to it.", show_default=False)
    ] = None,
) -> int:
    """Write the HTML again, from what is on disk; exit code 3 if that of some cases could not be."""
    from glioscope.report import write_change_report, write_evaluation_report, write_run_report
    from glioscope.segmentation import rewrite_reports

    failed = False
    if (folder / "config.json").is_file():
        written: tuple[Path, ...] = (write_run_report(folder, beside=beside),)
    elif (folder / "cases.csv").is_file():
        written = (write_evaluation_report(folder),)
    elif (folder / "change.json").is_file():
        written = (write_change_report(folder),)
    else:
        with Watch("report") as watch:
            found = rewrite_reports(folder, progress=watch)
        written, failed = found.pages, bool(found.problems)
    print(f"{written[0]}" + (f" and {len(written) - 1} more" if len(written) > 1 else ""))
    return 3 if failed else 0
