"""Folds and splits by subject."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glioscope.cases.case import Case
from glioscope.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Fold:
    """Case ids of one split, disjoint by subject."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def make_folds(
    cases: Sequence[Case], *, count: int, seed: int, volumes_ml: Mapping[str, float] | None = None
) -> tuple[Fold, ...]:
    """Split cases into folds by subject, each fold with the same spread of tumour volumes.

    Subjects are ordered by volume, cut into groups of `count`, and each group dealt at random over the folds, so that
    no fold gets all the small tumours.

    Parameters
    ----------
    count : int
        Number of folds, 2 up to the number of subjects.
    seed : int
        Same seed, same folds.
    volumes_ml : mapping, optional
        Case id to whole-tumour volume, to stratify by; without it subjects are dealt at random.

    Raises
    ------
    ConfigError
        There are fewer subjects than folds, or `count` is below 2.
    """
    by_subject: dict[str, list[str]] = defaultdict(list)
    for case in sorted(cases, key=lambda c: c.case_id):
        by_subject[case.subject_id].append(case.case_id)
    subjects = sorted(by_subject)
    if not 2 <= count <= len(subjects):
        raise ConfigError(f"{count} folds asked of {len(subjects)} subjects; choose 2 to {len(subjects)}")
    rng = np.random.default_rng(seed)
    order = [subjects[i] for i in rng.permutation(len(subjects))]
    if volumes_ml is not None:
        order.sort(key=lambda s: max(volumes_ml.get(c, 0.0) for c in by_subject[s]))
    member: dict[str, int] = {}
    for start in range(0, len(order), count):
        group = order[start : start + count]
        for subject, fold in zip(group, rng.permutation(count), strict=False):
            member[subject] = int(fold)
    folds = []
    for fold in range(count):
        held = {s for s in subjects if member[s] == fold}
        validation = tuple(sorted(c for s in held for c in by_subject[s]))
        train = tuple(sorted(c for s in subjects if s not in held for c in by_subject[s]))
        folds.append(Fold(train, validation))
    return tuple(folds)


def make_split(
    cases: Sequence[Case],
    *,
    validation: float,
    test: float,
    seed: int,
    volumes_ml: Mapping[str, float] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Split cases by subject into train, validation and test, in about the shares asked for.

    Parameters
    ----------
    validation, test : float
        Shares of the subjects, each in [0, 1), together below 1. The smallest share that is not 0 gets at least one.

    Returns
    -------
    dict
        Keys ``train``, ``validation``, ``test``; case ids, sorted.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigError(f"shares validation={validation} and test={test} must be at least 0 and together below 1")
    subjects = sorted({c.subject_id for c in cases})
    rng = np.random.default_rng(seed)
    order = [subjects[i] for i in rng.permutation(len(subjects))]
    if volumes_ml is not None:
        largest = {s: max(volumes_ml.get(c.case_id, 0.0) for c in cases if c.subject_id == s) for s in subjects}
        order.sort(key=largest.__getitem__)
    wanted = {"validation": validation, "test": test, "train": 1 - validation - test}
    given = dict.fromkeys(wanted, 0)
    member = {}
    for n, subject in enumerate(order, start=1):  # always serve the part furthest behind its share
        part = max(wanted, key=lambda p: wanted[p] * n - given[p])
        given[part] += 1
        member[subject] = part
    return {
        part: tuple(sorted(c.case_id for c in cases if member[c.subject_id] == part))
        for part in ("train", "validation", "test")
    }
