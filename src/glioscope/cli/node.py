"""`glioscope node`: studies come in from the network, results go back."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from glioscope.errors import DependencyError


def node(
    data: Annotated[Path, typer.Option(help="Folder of studies and results.")] = Path("glioscope-node"),
    ae: Annotated[str, typer.Option(help="AE title that senders call.")] = "GLIOSCOPE",
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs --allow.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 11112,
    send_to: Annotated[
        list[str] | None, typer.Option(metavar="AE@HOST:PORT", help="Archive that gets results; several times.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="AE[@ADDRESS]", help="Who may send: AE or *, from an address or network; several times."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="TOML file: which studies are taken, what is returned.", show_default=False)
    ] = None,
    quiet: Annotated[float, typer.Option(help="Seconds without an image after which a study is complete.")] = 10.0,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; default: the network in the package.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Studies segmented at once.", min=1)] = 1,
    http_port: Annotated[
        int | None, typer.Option(help="Port of /healthz and /metrics on this machine.", show_default=False)
    ] = None,
) -> int:
    """Receive studies by DICOM, segment each once it is complete, and return the results to an archive."""
    try:
        from glioscope.node.rules import EVERYTHING, read_rules
        from glioscope.node.service import Node
        from glioscope.node.settings import NodeConfig, caller, peer
        from glioscope.node.telling import Teller, log_as_json
    except ImportError as error:
        raise DependencyError(f"node needs {error.name}: pip install 'glioscope[node]'") from error
    archives = tuple(map(peer, send_to or ()))
    config = NodeConfig(
        data=data.resolve(),
        ae=ae,
        host=host,
        port=port,
        send_to=archives,
        rules=read_rules(rules, {one.ae for one in archives}) if rules else (EVERYTHING,),
        allow=tuple(map(caller, allow or ())),
        quiet_seconds=quiet,
        model=model,
        workers=workers,
        http_port=http_port,
    )
    log_as_json()
    running = Node(config)
    teller = Teller(running, http_port) if http_port is not None else None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running.start()
    if teller:
        teller.start()
    print(f"{ae} at {host}:{running.receiver.port}, studies in {config.data}. Stop with Ctrl+C.", flush=True)
    print("Research use only; not a medical device.", file=sys.stderr, flush=True)
    stop.wait()
    if teller:
        teller.stop()
    running.stop()
    return 0
