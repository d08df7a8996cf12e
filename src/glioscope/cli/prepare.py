"""`glioscope prepare`: raw scans of a patient onto one grid, skull off."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from glioscope.cli.options import Output, Series


def prepare(
    output: Output,
    raw: Annotated[
        Path | None, typer.Argument(metavar="RAW", help="One patient: a folder or zip of DICOM, or a folder of NIfTI.")
    ] = None,
    t1n: Series = None,
    t1c: Series = None,
    t2w: Series = None,
    t2f: Series = None,
    case_id: Annotated[str | None, typer.Option(help="Name of the case; default: that of RAW.")] = None,
    reference: Annotated[str | None, typer.Option(help="Sequence whose grid is the common one.")] = None,
    brain: Annotated[
        Literal["builtin", "hd-bet", "synthstrip", "none"], typer.Option(help="Who finds the brain.")
    ] = "builtin",
    bias: Annotated[bool, typer.Option("--bias", help="Take out shading with N4.")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Write the scans with skull and the transforms too.")] = False,
    atlas: Annotated[bool, typer.Option("--atlas", help="Also write the case laid over MNI152: CASE-atlas.")] = False,
) -> None:
    """Bring a patient's raw scans onto one 1 mm grid, skull off: a case for segment. Offline."""
    from glioscope.cli.sources import case_name, over_atlas, read_raw
    from glioscope.prepare.patient import PrepareConfig, prepare_raw, write_prepared

    if atlas and brain == "none":
        raise typer.BadParameter("--atlas needs the brain alone, but --brain is none; leave one of them away")
    named = {code: value for code, value in (("t1n", t1n), ("t1c", t1c), ("t2w", t2w), ("t2f", t2f)) if value}
    patient = read_raw(raw, named)
    for choice in patient.choices:
        print(f"{choice.sequence}: {choice.series}: {choice.reason}")
    for left_out, reason in patient.left_out.items():
        print(f"{left_out}: not used: {reason}")
    prepared = prepare_raw(patient, PrepareConfig(reference=reference, brain=brain, bias=bias))
    name = case_id or case_name(raw)
    case = write_prepared(prepared, output / name, name, steps=steps)
    problems = [*prepared.problems, *(over_atlas(prepared, output, f"{name}-atlas") if atlas else ())]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{output / name}: {', '.join(case.sequences)} on one grid; next: glioscope segment {output / name} -o out")
