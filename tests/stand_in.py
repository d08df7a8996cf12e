"""What the node's tests and its soak run in the place of `segment`: the same files of the same study, no network.

Reads the study as `segment` does, and takes for a tumour what is brighter than a threshold in the first scan. All else
(links, process, SEG, RTSTRUCT, SR, captures, checksums in summary.json, one line of reason) is the program's own.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

from glioscope.dicom import writing
from glioscope.dicom.reading import read_dicom
from glioscope.errors import GlioscopeError
from glioscope.files import sha256_of
from glioscope.labels import SCHEMES
from glioscope.measure import measure
from glioscope.results import CaseSummary, InputFile
from glioscope.results.summary import (
    EngineRecord,
    GridRecord,
    ModelRecord,
    ProcessorRecord,
    SchemeRecord,
    write_summary,
)
from glioscope.segmentation.records import CLINICAL

BRIGHT = 250


def main(source: Path, output: Path, kinds: list[str]) -> None:
    """Write the results of one study."""
    folder = output / source.name
    if (folder / "summary.json").is_file():
        return
    patient = read_dicom(source)
    scan = next(iter(patient.scans.values()))
    scheme = SCHEMES["brats2023"]
    labels = np.where(scan.image > BRIGHT, 2, 0).astype(np.uint8)
    measured = measure(labels, scan.grid, scheme)
    paths = {kind: folder / name for kind, name in CLINICAL.items()}
    writing.write_segmentation(paths["seg"], labels, scan, scheme, identity=True)
    if "capture" in kinds:
        writing.write_captures(folder / "dicom", labels, scan, scheme, identity=True)
    if "rtstruct" in kinds:
        writing.write_structure_set(paths["rtstruct"], labels, scan, scheme, identity=True)
    if "sr" in kinds:
        writing.write_measurements(paths["sr"], measured, paths["seg"], scan, identity=True)
    outputs = {path.relative_to(folder).as_posix(): sha256_of(path) for path in (folder / "dicom").glob("*.dcm")}
    grid = scan.grid
    summary = CaseSummary(
        case_id=source.name,
        subject_id=source.name,
        inputs={code: InputFile(file="", channel=None, sha256="") for code in patient.scans},
        missing_sequences=patient.missing,
        grid=GridRecord(shape=grid.shape, spacing_mm=grid.spacing_mm, orientation=grid.orientation),
        scheme=SchemeRecord(name=scheme.name, labels={}),
        model=ModelRecord(name="none", folder="", sha256=""),
        settings={},
        engine=EngineRecord(name="none", precision="", description="a threshold"),
        processor=ProcessorRecord(model="", cores=1),
        versions={},
        measurements=measured,
        flags=(),
        outputs=outputs,
    )
    write_summary(folder / "summary.json", summary)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = sys.argv[1:]
    try:
        main(Path(given[0]), Path(given[given.index("-o") + 1]), given[given.index("--dicom") + 1].split(","))
    except GlioscopeError as error:
        sys.stderr.write(f"glioscope: {error}\n")
        sys.exit(2)
