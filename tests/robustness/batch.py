"""Many commands in one process: reads a JSON list of argument lists, prints what became of each.

Run as a script by `many`, so that a hang, a crash or a leak is the child's and not the test's. Each command has a
limit of time; the most memory that the process ever held is told at the end.
"""

import contextlib
import faulthandler
import io
import json
import resource
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

SECONDS = 240
"""For one command: to tell a hang from a slow machine. A scan of 20 x 24 x 16 voxels takes less than one."""
LARGEST_GB = 4.0


@dataclass(frozen=True)
class Answer:
    """What one command did."""

    code: int | None
    """None: an exception came out of it."""
    output: str
    errors: str


def many(commands: list[list[str]], *, cwd: Path) -> list[Answer]:
    """Run commands one after the other in one process; fail if it hangs, dies, or takes more than 4 GB."""
    result = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=2 * SECONDS + 15 * len(commands),
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["peak_gb"] < LARGEST_GB, answer["peak_gb"]
    return [Answer(**each) for each in answer["answers"]]


def _run(arguments: list[str]) -> dict[str, object]:
    from glioscope.cli import main

    output, errors = io.StringIO(), io.StringIO()
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except BaseException:  # noqa: BLE001
            code = None
            traceback.print_exc()
    faulthandler.cancel_dump_traceback_later()
    return {"code": code, "output": output.getvalue(), "errors": errors.getvalue()}


if __name__ == "__main__":
    warnings.simplefilter("always")  # a warning is shown to the user: none is wanted
    answers = [_run(arguments) for arguments in json.load(sys.stdin)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    sys.stdout.write(json.dumps({"answers": answers, "peak_gb": peak}) + "\n")
