"""`glioscope evaluate`: predictions scored; and how scores are printed."""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.cli.terminal import Watch, print_table


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of label maps, or one file.")],
    references: Annotated[Path, typer.Argument(help="Folder of cases or label maps, or one file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for cases.csv and summary.json.", show_default=False)
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Name or TOML file; may be repeated. See 'glioscope info'.", show_default=False),
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Label scheme of the references.", show_default=False)] = None,
    prediction_scheme: Annotated[str | None, typer.Option(help="Of the predictions.", show_default=False)] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Move predictions on another grid onto the reference's.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For two files: print every profile's scores as JSON.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: all cores.", min=1, show_default=False)
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
) -> int:
    """Score segmentations against references by the challenges' own protocols."""
    from glioscope import evaluation
    from glioscope.report import write_evaluation_report

    if as_json:
        if not (predictions.is_file() and references.is_file()):
            raise typer.BadParameter("--json scores one file against another; name two files")
        profiles = evaluation.golden_profiles(
            predictions, references, resample=resample, **({"scheme": scheme} if scheme else {})
        )
        print(json.dumps(profiles, indent=1))
        return 0
    if output is None:
        raise typer.BadParameter("name a folder for the results with --output")
    with Watch("evaluate") as watch:
        found = evaluation.evaluate(
            predictions,
            references,
            output,
            protocol or evaluation.DEFAULT_PROTOCOLS,
            resample=resample,
            scheme=scheme,
            prediction_scheme=prediction_scheme,
            workers=workers,
            progress=lambda done, total, line: watch(done, total, line, news=done == total),
        )
    print_scores("Scores", found)
    page = f", {write_evaluation_report(output)}" if report else ""
    print(f"{output / 'cases.csv'}, {output / 'summary.json'}{page}")
    _print_unscored(found)
    return found.exit_code


def _print_unscored(found: Any) -> None:
    """Say on the error stream which cases got the penalty, and which predictions nothing was known about."""
    for name in found.missing:
        print(f"case {name}: no prediction was found; it counts with the protocol's penalty", file=sys.stderr)
    for name, reason in found.refused.items():
        print(f"case {name}: refused, it counts with the protocol's penalty: {reason}", file=sys.stderr)
    for name in found.unmatched:
        print(f"case {name}: has a prediction but no reference; it was not scored", file=sys.stderr)


def print_scores(title: str, found: Any, *, metrics: Collection[str] = ()) -> None:
    """Print mean and 95 % interval of each protocol, region and metric (of those named, if any are)."""
    rows = []
    for protocol, regions in found.summary.items():
        for region, values in regions.items():
            for metric, value in values.items():
                if metrics and metric not in metrics:
                    continue
                interval = f"{_number(value.interval_95[0])} to {_number(value.interval_95[1])}"
                rows.append((protocol, region, metric, _number(value.mean), interval, str(value.n)))
    print_table(title, ("protocol", "region", "metric", "mean", "95 % interval", "n"), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
