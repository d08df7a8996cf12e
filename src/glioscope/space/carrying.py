"""Labels of one grid on another: the way back from the common grid to each scan.

    labels, matrix, grid ──carry_labels──▶ labels on that grid, volumes kept

Beside `resampling`; `prepare.to_native` is how it is called.
"""

import numpy as np
from numpy.typing import NDArray

from glioscope.labels import LabelScheme, labels_from_regions, regions_from_labels
from glioscope.space.grid import Box, Grid, bounding_box, paste
from glioscope.space.resampling import Matrix, corners, resample
from glioscope.space.volumes import Volume


def carry_labels(labels: Volume, target: Grid, matrix: Matrix, scheme: LabelScheme) -> NDArray[np.uint8]:
    """Return a label map on another grid, volumes kept.

    Whole tumour, core and enhancing tumour are carried one by one, each within the one before. Each voxel of the
    target, a thick slice above all, gets the share of it that a region fills, measured at points no further apart than
    the labels' voxels; the voxels with the largest shares are taken, as many as hold the region's volume. A cut at one
    half would lose thin rims.

    Parameters
    ----------
    labels : Volume
        uint8.
    matrix : (4, 4)
        Millimetres of the target to millimetres of the labels.

    Returns
    -------
    (i, j, k) uint8
        On `target`, in the same scheme. Where the grids coincide the labels themselves; an empty map stays empty.
        What lies outside the target's field of view is lost.
    """
    out = np.zeros(target.shape, np.uint8)
    box = _landing(labels, target, matrix)
    if box is None:
        return out
    ratio = np.array(target.spacing_mm) / labels.grid.spacing_mm
    split = np.maximum(1, np.ceil(ratio - 0.05)).astype(int)
    fine = _split(target.crop(box), split)
    regions = [np.ones(box.shape, bool)]
    for region in regions_from_labels(labels.data, scheme):
        share = resample(Volume(region, labels.grid), fine, matrix)
        parts = share.reshape([v for pair in zip(box.shape, split, strict=True) for v in pair])
        regions.append(_fullest(parts.mean(axis=(1, 3, 5)), regions[-1]))
    return paste(labels_from_regions(np.stack(regions[1:]), scheme), box, target.shape)


def _landing(labels: Volume, target: Grid, matrix: Matrix) -> Box | None:
    """Return the box of the target's voxels that labels may reach, or None."""
    if not labels.data.any():
        return None
    ends = corners(bounding_box(labels.data > 0, margin=1)) @ labels.grid.affine.T
    index = (ends @ np.linalg.inv(matrix @ target.affine).T)[:, :3]
    start = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 2, target.shape)
    return Box(tuple(map(int, start)), tuple(map(int, stop))) if (stop > start).all() else None  # type: ignore[arg-type]


def _split(grid: Grid, factor: NDArray[np.int_]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, :3] /= factor
    affine[:3, 3] -= affine[:3, :3] @ ((factor - 1) / 2)
    shape = np.array(grid.shape) * factor
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _fullest(share: NDArray[np.float32], within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels with the largest shares, as many as the shares add up to; all of them `within` a mask."""
    mask = np.zeros(share.shape, bool)
    count = round(float(share.sum(dtype=np.float64)))
    order = np.argsort(np.where(within, share, -1), axis=None, kind="stable")[::-1][:count]
    mask.reshape(-1)[order] = True
    return mask & within
