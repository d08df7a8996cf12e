"""Networks from one form to another: torch to OpenVINO and ONNX, held against each other, and back to weights."""

import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ModelError
from glioscope.files import atomic_path
from glioscope.inference.engines import OpenVinoEngine, TorchEngine, first_line, import_torch, weights_of
from glioscope.labels import REGIONS
from glioscope.model import read_model, write_model

if TYPE_CHECKING:
    from torch import nn

PARITY = 0.999
"""Share of voxels whose decision two engines must agree on."""


def export_openvino(
    network: "nn.Module", folder: Path, *, sequences: int, size: int = 64, onnx: bool = True
) -> tuple[Path, ...]:
    """Convert a torch network to ``network.xml``, ``network.bin`` and ``network.onnx`` in a folder.

    Weights are stored as fp16, half the bytes; OpenVINO computes in its own precision. Both files take any spatial
    size that the network takes.

    Parameters
    ----------
    network : torch module
        Called as ``network(image (1, c, i, j, k), presence (1, c))``.
    sequences : int
        Input channels c.
    size : int
        Edge of the cube the network is traced with; a multiple of its divisor.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    ModelError
        The network cannot be converted.
    """
    torch = import_torch()
    import openvino

    network = network.eval().to("cpu", torch.float32)
    example = (torch.zeros(1, sequences, size, size, size), torch.ones(1, sequences))
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of shape checks inside torch's own layers
            model = openvino.convert_model(network, example_input=example)
    except RuntimeError as error:
        raise ModelError(f"{folder}: the network cannot be converted to OpenVINO ({first_line(error)})") from error
    for port, name in zip((*model.inputs, *model.outputs), ("image", "presence", "logits"), strict=True):
        port.get_tensor().set_names({name})
    free = openvino.PartialShape([1, sequences, -1, -1, -1])
    model.reshape({"image": free, "presence": openvino.PartialShape([1, sequences])})
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # so that no reader meets half a pair
        openvino.save_model(model, Path(scratch) / "network.xml", compress_to_fp16=True)
        written = [folder / "network.bin", folder / "network.xml"]
        for path in written:
            (Path(scratch) / path.name).replace(path)
    if onnx:
        written.append(folder / "network.onnx")
        with atomic_path(written[-1]) as path:
            _export_onnx(torch, network, example, path)
    return tuple(written)


def _export_onnx(torch: Any, network: Any, example: tuple[Any, Any], path: Path) -> None:
    space = {2: "i", 3: "j", 4: "k"}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter needs no further package; the newer one needs onnxscript.
        torch.onnx.export(
            network,
            example,
            path,
            input_names=["image", "presence"],
            output_names=["logits"],
            dynamic_axes={"image": space, "logits": space},
            dynamo=False,
        )


def trained_weights(place: Path) -> dict[str, NDArray[np.float32]]:
    """Return a trained network's weights under the names that they have in torch.

    Parameters
    ----------
    place : Path
        A file of safetensors, or a model folder. One that holds only OpenVINO's form, as the network in the package,
        will do: its weights are rounded to fp16 (kernels of a network that shares them with its int8 form to 8 bits),
        and what training alone uses (the heads of deep supervision) is absent.

    Raises
    ------
    ModelError
        There are no weights, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = place if place.is_file() else place / "weights.safetensors"
    if file.is_file():
        try:
            return load_file(file)
        except SafetensorError as error:
            raise ModelError(f"{file}: is not a file of safetensors ({first_line(error)}); copy it again") from error
    if not place.is_dir():
        raise ModelError(f"{place}: does not exist; give weights.safetensors, a model folder, or 'starter'")
    read_model(place)  # a damaged folder is told here
    return _openvino_weights(place / "network.xml")


_CONSTANT = re.compile(
    r"(?:self\.|__module\.)(?P<module>[\w.]+?)(?:/aten::(?P<layer>\w+)/.*)?(?P<rounded>_compressed)?"
)
_KERNEL = re.compile(r"__module\.(?P<module>[\w.]+?)/.*/fq_weights_\d+")
"""The product of an 8-bit kernel and its scales."""


def _openvino_weights(network: Path) -> dict[str, NDArray[np.float32]]:
    """Read the constants of a converted network: a kernel bears its own name, others that of the layer they serve."""
    import openvino

    weights: dict[str, NDArray[np.float32]] = {}
    for node in openvino.Core().read_model(network, weights_of(network)).get_ordered_ops():
        if node.get_type_name() == "Multiply" and (name := kernel_name(node)):
            rounded, scale = (constant_of(node.input_value(side).get_node()) for side in (0, 1))
            weights[name] = rounded.astype(np.float32) * scale.astype(np.float32)
            continue
        if node.get_type_name() != "Constant" or np.size(node.data) < 2 or not node.get_element_type().is_real():
            continue  # sizes, axes and the like
        if name := kernel_name(node):
            weights[name] = np.array(node.data, np.float32)
            continue
        user = _first_user(node).get_friendly_name()
        served = _CONSTANT.fullmatch(node.get_friendly_name()) or _CONSTANT.fullmatch(user)
        if served is None or served["layer"] not in ("instance_norm", "_convolution", "linear") or _KERNEL.match(user):
            continue
        own_name = f"{served['module']}.weight"
        is_scale = served["layer"] == "instance_norm" and own_name not in weights  # a norm multiplies, then adds
        weights[own_name if is_scale else f"{served['module']}.bias"] = np.array(node.data, np.float32).ravel()
    return weights


def _first_user(node: Any) -> Any:
    """Return the first node that computes with a constant, past the one that widens fp16."""
    user = next(iter(node.output(0).get_target_inputs())).get_node()
    return _first_user(user) if user.get_type_name() == "Convert" else user


def kernel_name(node: Any) -> str | None:
    """Return torch's name of a kernel, of the constant that holds it or the product of its 8-bit form and scales."""
    name = node.get_friendly_name()
    if kernel := _KERNEL.fullmatch(name):
        return f"{kernel['module']}.weight"
    own = _CONSTANT.fullmatch(name)
    return own["module"] if own and own["layer"] is None else None


