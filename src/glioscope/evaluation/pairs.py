"""Which prediction belongs to which reference, and both of them in memory, checked and cropped.

Predictions: ``OUT/<case>/segmentation.nii.gz`` as ``segment`` writes them, or ``<case>.nii.gz``, ``<case>-seg.nii.gz``.
References: a BraTS folder in any layout, or the same flat names. Pairs are matched by case id; two single files are a
pair whatever their names.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, naming_scheme, scan_cases
from glioscope.errors import CaseError, GeometryError, GlioscopeError, LabelError, RunError
from glioscope.evaluation.protocols import Protocol
from glioscope.evaluation.scoring import LabelPair, tissue_codes
from glioscope.files import is_nifti, nifti_stem
from glioscope.labels import SCHEMES, LabelScheme, detect_scheme, scheme_named
from glioscope.results.summary import SUMMARY, read_summary
from glioscope.space.grid import Box, Grid, Shape3, Spacing, bounding_box, cut
from glioscope.space.volumes import Volume, VolumeFile, read_labels

_SEGMENTATION = re.compile(r"(?i)(?:(.*)[-_.])?(?:seg|segm|segmentation)")
_SEQUENCE = re.compile(r"(?i)(?:.*[-_.])?(?:t1|t1n|t1c|t1ce|t1gd|t2|t2w|t2f|flair)")
_UNTELLABLE = ("brats2024-ped", "brats2024-men-rt")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFiles:
    """Where one case's reference lies, and its prediction if there is one."""

    case_id: str
    reference: VolumeFile
    prediction: VolumeFile | None
    scheme: str | None = None
    """Label scheme of the reference, where the names of its scans tell it."""
    prediction_scheme: str | None = None
    """Label scheme of the prediction, where the record beside it tells it."""


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
    if _SEQUENCE.fullmatch(stem) or path.parent.name in ("imagesTr", "imagesTs"):
        return None
    return stem


def _files_by_name(folder: Path) -> dict[str, VolumeFile]:
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if is_nifti(p)):
        case_id = _case_id(path)
        if case_id is None:
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


def _named_scheme(case: Case) -> str | None:
    """Return the label scheme that the names of a case's scans tell: old names do, those since 2023 fit several."""
    scheme = naming_scheme(case)
    return None if scheme == "brats2023" else scheme


def _recorded_scheme(file: VolumeFile | None) -> str | None:
    """Return the label scheme that `segment` recorded beside its segmentation, or None."""
    if file is None:
        return None
    record = file.path.parent / SUMMARY
    if not (file.path.name.startswith("segmentation.nii") and record.is_file()):
        return None
    try:
        name = read_summary(record).scheme.name
    except RunError:  # then the values tell, or the user
        return None
    return name if name in SCHEMES else None


def find_references(path: Path) -> dict[str, tuple[VolumeFile, str | None]]:
    """Return references by case id with their scheme where the layout tells it.

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
        found = {c.case_id: (c.reference, _named_scheme(c)) for c in cases if c.reference is not None}
        if found:
            return found
    return {case_id: (file, None) for case_id, file in find_predictions(path).items()}


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
            scheme=scheme,
            prediction_scheme=_recorded_scheme(given.get(c)),
        )
        for c, (file, scheme) in sorted(wanted.items())
    )
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
    bad = [f"{v} ({n} voxels)" for v, n in values.items() if v not in scheme.values]
    if not bad:
        return None
    return LabelError(
        f"{subject} has label {', '.join(bad)}; scheme '{scheme.name}' knows {list(scheme.values)}. "
        "Name the right scheme with --scheme (or --prediction-scheme)."
    )


Schemes = tuple[LabelScheme, LabelScheme]
"""Label schemes of one case's reference and prediction."""


def choose_schemes(
    files: Sequence[PairFiles],
    pairs: Sequence[PackedPair],
    protocols: Sequence[Protocol],
    *,
    scheme: str | None = None,
    prediction_scheme: str | None = None,
) -> tuple[Schemes, ...]:
    """Return the label schemes of each case: those named, else those that file names, records or values tell.

    A data set may mix years, so cases whose scans are named alike are looked at together; references and predictions
    apart, so that a network which writes ET as 3 is scored rightly against references that write 4. Where values alone
    must tell, label 4 without any 3 is ET of 2018 to 2022; under protocols of 2024 alone it could also be the resection
    cavity, and must be named.

    Raises
    ------
    LabelError
        The values do not tell the scheme.
    """
    years = {p.scheme for p in protocols if p.scheme}
    if scheme is None and len(years) == 1 and years <= set(_UNTELLABLE):
        scheme = next(iter(years))
    chosen: dict[int, Schemes] = {}
    for told in {f.scheme for f in files}:
        members = [n for n, f in enumerate(files) if f.scheme == told]
        name = scheme or told
        own = scheme_named(name) if name else detect_scheme(_values(pairs[n].reference_values for n in members))
        unrecorded = [n for n in members if files[n].prediction_scheme is None]
        other = own
        if scheme is None and prediction_scheme is None:
            other = _scheme_of_predictions(_values(pairs[n].prediction_values for n in unrecorded), own)
            if told is None:
                _refuse_ambiguous(own, other, years)
        for n in members:
            named = prediction_scheme or files[n].prediction_scheme
            chosen[n] = own, scheme_named(named) if named else other
    return tuple(chosen[n] for n in range(len(files)))


def _values(counts: Iterable[Mapping[int, int]]) -> set[int]:
    """Return the label values that occur; those that no scheme has are left for `unknown_labels` to name."""
    return {v for each in counts for v in each if v <= 4}


def _scheme_of_predictions(values: set[int], own: LabelScheme) -> LabelScheme:
    if own.name == "msd" and 4 not in values:
        return own
    other = detect_scheme(values, subject="predictions")
    if own.name == "brats2024" and other.name == "brats2018":
        return own  # a network that finds the cavity but never enhancing tumour
    return other


def _refuse_ambiguous(own: LabelScheme, other: LabelScheme, years: set[str]) -> None:
    names = {own.name, other.name}
    if names == {"brats2018", "brats2024"} or (years == {"brats2024"} and "brats2018" in names):
        raise LabelError(
            f"references look like '{own.name}' and predictions like '{other.name}': label 4 may be enhancing tumour "
            "(2018 to 2022) or resection cavity (2024). Name it with --scheme brats2018 or --scheme brats2024."
        )
