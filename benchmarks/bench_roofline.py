"""Where a network's time goes: its operations and bytes against what this machine can do, measured in the same run.

    python benchmarks/bench_roofline.py [MODEL] [--shape 144 176 144] [-o results.json]

The peak is a product of two 4096² matrices by the same engine in the same precision, the bandwidth a copy of 1 GiB.
Operations count two a multiply-add of convolutions and products; bytes count each operation's input, output and weights
once, as if nothing stayed in a cache and nothing were fused: an upper limit.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from glioscope.inference import OpenVinoEngine
from glioscope.machine import provenance
from glioscope.model import read_model
from glioscope.segmentation import default_model

CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")


def median_seconds(call: Any, repeats: int = 5) -> float:
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matrix_peak(core: ov.Core, settings: dict[str, Any], n: int = 4096) -> float:
    """GFLOP/s of a matrix product by the engine."""
    a, b = (ops.parameter([n, n], np.float32) for _ in range(2))
    compiled = core.compile_model(ov.Model([ops.matmul(a, b, False, False)], [a, b]), "CPU", settings)
    request = compiled.create_infer_request()
    values = [np.ones((n, n), np.float32)] * 2
    return 2 * n**3 / median_seconds(lambda: request.infer(values, share_inputs=True)) / 1e9


def copy_bandwidth() -> float:
    """GB/s read and written by a copy of 1 GiB."""
    source = np.ones(2**27, np.float64)
    target = np.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: np.copyto(target, source)) / 1e9


def count(model: ov.Model, value_bytes: int) -> tuple[dict[str, float], float]:
    """GFLOP by operation type, and GB moved."""
    flops: dict[str, float] = defaultdict(float)
    moved = 0.0
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Parameter", "Constant", "Result", "Convert"):
            continue
        moved += value_bytes * sum(float(np.prod(o.get_shape())) for o in node.outputs())
        moved += value_bytes * sum(float(np.prod(i.get_shape())) for i in node.inputs())
        if node.get_type_name() in CONVOLUTIONS:
            kernel = list(node.input(1).get_shape())
            spots = node.output(0) if node.get_type_name() == "Convolution" else node.input(0)
            flops[node.get_type_name()] += 2 * float(np.prod(kernel)) * float(np.prod(list(spots.get_shape())[2:]))
    return {name: value / 1e9 for name, value in flops.items()}, moved / 1e9


def by_layer(compiled: ov.CompiledModel, feed: dict[str, np.ndarray]) -> list[tuple[str, str, float]]:
    """Milliseconds by kind of layer as the engine ran it (type, implementation)."""
    request = compiled.create_infer_request()
    request.infer(feed)
    request.infer(feed)
    total: dict[tuple[str, str], float] = defaultdict(float)
    for entry in request.profiling_info:
        total[entry.node_type, entry.exec_type] += entry.real_time.total_seconds() * 1000
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return [(kind, how, round(ms, 1)) for (kind, how), ms in ordered if ms >= 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--shape", type=int, nargs=3, default=(144, 176, 144))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    folder = options.model or default_model()
    spec = read_model(folder)
    engine = OpenVinoEngine(folder / "network.xml")
    bf16 = engine.precision == "bf16"
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    model = core.read_model(folder / "network.xml")
    shape = [1, len(spec.sequences), *options.shape]
    model.reshape({"image": shape, "presence": [1, len(spec.sequences)]})
    flops, moved = count(model, 2 if bf16 else 4)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    feed = {"image": image, "presence": np.ones((1, len(spec.sequences)), np.float32)}
    seconds = median_seconds(lambda: engine(image[0], np.ones(len(spec.sequences), bool)))
    peak, bandwidth = matrix_peak(core, settings), copy_bandwidth()
    layers = by_layer(core.compile_model(model, "CPU", settings | {"PERF_COUNT": True}), feed)
    total = sum(flops.values())
    record = {
        "model": spec.name,
        "engine": engine.description,
        "shape": list(options.shape),
        "seconds": round(seconds, 3),
        "gflop": {name: round(value, 1) for name, value in flops.items()},
        "gb_moved_at_most": round(moved, 2),
        "peak_gflops": round(peak, 1),
        "bandwidth_gb_s": round(bandwidth, 1),
        "seconds_at_peak": round(total / peak, 3),
        "seconds_at_bandwidth": round(moved / bandwidth, 3),
        "share_of_peak": round(total / peak / seconds, 3),
        "milliseconds_by_layer": layers,
    }
    for name, value in record.items():
        print(f"{name:24} {value}")
    if options.output:
        options.output.write_text(json.dumps(record | provenance(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
