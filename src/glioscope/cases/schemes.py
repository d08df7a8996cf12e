"""Which label scheme a data set is in: what the names of its files tell, then what the values in all its maps do.

    names ──naming_schemes──▶ candidates ──choose_scheme, over the values of all maps──▶ one scheme, or the question

A scheme is decided once for all cases that are named alike, never case by case: a resection cavity looks like enhancing
tumour wherever a patient has none. See docs/decisions/0030.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from glioscope.cases.case import Case
from glioscope.errors import GlioscopeError, LabelError
from glioscope.files import nifti_stem
from glioscope.labels import GLIOMA_SCHEMES, HIGHEST_LABEL, LabelScheme, choose_scheme, scheme_named
from glioscope.space.volumes import read_labels

_BY_ID = tuple(
    (re.compile(pattern, re.IGNORECASE), schemes)
    for pattern, schemes in (
        (r"BraTS-PEDs?-.*", ("brats2024-ped", "brats2023")),
        (r"BraTS-MEN-RT-.*", ("brats2024-men-rt",)),
        (r"BraTS-GLI-\d+-[1-9]\d\d", ("brats2024",)),
        (r"BraTS-[A-Z]+-.*", ("brats2023", "brats2024")),
        (r"Brats(?:17|18|19|20|21|2021)_.*", ("brats2018",)),
        (r"UCSF-PDGM-.*|UPENN-GBM-.*|TCGA-\w{2}-\w{4}.*", ("brats2018",)),
        (r"PatientID_\d+_Timepoint_\d+|UCSD-PTGBM-.*", ("brats2024",)),
        (r"BRATS_\d{3,}", ("msd",)),
    )
)
"""Ids of data sets to the schemes that they come in. Sessions of BraTS-GLI from 100 on are after treatment."""
_OLD_ENDINGS = {"t1", "t1ce", "t1gd", "t2", "flair"}


def schemes_of_id(case_id: str) -> tuple[str, ...]:
    """Return the label schemes that a case id leaves open; all of glioma for one that tells nothing."""
    return next((schemes for rule, schemes in _BY_ID if rule.fullmatch(case_id)), GLIOMA_SCHEMES)


def naming_schemes(case: Case) -> tuple[str, ...]:
    """Return the label schemes that the names of a case's files leave open, the likelier first.

    A layout with a description (``dataset.json``) tells it; then the id, by its data set and year; then the endings:
    ``t1ce`` is of 2017 to 2022, when nothing had a cavity. ``t1n`` tells nothing: files are renamed, labels are not.
    """
    if case.scheme is not None:
        return (case.scheme,)
    by_id = schemes_of_id(case.case_id)
    if by_id != GLIOMA_SCHEMES:
        return by_id
    endings = {re.split(r"[-_.]", nifti_stem(file.path))[-1].lower() for file in case.sequences.values()}
    if case.case_id.startswith("sub-"):
        return GLIOMA_SCHEMES
    if endings & {"t1ce", "t1gd"}:
        return ("brats2018", "brats2023")
    return GLIOMA_SCHEMES


def naming_scheme(case: Case) -> str:
    """Return the label scheme in which a result for a case is written: that of the year its files are named for.

    Returns
    -------
    str
        `msd` for the Decathlon, `brats2018` for names of 2017 to 2021 (``t1ce``, ``flair``), else `brats2023`.
    """
    if case.scheme in ("msd", "brats2018", "brats2023"):
        return case.scheme
    endings = {re.split(r"[-_.]", nifti_stem(file.path))[-1].lower() for file in case.sequences.values()}
    return "brats2018" if endings & _OLD_ENDINGS and not case.case_id.startswith("sub-") else "brats2023"


def scheme_of_reference(case: Case, values: Sequence[int], *, subject: str = "reference") -> LabelScheme:
    """Return the scheme of one case's reference by its names and its own values alone; or ask."""
    return choose_scheme([values], naming_schemes(case), subject=subject)


def decided(
    cases: Sequence[Case], label_sets: Mapping[str, Sequence[int]], *, scheme: str | None = None
) -> tuple[tuple[Case, ...], dict[str, str]]:
    """Return the cases with the scheme of their data set, and by case id the question where it stays open.

    Parameters
    ----------
    cases : sequence of Case
        Of one data set; those that leave the same schemes open are looked at together.
    label_sets : mapping
        Case id to the values that occur in its reference; cases without a reference are absent.
    scheme : str, optional
        Named by the user; it holds for all.

    Raises
    ------
    LabelError
        The scheme named is not known.
    """
    if scheme is not None:
        return tuple(replace(case, scheme=scheme_named(scheme).name) for case in cases), {}
    groups: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in cases:
        groups[naming_schemes(case)].append(case)
    found: dict[str, Case] = {}
    questions: dict[str, str] = {}
    for candidates, members in groups.items():
        sets = {case.case_id: label_sets[case.case_id] for case in members if case.case_id in label_sets}
        for case_id, values in list(sets.items()):
            if max(values, default=0) > HIGHEST_LABEL:  # no scheme has it; the others are decided without this map
                questions[case_id] = _question(sets.pop(case_id), candidates)
        try:
            chosen = choose_scheme(list(sets.values()), candidates, subject="reference").name if sets else None
        except LabelError as error:
            chosen = None
            questions |= dict.fromkeys(sets, str(error))
        found |= {case.case_id: replace(case, scheme=chosen) for case in members}
    return tuple(found[case.case_id] for case in cases), questions


def _question(values: Sequence[int], candidates: Sequence[str]) -> str:
    try:
        choose_scheme([values], candidates, subject="reference")
    except LabelError as error:
        return str(error)
    return ""


def with_scheme(
    cases: Sequence[Case],
    *,
    scheme: str | None = None,
    each: Callable[..., Iterable[tuple[int, ...]]] = map,
) -> tuple[Case, ...]:
    """Return the cases of a data set with the scheme of their references; values are read where names leave doubt.

    Parameters
    ----------
    each : callable
        As `map`, by default; another maps side by side.

    Raises
    ------
    LabelError
        The values leave several schemes open, or none.
    """
    labelled = [case for case in cases if case.reference is not None]
    doubtful = [case for case in labelled if len(naming_schemes(case)) > 1] if scheme is None else []
    sets = {case.case_id: values for case, values in zip(doubtful, each(values_of, doubtful), strict=True)}
    known: dict[str, tuple[int, ...]] = {case.case_id: () for case in labelled if case.case_id not in sets}
    told, questions = decided(cases, {**known, **sets}, scheme=scheme)
    if questions:
        raise LabelError(next(iter(questions.values())))
    return told


def values_of(case: Case) -> tuple[int, ...]:
    """Return the label values of a case's reference; none if it cannot be read, which who reads the case will say."""
    assert case.reference is not None
    try:
        return tuple(int(v) for v in np.flatnonzero(np.bincount(read_labels(case.reference).data.ravel(), minlength=1)))
    except GlioscopeError:
        return ()
