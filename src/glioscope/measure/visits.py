"""One date of a patient as `segment` left it on disk, or as a label file with a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from glioscope.cases import schemes_of_id
from glioscope.cases.names import named
from glioscope.errors import CaseError, GeometryError, LabelError
from glioscope.files import nifti_stem
from glioscope.labels import REGIONS, LabelScheme, check_labels, choose_scheme, scheme_named
from glioscope.results import CaseSummary, InputFile, read_summary
from glioscope.space.volumes import Volume, VolumeFile, read_grid, read_labels, read_volume

SCAN = "scan"
"""What a scan is called whose sequence nobody named."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visit:
    """A segmented imaging session."""

    name: str
    source: Path
    """The label file."""
    subject_id: str | None
    """As the files were named; None for a bare label file."""
    labels: Volume
    """(i, j, k) uint8 on the scan's own grid."""
    scheme: LabelScheme
    scans: Mapping[str, VolumeFile]
    """By sequence code, on the grid of `labels`."""
    summary: CaseSummary | None
    """What stands in summary.json; None for a bare label file."""

    def read(self, code: str) -> Volume:
        """Return a scan.

        Raises
        ------
        CaseError
            It is no longer where it was.
        GeometryError
            It does not lie on the grid of the segmentation.
        """
        file = self.scans[code]
        if not file.path.is_file():
            raise CaseError(
                f"{self.name}: {code} is no longer at {file.path}; name a scan on the grid of the segmentation with "
                "--earlier-scan or --later-scan"
            )
        scan = read_volume(file)
        if not scan.grid.matches(self.labels.grid):
            raise GeometryError(
                f"{self.name}: {code} has {scan.grid.describe()}, its segmentation {self.labels.grid.describe()}; "
                "they must share one grid. Name the scan that was segmented with --earlier-scan or --later-scan."
            )
        return scan


def scheme_of_dates(places: Sequence[Path]) -> str | None:
    """Return the one label scheme of the label files among two dates, or None where both are folders of `segment`.

    Both are looked at together: a cavity on one date is told from enhancing tumour by the other.

    Raises
    ------
    LabelError
        Names and values leave several schemes open.
    """
    files = [place for place in places if place.is_file()]
    if not files:
        return None
    sets = [np.unique(read_labels(file).data).tolist() for file in files]
    candidates = [schemes_of_id(told.prefix if (told := named(file)) else nifti_stem(file)) for file in files]
    common = tuple(name for name in candidates[0] if all(name in other for other in candidates))
    return choose_scheme(sets, common or candidates[0], subject=" and ".join(map(str, files))).name


def load_visit(place: Path, *, scan: Path | None = None, scheme: str | None = None) -> Visit:
    """Read one date.

    Parameters
    ----------
    place : Path
        A case folder that `segment` wrote (or its parent, if it holds one case), or a label file.
    scan : Path, optional
        A scan on the grid of the labels; needed beside a label file, and where a folder's scans have moved.
    scheme : str, optional
        Label scheme of a label file; told by its values where not given. A folder names its own.

    Raises
    ------
    CaseError
        There is no segmentation, or several.
    RunError
        Its summary.json is damaged or of a later format.
    LabelError
        The labels do not fit the scheme, or the scheme has no whole tumour, core and enhancing tumour.
    GeometryError
        Scan and labels differ in grid.
    """
    if place.is_dir():
        visit = _of_folder(_case_folder(place))
    elif place.is_file():
        labels = read_labels(place)
        known = scheme_named(scheme or scheme_of_dates([place]) or "brats2023")
        visit = Visit(
            name=nifti_stem(place), source=place, subject_id=None, labels=labels, scheme=known, scans={}, summary=None
        )
    else:
        raise CaseError(f"{place}: no such file or folder; give a case folder of 'glioscope segment', or a label file")
    check_labels(visit.labels.data, visit.scheme, subject=visit.name)
    lacking = [region for region in REGIONS if region not in visit.scheme.regions]
    if lacking:
        raise LabelError(
            f"{visit.name}: scheme '{visit.scheme.name}' has no {', '.join(lacking)}; change needs a glioma scheme"
        )
    return visit if scan is None else _with_scan(visit, scan)


def _case_folder(place: Path) -> Path:
    """Return the folder of the only case at or below a place."""
    if (place / "summary.json").is_file():
        return place
    found = sorted(path.parent for path in place.glob("*/summary.json"))
    if len(found) == 1:
        return found[0]
    what = f"holds several cases ({', '.join(f.name for f in found[:5])})" if found else "holds no summary.json"
    raise CaseError(f"{place}: {what}; give the folder of one case that 'glioscope segment' wrote")


def _of_folder(folder: Path) -> Visit:
    summary = read_summary(folder / "summary.json")
    return Visit(
        name=summary.case_id,
        source=folder / "segmentation.nii.gz",
        subject_id=summary.subject_id,
        labels=read_labels(folder / "segmentation.nii.gz"),
        scheme=scheme_named(summary.scheme.name),
        scans=MappingProxyType({code: _file_of(folder, entry) for code, entry in summary.inputs.items()}),
        summary=summary,
    )


def _file_of(folder: Path, entry: InputFile) -> VolumeFile:
    """Return where a scan lies: where the summary says, or, if the folder was moved, where `segment` prepared it."""
    path, moved = Path(entry.file), folder / "prepared"
    if not path.is_file():
        path = next((p for p in sorted(moved.rglob(path.name)) if p.is_file()), path)
    return VolumeFile(path, entry.channel)


def _with_scan(visit: Visit, scan: Path) -> Visit:
    grid = read_grid(scan)
    if not grid.matches(visit.labels.grid):
        raise GeometryError(
            f"{scan}: has {grid.describe()}, the labels of {visit.name} {visit.labels.grid.describe()}; "
            "they must share one grid"
        )
    return replace(visit, scans=MappingProxyType({SCAN: VolumeFile(scan)}))
