"""A cohort: find its cases, pass them through a worker, write the tables and pages over all of them."""

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from glioscope.cases import Case, case_of_files, load_case, survey, unused_in_words
from glioscope.dicom.find import DicomCase, find_dicom
from glioscope.errors import CaseError, GlioscopeError, RunError
from glioscope.files import csv_text, is_image, write_text
from glioscope.labels import REGIONS, scheme_named
from glioscope.machine.progress import OnProgress, silent
from glioscope.results import CaseSummary, summaries
from glioscope.results.summary import SUMMARY
from glioscope.segmentation.records import (
    CaseOutcome,
    Rewritten,
    SegmentationResult,
    SegmentOptions,
    reason,
)
from glioscope.segmentation.worker import Worker
from glioscope.space.volumes import VolumeFile, read_labels

log = logging.getLogger(__name__)

Place = Path | str | Case | DicomCase
"""A folder of cases, a folder or zip of DICOM, a Decathlon file, or a case already found."""


class Crew(Protocol):
    """Several workers that segment the cases of a cohort between them."""

    def segment(self, cases: Sequence[Case | DicomCase]) -> Generator[CaseOutcome]:
        """Yield the outcome of each case, in any order."""


def segment(
    inputs: Place | Sequence[Place] | Mapping[str, Path | str],
    output: Path | str,
    *,
    model: Path | str | None = None,
    options: SegmentOptions = SegmentOptions(),
    crew: Crew | None = None,
    progress: OnProgress = silent,
) -> SegmentationResult:
    """Segment a case or a cohort and write what was found.

    Parameters
    ----------
    inputs : path, Case, several of them, or mapping
        Folders of cases in any layout; Decathlon files; folders or zips of DICOM, of one patient or with one in each
        subfolder; or one case as ``{"t1n": file, …}`` with any of the sequences. Raw scans (DICOM, NIfTI on
        different grids or with the skull on) are prepared first.
    output : path
        ``<output>/<case>/`` gets segmentation.nii.gz, summary.json and report.html, of raw scans also
        native/<sequence>.nii.gz on each scan's grid; several cases also cohort.csv and failures.csv.
    model : path, optional
        A model folder, or a run folder, whose trained folds then answer together; by default the network that comes
        with the package.
    crew : Crew, optional
        Several workers, as `cluster.crew_at` returns them; by default the cases pass through this process.

    Returns
    -------
    SegmentationResult
        A failed case among several is an outcome with its reason. The only case of a call raises instead.

    Raises
    ------
    CaseError, GeometryError
        The only case cannot be used, or there is no case at all.
    ModelError
        The model is absent, damaged or does not run.
    RunError
        The output cannot be written.
    """
    output = Path(output)
    worker = Worker(output, model=model, options=options)
    cases, problems = find_inputs(inputs)
    alone = len(cases) + len(problems) == 1
    cases, problems = _part(cases, problems, options.shard)
    if alone and problems:
        raise CaseError(next(iter(problems.values())))
    outcomes = [CaseOutcome(case_id=name, status="failed", reason=why) for name, why in problems.items()]
    stream = crew.segment(cases) if crew is not None else worker.segment(cases, strict=alone)
    try:
        with closing(stream):
            for outcome in stream:
                outcomes.append(outcome)
                progress(len(outcomes), len(cases) + len(problems), _line(outcome))
    finally:  # also when interrupted: what was done is listed
        outcomes.sort(key=lambda o: o.case_id)
        if not alone and outcomes:
            _write_tables(output, outcomes, options.shard)
            if options.report and options.shard is None:
                _report_cohort(output)
    return SegmentationResult(output=output, outcomes=tuple(outcomes))


def _part(
    cases: Sequence[Case | DicomCase], problems: Mapping[str, str], shard: tuple[int, int] | None
) -> tuple[tuple[Case | DicomCase, ...], dict[str, str]]:
    """Return the cases and problems of one part of a cohort: every n-th in the order of their ids."""
    if shard is None:
        return tuple(cases), dict(problems)
    number, count = shard
    mine = set(sorted([*(case.case_id for case in cases), *problems])[number - 1 :: count])
    return (
        tuple(case for case in cases if case.case_id in mine),
        {name: why for name, why in problems.items() if name in mine},
    )


def find_inputs(
    inputs: Place | Sequence[Place] | Mapping[str, Path | str],
) -> tuple[tuple[Case | DicomCase, ...], dict[str, str]]:
    """Return the cases of all inputs, and by case id why others cannot be used.

    Raises
    ------
    CaseError
        An input does not exist or holds nothing, or two inputs hold cases of one id.
    """
    if isinstance(inputs, Mapping):
        return (case_of_files({name: Path(path) for name, path in inputs.items()}),), {}
    places = [inputs] if isinstance(inputs, Path | str | Case | DicomCase) else list(inputs)
    cases: dict[str, Case | DicomCase] = {}
    problems: dict[str, str] = {}
    for place in places:
        found, wrong = ((place,), {}) if isinstance(place, Case | DicomCase) else _found_in(Path(place))
        problems.update(wrong)
        for case in found:
            if case.case_id in cases:
                raise CaseError(f"case {case.case_id}: lies in two of the inputs; case ids must differ, leave one out")
            cases[case.case_id] = case
    return tuple(cases.values()), problems


