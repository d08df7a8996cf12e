"""Brain MRI into measured tumours. Research use only; not a medical device.

The names below are the Python interface; each loads its room when it is first used, so `import glioscope` is quick and
`segment` works without torch. Everything else is found in its room, as in `glioscope.space.grid.Grid`.
"""

from typing import TYPE_CHECKING

import lazy_loader

from glioscope.machine.imports import never_import

if TYPE_CHECKING:
    from glioscope.cases import find_cases, load_case
    from glioscope.errors import GlioscopeError
    from glioscope.evaluation import evaluate
    from glioscope.experiment.train import TrainOptions, train
    from glioscope.measure import ChangeOptions, change
    from glioscope.phantom import write_phantoms
    from glioscope.segmentation import SegmentOptions, segment
    from glioscope.segmentation.clicks import Click
    from glioscope.segmentation.refining import refine

__version__ = "0.1.0"

__all__ = [
    "ChangeOptions",
    "Click",
    "GlioscopeError",
    "SegmentOptions",
    "TrainOptions",
    "change",
    "evaluate",
    "find_cases",
    "load_case",
    "refine",
    "segment",
    "train",
    "write_phantoms",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cases": ["find_cases", "load_case"],
        "errors": ["GlioscopeError"],
        "evaluation": ["evaluate"],
        "experiment.train": ["TrainOptions", "train"],
        "measure": ["ChangeOptions", "change"],
        "phantom": ["write_phantoms"],
        "segmentation": ["SegmentOptions", "segment"],
        "segmentation.clicks": ["Click"],
        "segmentation.refining": ["refine"],
    },
)

# OpenVINO reports each import and model conversion to its maker over the network unless this module is absent. Images
# of patients are read here, often on machines that must stay silent, so it is absent. See decision 0013.
never_import("openvino_telemetry")
