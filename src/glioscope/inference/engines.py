"""Engines that run: OpenVINO on the processor, torch on CUDA or where OpenVINO fails."""

import importlib.util
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import DependencyError, ModelError
from glioscope.machine import cache_folder, processor
from glioscope.model import ModelSpec, read_model
from glioscope.settings import settings

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bf16", "int8", "fp32"]

INT8_NETWORK = "network-int8.xml"
"""A model folder may hold it beside network.xml; see `quantise`."""
_OPENVINO_PRECISION = {"bf16": "bf16", "fp32": "f32", "int8": "f32"}
"""What layers compute in; those of an int8 network that are not quantised compute in fp32."""
_SHAPES_KEPT = 2
"""Compiled shapes held in memory, each with its own buffers (some 0.3 GB for a whole brain)."""


class Engine(Protocol):
    """What every engine offers."""

    name: str
    """Library and version."""
    precision: str
    """`bf16`, `int8` or `fp32`: what the arithmetic is done in, or asked to be."""
    description: str
    """One line for records: what runs where, and why if it was not the first choice."""

    def __call__(self, image: NDArray[np.float32], presence: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return logits (r, i, j, k), an array of the caller's own, of an image (c, i, j, k) and its presence (c,)."""
        ...


def weights_of(network: Path) -> Path:
    """Return the file of a network's weights: of its own name, or ``network.bin`` where two forms share them."""
    own = network.with_suffix(".bin")
    return own if own.is_file() else network.with_name("network.bin")


class OpenVinoEngine:
    """A network in OpenVINO's form on this machine's processor.

    Parameters
    ----------
    network : Path
        ``network.xml`` with its weights beside it (`weights_of`); inputs ``image`` (1, c, i, j, k) and ``presence``
        (1, c), output ``logits``.
    threads : int, optional
        By default all cores.

    Raises
    ------
    ModelError
        The file is not a network, or lacks an input or output of those names.
    """

    def __init__(self, network: Path, *, precision: Precision = "auto", threads: int | None = None) -> None:
        import openvino

        self._openvino = openvino
        machine = processor()
        self.precision: str = ("bf16" if machine.has_bf16 else "fp32") if precision == "auto" else precision
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.description = f"OpenVINO {self.precision} on {machine.model}, {threads or machine.cores} threads"
        # Precision is always said aloud: left to itself the plug-in picks, and records would not tell what ran.
        self._options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISION[self.precision],
        }
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        cache = cache_folder()
        if cache is not None:
            self._options["CACHE_DIR"] = str(cache)
        self._core = openvino.Core()
        self._requests: dict[tuple[int, ...], Any] = {}
        self._network = network
        self._model = self._read()

    def _read(self) -> Any:
        try:
            model = self._core.read_model(self._network, weights_of(self._network))
            names = {name for port in (*model.inputs, *model.outputs) for name in port.get_names()}
        except RuntimeError as error:
            raise ModelError(
                f"{self._network}: not a network OpenVINO reads ({first_line(error)}); export it again"
            ) from error
        absent = sorted({"image", "presence", "logits"} - names)
        if absent:
            raise ModelError(
                f"{self._network}: has {sorted(names)} but lacks {absent}; export it with 'glioscope export'"
            )
        return model

    def compile(self, shape: tuple[int, ...]) -> None:
        """Make ready for images of `shape` (c, i, j, k), so that the first call is as fast as the next."""
        self._request(tuple(shape))

    def _request(self, shape: tuple[int, ...]) -> Any:
        # A static shape: the compiled form can be cached, and takes less memory than one for every shape.
        request = self._requests.pop(shape, None)
        if request is None:
            model = self._model.clone()
            model.reshape({"image": [1, *shape], "presence": [1, shape[0]]})
            while len(self._requests) >= _SHAPES_KEPT:
                self._requests.pop(next(iter(self._requests)))
            request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        self._requests[shape] = request  # last: the one used latest
        return request

    def __call__(self, image: NDArray[np.float32], presence: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return logits (r, i, j, k)."""
        tensor = self._openvino.Tensor
        try:
            request = self._request(image.shape)
            port = request.get_compiled_model().output("logits")
            logits = np.empty(tuple(port.get_shape()), np.float32)
            # Shared with the plug-in, so nothing is copied in or out. The request does not keep the arrays alive: they
            # must stand here until it has run, or it reads memory that is somebody else's by then.
            arrays = {
                "image": np.ascontiguousarray(image, np.float32)[None],
                "presence": presence.astype(np.float32)[None],
                "logits": logits,
            }
            for name, array in arrays.items():
                request.set_tensor(name, tensor(array, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise ModelError(
                f"{self._network}: cannot run on an image of shape {image.shape} ({first_line(error)}); "
                "does the model take these sequences?"
            ) from error
        return logits[0]


class TorchEngine:
    """A network in torch, on CUDA or the processor. Imports torch."""

    def __init__(
        self, folder: Path, spec: ModelSpec, *, device: str, precision: Precision = "auto", threads: int | None = None
    ):
        torch = import_torch()
        from safetensors.torch import load_file

        from glioscope.model.network import NetworkConfig, build

        weights = folder / "weights.safetensors"
        if not weights.is_file():
            raise ModelError(
                f"{folder}: has no weights.safetensors, which torch needs; export the run again or use --device cpu"
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelError("device cuda: torch finds no CUDA device; use --device cpu")
        if threads:
            torch.set_num_threads(threads)
        network: Any = build(settings(NetworkConfig, {"network": spec.network}, "network"))
        try:
            network.load_state_dict(load_file(weights))
        except RuntimeError as error:
            raise ModelError(f"{weights}: does not fit the network of model.json ({first_line(error)})") from error
        self._torch = torch
        self._device = torch.device(device)
        self.network = network.eval().to(self._device, memory_format=torch.channels_last_3d)
        # On a processor torch emulates bf16 where the hardware lacks it; fp32 is always sound there.
        self.precision: str = ("bf16" if device == "cuda" else "fp32") if precision == "auto" else precision
        self.name = f"torch {torch.__version__}"
        where = torch.cuda.get_device_name() if device == "cuda" else processor().model
        self.description = f"torch {self.precision} on {where}"

    def __call__(self, image: NDArray[np.float32], presence: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return logits (r, i, j, k)."""
        torch = self._torch
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            batch = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None]
            batch = batch.to(self._device, memory_format=torch.channels_last_3d)
            known = torch.from_numpy(presence.astype(np.float32))[None].to(self._device)
            logits = self.network(batch, known)[0]
        return logits.float().contiguous().cpu().numpy()


