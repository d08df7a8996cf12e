"""What a model's card says in numbers: every subset of sequences, calibration, predicted against true Dice.

All of it is measured on held-out cases of a run, so a card never quotes what the network was trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from glioscope.cases import Case, load_case
from glioscope.errors import CaseError, ModelError, RunError
from glioscope.evaluation.metrics import dice
from glioscope.experiment.judge import held_out_cases
from glioscope.files import read_json, write_json
from glioscope.inference import (
    Engine,
    InferenceConfig,
    load_engine,
    predict_case,
    predict_logits,
    regions_from_probabilities,
)
from glioscope.labels import REGIONS
from glioscope.machine import processor
from glioscope.machine.progress import OnProgress, silent
from glioscope.model import ModelSpec, read_model
from glioscope.prepare.preprocessing import PreparedCase, prepare
from glioscope.quality import expected_dice
from glioscope.runs import Run
from glioscope.settings import settings

BINS = 10
"""Of the calibration curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetScore:
    """Dice of one case segmented from some of its sequences."""

    case_id: str
    subset: tuple[str, ...]
    dice: tuple[float, float, float]
    """WT, TC, ET; 1 where reference and prediction are empty."""
    expected: tuple[float, float, float]
    """The same, as the network itself would guess it from its probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far probabilities can be trusted, per region, over the voxels of held-out brains."""

    temperature: tuple[float, float, float]
    """Divides the logits of WT, TC, ET for the least negative log-likelihood."""
    error_before: tuple[float, float, float]
    """Expected calibration error with temperature 1, over voxels whose probability is in [0.01, 0.99]."""
    error_after: tuple[float, float, float]
    curve: tuple[tuple[tuple[float, float, int], ...], ...]
    """Per region and bin: mean probability, share that is tumour, voxels; after scaling."""


