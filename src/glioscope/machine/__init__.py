"""The machine and the software that a result was made with; where it may keep files; commands in their own process.

    processor, versions, git_commit ──▶ provenance: who made a result, for records
    cache_folder                    ──▶ where compiled networks lie between two runs
    cores                           ──▶ what this process may use
    `process`                       ──▶ one command with limits of time and memory

OpenVINO, psutil and platformdirs are loaded by the functions that ask them: a start that needs none pays for none.
"""

import functools
import ipaddress
import os
import platform
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What figures must name of the machine they were taken on."""

    model: str
    """As the processor calls itself."""
    cores: int
    """Logical processors of the machine."""
    memory_gb: float
    """Of the machine, in GiB, to one decimal."""
    features: tuple[str, ...]
    """Of ``BF16``, ``FP16``, ``FP32``, ``INT8``: what OpenVINO multiplies in hardware; empty if not known."""

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies in bfloat16; without that the type is emulated and very slow."""
        return "BF16" in self.features


@functools.lru_cache(maxsize=1)
def processor() -> Processor:
    """Return what figures must name: processor, cores, memory, and in which types it multiplies.

    OpenVINO is asked, on every system, since it is what computes; a tenth of a second where it was not loaded yet.
    """
    import psutil

    try:
        import openvino

        core = openvino.Core()
        name = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        told = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # torch computes then, and says so
        name, told = "", []
    return Processor(
        model=name or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        features=tuple(feature for feature in ("BF16", "FP16", "FP32", "INT8") if feature in told),
    )


def cores() -> int:
    """Return the processors that this process may use."""
    import psutil

    mine = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    return len(mine()) if mine else os.cpu_count() or 1


def cache_folder() -> Path | None:
    """Return the folder that keeps compiled models, made if need be, or None where none can be written.

    It is ``glioscope/compiled`` in the user's cache folder: ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux,
    ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows. Without it all works the same, some tenths of a second
    slower per start.
    """
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("glioscope", appauthor=False, opinion=False) / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None


def versions() -> dict[str, str]:
    """Return versions of Glioscope, Python and the packages that decide a result; absent ones are left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("glioscope", "numpy", "scipy", "nibabel", "openvino", "torch", "SimpleITK", "connected-components-3d"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the source tree this runs from, `+dirty` if changed; None outside a checkout."""
    here = Path(__file__).parents[1]
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "."], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+dirty" if dirty else commit


def provenance() -> dict[str, object]:
    """Return the record of who made a result: time (UTC), commit, versions, processor."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions(),
        "processor": asdict(processor()),
    }


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
