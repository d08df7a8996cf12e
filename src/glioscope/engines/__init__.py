"""A model behind one call: OpenVINO on the processor, torch on CUDA or where OpenVINO fails.

    model folder ──load_engine──▶ Engine: (image, presence) ──▶ logits          (`running`)
    torch network ──export──▶ model folder ──trained_weights──▶ torch network   (`exporting`)
    model folder ──quantise──▶ the same with an int8 form of the network        (`quantising`)

An engine takes one image, any spatial size that its network accepts, and says by name what it runs on. OpenVINO
compiles a network once per image shape; the compiled form is kept in the user's cache folder, which takes the
compilation out of every later start. Torch is imported only where it computes or converts.
"""

from glioscope.engines.exporting import PARITY, Model, export_model, export_openvino, parity, trained_weights
from glioscope.engines.quantising import quantise
from glioscope.engines.running import (
    Device,
    Engine,
    EnsembleEngine,
    OpenVinoEngine,
    Precision,
    TorchEngine,
    automatic_precision,
    cache_folder,
    load_engine,
    load_ensemble,
)

__all__ = [
    "PARITY",
    "Device",
    "Engine",
    "EnsembleEngine",
    "Model",
    "OpenVinoEngine",
    "Precision",
    "TorchEngine",
    "automatic_precision",
    "cache_folder",
    "export_model",
    "export_openvino",
    "load_engine",
    "load_ensemble",
    "parity",
    "quantise",
    "trained_weights",
]
