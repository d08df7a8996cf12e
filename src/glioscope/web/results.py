"""What a finished case consists of on disk, and how a corrected segmentation joins it.

cases/<key>/output/<case>/segmentation.nii.gz, summary.json, report.html      version 1, from the network
                         segmentation.v2.nii.gz, summary.v2.json, …           corrected; nothing is overwritten
cases/<key>/view/t1c.nii.gz …                                                 made for the viewer: 8 bits a voxel
"""

import csv
import hashlib
import io
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from glioscope.cases import Case, load_case
from glioscope.errors import CaseError, GeometryError, LabelError, RunError
from glioscope.files import read_json, sha256_of, write_json
from glioscope.labels import REGIONS, LabelScheme, check_labels, scheme_named
from glioscope.measure import measure
from glioscope.report import write_case_report
from glioscope.results import CaseSummary, Flag, write_summary
from glioscope.results import read_summary as read
from glioscope.results.preparation import NativeMap
from glioscope.results.summary import CorrectionRecord
from glioscope.segmentation.clicks import eight_bits
from glioscope.segmentation.correcting import write_native
from glioscope.space.background import foreground
from glioscope.space.grid import Box, Grid, bounding_box, cut, paste
from glioscope.space.volumes import Volume, VolumeFile, read_labels, read_volume, write_volume
from glioscope.web.store import CaseRow, Found, Store, VersionRow

MOST_UPLOADED = 64 * 1024 * 1024
"""Bytes of a corrected segmentation as it is sent; label maps pack to a hundredth."""
_SAVING = threading.Lock()
_VIEWING = threading.Lock()


class ConflictError(Exception):
    """Somebody saved in between."""


def result_folder(store: Store, key: str) -> Path:
    """Return where `segment` wrote a case.

    Raises
    ------
    RunError
        There is no result.
    """
    found = sorted((store.folder(key) / "output").glob("*/summary.json"))
    if not found:
        raise RunError("there is no segmentation yet")
    return found[0].parent


def names(version: int) -> tuple[str, str, str]:
    """Return the file names of a version: segmentation, summary, report."""
    mark = "" if version == 1 else f".v{version}"
    return f"segmentation{mark}.nii.gz", f"summary{mark}.json", f"report{mark}.html"


def read_summary(store: Store, key: str, version: int) -> CaseSummary:
    """Return the summary of a version. Errors as `results.read_summary`."""
    return read(result_folder(store, key) / names(version)[1])


