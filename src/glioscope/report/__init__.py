"""Pictures and pages: one self-contained HTML file per case, cohort, run, evaluation or comparison.

`style` holds the colours, `images` turns volumes into pictures, `figures` draws charts, `viewer` packs volumes for the
slice viewer, `page` fills templates; `case`, `cohort`, `run` and `scores` put them together.
"""

from glioscope.report.case import write_case_report
from glioscope.report.cohort import write_cohort_report
from glioscope.report.figures import draw_curves
from glioscope.report.run import draw_sample, write_run_report
from glioscope.report.scores import write_comparison_report, write_evaluation_report

__all__ = [
    "draw_curves",
    "draw_sample",
    "write_case_report",
    "write_cohort_report",
    "write_comparison_report",
    "write_evaluation_report",
    "write_run_report",
]