def _found_in(place: Path) -> tuple[tuple[Case | DicomCase, ...], dict[str, str]]:
    """Return what a folder or file holds: NIfTI by its names, DICOM by its headers."""
    dicom = find_dicom(place) if place.exists() else ()
    if place.is_file() and dicom:
        return dicom, {}
    cases: tuple[Case, ...] = ()
    problems: dict[str, str] = {}
    try:
        there = survey(place)
        cases, problems = there.cases, dict(there.problems)
        for line in unused_in_words(there.unused):
            log.warning("%s: not read: %s", place, line)
    except CaseError:
        if not dicom:
            raise
    if len(dicom) > 1 or (dicom and cases):
        problems |= _without_scans(place, dicom)
    return (*cases, *dicom), problems


def _without_scans(place: Path, dicom: Sequence[DicomCase]) -> dict[str, str]:
    """Return one line for each subfolder of a cohort that holds files but no scan: no patient vanishes."""
    text = "case {}: its folder holds neither NIfTI nor DICOM images that can be read; copy it again or leave it out"
    empty = {}
    for folder in sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = [path for path in folder.rglob("*") if path.is_file()]
        used = any(folder in (case.source, *case.source.parents) or case.source in folder.parents for case in dicom)
        if files and not used and not any(map(is_image, files)):
            empty[folder.name] = text.format(folder.name)
    return empty


def _report_cohort(output: Path) -> None:
    """Write the page over all cases; what it shows lies in cohort.csv all the same should that fail."""
    from glioscope.report import write_cohort_report

    try:
        write_cohort_report(output)
    except Exception as error:  # noqa: BLE001
        log.warning("%s: the page of the cohort could not be made: %s", output, reason(error))


def _line(outcome: CaseOutcome) -> str:
    """Return what a person watching wants to know of one case."""
    found = outcome.brief
    if found is None:
        return f"{outcome.case_id}: failed: {outcome.reason}"
    if outcome.status == "skipped":
        return f"{outcome.case_id}: was done"
    volumes = found.volumes_ml
    sizes = ", ".join(f"{name} {volumes[name]:.1f} ml" for name in REGIONS if name in volumes)
    flags = ", ".join(flag.code for flag in found.flags if flag.severity != "info")
    return f"{outcome.case_id}: {sizes} in {found.seconds:.1f} s" + (f" [{flags}]" if flags else "")


def _write_tables(output: Path, outcomes: Sequence[CaseOutcome], shard: tuple[int, int] | None) -> None:
    """Write cohort.csv, a row per case, and failures.csv, a row per failed case (none: the file is removed).

    Of a part they are cohort-1-of-4.csv and so on, since parts write side by side.
    """
    part = "" if shard is None else f"-{shard[0]}-of-{shard[1]}"
    rows = [_row(outcome) for outcome in outcomes]
    write_text(output / f"cohort{part}.csv", csv_text(list(rows[0]), (row.values() for row in rows)))
    failed = [(o.case_id, o.reason) for o in outcomes if o.status == "failed"]
    if failed:
        write_text(output / f"failures{part}.csv", csv_text(("case_id", "reason"), failed))
    else:
        (output / f"failures{part}.csv").unlink(missing_ok=True)


def _row(outcome: CaseOutcome) -> dict[str, str | float]:
    """Return a case's row of cohort.csv; cells of a failed case are empty."""
    found = outcome.brief
    volumes = found.volumes_ml if found else {}
    return {
        "case_id": outcome.case_id,
        "status": outcome.status,
        **{f"{name}_ml": volumes.get(name, "") for name in REGIONS},
        "flags": " ".join(flag.code for flag in found.flags) if found else "",
        "seconds": round(found.seconds, 3) if found else "",
        "reason": outcome.reason,
    }


def rewrite_reports(output: Path, *, progress: OnProgress = silent) -> Rewritten:
    """Write report.html again for each case below a folder that `segment` wrote, from what is on disk.

    The inputs are read where `summary.json` says they lie. Without probabilities there is no uncertainty to show.

    Raises
    ------
    RunError
        There is no summary below the folder, or it is damaged or of a later format; of several all are.
    CaseError
        An input of the only case is gone, or of each of several.
    """
    from glioscope.report import write_cohort_report

    found = list(summaries(output))
    if not found:
        raise RunError(
            f"{output}: holds no summary.json of a segmented case; give the folder 'glioscope segment' wrote"
        )
    written: list[Path] = []
    problems: dict[str, GlioscopeError] = {}
    for number, (path, summary) in enumerate(found, start=1):
        try:
            page = _rewrite_report(path.parent, summary)
        except GlioscopeError as error:
            problems[path.parent.name] = error
            progress(number, len(found), f"{path.parent.name}: failed: {error}")
        else:
            written.append(page)
            progress(number, len(found), f"{path.parent.name}: {page}")
    if not written:
        raise next(iter(problems.values()))
    if (output / "cohort.csv").is_file():
        written.insert(0, write_cohort_report(output))
    return Rewritten(pages=tuple(written), problems={name: str(error) for name, error in problems.items()})


def _rewrite_report(folder: Path, summary: CaseSummary | RunError) -> Path:
    """Write the page of one case again, and return its path."""
    from glioscope.report import write_case_report

    if isinstance(summary, RunError):
        raise summary
    page = folder / "report.html"
    try:
        files = {name: VolumeFile(Path(entry.file), entry.channel) for name, entry in summary.inputs.items()}
        case = Case(case_id=summary.case_id, subject_id=summary.subject_id, sequences=files)
        labels = read_labels(folder / "segmentation.nii.gz").data
        write_case_report(page, load_case(case), labels, scheme_named(summary.scheme.name), summary)
    except GlioscopeError:
        raise
    except Exception as error:  # every field is of its type, and some still make no sense together
        raise RunError(
            f"{folder / SUMMARY}: cannot be laid out ({type(error).__name__}: {error}); segment the case again"
        ) from error
    return page
