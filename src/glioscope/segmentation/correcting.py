"""What belongs to a corrected segmentation of raw scans: labels on each scan's own grid, and clinical files.

The way back is that of the network's own result: grids and transforms stand in its summary, so no scan is read for the
native grids. DICOM files refer to the images that were segmented, which are read again for them.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from glioscope.dicom import writing
from glioscope.dicom.reading import read_dicom
from glioscope.errors import CaseError
from glioscope.files import sha256_of
from glioscope.labels import REGIONS, regions_from_labels, scheme_named
from glioscope.results import CaseSummary
from glioscope.results.preparation import NativeMap, RawOrigin
from glioscope.segmentation.records import CLINICAL
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import Grid
from glioscope.space.volumes import Volume, read_labels, write_volume


def marked(name: str, version: int) -> str:
    """Return the name of a file of a version.

    >>> marked("dicom/segmentation.dcm", 2), marked("native/t1c.nii.gz", 1)
    ('dicom/segmentation.v2.dcm', 'native/t1c.nii.gz')
    """
    if version == 1:
        return name
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(f"{stem}.v{version}.{ending}"))


def native_labels(raw: RawOrigin, labels: Volume, scheme: str, code: str) -> Volume:
    """Return labels of the common grid on the grid of one raw scan."""
    scan = raw.preparation.sequences[code]
    grid = Grid(scan.native_grid.shape, np.array(scan.native_grid.affine_ras_mm))
    back = np.linalg.inv(np.array(scan.registration.matrix_ras_mm)).astype(np.float64)
    return Volume(carry_labels(labels, grid, back, scheme_named(scheme)), grid)


def write_native(folder: Path, raw: RawOrigin, labels: Volume, scheme: str, version: int) -> Mapping[str, NativeMap]:
    """Write ``native/<sequence>.v<version>.nii.gz`` for each raw scan; return what a summary tells of them."""
    written = {}
    for code in raw.preparation.sequences:
        native = native_labels(raw, labels, scheme, code)
        name = marked(f"native/{code}.nii.gz", version)
        write_volume(folder / name, native.data, native.grid)
        written[code] = _told(folder, name, native, scheme)
    return written


def _told(folder: Path, name: str, native: Volume, scheme: str) -> NativeMap:
    regions: NDArray[np.bool_] = regions_from_labels(native.data, scheme_named(scheme))
    volumes = np.count_nonzero(regions, axis=(1, 2, 3)) * native.grid.voxel_volume_ml
    i, j, k = (round(edge, 4) for edge in native.grid.spacing_mm)
    return NativeMap(
        file=name,
        sha256=sha256_of(folder / name),
        shape=native.grid.shape,
        spacing_mm=(i, j, k),
        volumes_ml={region: round(float(v), 3) for region, v in zip(REGIONS, volumes, strict=True)},
    )


def write_clinical(folder: Path, summary: CaseSummary, segmentation: Path, source: Path, version: int) -> None:
    """Write ``dicom/segmentation.v<version>.dcm``, contours and measurements of a version.

    Parameters
    ----------
    folder : Path
        Of the case.
    segmentation : Path
        Label map of the version.
    source : Path
        DICOM that was segmented: a folder or a zip.

    Raises
    ------
    CaseError
        The case did not come as DICOM, or the images are not those that were segmented.
    RunError
        A file cannot be written.
    """
    if summary.raw is None or "dicom" not in summary.raw.inputs:
        raise CaseError("this case did not come as DICOM, so there is nothing that DICOM files could refer to")
    series = summary.settings.get("series")
    overrides = {str(code): str(name) for code, name in series.items()} if isinstance(series, Mapping) else {}
    code = summary.raw.preparation.reference
    scan = read_dicom(source, overrides=overrides).scans[code]
    scheme = scheme_named(summary.scheme.name)
    labels = native_labels(summary.raw, read_labels(segmentation), scheme.name, code).data
    paths = {kind: folder / marked(name, version) for kind, name in CLINICAL.items()}
    writing.write_segmentation(paths["seg"], labels, scan, scheme, identity=False)
    writing.write_structure_set(paths["rtstruct"], labels, scan, scheme, identity=False)
    writing.write_measurements(paths["sr"], summary.measurements, paths["seg"], scan, identity=False)
