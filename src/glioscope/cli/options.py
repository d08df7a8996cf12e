"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if need be.")]

Model = Annotated[
    Path | None, typer.Option(help="Model folder; default: the network in the package.", show_default=False)
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU that torch finds, else the CPU.")
]
Precision = Annotated[
    Literal["auto", "bf16", "int8", "fp32"], typer.Option(help="auto takes what this processor is quickest at.")
]
Series = Annotated[
    str | None,
    typer.Option(help="With DICOM: the series to take (number, UID, words). Else: a file.", show_default=False),
]
