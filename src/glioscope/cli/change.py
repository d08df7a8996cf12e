"""`glioscope change`: two dates of one patient."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from glioscope.results.change import Change

Scan = Annotated[
    Path | None, typer.Option(help="A scan on the grid of that date's labels, where none is known.", show_default=False)
]


def change(
    earlier: Annotated[Path, typer.Argument(help="Case folder of 'segment' (or a label file): the earlier date.")],
    later: Annotated[Path, typer.Argument(help="The same of the later date.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if need be.")],
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Of both scans, as 2024-01-31. Never read from names or headers.", show_default=False),
    ] = None,
    earlier_scan: Scan = None,
    later_scan: Scan = None,
    scheme: Annotated[
        str | None,
        typer.Option(help="Scheme of label files, or EARLIER,LATER; default: told by both.", show_default=False),
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Both dates share one space already: register nothing.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write change.html.")] = True,
) -> None:
    """Say what changed between two dates: volumes, lesions, RANO 2.0 by imaging alone, maps and a page."""
    from glioscope.measure import ChangeOptions
    from glioscope.measure import change as run
    from glioscope.report import write_change_report

    options = ChangeOptions(
        dates=dates, earlier_scan=earlier_scan, later_scan=later_scan, scheme=scheme, aligned=aligned
    )
    found = run(earlier, later, output, options=options)
    _print(found)
    page = f", {write_change_report(output)}" if report else ""
    print(f"{output / 'change.json'}{page}")


def _print(found: "Change") -> None:
    import sys

    from glioscope.cli.terminal import print_table

    rows = [
        (name, f"{row.earlier_ml:.2f}", f"{row.later_ml:.2f}", _percent(row.percent))
        for name, row in found.regions.items()
    ]
    print_table("Change", ("region", "earlier, ml", "later, ml", "change"), rows)
    doubt = " (doubtful, see the messages)" if found.response.doubtful else ""
    for how, answer in (("diameters", found.response.by_diameters), ("volume", found.response.by_volume)):
        print(f"RANO 2.0 by {how}, imaging alone{doubt}: {answer.name} ({answer.reason})")
    for flag in found.flags:
        print(f"{flag.severity}: {flag.message}", file=sys.stderr)


def _percent(value: float | None) -> str:
    return "new" if value is None else f"{value:+.1f} %"
