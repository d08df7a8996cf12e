"""What `glioscope info` tells."""

from importlib.util import find_spec
from typing import Any

from glioscope import __version__
from glioscope.errors import ModelError
from glioscope.evaluation import builtin_protocols
from glioscope.inference import automatic_precision
from glioscope.labels import SCHEMES
from glioscope.machine import Processor, cache_folder, processor, versions
from glioscope.model import read_model
from glioscope.segmentation import default_model
from glioscope.settings import builtin_configs


def gather() -> dict[str, Any]:
    """Return versions, engines, processor and what comes with the package, ready for JSON."""
    machine = processor()
    found = {"glioscope": __version__, **{name: v for name, v in versions().items() if name != "glioscope"}}
    return {
        **found,
        "processor": machine.model,
        "cores": machine.cores,
        "memory": f"{machine.memory_gb:g} GiB",
        "features": " ".join(machine.features) or "none known",
        "default engine": f"OpenVINO {_precision(machine)}",
        "torch for training": "installed" if find_spec("torch") else "not installed: pip install 'glioscope[train]'",
        "compiled models": str(cache_folder() or "not kept: no writable cache folder"),
        "network": _network(),
        "configurations": ", ".join(builtin_configs()),
        "protocols": ", ".join(builtin_protocols()),
        "label schemes": ", ".join(SCHEMES),
    }


def _precision(machine: Processor) -> str:
    try:
        return automatic_precision(default_model())
    except ModelError:
        return "bf16" if machine.has_bf16 else "fp32"


def _network() -> str:
    try:
        folder = default_model()
        spec = read_model(folder)
    except ModelError as error:
        return str(error)
    return f"{spec.name} for {', '.join(spec.sequences)}, {folder}"
