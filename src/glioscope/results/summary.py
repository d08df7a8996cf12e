"""What `segment` writes of a case: `summary.json`.

A correction on the server writes one too: the network's, measured anew, with `correction`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from glioscope.errors import RunError
from glioscope.results.anatomy import Anatomy
from glioscope.results.flags import Flag
from glioscope.results.measurements import Measurements
from glioscope.results.preparation import InputFile, RawOrigin
from glioscope.results.stored import (
    FORMAT,
    Stored,
    check_format,
    from_json,
    optional,
    read_content,
    read_stored,
    write_stored,
)

SUMMARY = "summary.json"
"""Its name in a case's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRecord(Stored):
    """The grid of the scans and of the segmentation."""

    shape: tuple[int, int, int]
    """Voxels along i, j, k, counts."""
    spacing_mm: tuple[float, float, float]
    """Voxel edges along i, j, k, millimetres."""
    orientation: str
    """Where i, j, k point, as in `LPS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeRecord(Stored):
    """What the numbers of the segmentation mean."""

    name: str
    """As in `labels.SCHEMES`."""
    labels: Mapping[str, str]
    """Label value to the tissue's abbreviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord(Stored):
    """The network that answered, or the several that answered together."""

    name: str
    """As its model.json tells."""
    folder: str
    """Where it lay; of several the first."""
    sha256: str
    """Of model.json; of several that of their checksums joined in order. 64 hexadecimal digits."""
    members: tuple[str, ...] = optional(tuple)
    """Folders of all, where several answered together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord(Stored):
    """What computed."""

    name: str
    """As in `openvino 2026.4.1`."""
    precision: str
    """Numbers it multiplied: bf16, int8, fp32, …"""
    description: str
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorRecord(Stored):
    """What it computed on."""

    model: str
    """Name of the processor."""
    cores: int
    """A count."""
    memory_gb: float | None = optional()
    """Of the machine, GiB; 0.1.0 did not say."""
    features: tuple[str, ...] = optional(tuple)
    """What it multiplies in hardware, as OpenVINO names it."""
    flags: tuple[str, ...] = optional(tuple)
    """The same as 0.1.0 told it: by the flags of Linux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRecord(Stored):
    """How a version came from the one before."""

    version: int
    """Its number; the network's is 1."""
    based_on: int
    """Number of the version that was corrected."""
    changed_voxels: int
    """Those that differ, a count."""
    note: str
    """What the user said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSummary(Stored):
    """All that is told of a segmented case: what went in, how it was done, what was found."""

    format: int = FORMAT
    """Version of this table; 0.1.0 wrote none."""
    case_id: str
    """Name of the case, and of its folder."""
    subject_id: str
    """Name of the patient, by the name of the case."""
    inputs: Mapping[str, InputFile]
    """Sequence to the file that was segmented; of raw scans the prepared ones."""
    raw: RawOrigin | None = optional()
    """Of raw scans: what was given, how it was prepared, the way back."""
    missing_sequences: tuple[str, ...]
    """Of t1n, t1c, t2w, t2f those that were not given."""
    grid: GridRecord
    """Of the inputs and of the segmentation."""
    scheme: SchemeRecord
    """Of the segmentation."""
    model: ModelRecord
    """What answered."""
    settings: Mapping[str, object]
    """All that decides the result beside inputs and model: a second run passes over a case of the same."""
    engine: EngineRecord
    """What computed."""
    processor: ProcessorRecord
    """What it computed on."""
    versions: Mapping[str, str]
    """Package to its version."""
    measurements: Measurements
    """What was found."""
    anatomy: Anatomy | None = optional()
    """Where the tumour lies, if that was asked for."""
    flags: tuple[Flag, ...]
    """What is odd about input or result, in the order in which it was noticed."""
    outputs: Mapping[str, str] = optional(dict)
    """File below the case's folder to its SHA-256."""
    seconds: Mapping[str, float] = optional(dict)
    """Step to wall-clock seconds; not of a correction."""
    not_measurable: Mapping[str, float] = optional(dict)
    """Region to the network's mean Dice with these sequences, where that is too low for its sizes to mean anything."""
    correction: CorrectionRecord | None = optional()
    """Of a version that a person corrected."""

    @property
    def measurable_ml(self) -> dict[str, float]:
        """Volumes of the regions that can be measured with these sequences."""
        volumes = self.measurements.volumes_ml
        return {name: volume for name, volume in volumes.items() if name not in self.not_measurable}

    @property
    def total_seconds(self) -> float:
        """Wall-clock seconds of all steps together."""
        return sum(self.seconds.values())


def without_folders(summary: CaseSummary) -> CaseSummary:
    """Return a summary that names the files that went in without the folders they lay in."""
    raw = summary.raw and replace(
        summary.raw,
        inputs={n: _bare(entry) if isinstance(entry, InputFile) else entry for n, entry in summary.raw.inputs.items()},
    )
    return replace(summary, inputs={name: _bare(entry) for name, entry in summary.inputs.items()}, raw=raw)


def _bare(entry: InputFile) -> InputFile:
    return replace(entry, file=Path(entry.file).name)


def read_summary(path: Path | str) -> CaseSummary:
    """Read a summary.json of `segment`. Errors as `stored.read_stored`."""
    return read_stored(Path(path), CaseSummary)


def usable_summary(path: Path) -> CaseSummary | None:
    """Return what an earlier run told of a case; None if there is nothing, or nothing that can be read.

    Raises
    ------
    RunError
        It is of a later format: it is neither understood nor overwritten.
    """
    try:
        content = read_content(path)
    except RunError:
        return None
    check_format(content, path)
    try:
        return from_json(content, CaseSummary, path)
    except RunError:
        return None


def write_summary(path: Path | str, summary: CaseSummary) -> None:
    """Write a summary.json, complete or not at all. Errors as `stored.write_stored`."""
    write_stored(Path(path), summary)


def summaries(folder: Path, pattern: str = f"**/{SUMMARY}") -> Iterator[tuple[Path, CaseSummary | RunError]]:
    """Yield the summaries of the cases below a folder, sorted by path; the error of one that cannot be read.

    An evaluation writes a summary.json too, which is passed over.
    """
    for path in sorted(folder.glob(pattern)):
        found: CaseSummary | RunError
        try:
            content = read_content(path)
            if "protocols" in content:
                continue
            found = from_json(content, CaseSummary, path)
        except RunError as error:
            found = error
        yield path, found
