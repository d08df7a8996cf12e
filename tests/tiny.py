"""Small cases and networks made in place: a scan of some thousand voxels, a network of one layer."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from glioscope.cases import SEQUENCES
from glioscope.model import ModelSpec, write_model
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume

SHAPE = (20, 24, 16)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def tiny_images(shape: tuple[int, int, int] = SHAPE, *, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """A noisy brain with a margin of background; FLAIR bright in a box, T1 with contrast bright in its middle."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    images = {s: np.where(brain, rng.normal(100, 5, shape), 0).astype(np.float32).round() for s in SEQUENCES}
    images["t2f"][4:10, 5:11, 4:10] = 300
    images["t1c"][6:8, 7:9, 6:8] = 400
    return images


def write_tiny_case(
    folder: Path,
    case_id: str = "BraTS-GLI-00001-000",
    *,
    images: Mapping[str, NDArray[np.float32]] | None = None,
    names: Mapping[str, str] | None = None,
    affine: NDArray[np.float64] = LPS,
    seed: int = 0,
) -> Path:
    """Write a case as BraTS 2023 names it, or with `names` (sequence to the ending), and return its folder."""
    for sequence, image in (images or tiny_images(seed=seed)).items():
        ending = names[sequence] if names else f"-{sequence}"
        write_volume(folder / case_id / f"{case_id}{ending}.nii.gz", image, Grid(image.shape, affine))
    return folder / case_id


OLD_NAMES = {"t1n": "_t1", "t1c": "_t1ce", "t2w": "_t2", "t2f": "_flair"}


def write_tiny_network(folder: Path, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> Path:
    """Write network.xml and network.bin of ``logits = weights @ image + bias``, voxel by voxel."""
    outputs, channels = weights.shape
    image = ops.parameter([1, channels, -1, -1, -1], np.float32, name="image")
    presence = ops.parameter([1, channels], np.float32, name="presence")
    kernel = weights.astype(np.float32).reshape(outputs, channels, 1, 1, 1)
    convolved = ops.convolution(image, kernel, [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1])
    shifted = ops.add(convolved, bias.astype(np.float32).reshape(1, outputs, 1, 1, 1))
    nothing = ops.multiply(ops.reduce_sum(presence, np.array([0, 1])), np.float32(0))
    logits = ops.add(shifted, nothing)
    for node, name in ((image, "image"), (presence, "presence"), (logits, "logits")):
        node.output(0).get_tensor().set_names({name})
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.Model([logits], [image, presence]), folder / "network.xml", compress_to_fp16=False)
    return folder / "network.xml"


def write_tiny_model(folder: Path, *, name: str = "tiny", **settings: object) -> Path:
    """Write a model folder: bright FLAIR is whole tumour, brighter core, bright T1 with contrast enhances."""
    weights = np.zeros((3, 4), np.float32)
    weights[0, 3] = weights[1, 3] = weights[2, 1] = 4
    write_tiny_network(folder, weights, np.array([-4, -40, -40], np.float32))
    spec = ModelSpec(
        name=name, outputs="regions", divisor=4, network={}, **({"inference": {"patch": (32, 32, 32)}} | settings)
    )
    write_model(folder, spec, ["network.xml", "network.bin"])
    return folder
