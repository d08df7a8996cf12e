"""Brain MRI into measured tumours. Research use only; not a medical device.

The names below are the Python interface; each loads its room when it is first used, so `import glioscope` is quick and
`segment` works without torch. Everything else is found in its room, as in `glioscope.space.grid.Grid`.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glioscope.cases import find_cases, load_case
    from glioscope.errors import GlioscopeError
    from glioscope.evaluation import evaluate
    from glioscope.experiment.training import train_run as train
    from glioscope.measure import ChangeOptions, change
    from glioscope.phantom import write_phantoms
    from glioscope.segmentation import SegmentOptions, segment

__version__ = "0.1.0"

__all__ = [
    "ChangeOptions",
    "GlioscopeError",
    "SegmentOptions",
    "change",
    "evaluate",
    "find_cases",
    "load_case",
    "segment",
    "train",
    "write_phantoms",
]

_HOMES = {
    "ChangeOptions": ("measure", "ChangeOptions"),
    "GlioscopeError": ("errors", "GlioscopeError"),
    "SegmentOptions": ("segmentation", "SegmentOptions"),
    "change": ("measure", "change"),
    "evaluate": ("evaluation", "evaluate"),
    "find_cases": ("cases", "find_cases"),
    "load_case": ("cases", "load_case"),
    "segment": ("segmentation", "segment"),
    "train": ("experiment.training", "train_run"),
    "write_phantoms": ("phantom", "write_phantoms"),
}

# OpenVINO reports each import and model conversion to its maker over the network unless this module is absent. Images
# of patients are read here, often on machines that must stay silent, so it is absent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'glioscope' has no attribute '{name}'")
    room, attribute = _HOMES[name]
    return getattr(import_module(f"glioscope.{room}"), attribute)
