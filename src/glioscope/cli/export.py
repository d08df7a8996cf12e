"""`glioscope export`: a trained network as a model folder."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of 'glioscope train'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder.")],
    fold: Annotated[int, typer.Option(help="Which fold's network.", min=0)] = 0,
    int8: Annotated[
        bool, typer.Option("--int8", help="Add a form in 8-bit numbers, for processors without bf16.")
    ] = False,
) -> None:
    """Write a trained network as OpenVINO and ONNX, and check that it decides as torch does."""
    from glioscope.experiment.export import export_fold
    from glioscope.inference import PARITY

    agreement = export_fold(run, output, fold, int8=int8)
    print(f"{output}: agrees with torch on {agreement:.4%} of voxels (at least {PARITY:.1%} is needed)")
