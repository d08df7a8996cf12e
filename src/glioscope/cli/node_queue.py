"""`glioscope node-queue`: what a node has, and what failed once more."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import print_table
from glioscope.errors import RunError


def node_queue(
    data: Annotated[Path, typer.Option(help="Folder of the node.")] = Path("glioscope-node"),
    failed: Annotated[bool, typer.Option("--failed", help="List what failed alone.")] = False,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="STUDY", help="Do a failed or ignored study again, or send it again; several times."),
    ] = None,
) -> int:
    """List a node's studies, newest first; exit code 3 if any has failed. The node may be running."""
    from glioscope.node.store import Store

    if not (data / "node.sqlite3").is_file():
        raise RunError(f"{data}: is no folder of a node; name the one given to 'glioscope node' with --data")
    store = Store(data)
    for key in again or ():
        done = store.again(key)
        what = {"sending": "is sent again", "queued": "is done again"}.get(done, "has nothing that failed")
        print(f"{key}: {what}", file=sys.stdout if done else sys.stderr)
    rows = []
    for study in store.studies():
        version = next(reversed(store.versions(study.key)), None)
        state = version.state if version else "receiving"
        if failed and state != "failed":
            continue
        told = "; ".join(text for text in (version.reason, version.remark) if text) if version else ""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.created))
        number = str(version.number) if version else ""
        rows.append((study.key, when, study.calling, str(store.count_objects(study.key)), number, state, told))
    store.close()
    print_table(str(data), ("study", "since", "from", "objects", "version", "state", "reason"), rows)
    return 3 if any(row[5] == "failed" for row in rows) else 0
