"""What `segment` would tell of a case, made in place: no network, no file."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.labels import scheme_named
from glioscope.measure import measure
from glioscope.results import CaseSummary, InputFile
from glioscope.results.summary import EngineRecord, GridRecord, ModelRecord, ProcessorRecord, SchemeRecord
from glioscope.space.grid import Grid

TINY = Grid((20, 24, 16), np.diag([-1.0, -1.0, 1.0, 1.0]))
"""Of `tiny.write_tiny_case`."""


def tiny_summary(
    case_id: str = "BraTS-GLI-00001-000",
    *,
    labels: NDArray[np.uint8] | None = None,
    grid: Grid | None = None,
    **changes: Any,
) -> CaseSummary:
    """What `segment` would tell of a case with these labels (none: no tumour), with changes of fields."""
    scheme, grid = scheme_named("brats2023"), grid or TINY
    told = CaseSummary(
        case_id=case_id,
        subject_id=case_id,
        inputs={"t1c": InputFile(file=f"{case_id}-t1c.nii.gz", channel=None, sha256="0" * 64)},
        missing_sequences=(),
        grid=GridRecord(shape=grid.shape, spacing_mm=grid.spacing_mm, orientation=grid.orientation),
        scheme=SchemeRecord(name=scheme.name, labels={str(v): name for v, name in scheme.meanings.items()}),
        model=ModelRecord(name="tiny", folder="tiny", sha256="1" * 64),
        settings={"scheme": scheme.name},
        engine=EngineRecord(name="test", precision="fp32", description="a test"),
        processor=ProcessorRecord(model="test", cores=1),
        versions={"glioscope": "0.1.0"},
        measurements=measure(np.zeros(grid.shape, np.uint8) if labels is None else labels, grid, scheme),
        flags=(),
        seconds={"predict": 1.25},
    )
    return replace(told, **changes)
