"""The command line: arguments in, exit code out.

Exit codes: 0 done; 1 a defect, with its traceback; 2 wrong use or unusable input, with one line on standard error; 3
some cases failed, the others are done; 130 interrupted, what was done is kept. Results go to standard output, progress
and messages to standard error. Rooms are imported when a command needs them, so that `--help` is quick and `segment`
starts without torch.
"""

import atexit
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

import typer

from glioscope.cli.app import app
from glioscope.errors import GlioscopeError, printable

__all__ = ["app", "command", "main"]

INTERRUPTED = 130

# Of click, or of the copy of it that newer versions of typer hold.
_WRONG_USE: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def command() -> NoReturn:
    """Be the program `glioscope`: run the command that it was called with, and end with its exit code.

    Python's habit to take apart at the end, object by object, what the system frees at once is left off: it cost a case
    a quarter of a second.
    """
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more: Python's own end knows what to do
        sys.exit(code)
    if threading.active_count() > 1:  # somebody still works, and is waited for
        sys.exit(code)
    atexit._run_exitfuncs()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a defect is raised."""
    _make_ready()
    try:
        code = app(None if arguments is None else list(arguments), prog_name="glioscope", standalone_mode=False)
    except _WRONG_USE as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "glioscope"
        _complain(f"{error.format_message()} See '{command} --help'.")  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED  # some versions of typer return it themselves
    except GlioscopeError as error:
        _complain(str(error))
        return 2
    if code == INTERRUPTED:
        _complain("interrupted; what was done is kept, and the same command goes on from there")
    return code if isinstance(code, int) else 0


def _complain(message: str) -> None:
    print(f"glioscope: {printable(' '.join(message.split()))}", file=sys.stderr)


def _make_ready() -> None:
    """Let names that the terminal's encoding lacks pass as escapes, and keep nibabel's remarks on headers to itself."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
