"""The machine and the software that a result was made with."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


def processor() -> dict[str, Any]:
    """Return what figures must name: processor model, cores, and whether it multiplies in bfloat16."""
    text = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    entries = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    entries = {key.strip(): value.strip() for key, value in entries.items()}
    flags = set(entries.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return {
        "model": entries.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count() or 1,
        "flags": [flag for flag in wanted if flag in flags],
    }


def has_bf16(record: Mapping[str, Any] | None = None) -> bool:
    """Return whether the processor multiplies in bfloat16; without it the type is emulated and very slow."""
    flags = (record or processor())["flags"]
    return "avx512_bf16" in flags or "amx_bf16" in flags


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
    here = Path(__file__).parent
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


def provenance() -> dict[str, Any]:
    """Return the record of who made a result: time (UTC), commit, versions, processor."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions(),
        "processor": processor(),
    }
