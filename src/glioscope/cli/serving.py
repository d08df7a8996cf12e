"""`glioscope serve`: the web page."""

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
    print(f"Glioscope at http://{shown}:{port}, cases in {config.data}. Stop with Ctrl+C.", flush=True)
    print("Research use only; not a medical device.", file=sys.stderr, flush=True)
    try:
        server.run()
    except SystemExit as error:  # the port is taken
        raise RunError(f"serve: cannot listen at {shown}:{port}; is another server there? Choose --port") from error
    return 0
