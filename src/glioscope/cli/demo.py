"""`glioscope demo`: the whole route on synthetic patients."""

from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch, print_table
from glioscope.cli.train import needing_torch

_NOTE = """\
Dice is 1 where prediction and reference agree in full and 0 where they share nothing. WT is the whole tumour, TC its
core, ET the part that takes up contrast. A network that finds nothing has a Dice of 0, and still calls 99 of 100
voxels rightly: `original` learns slowly and may stand there after so short a training. Phantoms are easier than
patients and minutes are a short training: these numbers show that the route works, not how good a network is.
It took {minutes:.1f} minutes. Look at
  {comparison}
  {patient}"""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Training time of each of the two networks.", min=0.01)] = 1.75,
    cases: Annotated[int, typer.Option(help="Synthetic patients.", min=5)] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same patients.", min=0)] = 0,
) -> None:
    """Go the whole route on synthetic patients: make, check, train two networks, compare them, segment a patient."""
    room = needing_torch("experiment.demo")
    with Watch("demo", every=20) as watch:
        result = room.run_demo(
            output,
            minutes=minutes,
            cases=cases,
            seed=seed,
            progress=lambda done, total, line: watch(done, total, line, news=float(done).is_integer()),
        )
    regions = list(next(iter(result.dice.values())))
    rows = [(name, *(f"{dice[region]:.3f}" for region in regions)) for name, dice in result.dice.items()]
    print_table("Mean Dice on patients held out", ("network", *regions), rows)
    print(_NOTE.format(minutes=result.seconds / 60, comparison=result.comparison, patient=result.patient))
