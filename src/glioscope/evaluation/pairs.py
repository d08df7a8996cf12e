"""Which prediction belongs to which reference, and both of them in memory, checked and cropped.

Predictions: ``OUT/<case>/segmentation.nii.gz`` as ``segment`` writes them, or ``<case>.nii.gz``, ``<case>-seg.nii.gz``.
References: a BraTS folder in any layout, or the same flat names. Pairs are matched by case id; two single files are a
pair whatever their names.
"""

import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import naming_schemes, scan_cases, schemes_of_id
from glioscope.cases.described import read_description
from glioscope.cases.names import named
from glioscope.errors import CaseError, GeometryError, GlioscopeError, LabelError
from glioscope.evaluation.scoring import LabelPair, tissue_codes
from glioscope.files import is_image, nifti_stem
from glioscope.labels import GLIOMA_SCHEMES, SCHEMES, LabelScheme, unknown_values
from glioscope.results.summary import SUMMARY
from glioscope.space.grid import Box, Grid, Shape3, Spacing, bounding_box, cut
from glioscope.space.volumes import Volume, VolumeFile, read_labels

log = logging.getLogger(__name__)

_SEGMENTATION = re.compile(r"(?i)(?:(.*)[-_.])?(?:seg|segm|segmentation)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFiles:
    """Where one case's reference lies, and its prediction if there is one."""

    case_id: str
    reference: VolumeFile
    prediction: VolumeFile | None
    schemes: tuple[str, ...] = GLIOMA_SCHEMES
    """Label schemes that the names of the reference leave open, the likelier first."""
    prediction_scheme: str | None = None
    """Label scheme of the prediction, where the record beside it tells it."""
    known: tuple[str, ...] | None = None
    """Regions that the reference knows, where `dataset.toml` says that it does not know all: others are not scored."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedPair:
    """Both label maps of a case, cropped and compressed: small enough to keep for every case of a data set."""

    case_id: str
    reference: bytes
    prediction: bytes
    reference_values: Mapping[int, int]
    """Label value to voxel count, background left out."""
    prediction_values: Mapping[int, int]
    box: Box
    shape: Shape3
    spacing_mm: Spacing
    resampled: bool = False
    refused: GlioscopeError | None = None
    """Why the prediction cannot be scored; it is empty then."""


def _case_id(path: Path) -> str | None:
    """Return the case id that a label file's name tells, or None for a file that is a scan."""
    stem = nifti_stem(path)
    if segmentation := _SEGMENTATION.fullmatch(stem):
        return segmentation[1] or path.parent.name
    told = named(path)
    if told is not None and told.role:
        return (told.prefix or path.parent.name) if told.role == "seg" else None
    return None if path.parent.name in ("imagesTr", "imagesTs") or stem.startswith("probability-") else stem


def _files_by_name(folder: Path) -> dict[str, VolumeFile]:
    """Return label files by case id; of what `segment` wrote for a case, its segmentation alone."""
    images = sorted(p for p in folder.rglob("*") if is_image(p))
    results = {path.parent for path in images if nifti_stem(path) == "segmentation"}
    found: dict[str, Path] = {}
    for path in images:
        case_id = _case_id(path)
        if case_id is None or (results & set(path.parents) and nifti_stem(path) != "segmentation"):
            continue
        if case_id in found:
            raise CaseError(
                f"case {case_id}: has {found[case_id]} and {path}; one file is needed. Move the other away."
            )
        found[case_id] = path
    return {case_id: VolumeFile(path) for case_id, path in found.items()}


def find_predictions(path: Path) -> dict[str, VolumeFile]:
    """Return label files by case id: those in a folder, or a single file.

    Raises
    ------
    CaseError
        There is nothing at the path, a folder without label files, or two files for one case.
    """
    if path.is_file():
        return {_case_id(path) or nifti_stem(path): VolumeFile(path)}
    if not path.is_dir():
        raise CaseError(f"{path}: no such file or folder")
    found = _files_by_name(path)
    if not found:
        raise CaseError(f"{path}: holds no label map; expected <case>/segmentation.nii.gz or <case>.nii.gz")
    return found


def recorded_scheme(file: VolumeFile | None) -> str | None:
    """Return the label scheme that `segment` recorded beside its segmentation, or None."""
    if file is None:
        return None
    record = file.path.parent / SUMMARY
    if not file.path.name.startswith("segmentation.nii"):
        return None
    try:  # the scheme alone counts: a record of another version, or made by hand, may lack the rest
        name = json.loads(record.read_text(encoding="utf-8"))["scheme"]["name"]
    except (OSError, ValueError, KeyError, TypeError):  # then the values tell, or the user
        return None
    return name if name in SCHEMES else None


def find_references(path: Path) -> dict[str, tuple[VolumeFile, tuple[str, ...], tuple[str, ...] | None]]:
    """Return references by case id with the label schemes that stay open, and the regions known if not all are.

    Raises
    ------
    CaseError
        As `find_predictions`; or no case of a BraTS folder has a reference.
    """
    if path.is_dir():
        try:
            cases, _ = scan_cases(path)
        except CaseError:
            cases = ()
        found = {c.case_id: (c.reference, naming_schemes(c), c.known) for c in cases if c.reference is not None}
        if found:
            return found
    described = read_description(path.parent) if path.is_dir() and path.name.startswith("labels") else None
    told = (described.scheme,) if described and described.scheme else None
    return {case_id: (file, told or schemes_of_id(case_id), None) for case_id, file in find_predictions(path).items()}


def find_pairs(
    predictions: Path, references: Path, *, cases: Iterable[str] | None = None
) -> tuple[tuple[PairFiles, ...], tuple[str, ...]]:
    """Match predictions and references by case id.

    Parameters
    ----------
    cases : iterable of str, optional
        Score these alone; else every reference, so that a missing prediction never goes unnoticed.

    Returns
    -------
    pairs : tuple of PairFiles
        Sorted by case id; `prediction` is None where none was found.
    unmatched : tuple of str
        Predictions without a reference.

    Raises
    ------
    CaseError
        Not one prediction matches a reference, or a case asked for has no reference.
    """
    wanted, given = find_references(references), find_predictions(predictions)
    if predictions.is_file() and references.is_file():
        given = dict(zip(wanted, given.values(), strict=True))
    if cases is not None:
        chosen = list(dict.fromkeys(cases))
        if absent := [c for c in chosen if c not in wanted]:
            raise CaseError(f"case {', '.join(absent[:3])}: has no reference in {references}; check the list of cases")
        wanted = {c: wanted[c] for c in chosen}
    pairs = tuple(
        PairFiles(
            case_id=c,
            reference=file,
            prediction=given.get(c),
            schemes=schemes,
            prediction_scheme=recorded_scheme(given.get(c)),
            known=known,
        )
        for c, (file, schemes, known) in sorted(wanted.items())
    )
    if partial := [p for p in pairs if p.known is not None]:
        only = ", ".join(sorted({name for p in partial for name in p.known or ()}))
        log.warning("%d of %d references know %s alone; other regions are not scored", len(partial), len(pairs), only)
    if not any(p.prediction for p in pairs):
        raise CaseError(
            f"no prediction in {predictions} matches a reference in {references}: predictions are named "
            f"{_few(given)}, references {_few(wanted)}; rename either, or give two single files"
        )
    return pairs, tuple(sorted(set(given) - set(wanted)))


def _few(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def onto_grid(volume: Volume, grid: Grid) -> NDArray[np.uint8]:
    """Return label map voxels at the centres of another grid's voxels: nearest neighbour, background outside."""
    from glioscope.space.resampling import resample  # brings SimpleITK, which few evaluations need

    return resample(volume, grid, interpolation="nearest")


def _prediction(files: PairFiles, grid: Grid, *, resample: bool) -> tuple[NDArray[np.uint8], bool]:
    """Return the prediction on the reference's grid, and whether it had to be resampled."""
    assert files.prediction is not None
    volume = read_labels(files.prediction)
    if volume.grid.matches(grid):
        return volume.data, False
    if not resample:
        raise GeometryError(
            f"case {files.case_id}: the prediction has {volume.grid.describe()} but the reference has "
            f"{grid.describe()}; both must share one grid. Put it back on the reference's grid, or use --resample "
            "(nearest neighbour, recorded in the output)."
        )
    return onto_grid(volume, grid), True


def _counts(labels: NDArray[np.uint8]) -> dict[int, int]:
    counts = np.bincount(labels.ravel(), minlength=1)
    return {int(v): int(counts[v]) for v in np.flatnonzero(counts) if v}


def load_pair(files: PairFiles, *, resample: bool, margin: int) -> PackedPair:
    """Read both maps of a case and keep the box that holds all labels, `margin` voxels wider.

    A prediction that cannot be used is kept as the reason why; a reference that cannot be used is an error.

    Raises
    ------
    CaseError, GeometryError, LabelError
        The reference is damaged or no label map.
    """
    reference = read_labels(files.reference)
    prediction, resampled = np.zeros_like(reference.data), False
    refused: GlioscopeError | None = None
    if files.prediction is not None:
        try:
            prediction, resampled = _prediction(files, reference.grid, resample=resample)
        except (CaseError, GeometryError, LabelError) as error:
            refused = error
    box = bounding_box((reference.data | prediction) != 0, margin=margin)
    kept = [np.ascontiguousarray(cut(labels, box)) for labels in (reference.data, prediction)]
    return PackedPair(
        case_id=files.case_id,
        reference=zlib.compress(kept[0].tobytes(), 1),
        prediction=zlib.compress(kept[1].tobytes(), 1),
        reference_values=_counts(kept[0]),
        prediction_values=_counts(kept[1]),
        box=box,
        shape=reference.grid.shape,
        spacing_mm=reference.grid.spacing_mm,
        resampled=resampled,
        refused=refused,
    )


def unpack(pair: PackedPair, reference: LabelScheme, prediction: LabelScheme) -> LabelPair:
    """Return the maps of a case as tissue codes, each read in its own scheme."""
    labels = [
        np.frombuffer(zlib.decompress(b), np.uint8).reshape(pair.box.shape) for b in (pair.reference, pair.prediction)
    ]
    return LabelPair(
        case_id=pair.case_id,
        reference=tissue_codes(labels[0], reference),
        prediction=tissue_codes(labels[1], prediction),
        start=pair.box.start,
        shape=pair.shape,
        spacing_mm=pair.spacing_mm,
        scheme=reference,
    )


def unknown_labels(values: Mapping[int, int], scheme: LabelScheme, subject: str) -> LabelError | None:
    """Return the error that names each label which a scheme does not know with its voxel count, or None."""
    bad = unknown_values(values, scheme)
    return LabelError(f"{subject} {bad} --scheme and --prediction-scheme name them.") if bad else None
