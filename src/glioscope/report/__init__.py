"""Pictures and pages: one self-contained HTML file per case, cohort, run, evaluation or comparison.

`style` holds the colours, `images` turns volumes into pictures, `figures` draws charts, `viewer` packs volumes for the
slice viewer, `page` fills templates; `case`, `cohort`, `run`, `scores` and `comparison` put them together.

Each loads when its first name is used: a page of a case needs no charts, and charts take a second to load.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from glioscope.report.case import write_case_report
    from glioscope.report.change import write_change_report
    from glioscope.report.cohort import write_cohort_report
    from glioscope.report.comparison import write_comparison_report
    from glioscope.report.figures import draw_curves
    from glioscope.report.run import write_run_report
    from glioscope.report.scores import write_evaluation_report

__all__ = [
    "draw_curves",
    "write_case_report",
    "write_change_report",
    "write_cohort_report",
    "write_comparison_report",
    "write_evaluation_report",
    "write_run_report",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "case": ["write_case_report"],
        "change": ["write_change_report"],
        "cohort": ["write_cohort_report"],
        "comparison": ["write_comparison_report"],
        "figures": ["draw_curves"],
        "run": ["write_run_report"],
        "scores": ["write_evaluation_report"],
    },
)
