"""`glioscope verify`: checksums taken again."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch, print_table


def verify(
    folder: Annotated[Path, typer.Argument(help="What segment or train wrote, one case of it, or a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Take the checksums of inputs, models and outputs again; exit code 3 if any is not what was recorded."""
    from glioscope.results.verifying import verify as run

    with Watch("verify") as watch:
        found = run(folder, progress=lambda done, total, case_id: watch(done, total, case_id, news=False))
    rows = [(check.owner, check.what, check.state, str(check.path)) for check in found.mismatches]
    columns = ("case", "what", "state", "path")
    if as_json:
        mismatches = [dict(zip(columns, row, strict=True)) for row in rows]
        print(json.dumps({"checked": len(found.checks), "mismatches": mismatches, "notes": found.notes}, indent=1))
    else:
        if rows:
            print_table(str(folder), columns, rows)
        matching = len(found.checks) - len(rows)
        print(f"{folder}: {matching} files match, {len(rows)} {'does' if len(rows) == 1 else 'do'} not")
        for note in found.notes:
            print(note, file=sys.stderr)
    return 3 if rows else 0
