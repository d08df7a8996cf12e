"""From a case as it lies on disk to what a network sees, and the way back.

    LoadedCase ──prepare──▶ PreparedCase: RAS order, network spacing, cropped to the brain, intensities normalised
    array on the prepared grid ──restore──▶ array on the native grid

At 1 mm (every BraTS case) nothing is resampled: the route is axis flips, a crop and a scaling, and `restore` lands
on the native grid voxel for voxel.
"""

import functools
import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES, Case, LoadedCase, scheme_of_reference
from glioscope.cases.known import require_known
from glioscope.errors import CaseError, ConfigError, GeometryError, LabelError
from glioscope.files import atomic_path
from glioscope.labels import (
    GLIOMA,
    REGIONS,
    LabelScheme,
    RegionsConfig,
    labels_from_regions,
    painted,
    regions_from_labels,
    scheme_named,
)
from glioscope.space.background import foreground
from glioscope.space.grid import MAX_RESAMPLED_VOXELS, Box, Grid, bounding_box, cut, paste, reorient
from glioscope.space.outliers import highest_plausible
from glioscope.space.volumes import Volume

CACHE_SCHEME = "brats2023"
"""Label scheme in which the reference of a saved prepared case is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingConfig:
    """How images are brought to the network."""

    sequences: tuple[str, ...] = SEQUENCES
    """Channels in order, as sequence codes."""
    normalisation: Literal["z-score", "min-max"] = "z-score"
    """`z-score` over the sequence's own non-zero voxels, outside 0; `min-max` to [0, 1] over the whole volume."""
    spacing_mm: float = 1.0
    """Isotropic spacing that the network was trained at; other grids are resampled to it (linear)."""

    def __post_init__(self) -> None:
        unknown = [s for s in self.sequences if s not in SEQUENCES]
        if unknown or not self.sequences:
            raise ConfigError(
                f"preprocessing.sequences has {unknown or 'no entry'}; choose from {', '.join(SEQUENCES)}"
            )
        if not self.spacing_mm > 0:
            raise ConfigError(f"preprocessing.spacing_mm is {self.spacing_mm}; it must be above 0 mm")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedCase:
    """A case as the network sees it, with all that the way back needs."""

    case_id: str
    image: NDArray[np.float32]
    """(channel, i, j, k), RAS order on `grid`; channels of absent sequences are 0."""
    presence: NDArray[np.bool_]
    """(channel,) which sequences are there."""
    brain: NDArray[np.bool_]
    """(i, j, k) voxels where any sequence is not 0."""
    grid: Grid
    """Of `image`: the cropped grid at network spacing."""
    box: Box
    """Of `image` inside `whole`."""
    whole: Grid
    """The uncropped grid at network spacing, RAS order."""
    native: Grid
    """Of the files."""
    reference: NDArray[np.bool_] | None = None
    """(r, i, j, k) WT, TC, ET, or the regions learnt, on `grid`; or None."""
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    """What the reference's regions are."""
    known: tuple[str, ...] = REGIONS
    """Regions that the reference knows; what `reference` holds of the others means nothing."""


def prepare(
    loaded: LoadedCase,
    config: PreprocessingConfig,
    *,
    scheme: LabelScheme | None = None,
    regions: RegionsConfig = GLIOMA,
) -> PreparedCase:
    """Bring a case to the network's grid and intensities.

    Parameters
    ----------
    loaded : LoadedCase
        Any storage order, any spacing; NaN and infinite voxels count as background (0).
    scheme : LabelScheme, optional
        Of the reference; by default that of `regions`, or the case's own; else told by its names and values, see
        `scheme_of_reference`.
    regions : RegionsConfig, optional
        Which regions of the reference are wanted.

    Raises
    ------
    CaseError
        None of the configured sequences is there, or one of them is constant.
    GeometryError
        The field of view is far larger than a head.
    LabelError
        The reference does not fit the scheme.
    """
    names = [s for s in config.sequences if s in loaded.images]
    if not names:
        raise CaseError(
            f"case {loaded.case.case_id}: has {', '.join(loaded.images)}; the network needs at least one of "
            f"{', '.join(config.sequences)}"
        )
    whole = _network_grid(loaded.grid, config.spacing_mm, loaded.case.case_id)
    with ThreadPoolExecutor(len(names)) as pool:  # numpy lets go of the interpreter lock in each of these steps
        scans = dict(zip(names, pool.map(lambda name: _scan(loaded, name, whole), names), strict=True))
        brain = functools.reduce(np.logical_or, pool.map(foreground, scans.values()))
        box = bounding_box(brain)
        image = np.zeros((len(config.sequences), *box.shape), np.float32)
        normal = pool.map(lambda name: _normalise(cut(scans[name], box), config.normalisation), names)
        for name, channel in zip(names, normal, strict=True):
            image[config.sequences.index(name)] = channel
    return PreparedCase(
        case_id=loaded.case.case_id,
        image=image,
        presence=np.array([name in scans for name in config.sequences]),
        brain=cut(brain, box),
        grid=whole.crop(box),
        box=box,
        whole=whole,
        native=loaded.grid,
        reference=_prepare_reference(loaded, whole, box, scheme, regions),
        regions=regions,
        known=_known(loaded.case, regions.names),
    )


