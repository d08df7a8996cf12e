"""Who each case is of, where the user knows better than the names: a table of cases and subjects."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glioscope.cases.case import Case
from glioscope.errors import CaseError


def with_subjects(cases: Sequence[Case], table: Path | str | None) -> tuple[Case, ...]:
    """Return the cases with the subjects that a table names; those it does not name keep theirs.

    Parameters
    ----------
    table : Path, optional
        A CSV file with the columns ``case_id`` and ``subject_id``; others are passed over. None: nothing changes.

    Raises
    ------
    CaseError
        The table cannot be read, lacks a column, names a case twice with two subjects, or one that is not there.
    """
    if table is None:
        return tuple(cases)
    subjects = read_subjects(Path(table))
    known = {case.case_id for case in cases}
    if absent := sorted(set(subjects) - known):
        raise CaseError(
            f"{table}: names {len(absent)} cases that are not there, {absent[0]} first; case ids are as 'glioscope "
            "check' lists them"
        )
    return tuple(replace(case, subject_id=subjects.get(case.case_id, case.subject_id)) for case in cases)


def read_subjects(table: Path) -> dict[str, str]:
    """Return case id to subject as a table has them; errors as `with_subjects`."""
    try:
        rows = list(csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise CaseError(
            f"{table}: cannot be read as CSV ({error}); write case_id,subject_id and a line a case"
        ) from error
    if not rows or not {"case_id", "subject_id"} <= rows[0].keys():
        found = ", ".join(rows[0]) if rows else "no line"
        raise CaseError(f"{table}: has {found}; it must have the columns case_id and subject_id, and a line a case")
    subjects: dict[str, str] = {}
    for row in rows:
        case_id, subject = (row["case_id"] or "").strip(), (row["subject_id"] or "").strip()
        if not case_id or not subject:
            raise CaseError(f"{table}: a line lacks its case_id or subject_id; fill it in or take it out")
        if subjects.setdefault(case_id, subject) != subject:
            raise CaseError(f"{table}: gives case {case_id} two subjects, {subjects[case_id]} and {subject}; keep one")
    return subjects
