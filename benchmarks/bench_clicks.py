"""How far clicks bring a segmentation: a simulated user on cases that the network did not see.

    python benchmarks/bench_clicks.py DATA --model MODEL [--clicks 10] [--walker 0] [--first 0 --step 1] [-o FILE.json]

DATA is a labelled data set; those of its cases that stand in the model's card as trained on are left out. The user
clicks where an error is thickest, as people do (not on rims): of all missing or superfluous parts of WT, TC and ET the
thickest, near its middle, off by a voxel or so, and one click in twenty asks for the opposite (ideal robots
overestimate: Marinov et al. 2024, arXiv 2404.01816). Side by side, on the same scans, from the same map, with the same
user:

    ball       a ball as large as the error is thick, which no user could tell so well
    walker     scikit-image's random walker on the sequence that shows the region, from the click to 30 mm around
    leaking    a flood through the main network's logits down to 2.5 below the click's
    flood      what `glioscope.refine` does

A click of each sort also changes what is promised of it: its voxel and 2 mm around.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.cases import find_cases, load_case
from glioscope.files import read_json, write_json
from glioscope.inference import InferenceConfig, load_engine, predict_case, regions_from_probabilities
from glioscope.labels import REGIONS, labels_from_regions, regions_from_labels, scheme_named
from glioscope.machine import processor
from glioscope.model import read_model
from glioscope.prepare.preprocessing import prepare
from glioscope.segmentation.clicks import PLAIN, Answer, Click, Scene, Window, eight_bits, flood, refine_scene
from glioscope.segmentation.logits import logits_of

SCHEME = scheme_named("brats2023")
LEAST = 27
"""Voxels; nobody clicks on less."""
WRONG = 0.05
"""Share of clicks that ask for the opposite."""
SHOWN = (0, 1, 3, 5, 10)
WALKER_MM = 32
"""Half the edge of what the random walker sees: its time grows with the voxels."""


@dataclass(frozen=True, slots=True)
class Error:
    """The thickest part of a region that is missing, or too much."""

    region: int
    missing: bool
    thickness_mm: float
    start: NDArray[np.int64]
    depth: NDArray[np.float64]
    """(i, j, k) distance to the border of the part, from `start` on."""


def held_out(
    data: Path, model: Path, first: int, step: int
) -> Iterator[tuple[str, Scene, NDArray[np.uint8], NDArray[np.bool_]]]:
    """Yield case, scene, the network's label map and the reference's regions, on the prepared grid of 1 mm."""
    seen = set(read_json(model / "card.json", what="card")["trained_on"])
    spec, engine = read_model(model), load_engine(model)
    config = InferenceConfig(**{**spec.inference, "temperature": spec.temperature})
    for case in [case for case in find_cases(data) if case.case_id not in seen][first::step]:
        prepared = prepare(load_case(case), spec.preprocessing)
        probabilities = predict_case(engine, prepared, spec.outputs, config)
        regions = regions_from_probabilities(
            probabilities, config, voxel_ml=prepared.grid.voxel_volume_ml, outputs=spec.outputs
        )
        sequences = spec.preprocessing.sequences
        images = {
            code: eight_bits(np.where(prepared.brain, image, 0))
            for code, image, there in zip(sequences, prepared.image, prepared.presence, strict=True)
            if there
        }
        scene = Scene(grid=prepared.grid, images=images, logits=logits_of(probabilities))
        assert prepared.reference is not None
        yield case.case_id, scene, labels_from_regions(regions, SCHEME), prepared.reference


def thickest_error(regions: NDArray[np.bool_], reference: NDArray[np.bool_], brain: NDArray[np.bool_]) -> Error | None:
    """Return the thickest of all errors, or None where none is worth a click."""
    best = None
    for region in range(3):
        for missing in (True, False):
            mine, truth = regions[region], reference[region]
            wrong = (truth & ~mine if missing else mine & ~truth) & brain
            parts = cc3d.connected_components(wrong, connectivity=6)
            found = cc3d.statistics(parts)
            for part in np.argsort(-found["voxel_counts"][1:])[:6] + 1 if parts.any() else ():
                if found["voxel_counts"][part] < LEAST:
                    continue
                box = found["bounding_boxes"][part]
                depth = ndimage.distance_transform_edt(np.pad(parts[box] == part, 1))[1:-1, 1:-1, 1:-1]
                if best is None or depth.max() > best.thickness_mm:
                    best = Error(region, missing, float(depth.max()), np.array([s.start for s in box]), depth)
    return best


def click_on(error: Error, scene: Scene, rng: np.random.Generator) -> Click:
    """Return a click as people do it: near the middle, off by a voxel, now and then the wrong button."""
    middle = np.argwhere(error.depth >= max(1.0, 0.6 * error.thickness_mm))
    at = middle[rng.integers(len(middle))] + error.start
    off = np.clip(at + np.round(rng.normal(0, 0.7, 3)).astype(int), 0, np.array(scene.grid.shape) - 1)
    if any(image[tuple(off)] for image in scene.images.values()):
        at = off
    missing = error.missing ^ bool(rng.random() < WRONG)
    return Click(at=(int(at[0]), int(at[1]), int(at[2])), region=REGIONS[error.region], add=missing)


def ball(error: Error) -> Answer:
    """Return an answer that is a ball as large as the error is thick."""
    return lambda window, click: window.distance_mm() <= error.thickness_mm


def walker(*_: object) -> Answer:
    """Return an answer by scikit-image's random walker: the click against what lies 30 mm off and what is free."""
    from skimage.segmentation import random_walker

    def answer(window: Window, click: Click) -> NDArray[np.bool_]:
        near = tuple(slice(max(0, p - WALKER_MM), p + WALKER_MM) for p in window.at)
        far = window.distance_mm()[near]
        row = REGIONS.index(click.region)
        image = window.images["t2f" if click.region == "WT" else "t1c"][near].astype(np.float32) / 255
        free = window.brain[near] & (window.regions[row][near] != click.add)
        seeds = np.zeros(image.shape, np.int32)
        seeds[far >= WALKER_MM - 2] = 2
        seeds[~free] = -1  # outside the walk
        seeds[far <= 2] = 1
        if not (seeds == 2).any():
            return window.distance_mm() <= 2
        found = np.zeros(window.brain.shape, bool)
        found[near] = random_walker(image, seeds, beta=300, mode="cg_j", tol=1e-2) == 1
        return found

    return answer