def _known(case: Case, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the regions that a case's reference knows, outermost first."""
    if case.known is None:
        return names
    require_known(case.known, names)
    return tuple(name for name in names if name in case.known)


def _scan(loaded: LoadedCase, name: str, whole: Grid) -> NDArray[np.float32]:
    """Return one sequence on the network's grid, without NaN or infinity."""
    scan = loaded.images[name]
    with np.errstate(invalid="ignore"):
        low, high = scan.min(), scan.max()
        sound = np.isfinite(high - low)
    if not sound:  # NaN or infinity somewhere
        scan = np.nan_to_num(scan, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = scan.min(), scan.max()
    if (limit := highest_plausible(scan)) is not None:  # one broken voxel would spoil mean and deviation
        scan = np.clip(scan, -limit, limit)
    if low == high:
        raise CaseError(
            f"case {loaded.case.case_id}: {name} is constant ({low:g}); a scan has contrast. "
            "Leave the file out or export it again."
        )
    return _to_network_grid(scan, loaded.grid, whole)


def _prepare_reference(
    loaded: LoadedCase, whole: Grid, box: Box, scheme: LabelScheme | None, learnt: RegionsConfig
) -> NDArray[np.bool_] | None:
    if loaded.reference is None:
        return None
    case = loaded.case
    if scheme is None:
        if learnt.scheme:
            scheme = scheme_named(learnt.scheme)
        else:
            values = np.unique(loaded.reference).tolist()
            scheme = scheme_of_reference(case, values, subject=f"case {case.case_id}: reference")
    try:
        regions = regions_from_labels(loaded.reference, scheme, names=learnt.names)
    except LabelError as error:
        raise LabelError(f"case {case.case_id}: {error}") from error
    return np.stack([cut(_to_network_grid(region, loaded.grid, whole, nearest=True), box) for region in regions])


def _network_grid(native: Grid, spacing_mm: float, case_id: str) -> Grid:
    """Return the grid in RAS order at the network's spacing that covers the native one."""
    grid = native.reoriented()
    spacing = np.array(grid.spacing_mm)
    voxels = math.prod(grid.shape) * np.prod(spacing / spacing_mm)
    if voxels > MAX_RESAMPLED_VOXELS:
        extent = " x ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, spacing, strict=True))
        raise GeometryError(
            f"case {case_id}: covers {extent} mm, {voxels / 1e6:,.0f} million voxels at the network's {spacing_mm:g} "
            f"mm; at most {MAX_RESAMPLED_VOXELS // 10**6} million are taken. Crop the scans to the head."
        )
    if np.allclose(spacing, spacing_mm, rtol=0.02):
        return grid
    scale = spacing_mm / spacing
    shape = np.maximum(1, np.ceil(np.array(grid.shape) / scale - 1e-6)).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * scale
    # The outer faces of the first voxels coincide, so the centre of the first one moves by half the difference.
    affine[:3, 3] += grid.affine[:3, :3] @ ((scale - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _moved(array: NDArray[Any], source: Grid, target: Grid, *, nearest: bool) -> NDArray[Any]:
    from glioscope.space.resampling import resample  # brings SimpleITK, and BraTS cases never need it

    moved = resample(Volume(array, source), target, interpolation="nearest" if nearest else "linear")
    return moved.astype(array.dtype, copy=False)


def _to_network_grid(array: NDArray[Any], native: Grid, whole: Grid, *, nearest: bool = False) -> NDArray[Any]:
    turned, grid = reorient(array, native)
    return turned if grid.matches(whole) else _moved(turned, grid, whole, nearest=nearest)


def _normalise(scan: NDArray[np.float32], kind: Literal["z-score", "min-max"]) -> NDArray[np.float32]:
    if kind == "min-max":
        low, high = float(scan.min()), float(scan.max())
        return (scan - low) / (high - low) if high > low else np.zeros_like(scan)
    inside = foreground(scan)
    count = np.count_nonzero(inside)
    if count == 0:
        return np.zeros_like(scan)
    mean = scan.sum(dtype=np.float64) / count  # zeros add nothing
    centred = np.subtract(scan, np.float32(mean), where=inside, out=np.zeros_like(scan))
    deviation = math.sqrt(np.square(centred).sum(dtype=np.float64) / count)
    centred /= np.float32(max(deviation, 1e-6))
    return centred


def restore(array: NDArray[Any], prepared: PreparedCase) -> NDArray[Any]:
    """Return an array of the prepared grid on the native grid: the way back.

    Parameters
    ----------
    array : (..., i, j, k)
        On ``prepared.grid``. Boolean and integer arrays are carried by nearest neighbour, others linearly; where the
        network's spacing is the native one (all of BraTS), voxel for voxel.

    Returns
    -------
    (..., i, j, k)
        On ``prepared.native``, 0 outside the box.
    """
    if array.ndim > 3:
        return np.stack([restore(a, prepared) for a in array])
    full = paste(array, prepared.box, prepared.whole.shape)
    turned_grid = prepared.native.reoriented()
    if not turned_grid.matches(prepared.whole):
        full = _moved(full, prepared.whole, turned_grid, nearest=array.dtype.kind in "biu")
    back, _ = reorient(full, turned_grid, prepared.native.orientation)
    return np.ascontiguousarray(back)


def save_prepared(folder: Path, prepared: PreparedCase) -> None:
    """Save a prepared case for training: `<case>.npy` (float16 image), `<case>.labels.npy`, `<case>.json`."""
    with atomic_path(folder / f"{prepared.case_id}.npy") as scratch, scratch.open("wb") as file:
        np.save(file, prepared.image.astype(np.float16))
    if prepared.reference is not None:
        if prepared.regions.scheme:
            labels = painted(prepared.reference, prepared.regions)
        else:
            labels = labels_from_regions(prepared.reference, scheme_named(CACHE_SCHEME))
        with atomic_path(folder / f"{prepared.case_id}.labels.npy") as scratch, scratch.open("wb") as file:
            np.save(file, labels)
    record = {
        "presence": prepared.presence.tolist(),
        "box": [prepared.box.start, prepared.box.stop],
        "whole": prepared.whole.as_dict(),
        "native": prepared.native.as_dict(),
        "has_reference": prepared.reference is not None,
        "regions": {"names": prepared.regions.names, "scheme": prepared.regions.scheme},
        "known": prepared.known,
    }
    with atomic_path(folder / f"{prepared.case_id}.json") as scratch:  # last: its presence says that all is there
        scratch.write_text(json.dumps(record), encoding="utf-8")


@contextmanager
def _reading(folder: Path, case_id: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise CaseError(
            f"case {case_id}: its prepared form in {folder} cannot be read ({error}); delete the folder and resume"
        ) from error


def _read_reference(folder: Path, case_id: str, learnt: RegionsConfig) -> NDArray[np.bool_]:
    labels = np.load(folder / f"{case_id}.labels.npy")
    return regions_from_labels(labels, scheme_named(learnt.scheme or CACHE_SCHEME), names=learnt.names)


def _regions_in(record: Mapping[str, Any]) -> RegionsConfig:
    """Return what a prepared case's record says of its regions; those made before this was recorded have WT, TC, ET."""
    found = record.get("regions", {})
    return RegionsConfig(names=tuple(found.get("names", REGIONS)), scheme=found.get("scheme", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFacts:
    """What training needs to know of a prepared case before it reads an image."""

    names: tuple[str, ...]
    """Regions that are learnt."""
    known: tuple[str, ...]
    """Those that its reference knows."""
    volumes_ml: Mapping[str, float]
    """By region known."""
    tumour: Box | None
    """Of the outermost region known, in voxels of the prepared image; None where there is no tumour."""
    shape: tuple[int, int, int]
    """Of the prepared image."""

    @property
    def complete(self) -> bool:
        """Whether the reference knows every region."""
        return self.known == self.names


def prepared_facts(folder: Path, case_id: str) -> PreparedFacts:
    """Return what is known of a prepared case that has a reference, without reading its image.

    Raises
    ------
    CaseError
        A file of it is gone or damaged.
    """
    with _reading(folder, case_id):
        record = json.loads((folder / f"{case_id}.json").read_text(encoding="utf-8"))
        learnt = _regions_in(record)
        reference = _read_reference(folder, case_id, learnt)
    ml = Grid.from_dict(record["whole"]).voxel_volume_ml
    known, names = _known_in(record), learnt.names
    outermost = reference[names.index(known[0])]
    return PreparedFacts(
        names=names,
        known=known,
        volumes_ml={name: int(reference[names.index(name)].sum()) * ml for name in known},
        tumour=bounding_box(outermost) if outermost.any() else None,
        shape=outermost.shape,
    )


def _known_in(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the regions that a prepared case's record calls known; those made before this was recorded know all."""
    return tuple(record.get("known", _regions_in(record).names))


def load_prepared(folder: Path, case_id: str) -> PreparedCase:
    """Read back what `save_prepared` wrote.

    Raises
    ------
    CaseError
        A file of it is gone or damaged.
    """
    with _reading(folder, case_id):
        record = json.loads((folder / f"{case_id}.json").read_text(encoding="utf-8"))
        image = np.load(folder / f"{case_id}.npy").astype(np.float32)
        learnt = _regions_in(record)
        reference = _read_reference(folder, case_id, learnt) if record["has_reference"] else None
    whole = Grid.from_dict(record["whole"])
    box = Box(tuple(record["box"][0]), tuple(record["box"][1]))
    return PreparedCase(
        case_id=case_id,
        image=image,
        presence=np.array(record["presence"]),
        brain=np.any(foreground(image), axis=0),
        grid=whole.crop(box),
        box=box,
        whole=whole,
        native=Grid.from_dict(record["native"]),
        reference=reference,
        regions=learnt,
        known=_known_in(record),
    )
