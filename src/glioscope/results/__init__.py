"""What is known of a result, typed: the records that rooms hand to each other and that stand on disk.

    measure, quality ──▶ Measurements, Flag ──segment──▶ CaseSummary ──write_summary──▶ <case>/summary.json
                                                          ▲                                  │
    report, web, verify, evaluation, change ◀─────────────┴──────────read_summary────────────┘

Every field's docstring names its unit. `stored` says how a record becomes a file and back, `measurements`, `flags`,
`preparation` and `summary` are the parts of a case, `change` is the difference of two dates, and `verifying` takes the
recorded checksums again. A JSON schema of every file stands in docs/reference/results.md.
"""

from glioscope.results.flags import SEVERITIES, Flag, Severity, gravest_first
from glioscope.results.measurements import Diameters, Ends, Lesion, Measurable, Measurements, MidlinePlane, Point, Side
from glioscope.results.preparation import DicomFiles, InputFile
from glioscope.results.summary import CaseSummary, read_summary, summaries, usable_summary, write_summary

__all__ = [
    "SEVERITIES",
    "CaseSummary",
    "Diameters",
    "DicomFiles",
    "Ends",
    "Flag",
    "InputFile",
    "Lesion",
    "Measurable",
    "Measurements",
    "MidlinePlane",
    "Point",
    "Severity",
    "Side",
    "gravest_first",
    "read_summary",
    "summaries",
    "usable_summary",
    "write_summary",
]
