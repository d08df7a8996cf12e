"""The page of a cohort: every case in one table, flagged ones first, each linked to its own report."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glioscope.errors import RunError
from glioscope.report.figures import chart, volumes_figure
from glioscope.report.images import data_url
from glioscope.report.page import write_page

WORST = ("error", "warning", "info")
"""Severities, worst first."""


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
    rows = [_row(folder, path) for path in sorted(folder.glob("*/summary.json"))]
    done = {row["case_id"] for row in rows}
    failed = _failures(folder)
    rows += [_failed(case, reason or "no reason was written") for case, reason in failed.items() if case not in done]
    if not rows:
        raise RunError(f"{folder}: holds no case with a summary.json; 'glioscope segment' writes one for each")
    rows.sort(key=lambda row: (row["rank"], row["case_id"]))
    measured = [(row["case_id"], row["volumes"]) for row in rows if row["volumes"]]
    page = folder / "index.html"
    write_page(
        page,
        "cohort.html",
        {
            "title": f"{folder.resolve().name}: cohort",
            "name": folder.resolve().name,
            "rows": rows,
            "failed": sum(row["failed"] is not None for row in rows),
            "flagged": sum(row["rank"] in (0, 1) for row in rows),
            "chart": chart(volumes_figure(measured)) if measured else None,
        },
    )
    return page


def _row(folder: Path, path: Path) -> dict[str, Any]:
    """Return what the table shows of one case; a damaged summary is a row that says so."""
    case_id = path.parent.name
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        case_id = str(summary.get("case_id", case_id))
        measurements = summary.get("measurements") or {}
        flags: Sequence[Mapping[str, str]] = summary.get("flags") or ()
        seconds = summary.get("seconds")
    except (OSError, ValueError, AttributeError) as error:
        return _failed(case_id, f"summary.json cannot be read ({error})")
    worst = min((WORST.index(f["severity"]) for f in flags if f.get("severity") in WORST), default=len(WORST))
    report, thumbnail = path.with_name("report.html"), path.with_name("thumbnail.jpg")
    return {
        "case_id": case_id,
        "failed": None,
        "rank": worst,
        "flags": flags,
        "volumes": measurements.get("volumes_ml") or {},
        "diameters": measurements.get("diameters"),
        "seconds": sum(seconds.values()) if isinstance(seconds, Mapping) else seconds,
        "link": report.relative_to(folder).as_posix() if report.is_file() else None,
        "thumbnail": data_url(thumbnail.read_bytes(), "image/jpeg") if thumbnail.is_file() else None,
    }


def _failed(case_id: str, reason: str) -> dict[str, Any]:
    """Return the row of a case without a result."""
    nothing = dict.fromkeys(("flags", "volumes", "diameters", "seconds", "link", "thumbnail"))
    return {"case_id": case_id, "failed": reason, "rank": -1, **nothing}


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
