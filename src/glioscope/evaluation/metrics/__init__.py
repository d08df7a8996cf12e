"""Metrics: pure functions of two masks and a spacing. They know no case, no year and no penalty.

`overlap` counts voxels, `surface` measures distances, `components` takes masks apart, `lesions` scores each
lesion. An undefined score is nan (inf for a distance to nothing); protocols turn these into numbers.
"""

from glioscope.evaluation.metrics.components import Group, MaskLesions, dilate, merge_touching
from glioscope.evaluation.metrics.lesions import (
    LesionMatch,
    LesionRule,
    LesionWise,
    OneToOne,
    RegionPair,
    lesion_wise,
    one_to_one,
    predicted_lesions,
)
from glioscope.evaluation.metrics.overlap import (
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
from glioscope.evaluation.metrics.surface import (
    SurfaceDistances,
    area_within,
    border_distances,
    hausdorff_95,
    mean_hit_share,
    pooled_percentile,
    robust_hausdorff,
    surface_areas,
    surface_dice,
    surface_distances,
)

__all__ = [
    "Group",
    "LesionMatch",
    "LesionRule",
    "LesionWise",
    "Mask",
    "MaskLesions",
    "OneToOne",
    "Overlap",
    "RegionPair",
    "SurfaceDistances",
    "VoxelAccuracy",
    "area_within",
    "border_distances",
    "dice",
    "dilate",
    "hausdorff_95",
    "iou",
    "lesion_wise",
    "mean_hit_share",
    "merge_touching",
    "one_to_one",
    "overlap",
    "pooled_percentile",
    "precision",
    "predicted_lesions",
    "robust_hausdorff",
    "sensitivity",
    "specificity",
    "surface_areas",
    "surface_dice",
    "surface_distances",
    "voxel_accuracy",
]
