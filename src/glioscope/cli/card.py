"""`glioscope card`: what a trained network can be trusted with, in numbers."""

from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch, print_table


def card(
    run: Annotated[Path, typer.Argument(help="Run folder of 'glioscope train', its held-out cases scored.")],
    fold: Annotated[int, typer.Option(help="Which fold's network.", min=0)] = 0,
) -> None:
    """Measure a network's card on its held-out cases: every subset of sequences, calibration, expected Dice.

    It is written into the model folder, where segment finds it: a case that lacks a sequence is then told what that
    costs. Takes 15 passes over each held-out case.
    """
    from glioscope.experiment.card import write_card
    from glioscope.labels import REGIONS

    with Watch("card") as watch:
        path, found = write_card(run, fold, progress=lambda done, total, line: watch(done, total, line, news=False))
    rows = [(" ".join(row["sequences"]), *(f"{row[region]:.3f}" for region in REGIONS)) for row in found["subsets"]]
    print_table("Mean Dice by the sequences given", ("sequences", *REGIONS), rows)
    print(f"{path}: measured on {found['cases']} cases held out")
