"""`glioscope serve`: the web page."""

import socket
import sys
from pathlib import Path

from glioscope.errors import DependencyError, RunError


def run_server(*, host: str, port: int, data: Path, token: str | None, model: Path | None, workers: int) -> int:
    """Serve until interrupted; return the exit code.

    Raises
    ------
    ConfigError
        The address needs a token, or the port does not exist.
    DependencyError
        The extra `web` is not installed.
    RunError
        The address is taken, or the data folder cannot be used.
    """
    try:
        import uvicorn

        from glioscope.web.app import create_app
        from glioscope.web.settings import ServerConfig
    except ImportError as error:
        raise DependencyError(f"serve needs {error.name}: pip install 'glioscope[web]'") from error
    config = ServerConfig(host=host, port=port, data=data.resolve(), token=token, model=model, workers=workers)
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
