"""`glioscope serve`: the web page."""

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.options import Model
from glioscope.errors import DependencyError, RunError


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8000,
    data: Annotated[Path, typer.Option(help="Folder of the cases; made if need be.")] = Path("glioscope-data"),
    token: Annotated[
        str | None,
        typer.Option(
            help="Secret of at least 16 characters to log in with.", envvar="GLIOSCOPE_TOKEN", show_default=False
        ),
    ] = None,
    model: Model = None,
    workers: Annotated[int, typer.Option(help="Cases segmented at once.", min=1)] = 1,
    node: Annotated[
        Path | None, typer.Option(help="Folder of a node, to show its studies at /queue.", show_default=False)
    ] = None,
) -> int:
    """Serve the web page: upload scans, look at the result, correct it, download it."""
    try:
        import uvicorn

        from glioscope.web.app import create_app
        from glioscope.web.settings import ServerConfig
    except ImportError as error:
        raise DependencyError(f"serve needs {error.name}: pip install 'glioscope[web]'") from error
    config = ServerConfig(
        host=host, port=port, data=data.resolve(), token=token, model=model, workers=workers, node=node
    )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=config.connections,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=5,
            ws="none",
        )
    )
    shown = f"[{host}]" if ":" in host else host
    listening = _listen(host, port)  # before anything is announced
    port = listening.getsockname()[1]
    print(f"Glioscope at http://{shown}:{port}, cases in {config.data}. Stop with Ctrl+C.", flush=True)
    print("Research use only; not a medical device.", file=sys.stderr, flush=True)
    server.run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises
    ------
    RunError
        Another program listens there, or this machine has no such address.
    """
    made = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        if sys.platform != "win32":  # there it would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        if made is not None:
            made.close()
        raise RunError(
            f"serve: cannot listen at {host}, port {port} ({error.strerror}); is another server there? Choose --port"
        ) from error
    return made
