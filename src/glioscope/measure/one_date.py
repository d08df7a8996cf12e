"""What one segmentation measures: millilitres, diameters, lesions, side."""

from collections.abc import Mapping

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError
from glioscope.labels import REGIONS, LabelScheme, check_labels
from glioscope.measure.diameters import diameters, point, to_mm
from glioscope.measure.midline import find_midline, side_of
from glioscope.measure.rano import measurable
from glioscope.results import Lesion, Measurements
from glioscope.space.grid import Grid, bounding_box, cut, reorient


def measure(
    labels: NDArray[np.integer], grid: Grid, scheme: LabelScheme, *, brain: NDArray[np.bool_] | None = None
) -> Measurements:
    """Return volumes, diameters, lesions and side of a segmented tumour.

    Parameters
    ----------
    labels : (i, j, k) integer
        Label map in `scheme`, on `grid`.
    grid : Grid
        Any storage order; spacing may be anisotropic, axes oblique.
    scheme : LabelScheme
        What the values mean.
    brain : (i, j, k) bool, optional
        Brain mask on the same grid. The midline is then the plane in which the brain mirrors itself, else the middle
        of the grid, and the result says which.

    Returns
    -------
    Measurements
        Lesions are 26-connected parts. An empty map gives zeros, empty lists and None, never NaN.

    Raises
    ------
    GeometryError
        Map (or brain mask) and grid differ in shape.
    LabelError
        The map holds a value that the scheme does not know.
    """
    for what, array in (("label map", labels), ("brain mask", brain)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but its grid {grid.shape}; they must agree")
    midline = find_midline(grid, brain)
    box = bounding_box(labels > 0)
    labels, grid = cut(labels, box), grid.crop(box)
    check_labels(labels, scheme)
    labels, grid = reorient(labels, grid, "RAS")
    masks = {name: np.isin(labels, values) for name, values in scheme.regions.items()}
    parts = {name: _lesions(mask, grid) for name, mask in masks.items()}
    target = _target_region(masks)
    measured = [diameters(part, grid, target) for part in split(masks[target])] if target else []
    return Measurements(
        scheme=scheme.name,
        volumes_ml={name: round(_ml(mask, grid), 4) for name, mask in masks.items()},
        tissues_ml={name: round(_ml(labels == v, grid), 4) for v, name in sorted(scheme.meanings.items())},
        lesion_count={name: len(found) for name, found in parts.items()},
        lesions=parts,
        diameters=max(measured, key=lambda d: (d.product_mm2, d.maximum_3d_mm), default=None),
        measurable=measurable(measured if target == "ET" else [], grid.spacing_mm[2]),
        side=side_of(masks.get("WT", next(iter(masks.values()))), grid, midline),
    )


def _ml(mask: NDArray[np.bool_], grid: Grid) -> float:
    return int(np.count_nonzero(mask)) * grid.voxel_volume_ml


def _target_region(masks: Mapping[str, NDArray[np.bool_]]) -> str | None:
    """Return the region whose diameters are taken: ET, else TC, else WT, else any; None when all are empty."""
    order = (*reversed(REGIONS), *(name for name in masks if name not in REGIONS))
    return next((name for name in order if name in masks and masks[name].any()), None)


def _lesions(mask: NDArray[np.bool_], grid: Grid) -> tuple[Lesion, ...]:
    """Return each 26-connected part, largest first."""
    if not mask.any():
        return ()
    found = cc3d.statistics(cc3d.connected_components(mask, connectivity=26))
    counts = found["voxel_counts"][1:].astype(np.int64)
    centres = to_mm(np.asarray(found["centroids"][1:], np.float64), grid)
    order = np.argsort(-counts, kind="stable")
    return tuple(
        Lesion(volume_ml=round(float(counts[n] * grid.voxel_volume_ml), 4), centroid_mm=point(centres[n], 2))
        for n in order
    )


def split(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the voxel indices (n, 3) of each 26-connected part; an empty list for an empty mask."""
    if not mask.any():
        return []
    parts = cc3d.connected_components(mask, connectivity=26)
    indices = np.argwhere(parts)
    number = parts[tuple(indices.T)]
    order = np.argsort(number, kind="stable")
    edges = np.flatnonzero(np.diff(number[order])) + 1
    return np.split(indices[order], edges)
