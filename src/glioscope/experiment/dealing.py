"""Which case of a run is trained on, held out or set aside for a test."""

from collections.abc import Mapping, Sequence
from typing import Literal

from glioscope.cases import Case, Fold, make_folds, make_split
from glioscope.files import write_json
from glioscope.runs import Run
from glioscope.training import TrainingConfig


def deal(
    run: Run,
    cases: Sequence[Case],
    fold: int | Literal["all", "none"],
    training: TrainingConfig,
    volumes_ml: Mapping[str, float],
) -> None:
    """Write down which case is in which fold, unless an earlier start of this run did.

    Cases of which only some regions are known could not be scored: each fold trains on them, but on none of a subject
    that it holds out.
    """
    if fold == "none":
        run.write_folds([Fold(tuple(sorted(c.case_id for c in cases)), ())])
    elif not run.folds_file.is_file():
        partial = [case for case in cases if case.known is not None]
        kept = _without_test(run, [case for case in cases if case.known is None], training, volumes_ml)
        folds = make_folds(kept, count=training.folds, seed=training.seed, volumes_ml=volumes_ml)
        subject = {case.case_id: case.subject_id for case in cases}
        tested = {subject[case_id] for case_id in run.test_cases()}
        run.write_folds([_with_partial(part, partial, subject, tested) for part in folds])


def _with_partial(part: Fold, partial: Sequence[Case], subject: Mapping[str, str], tested: set[str]) -> Fold:
    away = tested | {subject[case_id] for case_id in part.validation}
    more = (case.case_id for case in partial if case.subject_id not in away)
    return Fold(tuple(sorted((*part.train, *more))), part.validation)


def _without_test(
    run: Run, cases: Sequence[Case], training: TrainingConfig, volumes_ml: Mapping[str, float]
) -> Sequence[Case]:
    """Set the test part aside, write it down, and return the other cases."""
    if training.test_share == 0:
        return cases
    split = make_split(cases, validation=0.0, test=training.test_share, seed=training.seed, volumes_ml=volumes_ml)
    write_json(run.test_file, list(split["test"]))
    return [case for case in cases if case.case_id not in split["test"]]
