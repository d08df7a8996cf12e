"""What the node's tests and its soak run in the place of `segment`: the same files of the same study, no network.

Reads the study as `segment` does, and takes for a tumour what is brighter than a threshold in the first scan. All else
(links, process, SEG, RTSTRUCT, SR, captures, checksums in summary.json, one line of reason) is the program's own.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from glioscope.dicom import writing
from glioscope.dicom.reading import read_dicom
from glioscope.errors import GlioscopeError
from glioscope.files import sha256_of, write_text
from glioscope.labels import SCHEMES, regions_from_labels
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
    voxels = np.count_nonzero(regions_from_labels(labels, scheme), axis=(1, 2, 3))
    measured = {"volumes_ml": dict(zip(("WT", "TC", "ET"), voxels * scan.grid.voxel_volume_ml, strict=True))}
    paths = {kind: folder / name for kind, name in CLINICAL.items()}
    writing.write_segmentation(paths["seg"], labels, scan, scheme, identity=True)
    if "rtstruct" in kinds:
        writing.write_structure_set(paths["rtstruct"], labels, scan, scheme, identity=True)
    if "sr" in kinds:
        writing.write_measurements(paths["sr"], measured, paths["seg"], scan, identity=True)
    outputs = {name: sha256_of(folder / name) for name in CLINICAL.values() if (folder / name).is_file()}
    summary = {"raw": {"series": dict.fromkeys(patient.scans, "")}, "flags": [], "outputs": outputs}
    write_text(folder / "summary.json", json.dumps(summary))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = sys.argv[1:]
    try:
        main(Path(given[0]), Path(given[given.index("-o") + 1]), given[given.index("--dicom") + 1].split(","))
    except GlioscopeError as error:
        sys.stderr.write(f"glioscope: {error}\n")
        sys.exit(2)