def constant_of(node: Any) -> NDArray[Any]:
    """Return the array of a constant, before it is widened."""
    if node.get_type_name() == "Convert":
        return constant_of(node.input_value(0).get_node())
    return np.array(node.data)


Model = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""Anything that turns an image (c, i, j, k) and its presence (c,) into logits (r, i, j, k)."""


def parity(
    first: Model,
    second: Model,
    cases: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    *,
    regions: int = len(REGIONS),
) -> float:
    """Return the share of voxels at which two models decide alike, the least over the cases.

    A decision is the sign of each region logit, or the greatest of four label logits.

    Parameters
    ----------
    cases : iterable of (image (c, i, j, k), presence (c,))
        Real or synthetic cases; on noise alone an untrained network decides nothing.
    regions : int
        How many a network of region outputs gives.

    Returns
    -------
    float
        In [0, 1]; 1 without cases.
    """
    shares = [1.0]
    for image, presence in cases:
        one, two = (_decisions(model(image, presence), regions) for model in (first, second))
        shares.append(float((one == two).all(axis=0).mean()))
    return min(shares)


def export_model(source: Path, output: Path, cases: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> float:
    """Write a trained model as a model folder for any engine, and hold what was written against torch.

    Parameters
    ----------
    source : Path
        A model folder with ``weights.safetensors``, as training leaves one for each fold.
    output : Path
        Gets network.xml, network.bin, network.onnx, weights.safetensors and, last, model.json.
    cases : iterable of (image, presence)
        As for `parity`.

    Returns
    -------
    float
        The parity, at least `PARITY`; it is noted in model.json too.

    Raises
    ------
    ModelError
        The source is no model with weights, or the export decides otherwise than torch; then model.json is not
        written, and the folder is no model.
    """
    spec = read_model(source)
    trained = TorchEngine(source, spec, device="cpu", precision="fp32")
    export_openvino(trained.network, output, sequences=len(spec.sequences))
    with atomic_path(output / "weights.safetensors") as scratch:
        shutil.copyfile(source / "weights.safetensors", scratch)
    agreement = parity(
        OpenVinoEngine(output / "network.xml", precision="fp32"), trained, cases, regions=len(spec.regions.names)
    )
    if agreement < PARITY:
        raise ModelError(
            f"{output}: OpenVINO agrees with torch on {agreement:.4%} of voxels; {PARITY:.1%} is needed. "
            "The export is not to be used; please report this network."
        )
    spec = replace(spec, record={**spec.record, "parity": agreement})
    write_model(output, spec, ["network.xml", "network.bin", "network.onnx", "weights.safetensors"])
    return agreement


def _decisions(logits: NDArray[np.float32], regions: int) -> NDArray[Any]:
    return logits > 0 if len(logits) == regions else logits.argmax(axis=0)[None]
