"""Seconds of one real case beside other people's networks, in one run: Glioscope files to file, the others' networks.

    python benchmarks/bench_peers.py CASE --python OTHER/bin/python [--mirror] [-o results.json]

CASE is a folder of a BraTS case. The other packages (torch, monai, keras, tensorflow, dynamic-network-architectures)
live in an environment of their own, whose Python is named with ``--python``. Each runs in a fresh process. Their
networks have random weights: time does not depend on them. What is timed:

- `glioscope`: the whole process from cold, four files to segmentation.nii.gz; and its network alone
- `original, Keras`: the first notebook's network in TensorFlow, fp32, its one 128³ crop, times 8 for the volume
- `original, torch`: the same network and windows in torch, fp32
- `MONAI SegResNet`: the configuration of MONAI's BraTS bundle, 240×240×160 in one pass, fp32
- `nnU-Net 3d_fullres`: its network for BraTS, 8 patches of 128³, fp32; with ``--mirror`` also all 8 mirror images of
  each, else the time of these is 8 times that without, and is marked as reckoned
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW = (128, 128, 128)
WINDOWS = 8
"""Of 128³ that cover a brain with half a window of overlap."""


def _timed(call: Callable[[], object], repeats: int) -> list[float]:
    call()  # warm
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(round(time.perf_counter() - began, 3))
    return times


def keras_original() -> dict[str, Any]:
    """The notebook's network in Keras: 16 to 256 features, ReLU, He-uniform, dropout, softmax."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import numpy as np
    from keras import layers

    def level(x: Any, width: int, rate: float) -> Any:
        for last in (False, True):
            x = layers.Conv3D(width, 3, activation="relu", kernel_initializer="he_uniform", padding="same")(x)
            x = x if last else layers.Dropout(rate)(x)
        return x

    inputs = keras.Input((*WINDOW, 3))
    x, skips = inputs, []
    for width, rate in ((16, 0.1), (32, 0.1), (64, 0.2), (128, 0.2)):
        skips.append(level(x, width, rate))
        x = layers.MaxPooling3D(2)(skips[-1])
    x = level(x, 256, 0.3)
    for width, rate in ((128, 0.2), (64, 0.2), (32, 0.1), (16, 0.1)):
        x = layers.concatenate([layers.Conv3DTranspose(width, 2, strides=2, padding="same")(x), skips.pop()])
        x = level(x, width, rate)
    model = keras.Model(inputs, layers.Conv3D(4, 1, activation="softmax")(x))
    image = np.zeros((1, *WINDOW, 3), np.float32)
    times = _timed(lambda: model.predict(image, verbose=0), 3)
    return {"parameters": model.count_params(), "seconds_a_window": times, "windows": WINDOWS}


def torch_original() -> dict[str, Any]:
    """The same network in torch, fp32, channels last."""
    import torch

    from glioscope.model.network import NetworkConfig, build

    config = NetworkConfig(
        name="original", sequences=3, outputs="labels", widths=(16, 32, 64, 128, 256), blocks=(1,) * 5
    )
    network = build(config).eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.zeros(1, 3, *WINDOW).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        times = _timed(lambda: network(image, None), 3)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds_a_window": times,
        "windows": WINDOWS,
    }


def monai_segresnet() -> dict[str, Any]:
    """The network of MONAI's bundle `brats_mri_segmentation`, whole volume in one pass."""
    import torch
    from monai.networks.nets import SegResNet

    network = SegResNet(
        blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1], init_filters=16, in_channels=4, out_channels=3, dropout_prob=0.2
    ).eval()
    image = torch.zeros(1, 4, 240, 240, 160)
    with torch.inference_mode():
        times = _timed(lambda: network(image), 1)
    return {"parameters": sum(p.numel() for p in network.parameters()), "seconds_a_window": times, "windows": 1}


def nnunet(*, mirror: bool) -> dict[str, Any]:
    """nnU-Net's 3d_fullres network of BraTS: a plain U-Net of six levels, 32 to 320 features, patches of 128³."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    network = PlainConvUNet(
        input_channels=4,
        n_stages=6,
        features_per_stage=(32, 64, 128, 256, 320, 320),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=(1, 2, 2, 2, 2, 2),
        n_conv_per_stage=2,
        num_classes=4,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    image = torch.zeros(1, 4, *WINDOW)
    views = [()] + ([(2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)] if mirror else [])
    with torch.inference_mode():
        times = _timed(lambda: [network(torch.flip(image, view)) for view in views], 2)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds_a_window": times,
        "windows": WINDOWS,
    }


WORK: dict[str, Callable[[], dict[str, Any]]] = {
    "original, Keras": keras_original,
    "original, torch": torch_original,
    "MONAI SegResNet": monai_segresnet,
    "nnU-Net 3d_fullres": lambda: nnunet(mirror=False),
    "nnU-Net 3d_fullres, mirrored": lambda: nnunet(mirror=True),
}


def glioscope_case(case: Path, rounds: int) -> list[dict[str, float]]:
    """Whole processes, four files to file, no page; the compiled network is cached, as after any first use."""
    from glioscope.results import read_summary

    found = []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as scratch:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            command = [sys.executable, "-m", "glioscope", "segment", str(case), "-o", scratch, "--no-report"]
            subprocess.run(command, check=True, capture_output=True)
            wall = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            summary = read_summary(next(Path(scratch).glob("*/summary.json")))
        found.append(
            {
                "wall": round(wall, 3),
                "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3),
                "network": round(summary.seconds["predict"], 3),
            }
        )
    return found[1:]


def in_a_process(name: str, python: str) -> dict[str, Any]:
    """Run one network's work and return what it printed; what fails is said, not left out."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run([python, __file__, "-", "--work", name], capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument(
        "--python", default=sys.executable, help="with torch, monai, keras, tensorflow and nnU-Net's networks"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mirror", action="store_true", help="time nnU-Net's mirror images too: ten minutes")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        found = WORK[options.work]()
        found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps(found))
        return

    from glioscope.machine import provenance

    ours = glioscope_case(options.case, options.rounds)
    load = os.getloadavg()[0]
    seconds = statistics.median(run["wall"] for run in ours)
    rows: dict[str, Any] = {"glioscope, files to file, cold": {"seconds": seconds, "runs": ours}}
    rows["glioscope, network alone"] = {"seconds": statistics.median(run["network"] for run in ours)}
    for name in WORK:
        if name.endswith("mirrored") and not options.mirror:
            plain = rows["nnU-Net 3d_fullres"].get("seconds")
            rows[name] = {"seconds": plain and 8 * plain, "reckoned": "8 times that without mirroring"}
            continue
        found = in_a_process(name, sys.executable if name == "original, torch" else options.python)
        if "seconds_a_window" in found:
            found["seconds"] = round(statistics.median(found["seconds_a_window"]) * found["windows"], 2)
        rows[name] = found
    for name, row in rows.items():
        if row.get("seconds"):
            row["times_ours"] = round(row["seconds"] / seconds, 2)
        times = f"{row['seconds']:9.2f} s {row['times_ours']:8.2f}" if row.get("seconds") else "        failed      "
        print(times, name, row.get("failed", ""))
    if options.output:
        record = {"results": rows, "load_before": round(load, 2), **provenance()}
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
