"""`glioscope node`: studies come in from the network, results go back."""

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glioscope.cli.terminal import print_table
from glioscope.errors import DependencyError

if TYPE_CHECKING:
    from glioscope.node.settings import NodeConfig


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
    dicomweb: Annotated[
        str | None, typer.Option(metavar="URL", help="Archive that gets results by STOW-RS.", show_default=False)
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="AE[@ADDRESS]", help="Who may send: AE or *, from an address or network; several times."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="TOML file: which studies are taken, what is returned.", show_default=False)
    ] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Say what would be done with its studies, and do nothing.", show_default=False
        ),
    ] = None,
    quiet: Annotated[float, typer.Option(help="Seconds without an image after which a study is complete.")] = 10.0,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; default: the network in the package.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Studies segmented at once.", min=1)] = 1,
    http_port: Annotated[
        int | None, typer.Option(help="Port of /healthz and /metrics on this machine.", show_default=False)
    ] = None,
    tls: Annotated[
        str | None,
        typer.Option(
            metavar="CERT,KEY,CA", help="PEM files: speak TLS, both sides with a certificate.", show_default=False
        ),
    ] = None,
) -> int:
    """Receive studies by DICOM, segment each once it is complete, and return the results to an archive."""
    try:
        from glioscope.node.rules import EVERYTHING, read_rules
        from glioscope.node.settings import NodeConfig, WebPeer, caller, peer, tls_files
        from glioscope.node.trying import try_rules
    except ImportError as error:
        raise DependencyError(f"node needs {error.name}: pip install 'glioscope[node]'") from error
    archives = (*map(peer, send_to or ()), *((WebPeer(url=dicomweb),) if dicomweb else ()))
    names = [one.ae for one in archives]
    config = NodeConfig(
        data=data.resolve(),
        ae=ae,
        host=host,
        port=port,
        send_to=archives,
        rules=read_rules(rules, names) if rules else (EVERYTHING,),
        allow=tuple(map(caller, allow or ())),
        quiet_seconds=quiet,
        model=model,
        workers=workers,
        http_port=http_port,
        tls=tls_files(tls) if tls else None,
    )
    if dry_run is None:
        return _run(config)
    trials = try_rules(dry_run, config.rules, names, "DRY-RUN")
    rows = [(str(t.folder), t.rule, "+".join(t.sequences), t.verdict, "; ".join(t.returns)) for t in trials]
    print_table(f"{len(rows)} studies, nothing done", ("study", "rule", "sequences", "verdict", "returned"), rows)
    return 0


def _run(config: "NodeConfig") -> int:
    from glioscope.node.service import Node
    from glioscope.node.telling import Teller, log_as_json

    log_as_json()
    node = Node(config)
    teller = Teller(node, config.http_port) if config.http_port is not None else None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node.start()
    if teller:
        teller.start()
    print(f"{config.ae} at {config.host}:{node.receiver.port}, studies in {config.data}. Stop with Ctrl+C.", flush=True)
    print("Research use only; not a medical device.", file=sys.stderr, flush=True)
    stop.wait()
    if teller:
        teller.stop()
    node.stop()
    return 0
