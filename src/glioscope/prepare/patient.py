"""Raw scans to a case on one grid, and the way back to each scan.

    RawPatient ──prepare_raw──▶ PreparedRaw: every sequence on one 1 mm grid, brain only ──write_prepared──▶ BraTS files
    labels on that grid ──to_native──▶ labels on a scan's own grid

The grid is that of the reference scan (T1 with contrast where there is one), its axes unturned, its voxels cubic: a
scan that is 1 mm already is never interpolated. Every other scan is aligned rigidly to the reference, the brain is
found once and its mask carried to all. The transforms stay in `PreparedRaw`, so any result can go back.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, Case, LoadedCase
from glioscope.dicom.scans import RawPatient, RawScan
from glioscope.errors import CaseError, ConfigError, GeometryError
from glioscope.labels import SCHEMES, LabelScheme
from glioscope.prepare.bias import correct_bias
from glioscope.prepare.brain import (
    BRAIN_METHODS,
    BrainMethod,
    brain_mask,
    brain_share,
    choose_sequences,
    looks_stripped,
)
from glioscope.results.preparation import (
    AffineGrid,
    BrainRecord,
    Preparation,
    PreparedSequence,
    matrix_rows,
    registration_record,
)
from glioscope.results.stored import write_stored
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import MAX_RESAMPLED_VOXELS, Box, Grid, bounding_box, cut
from glioscope.space.registration import Registration, RegistrationConfig, register
from glioscope.space.resampling import Matrix, average, corners, isotropic_grid, resample, write_transform
from glioscope.space.volumes import Volume, VolumeFile, write_volume

_PREFERENCE = ("t1c", "t1n", "t2f", "t2w")
_SAME_SPACING = 0.02
"""Voxel edges within this share of the wanted one are left alone, as `preprocessing` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareConfig:
    """How raw scans become a case."""

    spacing_mm: float = 1.0
    """Voxel edge of the common grid."""
    brain: BrainMethod = "builtin"
    """Who finds the brain; `none` leaves the skull on."""
    bias: bool = False
    """Take out shading with N4; see `raw.bias` for why not by default."""
    reference: str | None = None
    """Sequence whose grid is the common one; None chooses."""
    margin_mm: float = 10.0
    """Kept around the brain."""
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    minimum_coverage: float = 0.95
    """A scan that misses more of the brain than this leaves is reported."""
    brain_ml: tuple[float, float] = (700.0, 2300.0)
    """A brain found outside these is reported: adults have 900 to 1900 ml, with fluid."""

    def __post_init__(self) -> None:
        if not 0.3 <= self.spacing_mm <= 10:
            raise ConfigError(f"prepare.spacing_mm is {self.spacing_mm}; it must be 0.3 to 10 mm")
        if self.brain not in BRAIN_METHODS:
            raise ConfigError(f"prepare.brain is '{self.brain}'; choose one of {', '.join(BRAIN_METHODS)}")
        if self.reference not in (None, *SEQUENCES):
            raise ConfigError(f"prepare.reference is '{self.reference}'; choose one of {', '.join(SEQUENCES)}")
        if self.margin_mm < 0:
            raise ConfigError(f"prepare.margin_mm is {self.margin_mm}; it must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedRaw:
    """A patient's scans on one grid, with the way back to each."""

    images: Mapping[str, NDArray[np.float32]]
    """By sequence code, (i, j, k) on `grid`: 0 outside the brain, or where it was not scanned."""
    heads: Mapping[str, NDArray[np.float32]]
    """The same before the skull was taken off."""
    brain: NDArray[np.bool_]
    """(i, j, k); all True where brain extraction was not asked for or found nothing."""
    grid: Grid
    reference: str
    """Sequence that gave the grid."""
    natives: Mapping[str, Grid]
    """Of the scans as they came."""
    registrations: Mapping[str, Registration]
    """Reference to each scan; the reference's own is the identity."""
    brain_from: tuple[str, ...]
    """Sequences that the mask was found in."""
    stripped_before: bool
    """The scans came without a skull."""
    problems: tuple[str, ...]
    """What is doubtful, one sentence each; problems of reading are `RawScan`'s."""
    seconds: Mapping[str, float]
    """Wall clock of each step."""
    config: PrepareConfig

    def loaded(self, case_id: str, folder: Path | None = None) -> LoadedCase:
        """Return it as a case in memory, as if read from what `write_prepared` writes into `folder`."""
        return LoadedCase(case=_case(case_id, self.images, folder or Path(case_id)), grid=self.grid, images=self.images)


def prepare_raw(patient: RawPatient, config: PrepareConfig | None = None) -> PreparedRaw:
    """Bring a patient's raw scans onto one grid and take the skull off.

    Parameters
    ----------
    patient : RawPatient
        One to four scans, each on its own grid.

    Raises
    ------
    CaseError
        There is no scan, a scan is constant, or the reference asked for is not there.
    DependencyError, ModelError
        As `brain_share`.
    """
    config = config or PrepareConfig()
    scans = {code: _clean(code, scan) for code, scan in patient.scans.items()}
    reference = choose_reference({code: scan.grid for code, scan in scans.items()}, config.reference)
    clock = _Clock()
    registrations = {
        code: Registration(matrix=np.eye(4))
        if code == reference
        else register(scans[reference], scan, config.registration)
        for code, scan in scans.items()
    }
    clock.lap("registration")
    problems = [f"{code}: {text}" for code, r in registrations.items() for text in r.problems]
    matrices = {code: r.matrix for code, r in registrations.items()}
    found = _find_brain(scans, reference, matrices, config)
    problems += found.problems
    clock.lap("brain")
    heads = {code: _on_grid(scan, found.grid, matrices[code]) for code, scan in scans.items()}
    if config.bias:
        heads = {code: correct_bias(Volume(head, found.grid), found.mask) for code, head in heads.items()}
        clock.lap("bias")
    images = {code: np.where(found.mask, head, np.float32(0)) for code, head in heads.items()}
    problems += _gaps(scans, found, matrices, config)
    clock.lap("resampling")
    return PreparedRaw(
        images=MappingProxyType(images),
        heads=MappingProxyType(heads),
        brain=found.mask,
        grid=found.grid,
        reference=reference,
        natives=MappingProxyType({code: scan.grid for code, scan in scans.items()}),
        registrations=MappingProxyType(registrations),
        brain_from=found.sequences,
        stripped_before=found.stripped_before,
        problems=tuple(problems),
        seconds=MappingProxyType(clock.seconds),
        config=config,
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def _clean(code: str, scan: RawScan) -> Volume:
    image = np.nan_to_num(scan.image, nan=0.0, posinf=0.0, neginf=0.0)
    if image.min() == image.max():
        raise CaseError(f"{code}: the scan is constant ({image.flat[0]:g}); a scan has contrast. Leave it out.")
    return Volume(image, scan.grid)


def choose_reference(grids: Mapping[str, Grid], wanted: str | None = None) -> str:
    """Return the sequence whose grid becomes the common one.

    T1 with contrast, T1, FLAIR, T2, in that order, but only among the scans whose longest voxel edge is at most 1.5
    times the shortest such edge: a 1 mm FLAIR beats a T1 of 5 mm slices. A slab thinner than 100 mm does not count
    while there are thicker ones.

    Raises
    ------
    CaseError
        There is no scan, or the wanted one is absent.
    """
    if wanted is not None and wanted not in grids:
        raise CaseError(f"reference {wanted}: was not scanned; there are {', '.join(grids) or 'no scans'}")
    if not grids:
        raise CaseError("the patient has no scan that could be prepared; at least one sequence is needed")
    if wanted is not None:
        return wanted
    thick = {code for code, g in grids.items() if min(np.array(g.shape) * g.spacing_mm) >= 100}
    edges = {code: max(g.spacing_mm) for code, g in grids.items() if code in thick or not thick}
    limit = 1.5 * min(edges.values())
    return next(code for code in _PREFERENCE if code in edges and edges[code] <= limit)


def common_grid(reference: Grid, spacing_mm: float) -> Grid:
    """Return the reference's grid in RAS order with cubic voxels; unchanged where they are so already."""
    turned = reference.reoriented()
    if np.allclose(turned.spacing_mm, spacing_mm, rtol=_SAME_SPACING):
        return turned
    voxels = np.prod(np.array(turned.shape) * turned.spacing_mm / spacing_mm)
    if voxels > MAX_RESAMPLED_VOXELS:
        raise GeometryError(
            f"reference scan: has {reference.describe()}, {voxels / 1e6:,.0f} million voxels at {spacing_mm:g} mm; at "
            f"most {MAX_RESAMPLED_VOXELS // 10**6} million are taken. Crop it to the head, or choose another reference."
        )
    return isotropic_grid(turned, spacing_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Brain:
    """What brain extraction found: a mask on the final grid, and from where."""

    mask: NDArray[np.bool_]
    grid: Grid
    sequences: tuple[str, ...] = ()
    stripped_before: bool = False
    problems: tuple[str, ...] = ()


def _find_brain(
    scans: Mapping[str, Volume], reference: str, matrices: Mapping[str, Matrix], config: PrepareConfig
) -> _Brain:
    base = common_grid(scans[reference].grid, config.spacing_mm)
    whole = np.broadcast_to(np.True_, base.shape)
    if config.brain == "none":
        return _Brain(mask=whole, grid=base)
    codes = choose_sequences(tuple(scans), config.brain)
    wide = base.crop(_cover(base, {c: scans[c].grid for c in codes}, matrices))
    total, seen = np.zeros(wide.shape, np.float32), np.zeros(wide.shape, np.float32)
    stripped = []
    for code in codes:
        share = brain_share(scans[code], config.brain)
        stripped.append(looks_stripped(scans[code], share > 0.5))
        ones = np.broadcast_to(np.float32(1), scans[code].grid.shape)
        total += resample(Volume(share, scans[code].grid), wide, matrices[code])
        seen += resample(Volume(ones, scans[code].grid), wide, matrices[code])
    mask = brain_mask(np.divide(total, seen, out=total, where=seen > 0))
    if not mask.any():
        text = f"no brain was found in {' and '.join(codes)}, so nothing was taken off; is this a scan of the head?"
        return _Brain(mask=whole, grid=base, sequences=codes, problems=(text,))
    box = bounding_box(mask, margin=round(config.margin_mm / config.spacing_mm))
    grid = wide.crop(box)
    volume = mask.sum() * grid.voxel_volume_ml
    low, high = config.brain_ml
    problems = (
        () if low <= volume <= high else (f"the brain found has {volume:.0f} ml; {low:.0f} to {high:.0f} ml is usual",)
    )
    return _Brain(mask=cut(mask, box), grid=grid, sequences=codes, stripped_before=all(stripped), problems=problems)


def _cover(base: Grid, grids: Mapping[str, Grid], matrices: Mapping[str, Matrix]) -> Box:
    """Return the box, in voxels of `base`, that holds the fields of view of scans; at most a head larger than it."""
    reach = np.ceil(150 / np.array(base.spacing_mm)).astype(int)
    start, stop = np.array(base.shape), np.zeros(3, int)
    for code, grid in grids.items():
        index = corners(Box((0, 0, 0), grid.shape)) @ (np.linalg.inv(matrices[code] @ base.affine) @ grid.affine).T
        start = np.minimum(start, np.floor(index[:, :3].min(axis=0)).astype(int))
        stop = np.maximum(stop, np.ceil(index[:, :3].max(axis=0)).astype(int) + 1)
    start, stop = np.maximum(start, -reach), np.minimum(stop, base.shape + reach)
    return Box(tuple(map(int, start)), tuple(map(int, np.maximum(stop, start + 1))))  # type: ignore[arg-type]


def _on_grid(scan: Volume, grid: Grid, matrix: Matrix) -> NDArray[np.float32]:
    """Return a scan on the common grid; voxels that are much finer are averaged first, or noise would be kept."""
    factor = tuple(max(1, int(max(grid.spacing_mm) / s + 0.2)) for s in scan.grid.spacing_mm)
    return resample(average(scan, factor), grid, matrix)


def _gaps(
    scans: Mapping[str, Volume], found: _Brain, matrices: Mapping[str, Matrix], config: PrepareConfig
) -> list[str]:
    """Return a sentence for each scan that misses part of the brain."""
    if config.brain == "none":
        return []
    texts = []
    points = np.argwhere(found.mask)[::97]
    world = np.c_[points, np.ones(len(points))] @ found.grid.affine.T
    for code, scan in scans.items():
        index = (world @ (np.linalg.inv(scan.grid.affine) @ matrices[code]).T)[:, :3]
        inside = ((index > -1) & (index < scan.grid.shape)).all(axis=1).mean()
        if inside < config.minimum_coverage:
            texts.append(f"{code}: covers {inside:.0%} of the brain; the rest of it is empty in this sequence")
    return texts


def to_native(
    labels: NDArray[np.uint8], prepared: PreparedRaw, code: str, *, scheme: LabelScheme = SCHEMES["brats2023"]
) -> NDArray[np.uint8]:
    """Return a label map of the common grid on a scan's own grid, voxel for voxel.

    See `carry_labels` for how.

    Parameters
    ----------
    labels : (i, j, k) uint8
        On ``prepared.grid``.
    code : str
        Sequence whose scan is meant.

    Raises
    ------
    CaseError
        The sequence was not scanned.
    GeometryError
        The labels do not have the grid's shape.
    LabelError
        A label is not in the scheme.
    """
    if code not in prepared.natives:
        raise CaseError(f"sequence {code}: was not scanned; there are {', '.join(prepared.natives)}")
    if labels.shape != prepared.grid.shape:
        raise GeometryError(
            f"labels have shape {labels.shape}, the common grid {prepared.grid.shape}; use its own labels"
        )
    inverse: Matrix = np.linalg.inv(prepared.registrations[code].matrix).astype(np.float64)
    return carry_labels(Volume(labels, prepared.grid), prepared.natives[code], inverse, scheme)


def _case(case_id: str, codes: Mapping[str, object], folder: Path) -> Case:
    files = {code: VolumeFile(folder / f"{case_id}-{code}.nii.gz") for code in codes}
    return Case(case_id=case_id, subject_id=case_id, sequences=files)


def write_prepared(prepared: PreparedRaw, folder: Path, case_id: str, *, steps: bool = False) -> Case:
    """Write a case as BraTS 2023 names it, with a record of how it was made.

    ``<folder>/<case_id>-t1c.nii.gz`` and so on, ``<case_id>-brain.nii.gz`` (the mask) and ``prepare.json``.

    Parameters
    ----------
    steps : bool
        Also write ``<case_id>-<code>-head.nii.gz`` (skull on) and ``<case_id>-<code>.tfm`` (ITK transform).

    Raises
    ------
    RunError
        A file cannot be written.
    """
    case = _case(case_id, prepared.images, folder)
    for code, file in case.sequences.items():
        write_volume(file.path, prepared.images[code], prepared.grid)
        if steps:
            write_volume(folder / f"{case_id}-{code}-head.nii.gz", prepared.heads[code], prepared.grid)
            write_transform(folder / f"{case_id}-{code}.tfm", prepared.registrations[code].matrix)
    write_volume(folder / f"{case_id}-brain.nii.gz", prepared.brain, prepared.grid)
    write_stored(folder / "prepare.json", record(prepared, case_id))
    return case


def record(prepared: PreparedRaw, case_id: str | None = None) -> Preparation:
    """Return how a case was prepared: grids, transforms with their quality, brain, problems, seconds."""
    brain_ml = float(prepared.brain.sum()) * prepared.grid.voxel_volume_ml
    return Preparation(
        case_id=case_id,
        reference=prepared.reference,
        grid=_grid_record(prepared.grid),
        sequences={
            code: PreparedSequence(
                native_grid=_grid_record(grid), registration=registration_record(prepared.registrations[code])
            )
            for code, grid in prepared.natives.items()
        },
        brain=BrainRecord(
            method=prepared.config.brain,
            found_in=prepared.brain_from,
            ml=round(brain_ml, 1),
            stripped_before=prepared.stripped_before,
        ),
        problems=prepared.problems,
        seconds=dict(prepared.seconds),
        config=asdict(prepared.config),
    )


def _grid_record(grid: Grid) -> AffineGrid:
    return AffineGrid(shape=grid.shape, affine_ras_mm=matrix_rows(grid.affine))
