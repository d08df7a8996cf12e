"""Scores that count voxels: how two masks overlap.

All follow from four counts. Where a denominator is 0 the score is undefined and the answer is nan; what an undefined
score is worth is for the protocol to say.

Sources: Taha and Hanbury 2015, doi 10.1186/s12880-015-0068-x; Maier-Hein et al. 2024, doi 10.1038/s41592-023-02151-z.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Voxel counts of one pair of masks, and the scores that follow from them."""

    both: int
    """Voxels in reference and prediction (true positives)."""
    reference: int
    """Voxels in the reference."""
    prediction: int
    """Voxels in the prediction."""
    total: int
    """Voxels in the volume, air included."""

    @property
    def dice(self) -> float:
        """Twice both over the sum of the masks, in [0, 1]; nan if both masks are empty."""
        return _ratio(2 * self.both, self.reference + self.prediction)

    @property
    def iou(self) -> float:
        """Intersection over union, in [0, 1]; nan if both masks are empty."""
        return _ratio(self.both, self.reference + self.prediction - self.both)

    @property
    def sensitivity(self) -> float:
        """Share of the reference that was found; nan if the reference is empty."""
        return _ratio(self.both, self.reference)

    @property
    def precision(self) -> float:
        """Share of the prediction that is right; nan if the prediction is empty."""
        return _ratio(self.both, self.prediction)

    @property
    def specificity(self) -> float:
        """Share of the voxels outside the reference that the prediction leaves out; nan if none lie outside.

        Counts air, so it is near 1 for every brain tumour and grows with the margin of the volume.
        """
        outside = self.total - self.reference
        return _ratio(outside - (self.prediction - self.both), outside)

    @property
    def accuracy(self) -> float:
        """Share of all voxels on which the masks agree; nan for a volume without voxels."""
        wrong = self.reference + self.prediction - 2 * self.both
        return _ratio(self.total - wrong, self.total)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def check_masks(reference: Mask, prediction: Mask) -> None:
    """Raise `GeometryError` unless both are boolean and of one shape with three axes."""
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask.dtype != np.bool_ or mask.ndim != 3:
            raise GeometryError(
                f"{name} mask is {mask.dtype} with {mask.ndim} axes; a boolean (i, j, k) mask is needed"
            )
    if reference.shape != prediction.shape:
        raise GeometryError(
            f"reference mask has shape {reference.shape} but prediction mask {prediction.shape}; both must share one "
            "grid. Resample one onto the other first."
        )


def overlap(reference: Mask, prediction: Mask) -> Overlap:
    """Count the voxels of two masks.

    Parameters
    ----------
    reference, prediction : (i, j, k) bool
        Either may be empty.

    Raises
    ------
    GeometryError
        The masks differ in shape or are not boolean with three axes.
    """
    check_masks(reference, prediction)
    return Overlap(
        both=int(np.count_nonzero(reference & prediction)),
        reference=int(np.count_nonzero(reference)),
        prediction=int(np.count_nonzero(prediction)),
        total=reference.size,
    )


def dice(reference: Mask, prediction: Mask) -> float:
    """Return the Dice score of two (i, j, k) boolean masks; nan if both are empty, 0 if exactly one is."""
    return overlap(reference, prediction).dice


def iou(reference: Mask, prediction: Mask) -> float:
    """Return intersection over union of two (i, j, k) boolean masks; nan if both are empty, 0 if exactly one is."""
    return overlap(reference, prediction).iou


def sensitivity(reference: Mask, prediction: Mask) -> float:
    """Return the share of the reference mask that the prediction holds; nan if the reference is empty."""
    return overlap(reference, prediction).sensitivity


def specificity(reference: Mask, prediction: Mask) -> float:
    """Return the share of voxels outside the reference that the prediction leaves out, over the whole volume."""
    return overlap(reference, prediction).specificity


def precision(reference: Mask, prediction: Mask) -> float:
    """Return the share of the prediction that lies in the reference; nan if the prediction is empty."""
    return overlap(reference, prediction).precision


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelAccuracy:
    """Voxel accuracy as many U-Net notebooks report it, beside what keeps it honest. All in [0, 1]."""

    accuracy: float
    """Share of voxels whose label is right, background counted."""
    all_background: float
    """What a prediction without any tumour would score on the same voxels."""
    foreground: float
    """Accuracy over the union of both foregrounds; nan if both maps are empty."""


def voxel_accuracy(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> VoxelAccuracy:
    """Return the share of voxels with the right label.

    Parameters
    ----------
    reference, prediction : (i, j, k) integer
        Label maps of one shape, 0 for background; crop both alike before, the score depends on it.

    Raises
    ------
    GeometryError
        The maps differ in shape.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(f"reference map has shape {reference.shape} but prediction map {prediction.shape}")
    right = reference == prediction
    union = (reference != 0) | (prediction != 0)
    return VoxelAccuracy(
        accuracy=_ratio(int(np.count_nonzero(right)), right.size),
        all_background=_ratio(int(np.count_nonzero(reference == 0)), right.size),
        foreground=_ratio(int(np.count_nonzero(right & union)), int(np.count_nonzero(union))),
    )
