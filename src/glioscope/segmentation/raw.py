"""Raw scans on their way through `segment`: prepared before the network, carried back to each scan after it.

    DicomCase, or a Case whose scans are raw ──begin──▶ a case on one grid, and the RawRoute
    labels on that grid, RawRoute ──write_back──▶ native/<sequence>.nii.gz, prepared/, dicom/

Loaded only when a case needs it: the libraries behind it are large.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, LoadedCase
from glioscope.dicom import writing as clinical
from glioscope.dicom.find import DicomCase, without_path
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.scans import RawPatient, RawScan, read_nifti_scans
from glioscope.errors import GlioscopeError
from glioscope.files import sha256_of
from glioscope.labels import LabelScheme, regions_from_labels
from glioscope.prepare.patient import PreparedRaw, prepare_raw, record, to_native, write_prepared
from glioscope.quality.inputs import THICK_MM
from glioscope.results import DicomFiles, Flag, InputFile, Measurements
from glioscope.results.preparation import NativeMap, RawOrigin, SeriesRecord
from glioscope.segmentation.asked import Asked
from glioscope.segmentation.records import (
    CLINICAL,
    CLINICAL_MARGIN,
    ClinicalFile,
    SegmentOptions,
    clinical_files_in,
)
from glioscope.space.volumes import write_volume

WITHOUT_DICOM = (
    "clinical files were asked for, but they refer to DICOM images and this input is NIfTI: "
    "segmentation.nii.gz and native/ hold the result; give the DICOM folder to get them"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawRoute:
    """How a case came from its raw scans, and the way back to each of them."""

    patient: RawPatient
    """Without voxels, but of one scan where pictures are asked for: what is left are grids, sources and reasons."""
    prepared: PreparedRaw
    why: str
    """What showed that the input is raw."""


def begin(
    case: Case | DicomCase, why: str, loaded: LoadedCase | None, output: Path, *, pictures: bool = False
) -> tuple[LoadedCase, RawRoute]:
    """Read the raw scans of a case, unless they are `loaded`, and bring them onto one grid, skull off.

    With `pictures`, the scan that results refer to keeps its voxels; all others are let go of.

    Raises
    ------
    GlioscopeError
        As `read_dicom`, `read_nifti_scans` and `prepare_raw`; a text names the case, not the folder of its DICOM.
    """
    if isinstance(case, DicomCase):
        try:
            patient = read_dicom(case.source, overrides=case.overrides)
        except GlioscopeError as error:
            raise without_path(error, case) from None
    elif loaded is not None:
        scans = {code: RawScan(image=image, grid=loaded.grid) for code, image in loaded.images.items()}
        patient = RawPatient(scans=scans)
    else:
        patient = read_nifti_scans(case.sequences)
    prepared = prepare_raw(patient)
    ready = prepared.loaded(case.case_id, output / case.case_id / "prepared")
    bare = {
        code: scan if pictures and code == prepared.reference else replace(scan, image=_no_voxels(scan))
        for code, scan in patient.scans.items()
    }
    route = RawRoute(
        patient=replace(patient, scans=MappingProxyType(bare)), prepared=replace(prepared, heads={}), why=why
    )
    return ready, route


def _no_voxels(scan: RawScan) -> NDArray[np.float32]:
    return np.broadcast_to(np.float32(0), scan.grid.shape)


def write_scans(folder: Path, route: RawRoute, case_id: str) -> tuple[dict[str, InputFile], dict[str, str]]:
    """Write the prepared scans, so that the result can be looked at; return them as inputs, and their checksums."""
    case = write_prepared(route.prepared, folder / "prepared", case_id)
    inputs, written = {}, {}
    for code, file in case.sequences.items():
        digest = sha256_of(file.path)
        inputs[code] = InputFile(file=str(file.path.resolve()), channel=None, sha256=digest)
        written[f"prepared/{file.path.name}"] = digest
    return inputs, written


def write_native(
    folder: Path, route: RawRoute, labels: NDArray[np.uint8], scheme: LabelScheme
) -> tuple[dict[str, NativeMap], dict[str, NDArray[np.uint8]]]:
    """Write native/<sequence>.nii.gz, the labels on each scan's own grid; return what a summary says of them."""
    written = {}
    maps = {}
    for code, grid in route.prepared.natives.items():
        maps[code] = to_native(labels, route.prepared, code, scheme=scheme)
        name = f"native/{code}.nii.gz"
        write_volume(folder / name, maps[code], grid)
        regions = regions_from_labels(maps[code], scheme, names=tuple(scheme.regions))
        volumes = np.count_nonzero(regions, axis=(1, 2, 3)) * grid.voxel_volume_ml
        i, j, k = (round(edge, 4) for edge in grid.spacing_mm)
        written[code] = NativeMap(
            file=name,
            sha256=sha256_of(folder / name),
            shape=grid.shape,
            spacing_mm=(i, j, k),
            volumes_ml={name: round(float(v), 3) for name, v in zip(scheme.regions, volumes, strict=True)},
        )
    return written, maps