def content_of(summary: CaseSummary, version: int) -> str:
    """Return a mark of what a version is: the voxels of its segmentation and of the scans it was made from.

    Numbers begin again at 1 when a case is segmented anew; this does not. 32 hexadecimal digits.
    """
    inputs = sorted((name, entry.sha256) for name, entry in summary.inputs.items())
    parts = [summary.outputs[names(version)[0]], *(f"{name}:{digest}" for name, digest in inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def result_of(summary: CaseSummary) -> Found:
    """Return what the list of cases shows of a summary."""
    volumes = summary.measurable_ml
    return Found(
        volumes_ml={name: volumes[name] for name in REGIONS if name in volumes},
        flags=sum(flag.severity != "info" for flag in summary.flags),
    )


def case_of(summary: CaseSummary) -> Case:
    """Return the case that a summary is about, as its files lie (each of one volume: `service` lays them out so)."""
    files = {name: VolumeFile(Path(entry.file)) for name, entry in summary.inputs.items()}
    return Case(case_id=summary.case_id, subject_id=summary.subject_id, sequences=files)


def view_box(store: Store, key: str) -> Box:
    """Return the part of the grid that the viewer shows: the brain and a margin. Half of a usual grid is air."""
    path = store.folder(key) / "view" / "box.json"
    with _VIEWING:
        if not path.is_file():
            inside = None
            for file in case_of(read_summary(store, key, 1)).sequences.values():
                image = read_volume(file).data
                seen = np.isfinite(image) & foreground(image)
                inside = seen if inside is None else inside | seen
            labels = read_labels(segmentation_file(store, key, 1)).data > 0
            box = bounding_box(labels if inside is None else inside | labels, margin=4)
            write_json(path, {"start": list(box.start), "stop": list(box.stop)})
    found = read_json(path, what="box of the viewer")
    return Box(tuple(found["start"]), tuple(found["stop"]))


def view_file(store: Store, key: str, sequence: str) -> Path:
    """Return a sequence as the viewer gets it, made at the first call: 8 bits a voxel, the part in `view_box`.

    Raises
    ------
    CaseError
        The case has no such sequence.
    """
    path = store.folder(key) / "view" / f"{sequence}.nii.gz"
    if not path.is_file():
        box = view_box(store, key)
        sequences = case_of(read_summary(store, key, 1)).sequences
        if sequence not in sequences:
            raise CaseError(f"the case has no {sequence}; it has {', '.join(sequences)}")
        with _VIEWING:  # one at a time: each takes some hundred MB
            volume = read_volume(sequences[sequence])
            write_volume(path, cut(eight_bits(volume.data), box), volume.grid.crop(box))
    return path


def view_labels(store: Store, key: str, version: int) -> Path:
    """Return the label map of a version as the viewer gets it: the part in `view_box`."""
    path = store.folder(key) / "view" / f"labels.v{version}.nii.gz"
    if not path.is_file():
        box = view_box(store, key)
        labels = read_labels(segmentation_file(store, key, version))
        write_volume(path, cut(labels.data, box), labels.grid.crop(box))
    return path


def segmentation_file(store: Store, key: str, version: int) -> Path:
    """Return the label map of a version."""
    return result_folder(store, key) / names(version)[0]


def report_file(store: Store, key: str, version: int) -> Path:
    """Return the page of a version; a corrected one's is made at the first call.

    Raises
    ------
    CaseError
        An input is gone.
    """
    folder = result_folder(store, key)
    segmentation, _, page = names(version)
    if not (folder / page).is_file():
        summary = read_summary(store, key, version)
        labels = read_labels(folder / segmentation).data
        scheme = scheme_named(summary.scheme.name)
        write_case_report(folder / page, load_case(case_of(summary)), labels, scheme, summary)
    return folder / page


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What somebody sends who corrected a version."""

    body: bytes
    """NIfTI, packed or not."""
    based_on: int
    """The version that was corrected."""
    content: str
    """What that was, as `content_of` tells it: a number alone may mean another segmentation by now."""
    note: str
    branch: bool = False
    """Save it although a newer version exists."""


def save_version(store: Store, row: CaseRow, sent: Correction) -> tuple[VersionRow, CaseSummary]:
    """Check a corrected segmentation, measure it, write it as the next version, and return that with its summary.

    Parameters
    ----------
    store : Store
        The list of cases.
    row : CaseRow
        The case.
    sent : Correction
        The map, and what it corrects: the newest version, unless it is a branch.

    Raises
    ------
    ConflictError
        A newer version exists, or what was corrected is not here any more.
    CaseError, GeometryError, LabelError
        It is no segmentation of this case, or the very one that it corrects.
    RunError
        It cannot be written.
    """
    with _SAVING:  # two browsers: the second sees what the first wrote
        current = store.case(row.key)
        newest = current.version if current else 0
        folder, based_on = result_folder(store, row.key), sent.based_on
        summary = _corrected_summary(store, row.key, sent, newest)
        before = read_labels(folder / names(based_on)[0])
        scheme = scheme_named(summary.scheme.name)
        labels = read_correction(sent.body, before, view_box(store, row.key), scheme)
        number, note = newest + 1, sent.note
        segmentation, record, _ = names(number)
        changed = int(np.count_nonzero(labels != before.data))
        if not changed:
            raise CaseError(f"the segmentation: is the same as version {based_on}, so no version was made of it")
        write_volume(folder / segmentation, labels, before.grid)
        try:
            native = _native(folder, summary, Volume(labels, before.grid), number)
            made = replace(
                _corrected(store, row.key, summary, labels, before.grid, scheme),
                raw=summary.raw and replace(summary.raw, native=native),
                outputs={
                    segmentation: sha256_of(folder / segmentation),
                    **{entry.file: entry.sha256 for entry in native.values()},
                },
                correction=CorrectionRecord(version=number, based_on=based_on, changed_voxels=changed, note=note),
            )
            write_summary(folder / record, made)
            version = VersionRow(number=number, based_on=based_on, note=note, changed=changed, created=time.time())
            store.add_version(row.key, version, result_of(made))
        except BaseException:
            for path in (folder / segmentation, folder / record, *folder.glob(f"native/*.v{number}.nii.gz")):
                path.unlink(missing_ok=True)
            raise
        return version, made


def _native(folder: Path, summary: CaseSummary, labels: Volume, version: int) -> Mapping[str, NativeMap]:
    """Write a corrected version on the grids of raw scans, if it comes from such."""
    return write_native(folder, summary.raw, labels, summary.scheme.name, version) if summary.raw else {}


def _corrected_summary(store: Store, key: str, sent: Correction, newest: int) -> CaseSummary:
    """Return the summary of the version that was corrected, if it is still what the sender saw."""
    summary = read_summary(store, key, sent.based_on) if sent.based_on <= newest else None
    if summary is None or content_of(summary, sent.based_on) != sent.content:
        raise ConflictError(
            "this case was segmented again since you opened it, and what you corrected is not its version "
            f"{sent.based_on} any more. Nothing was overwritten: download your drawing, then load the case anew."
        )
    if newest != sent.based_on and not sent.branch:
        raise ConflictError(
            f"version {newest} was saved in the meantime, and yours is a correction of version {sent.based_on}. "
            f"Nothing was overwritten: save yours as a branch, download it, or load version {newest} and correct that."
        )
    return summary


def read_correction(body: bytes, before: Volume, box: Box, scheme: LabelScheme) -> NDArray[np.uint8]:
    """Return the label map (i, j, k) that was sent, on the grid of `before`.

    Parameters
    ----------
    body : bytes
        NIfTI, packed or not, on that grid, or on the part of it in `box`; then the rest stays as it was.
    before : Volume
        The labels that were corrected.
    box : Box
        What the viewer shows.
    scheme : LabelScheme
        Of both.

    Raises
    ------
    CaseError
        It is not NIfTI, or damaged.
    GeometryError
        It lies on another grid.
    LabelError
        It holds values that the scheme does not know.
    """
    grid = before.grid
    most = 1024 + 8 * int(np.prod(grid.shape))  # a header and the widest numbers
    broken = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, zlib.error, MemoryError)
    try:
        if body[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            body = unpacker.decompress(body, most + 1)
            if len(body) <= most and not unpacker.eof:
                raise CaseError("the segmentation: is truncated; save it again")
        if len(body) > most:
            raise CaseError("the segmentation: is larger than this case's grid; nothing was saved")
        image = nib.Nifti1Image.from_bytes(body)
        values = np.asarray(image.dataobj, np.float32)
    except CaseError:
        raise
    except broken as error:
        raise CaseError(f"the segmentation: is not readable NIfTI ({error}); nothing was saved") from error
    part = values.shape == box.shape and np.allclose(image.affine, grid.crop(box).affine, atol=1e-2)
    whole = values.shape == grid.shape and np.allclose(image.affine, grid.affine, atol=1e-2)
    if not (part or whole):
        raise GeometryError(
            f"the segmentation: lies on another grid (shape {values.shape}, the case: {grid.shape}); it was not saved"
        )
    labels = np.nan_to_num(values).clip(0, 255).astype(np.uint8)
    if (labels != values).any():
        raise LabelError("the segmentation: holds values that are no whole numbers from 0 to 255; nothing was saved")
    check_labels(labels, scheme, subject="the segmentation")
    if whole:
        return labels
    result = before.data.copy()
    result[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] = labels
    return result


def _corrected(
    store: Store, key: str, summary: CaseSummary, labels: NDArray[np.uint8], grid: Grid, scheme: LabelScheme
) -> CaseSummary:
    """Return the summary of a corrected version: measured anew, without what only held for the network's."""
    box = view_box(store, key)
    brain = np.zeros(box.shape, bool)
    for sequence in case_of(summary).sequences:
        brain |= read_volume(view_file(store, key, sequence), dtype=np.uint8).data > 0
    message = "This segmentation was corrected by hand; confidence and flags are those of the network's own."
    return replace(
        summary,
        measurements=measure(labels, grid, scheme, brain=paste(brain, box, grid.shape)),
        flags=(*(flag for flag in summary.flags if flag.code != "corrected"), Flag("corrected", "info", message)),
        seconds={},
    )


def measurements_csv(summaries: Mapping[tuple[str, str, int], CaseSummary]) -> str:
    """Return a table with a row per case and version.

    Parameters
    ----------
    summaries : mapping
        (key, title, version) to its summary.
    """
    text = io.StringIO()
    columns = ["case", "title", "version", *(f"{name}_ml" for name in REGIONS), "longest_mm", "perpendicular_mm"]
    columns += ["product_mm2", "side", "flags"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for (key, title, version), summary in summaries.items():
        found, diameters = summary.measurements, summary.measurements.diameters
        writer.writerow(
            {
                "case": key,
                "title": _cell(title),
                "version": version,
                **{f"{name}_ml": summary.measurable_ml.get(name, "") for name in REGIONS},
                "longest_mm": diameters.longest_mm if diameters else "",
                "perpendicular_mm": diameters.perpendicular_mm if diameters else "",
                "product_mm2": diameters.product_mm2 if diameters else "",
                "side": found.side.side if found.side else "",
                "flags": " ".join(flag.code for flag in summary.flags),
            }
        )
    return text.getvalue()


def _cell(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
