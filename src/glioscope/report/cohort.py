"""The page of a cohort: every case in one table, flagged ones first, each linked to its own report."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glioscope.errors import RunError
from glioscope.report.figures import chart, volumes_figure
from glioscope.report.images import data_url
from glioscope.report.page import write_page
from glioscope.results import SEVERITIES, CaseSummary, Diameters, Flag, summaries


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRow:
    """What the table shows of one case."""

    case_id: str
    rank: int
    """Place of its gravest flag in `SEVERITIES`, after them without flags; -1 of a failed case."""
    failed: str | None = None
    """Why there is no result."""
    flags: tuple[Flag, ...] = ()
    volumes: Mapping[str, float] = field(default_factory=dict)
    """Region to millilitres."""
    diameters: Diameters | None = None
    seconds: float | None = None
    link: str | None = None
    """Of its own page, from the cohort's."""
    thumbnail: str | None = None
    """A `data:` address."""


def write_cohort_report(folder: Path) -> Path:
    """Write `index.html` over the cases of a folder that `segment` wrote, and return its path.

    Parameters
    ----------
    folder : Path
        Holds `<case>/summary.json`; `cohort.csv` and `failures.csv` are read where they exist, so that a failed case
        has its row.

    Raises
    ------
    RunError
        The folder holds neither summaries nor a table of cases, or cannot be written.
    """
    rows = [_row(folder, path, found) for path, found in summaries(folder, "*/summary.json")]
    done = {row.case_id for row in rows}
    failed = _failures(folder)
    rows += [_failed(case, reason or "no reason was written") for case, reason in failed.items() if case not in done]
    if not rows:
        raise RunError(f"{folder}: holds no case with a summary.json; 'glioscope segment' writes one for each")
    rows.sort(key=lambda row: (row.rank, row.case_id))
    measured = [(row.case_id, row.volumes) for row in rows if row.volumes]
    page = folder / "index.html"
    write_page(
        page,
        "cohort.html",
        {
            "title": f"{folder.resolve().name}: cohort",
            "name": folder.resolve().name,
            "rows": rows,
            "failed": sum(row.failed is not None for row in rows),
            "flagged": sum(row.rank in (0, 1) for row in rows),
            "chart": chart(volumes_figure(measured)) if measured else None,
        },
    )
    return page


def _row(folder: Path, path: Path, summary: CaseSummary | RunError) -> CohortRow:
    """Return what the table shows of one case; a damaged summary is a row that says so."""
    if isinstance(summary, RunError):
        return _failed(path.parent.name, str(summary))
    report, thumbnail = path.with_name("report.html"), path.with_name("thumbnail.jpg")
    return CohortRow(
        case_id=summary.case_id,
        rank=min((SEVERITIES.index(flag.severity) for flag in summary.flags), default=len(SEVERITIES)),
        flags=summary.flags,
        volumes=summary.measurable_ml,
        diameters=summary.measurements.diameters,
        seconds=summary.total_seconds if summary.seconds else None,
        link=report.relative_to(folder).as_posix() if report.is_file() else None,
        thumbnail=data_url(thumbnail.read_bytes(), "image/jpeg") if thumbnail.is_file() else None,
    )


def _failed(case_id: str, reason: str) -> CohortRow:
    """Return the row of a case without a result."""
    return CohortRow(case_id=case_id, rank=-1, failed=reason)


def _failures(folder: Path) -> dict[str, str]:
    """Return case id to reason, of the cases that failed."""
    found: dict[str, str] = {}
    for name in ("cohort.csv", "failures.csv"):
        if (folder / name).is_file():
            with (folder / name).open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    if row.get("case_id") and row.get("status", "failed") == "failed":
                        found[row["case_id"]] = row.get("reason") or found.get(row["case_id"], "")
    return found