def first_line(error: Exception) -> str:
    """Return the line of an engine's message that says something (OpenVINO's begin with source positions)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "While validating"))]
    return (telling or lines or [type(error).__name__])[-1][:200]


def import_torch() -> Any:
    """Return torch; where it is not installed, raise a DependencyError that says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise DependencyError("torch is not installed; install it with: pip install 'glioscope[train]'") from error
    return torch


def _cuda_is_likely() -> bool:
    """Return whether it is worth importing torch to look for CUDA: a driver and torch are there."""
    if importlib.util.find_spec("torch") is None:
        return False
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def automatic_precision(model_folder: Path) -> Precision:
    """Return the precision in which this processor is quickest at a model: bf16, else int8 where the folder has it."""
    if processor().has_bf16:
        return "bf16"
    x86 = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere int8 was never measured
    return "int8" if x86 and (model_folder / INT8_NETWORK).is_file() else "fp32"


def _form(model_folder: Path, precision: Precision) -> tuple[Path, Precision]:
    """Return which of a folder's networks to run, and in which precision."""
    if precision == "auto":
        precision = automatic_precision(model_folder)
    network = model_folder / (INT8_NETWORK if precision == "int8" else "network.xml")
    if precision == "int8" and not network.is_file():
        raise ModelError(f"{model_folder}: has no {INT8_NETWORK}; make it with 'glioscope export --int8'")
    return network, precision


def load_engine(
    model_folder: Path, *, device: Device = "auto", precision: Precision = "auto", threads: int | None = None
) -> Engine:
    """Return the engine that runs a model folder best on this machine.

    Parameters
    ----------
    device : str
        `auto` takes CUDA where torch finds it and the folder has ``weights.safetensors``, else the processor.
    precision : str
        `auto` takes bf16 where the hardware multiplies it (AVX512-BF16, AMX, CUDA), else int8 on an x86 processor and
        where the folder has that form, else fp32.
    threads : int, optional
        On the processor; by default all cores.

    Returns
    -------
    Engine
        On the processor OpenVINO; should that fail, torch in fp32, and `description` says so and why.

    Raises
    ------
    ModelError
        The folder is not a model, is damaged, or no engine can run it.
    """
    spec = read_model(model_folder)
    has_weights = (model_folder / "weights.safetensors").is_file()
    if device == "cuda":
        if precision == "int8":
            raise ModelError("int8 is for processors; use --device cpu, or another --precision on CUDA")
        return TorchEngine(model_folder, spec, device="cuda", precision=precision)
    if (
        device == "auto"
        and precision != "int8"
        and has_weights
        and _cuda_is_likely()
        and import_torch().cuda.is_available()
    ):
        return TorchEngine(model_folder, spec, device="cuda", precision=precision)
    network, precision = _form(model_folder, precision)
    try:
        return OpenVinoEngine(network, precision=precision, threads=threads)
    except (ImportError, RuntimeError) as error:  # a ModelError is a RuntimeError
        reason = first_line(error)
        if not has_weights:
            raise ModelError(f"{model_folder}: OpenVINO fails ({reason}) and there are no weights for torch") from error
    try:
        engine = TorchEngine(model_folder, spec, device="cpu", precision="fp32", threads=threads)
    except (ImportError, RuntimeError) as second:
        raise ModelError(f"{model_folder}: OpenVINO fails ({reason}) and torch too ({first_line(second)})") from second
    engine.description += f" (fallback: OpenVINO failed: {reason})"
    return engine


class EnsembleEngine:
    """Several networks of one kind, their logits averaged: the folds of a run, say."""

    def __init__(self, members: Sequence[Engine]) -> None:
        self.members = tuple(members)
        self.name = members[0].name
        self.precision = members[0].precision
        self.description = f"{len(members)} networks, each: {members[0].description}"

    def __call__(self, image: NDArray[np.float32], presence: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return mean logits (r, i, j, k)."""
        total = self.members[0](image, presence)
        for member in self.members[1:]:
            total += member(image, presence)
        total /= np.float32(len(self.members))
        return total


def load_ensemble(
    folders: Sequence[Path], *, device: Device = "auto", precision: Precision = "auto", threads: int | None = None
) -> Engine:
    """Return one engine for one model folder or several; errors as `load_engine`."""
    members = [load_engine(folder, device=device, precision=precision, threads=threads) for folder in folders]
    return members[0] if len(members) == 1 else EnsembleEngine(members)
