"""What a validation in training costs as it is, and through the path that `segment` takes: seconds of the processor.

    OMP_NUM_THREADS=1 python benchmarks/bench_validation.py [--rounds 3] [--spacing 1]

One phantom of the size of BraTS, the network of `standard` with fresh weights, bf16 where the processor has it. The two
ways take turns. Processor seconds are read, so that a machine that others use too gives the same answer.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np
import torch

from glioscope.cases import load_case
from glioscope.experiment.train import fold_settings
from glioscope.inference import InferenceConfig, predict_case, regions_from_probabilities
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.prepare.preprocessing import PreparedCase, PreprocessingConfig, prepare
from glioscope.settings import read_config
from glioscope.training.losses import build_loss
from glioscope.training.steps import State, begin, forward, validate
from glioscope.training.team import ALONE


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def deployed(state: State, case: PreparedCase, config: InferenceConfig) -> None:
    """The case through `predict_case`, the network an engine like any other."""

    def engine(image: np.ndarray, presence: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(image))[None]
            known = torch.from_numpy(presence.astype(np.float32))[None]
            return forward(state.average, batch, known, state.precision, deep=False)[0].float()[0].numpy()

    probabilities = predict_case(engine, case, "regions", config)
    regions_from_probabilities(probabilities, config, voxel_ml=case.grid.voxel_volume_ml)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spacing", type=float, default=1.0, help="mm; 2 is eight times as quick")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        mm = options.spacing
        shape = (round(240 / mm), round(240 / mm), round(155 / mm))
        write_phantoms(scratch, 1, config=PhantomConfig(shape=shape, spacing_mm=(mm, mm, mm)))
        case = prepare(load_case(scratch), PreprocessingConfig(spacing_mm=mm))
    settings = fold_settings(read_config("standard"))
    state = begin(settings, torch.device("cpu"), ALONE, None)
    loss = build_loss(settings.loss, settings.network.outputs)
    inference = InferenceConfig(divisor=settings.network.divisor)

    def as_it_is(factor: int) -> Callable[[], object]:
        return lambda: validate(state, [case], factor, loss, settings.network.divisor, ALONE, lambda *_: None)

    ways = {
        "as it is, coarse stage": as_it_is(2),
        "as it is, fine stage": as_it_is(1),
        "deployed path": lambda: deployed(state, case, inference),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    print(json.dumps({name: round(statistics.median(times), 2) for name, times in taken.items()}, indent=1))


if __name__ == "__main__":
    main()
