"""Exporting a run: which fold, and which images to hold the export against torch on."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, Case, LoadedCase
from glioscope.errors import RunError
from glioscope.inference import InferenceConfig, export_model, quantise, tiles
from glioscope.model import ModelSpec, read_model
from glioscope.phantom import PhantomConfig, phantom
from glioscope.prepare.preprocessing import PreparedCase, load_prepared, prepare
from glioscope.runs import Run
from glioscope.space.grid import cut
from glioscope.space.volumes import VolumeFile

T = TypeVar("T")

CALIBRATION = 12
"""Training cases from which int8 reads the ranges of feature maps."""
COMPARED = 2
"""Cases that an export is held against torch on; each costs a pass of torch on the processor."""


def export_fold(folder: Path, output: Path, fold: int, *, int8: bool = False) -> float:
    """Write the network of a fold as a model folder; return the share of voxels decided as torch does.

    Raises
    ------
    RunError
        The run, or its fold, has no trained network.
    ModelError
        As `engines.export_model`.
    DependencyError
        int8 is asked for, and NNCF is not installed.
    """
    run = Run(folder)
    if fold not in run.trained_folds():
        trained = ", ".join(map(str, run.trained_folds())) or "none"
        raise RunError(f"{folder}: fold {fold} has no trained network (those trained: {trained}); train it first")
    source = run.fold(fold) / "model"
    spec = read_model(source)
    agreement = export_model(source, output, [_one_pass(case, spec) for case in _cases(run, fold, spec)])
    if int8:
        quantise(output, calibration_cases(run, fold, spec))
    return agreement


def calibration_cases(run: Run, fold: int, spec: ModelSpec) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Return training cases as the network sees them, evenly spread; of every third only some sequences are shown.

    Raises
    ------
    RunError
        None of the fold's training cases is prepared any more.
    """
    names = [n for n in sorted(run.folds()[fold].train) if (run.prepared / f"{n}.json").is_file()]
    if not names:
        raise RunError(f"{run.prepared}: holds no training case of fold {fold}; int8 needs some to read ranges from")
    return calibration_images((load_prepared(run.prepared, name) for name in spread(names)), spec)


def spread(names: Sequence[T]) -> Sequence[T]:
    """Return up to `CALIBRATION` of these, evenly spread."""
    return names[:: max(1, len(names) // CALIBRATION)][:CALIBRATION]


def calibration_images(
    cases: Iterable[PreparedCase], spec: ModelSpec
) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Return prepared cases as the network sees them; of every third only some sequences are shown."""
    rng = np.random.default_rng(0)
    shown = []
    for index, case in enumerate(cases):
        image, presence = _one_pass(case, spec)
        if index % 3 == 2 and presence.sum() > 1:
            presence = presence & (rng.permutation(len(presence)) < rng.integers(1, len(presence)))
            image = image * presence[:, None, None, None]
        shown.append((np.asarray(image, np.float32), presence))
    return shown


def _cases(run: Run, fold: int, spec: ModelSpec) -> list[PreparedCase]:
    """Return held-out cases of the run, else trained ones, else a synthetic patient."""
    part = run.folds()[fold]
    names = [n for n in (*part.validation, *part.train) if (run.prepared / f"{n}.json").is_file()]
    if names:
        return [load_prepared(run.prepared, name) for name in names[:COMPARED]]
    made = phantom(0, PhantomConfig(shape=(96, 112, 96), spacing_mm=(2.0, 2.0, 2.0)))
    case = Case(case_id="phantom", subject_id="phantom", sequences={s: VolumeFile(Path(s)) for s in SEQUENCES})
    return [prepare(LoadedCase(case=case, grid=made.grid, images=made.images), spec.preprocessing)]


def _one_pass(case: PreparedCase, spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    shape = case.image.shape
    box = tiles((shape[1], shape[2], shape[3]), InferenceConfig(divisor=spec.divisor))[0]
    return cut(case.image, box), case.presence
