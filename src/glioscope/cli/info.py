"""`glioscope info`: what this installation has."""

import json
from importlib.util import find_spec
from typing import Annotated

import typer

from glioscope import __version__
from glioscope.cli.terminal import print_table, said


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, engines, processor features, and what comes with the package."""
    found = gather()
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_table("Glioscope", ("what", "found"), [(name, said(value)) for name, value in found.items()])


def gather() -> dict[str, object]:
    """Return versions, engines, processor and what comes with the package, ready for JSON."""
    from glioscope.evaluation import builtin_protocols
    from glioscope.labels import SCHEMES
    from glioscope.machine import cache_folder, processor, versions
    from glioscope.settings import builtin_configs

    machine = processor()
    network, precision = _network("bf16" if machine.has_bf16 else "fp32")
    return {
        "glioscope": __version__,
        **{name: version for name, version in versions().items() if name != "glioscope"},
        "processor": machine.model,
        "cores": machine.cores,
        "memory": f"{machine.memory_gb:g} GiB",
        "features": " ".join(machine.features) or "none known",
        "default engine": f"OpenVINO {precision}",
        "torch for training": "installed" if find_spec("torch") else "not installed: pip install 'glioscope[train]'",
        "compiled models": str(cache_folder() or "not kept: no writable cache folder"),
        "network": network,
        "configurations": ", ".join(builtin_configs()),
        "protocols": ", ".join(builtin_protocols()),
        "label schemes": ", ".join(SCHEMES),
    }


def _network(without: str) -> tuple[str, str]:
    """Return what the package's network is, and in which precision it runs; `without` one, what would be taken."""
    from glioscope.errors import ModelError
    from glioscope.inference import automatic_precision
    from glioscope.model import read_model
    from glioscope.segmentation import default_model

    try:
        folder = default_model()
        spec = read_model(folder)
    except ModelError as error:
        return str(error), without
    return f"{spec.name} for {', '.join(spec.sequences)}, {folder}", automatic_precision(folder)
