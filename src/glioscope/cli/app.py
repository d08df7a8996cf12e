"""The program: its commands, each in a file of its own that says what it takes, does and prints."""

from typing import Annotated

import typer

from glioscope import __version__
from glioscope.cli.card import card
from glioscope.cli.change import change
from glioscope.cli.check import check
from glioscope.cli.compare import compare
from glioscope.cli.demo import demo
from glioscope.cli.evaluate import evaluate
from glioscope.cli.export import export
from glioscope.cli.fetch_study import fetch_study
from glioscope.cli.info import info
from glioscope.cli.node import node
from glioscope.cli.node_queue import node_queue
from glioscope.cli.phantoms import phantoms
from glioscope.cli.prepare import prepare
from glioscope.cli.report import report
from glioscope.cli.segment import segment
from glioscope.cli.serve import serve
from glioscope.cli.train import train
from glioscope.cli.verify import verify

app = typer.Typer(
    name="glioscope",
    help="Brain MRI into measured tumours. Research use only; not a medical device.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


for _command in (
    *(segment, prepare, change, phantoms, check, train, evaluate, export),
    *(compare, card, report, verify, demo, serve, node, node_queue, fetch_study, info),
):
    app.command()(_command)
