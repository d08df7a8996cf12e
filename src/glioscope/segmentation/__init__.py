"""Files to files: a patient or a cohort in, segmentations with their measurements, flags and pages out.

    find ──▶ read ──▶ prepare ──▶ predict ──▶ restore ──▶ write ──▶ measure, check ──▶ report ──▶ summary.json
             └──── reader's thread ────┘      └────────────────── writer's thread ──────────────────┘

While the network works on one case the next is read and the last is written, never more, so that memory stays flat
over a cohort. Raw scans (DICOM, or NIfTI on different grids or with the skull on) are brought onto one grid as they are
read, and the result is carried back to each scan's own grid as it is written.

`summary.json` comes last and names the checksums of all that went in: a case whose summary still matches is done, and a
second run passes over it.
"""

from glioscope.segmentation.cohort import Place, find_inputs, rewrite_reports, segment
from glioscope.segmentation.records import (
    CaseOutcome,
    ClinicalFile,
    SegmentationResult,
    SegmentOptions,
    Status,
)
from glioscope.segmentation.worker import Worker, default_model

__all__ = [
    "CaseOutcome",
    "ClinicalFile",
    "Place",
    "SegmentOptions",
    "SegmentationResult",
    "Status",
    "Worker",
    "default_model",
    "find_inputs",
    "rewrite_reports",
    "segment",
]