def write_clinical(
    folder: Path,
    route: RawRoute,
    maps: Mapping[str, NDArray[np.uint8]],
    scheme: LabelScheme,
    measurements: Measurements,
    options: SegmentOptions,
    asked: Asked | None = None,
) -> tuple[dict[str, str], list[Flag]]:
    """Write the clinical files asked for into dicom/; return their checksums, and why any is not there.

    They refer to the series of the scan that gave the common grid (T1 with contrast where there is one). A file that
    fails must not cost the segmentation, so it becomes a flag.
    """
    if not options.dicom:
        return {}, []
    code = route.prepared.reference
    scan = route.patient.scans[code]
    if scan.source is None:
        return {}, [Flag("no-dicom", "warning", WITHOUT_DICOM)]
    paths = {kind: folder / name for kind, name in CLINICAL.items()}
    keep = options.identity
    steps: dict[ClinicalFile, Callable[[], object]] = {
        "seg": lambda: clinical.write_segmentation(paths["seg"], maps[code], scan, scheme, identity=keep),
        "rtstruct": lambda: clinical.write_structure_set(paths["rtstruct"], maps[code], scan, scheme, identity=keep),
        "sr": lambda: clinical.write_measurements(
            paths["sr"], measurements, paths["seg"], scan, identity=keep, sentences=asked.sentences if asked else ()
        ),
        "capture": lambda: clinical.write_captures(folder / "dicom", maps[code], scan, scheme, identity=keep),
    }
    wanted = [kind for kind in steps if kind in options.dicom or (kind == "seg" and "sr" in options.dicom)]
    written: dict[str, str] = {}
    flags = []
    for kind in wanted:  # the measurements refer to the segmentation, so it comes first
        try:
            steps[kind]()
        except GlioscopeError as error:
            flags.append(Flag("no-dicom", "warning", f"{CLINICAL[kind]} could not be made: {error}"))
            break
        names = [path.relative_to(folder).as_posix() for path in sorted((folder / "dicom").glob("*.dcm"))]
        written |= {name: sha256_of(folder / name) for name in clinical_files_in(names, kind)}
    if asked is not None and asked.margin is not None and "rtstruct" in options.dicom:
        flags += _write_margin(folder, route, asked.margin, written, identity=keep)
    return written, flags


def _write_margin(
    folder: Path, route: RawRoute, margin: NDArray[np.uint8], written: dict[str, str], *, identity: bool
) -> list[Flag]:
    """Write a margin on the common grid as contours on the reference scan, and its checksum into `written`."""
    code = route.prepared.reference
    here = to_native(margin, route.prepared, code)  # as core and whole of a tumour
    try:
        clinical.write_margin(folder / CLINICAL_MARGIN, here, route.patient.scans[code], identity=identity)
    except GlioscopeError as error:
        return [Flag("no-dicom", "warning", f"{CLINICAL_MARGIN} could not be made: {error}")]
    written[CLINICAL_MARGIN] = sha256_of(folder / CLINICAL_MARGIN)
    return []


def flags_of(route: RawRoute) -> list[Flag]:
    """Return what is doubtful about the scans and how they were prepared."""
    flags = []
    for code, scan in route.patient.scans.items():
        flags += [Flag(f"scan-{code}", "warning", f"{code}: {problem}") for problem in scan.problems]
    thick = {code: max(scan.grid.spacing_mm) for code, scan in route.patient.scans.items()}
    thick = {code: edge for code, edge in thick.items() if edge > THICK_MM}
    if thick:
        edges = ", ".join(f"{code} {edge:.2g} mm" for code, edge in thick.items())
        text = (
            f"voxels are long: {edges}; slices thicker than {THICK_MM:g} mm hide small tumours and coarsen every length"
        )
        flags.append(Flag("thick-slices", "warning", text))
    return [*flags, *(Flag("preparation", "warning", problem) for problem in route.prepared.problems)]


def record_of(
    route: RawRoute, inputs: Mapping[str, InputFile | DicomFiles], native: Mapping[str, NativeMap]
) -> RawOrigin:
    """Return what a summary tells of the raw scans: series and reasons, transforms and their quality, the way back."""
    patient = route.patient
    chosen = {choice.sequence: choice for choice in patient.choices}
    series = {}
    for code, scan in patient.scans.items():
        choice = chosen.get(code)
        series[code] = SeriesRecord(
            series=choice.series if choice else "",
            reason=choice.reason if choice else "named by its file",
            description=scan.description,
            problems=scan.problems,
        )
    return RawOrigin(
        why=route.why,
        inputs=dict(inputs),
        patient=patient.patient,
        series=series,
        left_out=dict(patient.left_out),
        preparation=record(route.prepared),
        native=dict(native),
    )
