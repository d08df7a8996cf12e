"""`glioscope phantoms`: synthetic patients."""

from typing import Annotated, Literal

import typer

from glioscope.cli.options import Output


def phantoms(
    output: Output,
    count: Annotated[int, typer.Option("--count", "-n", help="How many patients.", min=1)] = 8,
    layout: Annotated[
        Literal["brats2018", "brats2021", "brats2023", "msd"], typer.Option(help="File names and labels of which year.")
    ] = "brats2023",
    seed: Annotated[int, typer.Option(help="Patient n is that of seed + n.", min=0)] = 0,
) -> None:
    """Write synthetic patients with tumours and references: a data set that needs no download."""
    from glioscope.phantom import write_phantoms

    written = write_phantoms(output, count, layout=layout, seed=seed)
    print(f"{output}: {len(written)} synthetic patients, layout {layout}")
