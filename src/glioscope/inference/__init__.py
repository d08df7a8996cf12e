"""The one prediction path: a model behind one call, and a case through it.

OpenVINO computes on the processor, torch on CUDA or where OpenVINO fails.

    model folder ──load_engine──▶ Engine: (image, presence) ──▶ logits          (`engines`)
    torch network ──export──▶ model folder ──trained_weights──▶ torch network   (`exporting`)
    prepared case ──predict_case──▶ probabilities ──▶ regions           (`predicting`)
    model folder ──quantise──▶ the same with an int8 form of the network        (`quantising`)
                 ──share_weights──▶ the same with one file of weights for both forms

An engine takes one image, any spatial size that its network accepts, and says by name what it runs on. OpenVINO
compiles a network once per image shape; the compiled form is kept in the user's cache folder, which takes the
compilation out of every later start. Torch is imported only where it computes or converts.
"""

from glioscope.inference.engines import (
    Device,
    Engine,
    EnsembleEngine,
    OpenVinoEngine,
    Precision,
    TorchEngine,
    automatic_precision,
    load_engine,
    load_ensemble,
)
from glioscope.inference.exporting import PARITY, Model, export_model, export_openvino, parity, trained_weights
from glioscope.inference.predicting import (
    InferenceConfig,
    predict_case,
    predict_logits,
    probabilities_from_logits,
    regions_from_probabilities,
    tile_weights,
    tiles,
)
from glioscope.inference.quantising import quantise, share_weights

__all__ = [
    "PARITY",
    "Device",
    "Engine",
    "EnsembleEngine",
    "InferenceConfig",
    "Model",
    "OpenVinoEngine",
    "Precision",
    "TorchEngine",
    "automatic_precision",
    "export_model",
    "export_openvino",
    "load_engine",
    "load_ensemble",
    "parity",
    "predict_case",
    "predict_logits",
    "probabilities_from_logits",
    "quantise",
    "regions_from_probabilities",
    "share_weights",
    "tile_weights",
    "tiles",
    "trained_weights",
]
