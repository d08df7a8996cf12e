"""Pictures and pages: one self-contained HTML file per case, cohort, run, evaluation or comparison."""

from glioscope.report.case import write_case_report
from glioscope.report.figures import draw_curves

__all__ = ["draw_curves", "write_case_report"]
