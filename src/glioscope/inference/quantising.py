"""A second form of a network, in 8-bit whole numbers: for processors that do not multiply in bf16."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import DependencyError, ModelError
from glioscope.inference.engines import INT8_NETWORK, OpenVinoEngine
from glioscope.inference.exporting import PARITY, constant_of, kernel_name, parity
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
    write_model(folder, spec, _present(folder))


def share_weights(folder: Path, cases: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> float:
    """Rewrite network.xml to read the 8-bit kernels of the int8 form, so that one file of weights serves both.

    Its feature maps stay in the precision that the engine computes in; kernels are widened when it is compiled, so a
    case takes as long as before. The folder loses two thirds of its weight. What it costs in Dice has to be measured:
    `benchmarks/bench_precision.py`.

    Parameters
    ----------
    folder : Path
        Of a model that `quantise` has given an int8 form. Afterwards network.bin has the weights of both forms, and
        network-int8.bin is gone.
    cases : sequence of (image (c, i, j, k), presence (c,))
        The old form and the new are held against each other on these.

    Returns
    -------
    float
        Share of voxels at which both decide alike, at least `PARITY`.

    Raises
    ------
    ModelError
        The folder has no int8 form, or the new form decides otherwise; then nothing is changed.
    """
    import openvino

    spec = read_model(folder)
    quantised = folder / INT8_NETWORK
    if not quantised.is_file():
        raise ModelError(f"{folder}: has no {INT8_NETWORK}, whose weights are to be shared; quantise it first")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        core = openvino.Core()
        model = core.read_model(folder / "network.xml")
        _take_kernels(model, core.read_model(quantised))
        openvino.save_model(model, scratch / "plain.xml", compress_to_fp16=True)
        weights = _merge(scratch / "plain.xml", quantised.with_suffix(".bin").read_bytes())
        (scratch / "plain.xml").replace(scratch / "network.xml")
        (scratch / "network.bin").write_bytes(weights)
        old, new = (OpenVinoEngine(place / "network.xml", precision="fp32") for place in (folder, scratch))
        agreement = parity(old, new, cases, regions=len(spec.regions.names))
        if agreement < PARITY:
            raise ModelError(
                f"{folder}: with 8-bit kernels {agreement:.4%} of voxels are decided as before; {PARITY:.1%} is needed"
            )
        for file in ("network.bin", "network.xml"):
            (scratch / file).replace(folder / file)
    quantised.with_suffix(".bin").unlink()
    write_model(folder, spec, _present(folder))
    return agreement


def _take_kernels(model: Any, quantised: Any) -> None:
    """Put the 8-bit kernels of a quantised network, each with its scales, in the place of a network's own."""
    import openvino.opset13 as ops

    products = {
        kernel_name(node): node
        for node in quantised.get_ordered_ops()
        if node.get_type_name() == "Multiply" and kernel_name(node)
    }
    for node in model.get_ordered_ops():
        product = products.get(kernel_name(node)) if node.get_type_name() == "Constant" else None
        if product is None:
            continue
        rounded, scale = (constant_of(product.input_value(side).get_node()) for side in (0, 1))
        kernel = ops.multiply(ops.convert(ops.constant(rounded), "f32"), ops.convert(ops.constant(scale), "f32"))
        kernel.set_friendly_name(product.get_friendly_name())
        (user,) = node.output(0).get_target_inputs()
        if user.get_node().get_type_name() == "Convert":  # fp16 was widened
            (user,) = user.get_node().output(0).get_target_inputs()
        user.replace_source_output(kernel.output(0))
    model.validate_nodes_and_infer_types()


def _merge(network: Path, weights: bytes) -> bytes:
    """Point a network's constants into another file of weights; return that, with what it lacked at its end."""
    own = network.with_suffix(".bin").read_bytes()
    tree = ElementTree.parse(network)
    for data in tree.iter("data"):
        if "offset" in data.attrib:
            begin, size = int(data.attrib["offset"]), int(data.attrib["size"])
            constant = own[begin : begin + size]
            place = weights.find(constant)
            if place < 0:
                place = len(weights)
                weights += constant
            data.set("offset", str(place))
    tree.write(network, encoding="utf-8", xml_declaration=True)
    return weights


def _present(folder: Path) -> list[str]:
    """Files of a model folder that its record names."""
    kinds = (".xml", ".bin", ".onnx", ".safetensors")
    return [path.name for path in sorted(folder.iterdir()) if path.suffix in kinds]
