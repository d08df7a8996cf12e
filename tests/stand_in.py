"""What the node's tests and its soak run in the place of `segment`: the same files of the same study, no network.

Reads the study as `segment` does, and takes for a tumour what is brighter than a threshold in the first scan. All else
(links, process, SEG, RTSTRUCT, SR, captures, checksums in summary.json, one line of reason) is the program's own.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from glioscope.dicom import writing
from glioscope.dicom.reading import read_dicom
from glioscope.errors import GlioscopeError
from glioscope.files import sha256_of
from glioscope.labels import SCHEMES
from glioscope.results import InputFile, write_summary
from glioscope.segmentation.records import CLINICAL
from summaries import tiny_summary

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
    inputs = {code: InputFile(file=code, channel=None, sha256="") for code in patient.scans}
    summary = tiny_summary(source.name, labels=labels, grid=scan.grid, inputs=inputs, missing_sequences=patient.missing)
    paths = {kind: folder / name for kind, name in CLINICAL.items()}
    writing.write_segmentation(paths["seg"], labels, scan, scheme, identity=True)
    if "capture" in kinds:
        writing.write_captures(folder / "dicom", labels, scan, scheme, identity=True)
    if "rtstruct" in kinds:
        writing.write_structure_set(paths["rtstruct"], labels, scan, scheme, identity=True)
    if "sr" in kinds:
        writing.write_measurements(paths["sr"], summary.measurements, paths["seg"], scan, identity=True)
    outputs = {path.relative_to(folder).as_posix(): sha256_of(path) for path in (folder / "dicom").glob("*.dcm")}
    write_summary(folder / "summary.json", replace(summary, outputs=outputs))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = sys.argv[1:]
    try:
        main(Path(given[0]), Path(given[given.index("-o") + 1]), given[given.index("--dicom") + 1].split(","))
    except GlioscopeError as error:
        sys.stderr.write(f"glioscope: {error}\n")
        sys.exit(2)
