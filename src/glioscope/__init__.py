"""Brain MRI into measured tumours. Research use only; not a medical device."""

import sys

__version__ = "0.1.0"

# OpenVINO reports each import and model conversion to its maker over the network unless this module is absent. Images
# of patients are read here, often on machines that must stay silent, so it is absent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