def subsets(sequences: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return all non-empty subsets, the largest first: 15 of four sequences."""
    sizes = range(len(sequences), 0, -1)
    return tuple(subset for size in sizes for subset in combinations(sequences, size))


def measure_card(
    model: Path, cases: Sequence[Case], *, progress: OnProgress = silent
) -> tuple[list[SubsetScore], Calibration]:
    """Fit the temperatures on all sequences, then segment each case from each subset of its sequences with them.

    Parameters
    ----------
    model : Path
        Of a network with region outputs; its own temperatures are not used.
    cases : sequence of Case
        With references; none of them trained on.
    progress : callable
        Told of each pass over a case; there are two for each.

    Returns
    -------
    scores : list of SubsetScore
        Cases × subsets.
    calibration : Calibration
        Of the full set of sequences.

    Raises
    ------
    ModelError
        The network gives labels: a temperature for each region is not defined there.
    """
    spec = read_model(model)
    if spec.outputs != "regions":
        raise ModelError(f"{model}: gives {spec.outputs}; calibration is defined for networks that give regions")
    engine = load_engine(model)
    table = {"divisor": spec.divisor, **spec.inference}
    config = settings(InferenceConfig, {"inference": table}, "inference")
    sampled: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    for index, case in enumerate(cases):
        prepared, reference = _prepared(case, spec)
        logits = predict_logits(engine, prepared.image, prepared.presence, config)
        sampled.append(_sample(logits, reference, prepared.brain, seed=index))
        progress(index + 1, 2 * len(cases), f"{case.case_id}: calibration")
    calibration = _calibrate(sampled)
    calibrated = replace(config, temperature=calibration.temperature)
    scores: list[SubsetScore] = []
    for index, case in enumerate(cases):
        scores += _subset_scores(engine, case, spec, calibrated)
        progress(len(cases) + index + 1, 2 * len(cases), f"{case.case_id}: subsets of its sequences")
    return scores, calibration


def _prepared(case: Case, spec: ModelSpec) -> tuple[PreparedCase, NDArray[np.bool_]]:
    prepared = prepare(load_case(case), spec.preprocessing)
    if prepared.reference is None:
        raise CaseError(f"case {case.case_id}: has no reference; a card is measured on cases that have one")
    return prepared, prepared.reference


def _subset_scores(engine: Engine, case: Case, spec: ModelSpec, config: InferenceConfig) -> Iterator[SubsetScore]:
    prepared, reference = _prepared(case, spec)
    for subset in subsets(spec.sequences):
        shown = np.array([name in subset for name in spec.sequences]) & prepared.presence
        if not shown.any():  # a case without these sequences says nothing of this subset
            continue
        seen = replace(prepared, image=prepared.image * shown[:, None, None, None], presence=shown)
        probabilities = predict_case(engine, seen, spec.outputs, config)
        regions = regions_from_probabilities(probabilities, config, voxel_ml=prepared.grid.voxel_volume_ml)
        yield SubsetScore(
            case_id=case.case_id,
            subset=subset,
            dice=_triple([_dice(r, p) for r, p in zip(reference, regions, strict=True)]),
            expected=_triple([expected_dice(p, r) for p, r in zip(probabilities, regions, strict=True)]),
        )


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    whole, core, enhancing = (float(v) for v in values)
    return whole, core, enhancing


def _dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    value = float(dice(reference, prediction))
    return 1.0 if np.isnan(value) else value


def _sample(
    logits: NDArray[np.float32],
    reference: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    *,
    seed: int,
    count: int = 100_000,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return logits and truth, (3, n) each, of brain voxels drawn evenly."""
    inside = np.flatnonzero(brain)
    chosen = np.random.default_rng(seed).choice(inside, size=min(count, inside.size), replace=False)
    return logits.reshape(3, -1)[:, chosen], reference.reshape(3, -1)[:, chosen]


def _calibrate(sampled: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> Calibration:
    logits = np.concatenate([one for one, _ in sampled], axis=1).astype(np.float64)
    truth = np.concatenate([two for _, two in sampled], axis=1)
    temperature, before, after, curves = [], [], [], []
    for x, y in zip(logits, truth, strict=True):
        scale = fit_temperature(x, y)
        temperature.append(scale)
        before.append(calibration_error(_sigmoid(x), y))
        after.append(calibration_error(_sigmoid(x / scale), y))
        curves.append(calibration_curve(_sigmoid(x / scale), y))
    return Calibration(
        temperature=_triple(temperature),
        error_before=_triple(before),
        error_after=_triple(after),
        curve=tuple(curves),
    )


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def fit_temperature(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    Parameters
    ----------
    logits, truth : (n,)
        Of voxels of one region. Without any voxel, or with truth all alike, 1.

    Returns
    -------
    float
        In [0.2, 10]; above 1 the network is too sure of itself.
    """
    if truth.size == 0 or truth.all() or not truth.any():
        return 1.0
    signed = np.where(truth, logits, -logits)

    def cost(log_scale: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_scale)).mean())

    best = minimize_scalar(cost, bounds=(np.log(0.2), np.log(10)), method="bounded")
    return float(np.exp(best.x))


def calibration_curve(
    probabilities: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[tuple[float, float, int], ...]:
    """Return mean probability, share that is true, and count, of ten equal bins; empty bins are left out."""
    index = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = index == number
        if inside.any():
            bins.append((float(probabilities[inside].mean()), float(truth[inside].mean()), int(inside.sum())))
    return tuple(bins)


def calibration_error(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over voxels that are not plain (probability 0.01 to 0.99).

    Most of a brain is plain background, which any network knows; over all voxels the error would be near 0 for every
    network. nan if no voxel is in doubt.
    """
    doubt = (probabilities >= 0.01) & (probabilities <= 0.99)
    if not doubt.any():
        return float("nan")
    bins = calibration_curve(probabilities[doubt], truth[doubt])
    total = sum(count for *_, count in bins)
    return sum(count * abs(mean - share) for mean, share, count in bins) / total


def subset_table(scores: Sequence[SubsetScore]) -> list[dict[str, Any]]:
    """Return a row per subset: mean Dice of WT, TC, ET and how many cases."""
    rows = []
    for subset in dict.fromkeys(score.subset for score in scores):
        mine = np.array([score.dice for score in scores if score.subset == subset])
        means = {region: round(float(m), 4) for region, m in zip(REGIONS, mine.mean(axis=0), strict=True)}
        rows.append({"sequences": list(subset), "cases": len(mine), **means})
    return rows


def expected_dice_error(scores: Sequence[SubsetScore]) -> dict[str, dict[str, float]]:
    """Return, per region, mean absolute error and rank correlation of predicted against true Dice."""
    table = {}
    for column, region in enumerate(REGIONS):
        truth = np.array([score.dice[column] for score in scores])
        guess = np.array([score.expected[column] for score in scores])
        varied = np.ptp(truth) > 0 and np.ptp(guess) > 0
        table[region] = {
            "mean_absolute_error": round(float(np.abs(truth - guess).mean()), 4),
            "spearman": round(float(spearmanr(truth, guess).statistic), 4) if varied else float("nan"),
        }
    return table


def card_of(run: Run, fold: int, *, progress: OnProgress = silent) -> dict[str, Any]:
    """Return what is measured of a fold's network on the cases it held out, as ``card.json`` holds it.

    Raises
    ------
    RunError
        The fold has no network, or held no case out.
    CaseError
        A held-out case is gone, or has no reference.
    ModelError
        As `measure_card`.
    """
    if fold not in run.trained_folds():
        raise RunError(f"{run.folder}: fold {fold} has no trained network; train it first")
    _, cases = held_out_cases(run, fold)
    measured, calibration = measure_card(run.fold(fold) / "model", cases, progress=progress)
    cost = run.fold(fold) / "cost.json"
    return {
        "cases": len(cases),
        "subsets": subset_table(measured),
        "calibration": {k: np.round(v, 4).tolist() if k != "curve" else v for k, v in asdict(calibration).items()},
        "expected_dice": expected_dice_error(measured),
        "cost": read_json(cost, what="cost") if cost.is_file() else None,
        "processor": asdict(processor()),
    }


def write_card(run_folder: Path | str, fold: int = 0, *, progress: OnProgress = silent) -> tuple[Path, dict[str, Any]]:
    """Measure a fold's network and write ``RUN/fold_k/model/card.json``, where `segment` finds it.

    Raises
    ------
    RunError, CaseError, ModelError
        As `card_of`.
    """
    run = Run(Path(run_folder))
    found = card_of(run, fold, progress=progress)
    path = run.fold(fold) / "model" / "card.json"
    write_json(path, found)
    return path, found