def constant(answer: Answer) -> Callable[[Error], Answer]:
    return lambda *_: answer


METHODS: dict[str, Callable[[Error], Answer]] = {
    "ball": ball,
    "walker": walker,
    "leaking": constant(lambda window, click: flood(window, click, PLAIN)),
    "flood": constant(flood),
}


def dice(regions: NDArray[np.bool_], reference: NDArray[np.bool_]) -> list[float]:
    """Return the Dice of each region; 1 where both are empty."""
    sizes = [(int(a.sum()) + int(b.sum()), int((a & b).sum())) for a, b in zip(regions, reference, strict=True)]
    return [2 * both / total if total else 1.0 for total, both in sizes]


def session(
    method: str, scene: Scene, labels: NDArray[np.uint8], reference: NDArray[np.bool_], clicks: int, seed: Sequence[int]
) -> tuple[list[list[float]], list[float]]:
    """Return the Dice before and after each click of one user on one case, and the seconds of each."""
    rng = np.random.default_rng(seed)
    brain = np.logical_or.reduce([image > 0 for image in scene.images.values()])
    scores: list[list[float]] = [dice(regions_from_labels(labels, SCHEME), reference)]
    seconds: list[float] = []
    for _ in range(clicks):
        error = thickest_error(regions_from_labels(labels, SCHEME), reference, brain)
        if error is None:
            scores.append(scores[-1])
            continue
        click = click_on(error, scene, rng)
        began = time.perf_counter()
        labels = refine_scene(scene, labels, SCHEME, [click], answer=METHODS[method](error))
        seconds.append(time.perf_counter() - began)
        scores.append(dice(regions_from_labels(labels, SCHEME), reference))
    return scores, seconds


def table(scores: NDArray[np.float64], seconds: Sequence[float]) -> dict[str, Any]:
    """Return what is told of a method: scores (case, click, region)."""
    told: dict[str, Any] = {"median_seconds": round(float(np.median(seconds)), 3)}
    quarter = max(1, round(len(scores) / 4))
    for row, region in enumerate(REGIONS):
        values = scores[:, :, row]
        worst = np.argsort(values[:, 0], kind="stable")[:quarter]
        clicks = [n for n in SHOWN if n < values.shape[1]]
        reached = {str(goal): _clicks_to(values, goal) for goal in (0.85, 0.90)}
        told[region] = {
            "dice": {n: round(float(values[:, n].mean()), 4) for n in clicks},
            "worst_quarter": {n: round(float(values[worst, n].mean()), 4) for n in clicks},
            "median_clicks_to": reached,
        }
    return told


def _clicks_to(values: NDArray[np.float64], goal: float) -> dict[str, float]:
    """Return how many cases reach a Dice, and the median of the clicks that it took them."""
    there = values >= goal
    reached = there.any(axis=1)
    return {
        "cases": int(reached.sum()),
        "clicks": float(np.median(there[reached].argmax(axis=1))) if reached.any() else -1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="of the cases held out")
    parser.add_argument("--step", type=int, default=1, help="every how many cases from it on")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument(
        "--walker", type=int, default=0, help="clicks of the random walker, which is slow; 0 leaves it out"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    methods = [name for name in METHODS if name != "walker" or options.walker]
    scores: dict[str, list[Any]] = {name: [] for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    cases = []
    for number, (case_id, scene, labels, reference) in enumerate(
        held_out(options.data, options.model, options.first, options.step)
    ):
        cases.append(case_id)
        for name in methods:
            clicks = options.walker if name == "walker" else options.clicks
            found, took = session(name, scene, labels, reference, clicks, [options.seed, number])
            scores[name].append(found + [found[-1]] * (options.clicks - clicks))
            seconds[name] += took
        print(case_id, {name: np.round(scores[name][-1][-1], 3).tolist() for name in methods}, flush=True)
    result = {name: table(np.array(scores[name]), seconds[name]) for name in methods}
    for name, told in result.items():
        print(
            f"{name:8s} {told['median_seconds']:6.3f} s  "
            + "; ".join(f"{r} {told[r]['dice']} worst {told[r]['worst_quarter']}" for r in REGIONS)
        )
    if options.output:
        record = {"cases": cases, "walker_clicks": options.walker, "methods": result, "processor": processor()}
        write_json(options.output, record)


if __name__ == "__main__":
    main()
