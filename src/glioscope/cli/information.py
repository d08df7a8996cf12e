"""What `glioscope info` tells."""

from importlib.util import find_spec
from typing import Any

from glioscope import __version__
from glioscope.errors import ModelError
from glioscope.evaluation import builtin_protocols
from glioscope.inference import automatic_precision, cache_folder
from glioscope.labels import SCHEMES
from glioscope.machine import has_bf16, processor, versions
from glioscope.model import read_model
from glioscope.segmentation import default_model
from glioscope.settings import builtin_configs


def gather() -> dict[str, Any]:
    """Return versions, engines, processor and what comes with the package, ready for JSON."""
    machine = processor()
    found = {"glioscope": __version__, **{name: v for name, v in versions().items() if name != "glioscope"}}
    return {
        **found,
        "processor": machine["model"],
        "cores": machine["cores"],
        "features": " ".join(machine["flags"]) or "none known",
        "default engine": f"OpenVINO {_precision(machine)}",
        "torch for training": "installed" if find_spec("torch") else "not installed: pip install 'glioscope[train]'",
        "compiled models": str(cache_folder() or "not kept: no writable cache folder"),
        "network": _network(),
        "configurations": ", ".join(builtin_configs()),
        "protocols": ", ".join(builtin_protocols()),
        "label schemes": ", ".join(SCHEMES),
    }


def _precision(machine: dict[str, Any]) -> str:
    try:
        return automatic_precision(default_model())
    except ModelError:
        return "bf16" if has_bf16(machine) else "fp32"


def _network() -> str:
    try:
        folder = default_model()
        spec = read_model(folder)
    except ModelError as error:
        return str(error)
    return f"{spec.name} for {', '.join(spec.sequences)}, {folder}"
