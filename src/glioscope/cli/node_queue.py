"""`glioscope node-queue`: what a node has, and what failed once more."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import print_table
from glioscope.errors import DependencyError


def node_queue(
    data: Annotated[Path, typer.Option(help="Folder of the node.")] = Path("glioscope-node"),
    failed: Annotated[bool, typer.Option("--failed", help="List what failed alone.")] = False,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="STUDY", help="Do a failed or ignored study again, or send it again; several times."),
    ] = None,
) -> int:
    """List a node's studies, newest first; exit code 3 if any has failed. The node may be running."""
    try:
        from glioscope.node.listing import entries, open_list
    except ImportError as error:
        raise DependencyError(f"node-queue needs {error.name}: pip install 'glioscope[node]'") from error
    store = open_list(data)
    for key in again or ():
        done = store.again(key)
        what = {"sending": "is sent again", "queued": "is done again"}.get(done, "has nothing that failed")
        print(f"{key}: {what}", file=sys.stdout if done else sys.stderr)
    found = [entry for entry in entries(store) if entry.state == "failed" or not failed]
    store.close()
    rows = [
        (
            entry.key,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.since)),
            entry.calling,
            str(entry.objects),
            str(entry.version or ""),
            entry.state,
            entry.told,
        )
        for entry in found
    ]
    print_table(str(data), ("study", "since", "from", "objects", "version", "state", "reason"), rows)
    return 3 if any(entry.state == "failed" for entry in found) else 0
