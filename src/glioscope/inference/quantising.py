"""A second form of a network, in 8-bit whole numbers: for processors that do not multiply in bf16."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import DependencyError, ModelError
from glioscope.inference.engines import INT8_NETWORK
from glioscope.model import read_model, write_model


def quantise(folder: Path, cases: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> None:
    """Add network-int8.xml and its weights to a model folder; `load_engine` then chooses by the processor.

    Weights are rounded channel by channel, feature maps by their range over `cases` (post-training quantisation by
    NNCF). What it costs in Dice has to be measured: `benchmarks/bench_precision.py`.

    Parameters
    ----------
    folder : Path
        Of a model in OpenVINO's form.
    cases : sequence of (image (c, i, j, k), presence (c,))
        What the ranges are read from: a dozen cases as the network sees them, some with sequences left out. None of
        them held out, or the cost could not be measured on those.

    Raises
    ------
    ModelError
        The folder is not a model, or there is no case.
    DependencyError
        NNCF is not installed.
    """
    spec = read_model(folder)
    if not cases:
        raise ModelError(f"{folder}: int8 needs cases to read ranges from, and none were given")
    try:
        import nncf
    except ImportError as error:
        raise DependencyError("nncf is not installed; install it with: pip install 'glioscope[int8]'") from error
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    pairs = nncf.Dataset(
        [{"image": image[None], "presence": presence.astype(np.float32)[None]} for image, presence in cases]
    )
    with contextlib.redirect_stdout(io.StringIO()):  # its bars; results alone go to standard output here
        model = nncf.quantize(
            openvino.Core().read_model(folder / "network.xml"),
            pairs,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(cases),
        )
    names = [INT8_NETWORK, INT8_NETWORK.replace(".xml", ".bin")]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # so that no reader meets half a pair
        openvino.save_model(model, Path(scratch) / INT8_NETWORK, compress_to_fp16=True)
        for name in reversed(names):
            (Path(scratch) / name).replace(folder / name)
    present = [
        path.name for path in sorted(folder.iterdir()) if path.suffix in (".xml", ".bin", ".onnx", ".safetensors")
    ]
    write_model(folder, spec, present)
