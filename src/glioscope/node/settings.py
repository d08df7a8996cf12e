"""How the node runs: where it listens, to whom it answers, where results go, and every limit."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from glioscope.errors import ConfigError
from glioscope.machine import is_loopback
from glioscope.machine.process import GIB, Limits
from glioscope.node.rules import EVERYTHING, Rule

_AE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""An application entity title by PS3.5: up to 16 characters of ASCII without backslash and control characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An archive that results go to."""

    ae: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae}@{self.host}:{self.port}"


def peer(text: str) -> Peer:
    """Read ``AE@HOST:PORT``.

    Raises
    ------
    ConfigError
        The text has another form.
    """
    ae, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (at and colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(
            f"node: '{text}' is no address of an archive; write AE@HOST:PORT, as in ORTHANC@127.0.0.1:4242"
        )
    return Peer(ae=checked_ae(ae), host=host.strip("[]"), port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who may send: an AE title (`*` is any), from an address or network."""

    ae: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    """None is any."""

    def admits(self, ae: str, address: str) -> bool:
        """Return whether a caller is this one."""
        if self.ae not in ("*", ae):
            return False
        return self.network is None or ipaddress.ip_address(address.partition("%")[0]) in self.network


def caller(text: str) -> Caller:
    """Read ``AE``, ``AE@ADDRESS`` or ``AE@NETWORK``; `*` is any AE.

    Raises
    ------
    ConfigError
        The text has another form.
    """
    ae, at, address = text.partition("@")
    try:
        network = ipaddress.ip_network(address, strict=False) if at else None
    except ValueError:
        raise ConfigError(
            f"node: '{address}' is no address or network; write AE@ADDRESS, as in MR1@10.0.0.7 or *@10.0.0.0/24"
        ) from None
    return Caller(ae=ae if ae == "*" else checked_ae(ae), network=network)


def checked_ae(text: str) -> str:
    """Return an AE title without the spaces around it, or raise `ConfigError`."""
    if not _AE.fullmatch(text) or not text.strip():
        raise ConfigError(f"node: '{text}' is no AE title; 1 to 16 characters of ASCII without backslash are needed")
    return text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates for connections in both directions, by the profile BCP 195 of PS3.15."""

    certificate: Path
    key: Path
    authority: Path
    """Whose signature the other side's certificate needs: both sides show one."""


def tls_files(text: str) -> Tls:
    """Read ``CERTIFICATE,KEY,AUTHORITY``.

    Raises
    ------
    ConfigError
        There are not three files.
    """
    files = [Path(part) for part in text.split(",")]
    if len(files) != 3 or not all(file.is_file() for file in files):
        raise ConfigError(f"node: --tls {text} names no three files; write CERTIFICATE,KEY,AUTHORITY, each in PEM")
    return Tls(certificate=files[0], key=files[1], authority=files[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPeer:
    """An archive that results go to by DICOMweb."""

    url: str
    """Of its DICOMweb root: ``http://127.0.0.1:8042/dicom-web``."""
    ae: str = "DICOMWEB"
    """What rules and logs call it."""

    def __str__(self) -> str:
        return f"{self.ae}@{self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Address, folder, archives and limits of one node."""

    data: Path
    """Objects, results and the list of both; made if need be."""
    ae: str = "GLIOSCOPE"
    host: str = "127.0.0.1"
    port: int = 11112
    send_to: tuple[Peer | WebPeer, ...] = ()
    rules: tuple[Rule, ...] = (EVERYTHING,)
    """The first that fits decides."""
    allow: tuple[Caller, ...] = ()
    """Nobody else may send; empty is anybody, on this machine alone."""
    quiet_seconds: float = 10.0
    """A study that got nothing for so long is complete."""
    model: Path | None = None
    """Model folder; None takes the network in the package."""
    program: tuple[str, ...] = ("-m", "glioscope", "segment")
    """What makes results, after the name of the interpreter; tests of the queue put something quicker there."""
    workers: int = 1
    """Studies segmented at once; each takes all cores."""
    limits: Limits = field(default_factory=Limits)
    """Of one study's process."""
    tls: Tls | None = None
    http_port: int | None = None
    """Of /healthz and /metrics, on this machine alone; None has neither."""
    max_associations: int = 16
    max_object_bytes: int = 2 * GIB
    max_objects: int = 20_000
    """Of one study."""
    reserve_bytes: int = GIB // 2
    """Kept free on the disk: an object that would take it is refused, and the sender keeps it."""
    idle_seconds: float = 60.0
    """A connection that says nothing for so long is closed."""
    first_wait_seconds: float = 2.0
    """Before an archive that could not be reached is tried again; doubled each time."""
    longest_wait_seconds: float = 300.0
    give_up_seconds: float = 3 * 24 * 3600.0
    """A result that no archive took for so long has failed, and can be sent again by hand."""
    commitment_seconds: float = 60.0
    """An archive that was asked to confirm that it keeps a result answers within this, or is asked again."""

    def __post_init__(self) -> None:
        checked_ae(self.ae)
        if not self.allow and not is_loopback(self.host):
            raise ConfigError(
                f"node: address {self.host} can be reached by other machines; name who may send with --allow "
                "(AE@ADDRESS or AE@NETWORK, several times), or leave --host at 127.0.0.1"
            )
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"node: port {self.port} does not exist; choose 1024 to 65535")
        if self.workers < 1:
            raise ConfigError(f"node: {self.workers} workers cannot work; give at least 1")
        if self.quiet_seconds <= 0:
            raise ConfigError(f"node: a quiet time of {self.quiet_seconds:g} s completes no study; give more than 0")
