"""Convert deepbet's two networks to OpenVINO's form: how `src/glioscope/models/brain` was made. Needs torch; run once.

    pip download --no-deps deepbet==1.0.2
    python scripts/convert_brain_extraction.py deepbet-1.0.2-py3-none-any.whl src/glioscope/models/brain

deepbet (Fisch et al. 2024, MIT licence) ships its weights in its wheel as TorchScript. A TorchScript file can run code
when it is loaded, so the wheel is checked against the published SHA-256 first. Both networks answer as before to
within fp16 rounding of the weights; the script prints the largest difference on noise.
"""

import argparse
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import openvino
import torch

WHEEL_SHA256 = "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c"
NETWORKS = {"locate": ("data/models/bbox_model.pt", 128), "outline": ("data/models/model.pt", 256)}
"""Our name: the file within the wheel, and the edge of the cube that the network was trained on."""
LICENCE = "deepbet-1.0.2.dist-info/LICENSE"


class BrainShare(torch.nn.Module):
    """The second of the two softmax channels: how sure the network is that a voxel is brain."""

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)[:, 1:]


def convert(weights: bytes, name: str, edge: int, folder: Path) -> None:
    network = BrainShare(torch.jit.load(io.BytesIO(weights), map_location="cpu")).eval()
    small = torch.rand(1, 1, 64, 64, 64)
    traced = torch.jit.trace(network, small)
    model = openvino.convert_model(traced, example_input=small)
    model.inputs[0].get_tensor().set_names({"image"})
    model.outputs[0].get_tensor().set_names({"brain"})
    model.reshape({"image": [1, 1, edge, edge, edge]})
    openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=True)
    compiled = openvino.Core().compile_model(folder / f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    image = torch.rand(1, 1, edge, edge, edge)
    with torch.inference_mode():
        before = network(image).numpy()
    print(f"{name}: largest difference {np.abs(compiled(image.numpy())[0] - before).max():.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    digest = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{arguments.wheel}: SHA-256 {digest} is not that of deepbet 1.0.2")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(arguments.wheel) as archive, torch.inference_mode():
        for name, (member, edge) in NETWORKS.items():
            convert(archive.read(member), name, edge, arguments.folder)
        (arguments.folder / "LICENSE").write_bytes(archive.read(LICENCE))
    files = [f"{name}.{suffix}" for name in NETWORKS for suffix in ("xml", "bin")]
    sums = {file: hashlib.sha256((arguments.folder / file).read_bytes()).hexdigest() for file in files}
    (arguments.folder / "checksums.json").write_text(json.dumps(sums, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
