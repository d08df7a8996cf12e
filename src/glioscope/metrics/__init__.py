"""Metrics: pure functions of two masks and a spacing. They know no case, no year and no penalty.

`overlap` counts voxels, `surface` measures distances, `lesions` scores lesion by lesion. An undefined score is nan
(inf for a distance to nothing); protocols turn these into numbers.
"""

from glioscope.metrics.overlap import (
    Mask,
    Overlap,
    VoxelAccuracy,
    dice,
    iou,
    overlap,
    precision,
    sensitivity,
    specificity,
    voxel_accuracy,
)
from glioscope.metrics.surface import (
    SurfaceDistances,
    border_distances,
    hausdorff_95,
    surface_areas,
    surface_dice,
    surface_distances,
)

__all__ = [
    "Mask",
    "Overlap",
    "SurfaceDistances",
    "VoxelAccuracy",
    "border_distances",
    "dice",
    "hausdorff_95",
    "iou",
    "overlap",
    "precision",
    "sensitivity",
    "specificity",
    "surface_areas",
    "surface_dice",
    "surface_distances",
    "voxel_accuracy",
]
