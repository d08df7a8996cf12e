"""How the server runs: where it listens, where it keeps cases, and every limit."""

from dataclasses import dataclass
from pathlib import Path

from glioscope.errors import ConfigError
from glioscope.machine import is_loopback
from glioscope.machine.process import GIB

LEAST_TOKEN = 16
"""Characters; a shorter secret can be guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Address, folder and limits of one server."""

    data: Path
    """Cases, results and the list of both; made if need be."""
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    """What a browser or program must know; needed beyond this machine."""
    model: Path | None = None
    """Model folder; None takes the network in the package."""
    workers: int = 1
    """Cases segmented at once; each takes all cores."""
    max_file_bytes: int = 2 * GIB
    max_upload_bytes: int = 4 * GIB
    """All files of one upload together, and what its zips unpack to."""
    max_files: int = 20_000
    """Files in one upload: a DICOM folder has some thousand."""
    upload_seconds: float = 1800.0
    stall_seconds: float = 30.0
    """An upload that sends nothing for so long is given up."""
    node: Path | None = None
    """Folder of a node whose queue is shown; None shows none."""
    max_queue: int = 500
    """Jobs waiting; more are refused."""
    job_seconds: float = 1800.0
    job_bytes: int = 8 * GIB
    """Resident memory of one job and the processes it starts."""
    wrong_token_seconds: float = 1.0
    """A wrong token is answered so late, one after the other."""
    connections: int = 64
    """Open at once; more are answered 503."""
    reserve_bytes: int = GIB // 2
    """Kept free on the disk."""

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.token:
            raise ConfigError(
                f"serve: address {self.host} can be reached by other machines; name a secret of at least {LEAST_TOKEN} "
                "characters with --token (or in GLIOSCOPE_TOKEN), or leave --host at 127.0.0.1"
            )
        if self.token is not None and (len(self.token) < LEAST_TOKEN or not self.token.isascii()):
            raise ConfigError(f"serve: the token needs at least {LEAST_TOKEN} ASCII characters, and has another form")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"serve: port {self.port} does not exist; choose 1024 to 65535")
        if self.workers < 1:
            raise ConfigError(f"serve: {self.workers} workers cannot work; give at least 1")
