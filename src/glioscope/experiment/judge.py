"""A run judged on the cases it never saw, through the path that `segment` takes.

RUN/fold_k/model ──segment──▶ RUN/fold_k/validation/<case>/ ──evaluate──▶ RUN/fold_k/evaluation/
                 └─one case, a process of its own──▶ RUN/fold_k/cost.json: seconds and memory
"""

from collections.abc import Sequence
from pathlib import Path

from glioscope.cases import Case, scan_cases
from glioscope.errors import CaseError, RunError
from glioscope.evaluation import Evaluation, evaluate
from glioscope.experiment.cost import cost_record
from glioscope.files import read_json, write_json
from glioscope.machine.progress import OnProgress, silent
from glioscope.runs import Run
from glioscope.segmentation import SegmentOptions, segment

PROTOCOLS = ("whole", "brats2021", "brats2023-gli", "voxel-accuracy")
"""What a run is judged by: plain overlap and distances, the whole-region rules of 2021, lesion-wise, and accuracy."""


def validate_run(
    run_folder: Path,
    *,
    folds: Sequence[int] | None = None,
    dataset: Path | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    progress: OnProgress = silent,
) -> dict[int, Evaluation]:
    """Predict and score the held-out cases of each trained fold.

    Parameters
    ----------
    run_folder : Path
        Written by `train`.
    folds : sequence of int, optional
        By default every fold that has a model.
    dataset : Path, optional
        Where the cases lie now; by default where they lay in training.

    Returns
    -------
    dict
        Fold to evaluation; also written to ``RUN/fold_k/evaluation``.

    Raises
    ------
    RunError
        The folder is not a run, or no fold is trained.
    CaseError
        A held-out case is gone from the data set.
    """
    run = Run(run_folder)
    chosen = run.trained_folds() if folds is None else tuple(folds)
    if not chosen:
        raise RunError(f"{run_folder}: has no trained fold yet; let 'glioscope train' finish one")
    return {fold: _validate_fold(run, fold, dataset, protocols, progress) for fold in chosen}


def held_out_cases(run: Run, fold: int, *, dataset: Path | None = None) -> tuple[Path, list[Case]]:
    """Return the data set, and the cases that a fold did not train on.

    Parameters
    ----------
    dataset : Path, optional
        Where the cases lie now; by default where they lay in training.

    Raises
    ------
    RunError
        The fold held none out.
    CaseError
        A held-out case is gone from the data set.
    """
    wanted = run.folds()[fold].validation
    if not wanted:
        raise RunError(f"{run.folder}: fold {fold} held no case out; there is nothing to validate on")
    return _cases_of(run, wanted, f"fold {fold}", dataset)


def _cases_of(run: Run, wanted: Sequence[str], part: str, dataset: Path | None) -> tuple[Path, list[Case]]:
    place = dataset or Path(read_json(run.folder / "record.json", what="run")["dataset"])
    found = {case.case_id: case for case in scan_cases(place)[0]}
    absent = [name for name in wanted if name not in found]
    if absent:
        raise CaseError(f"{place}: lacks {', '.join(absent[:3])} of {part}; put them back and resume the run")
    return place, [found[name] for name in wanted]


def score_test_part(
    run_folder: Path,
    *,
    dataset: Path | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    progress: OnProgress = silent,
) -> Evaluation:
    """Predict and score the test part of a run, its trained folds answering together; to be done once, at the end.

    Returns
    -------
    Evaluation
        Also written to ``RUN/test_evaluation``; the predictions are in ``RUN/test``.

    Raises
    ------
    RunError
        No test part was set aside (``training.test_share``), or no fold is trained.
    CaseError
        A test case is gone from the data set.
    """
    run = Run(run_folder)
    wanted = run.test_cases()
    if not wanted:
        raise RunError(f"{run_folder}: set no test part aside; train with --set training.test_share=0.15")
    place, cases = _cases_of(run, wanted, "the test part", dataset)
    segment(
        cases,
        run.folder / "test",
        model=run.folder,
        options=SegmentOptions(report=False),
        progress=lambda done, total, _line: progress(done, total, "predicting"),
    )
    output = run.folder / "test_evaluation"
    scheme = _scheme_of(run)
    return evaluate(run.folder / "test", place, output, protocols, cases=wanted, scheme=scheme, progress=progress)


def _scheme_of(run: Run) -> str | None:
    """Return the label scheme that was named for the references when the run began, or None."""
    named: str | None = read_json(run.folder / "record.json", what="run").get("scheme")
    return named


def _validate_fold(
    run: Run, fold: int, dataset: Path | None, protocols: Sequence[str], progress: OnProgress
) -> Evaluation:
    place, cases = held_out_cases(run, fold, dataset=dataset)
    wanted = [case.case_id for case in cases]
    output = run.fold(fold) / "validation"
    segment(
        cases,
        output,
        model=run.fold(fold) / "model",
        options=SegmentOptions(report=False),
        progress=lambda done, total, _line: progress(done, total, "predicting"),
    )
    scores, scheme = run.fold(fold) / "evaluation", _scheme_of(run)
    evaluation = evaluate(output, place, scores, protocols, cases=wanted, scheme=scheme, progress=progress)
    write_json(run.fold(fold) / "cost.json", cost_record(run.fold(fold) / "model", cases))
    return evaluation
