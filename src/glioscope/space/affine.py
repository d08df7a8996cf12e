"""Affine registration: twelve numbers that turn, shift, stretch and shear one brain onto another person's.

    template, image ──first_guess──▶ matrix ──stretch──▶ matrix: template's millimetres to the image's

The search maximises Mattes' mutual information coarse to fine, as in `registration`, which is for one head only. What
has no counterpart on the other side, a tumour, can be left out of the measure: cost-function masking (Brett et al.
2001, doi 10.1006/nimg.2001.0845).
"""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from glioscope.space.grid import FLIP
from glioscope.space.resampling import Matrix, resample, shrink, to_itk
from glioscope.space.volumes import Volume

SAMPLES = 120_000
"""Voxels that a step looks at, as in `registration`; drawn with a seed, so the same case gives the same matrix."""
MINIMUM_OVERLAP = 0.85
"""Dice of two brains below which the fit is called doubtful; good ones have 0.93 and more."""


def first_guess(fixed: Volume, moving: Volume) -> Matrix:
    """Return a matrix by the moments of two brain masks: centre on centre, each axis stretched to the other's spread.

    Parameters
    ----------
    fixed, moving : Volume
        (i, j, k), 1 inside, 0 outside; neither empty.
    """
    (here, spread), (there, other) = _moments(fixed), _moments(moving)
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(other / spread)
    matrix[:3, 3] = there - matrix[:3, :3] @ here
    return matrix


def _moments(mask: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.argwhere(mask.data > 0.5)[::17] @ mask.grid.affine[:3, :3].T + mask.grid.affine[:3, 3]
    return points.mean(axis=0), points.std(axis=0)


def stretch(levels: Sequence[Volume], moving: Volume, matrix: Matrix, *, ignored: Volume | None = None) -> Matrix:
    """Return the matrix from the fixed image's RAS mm to the moving one's that makes them agree best.

    Parameters
    ----------
    levels : Volumes
        The fixed image, (i, j, k) float32 of a brain without skull, shrunk by `shrink` from coarse to fine; the moving
        image is brought to the same voxel edges.
    moving : Volume
        (i, j, k) float32, without skull as well.
    matrix : (4, 4)
        Where the search starts; what it returns if the two do not meet there.
    ignored : Volume, optional
        (i, j, k) bool in the moving image's space: voxels that count for nothing, such as a tumour.
    """
    for fixed in levels:
        spacing_mm = max(fixed.grid.spacing_mm)
        matrix = _refine(fixed, shrink(moving, spacing_mm), matrix, spacing_mm, ignored)
    return matrix


def overlap_of(fixed: Volume, moving: Volume, matrix: Matrix) -> float:
    """Return the Dice of two brain masks, one carried over to the other; 0 where both are empty."""
    carried = resample(moving, fixed.grid, matrix) > 0.5
    inside = fixed.data > 0
    both = float((carried & inside).sum())
    return 2 * both / max(float(carried.sum() + inside.sum()), 1.0)


def _refine(fixed: Volume, moving: Volume, matrix: Matrix, step_mm: float, ignored: Volume | None) -> Matrix:
    """Go uphill in Mattes' mutual information over all twelve numbers."""
    lps = FLIP @ matrix @ FLIP
    centre = fixed.grid.affine @ [*(np.array(fixed.grid.shape) - 1) / 2, 1]
    transform = sitk.AffineTransform(3)
    transform.SetCenter((FLIP @ centre)[:3].tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    moved = lps @ (FLIP @ centre)
    transform.SetTranslation((moved - FLIP @ centre)[:3].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    if fixed.data.size > SAMPLES:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(SAMPLES / fixed.data.size, seed=20240817)
    if ignored is not None:
        method.SetMetricMovingMask(to_itk(Volume((~ignored.data).astype(np.uint8), ignored.grid)))
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=step_mm / 200,
        numberOfIterations=150,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(to_itk(fixed), to_itk(moving))
    except RuntimeError:  # the two do not meet
        return matrix
    found = np.eye(4)
    found[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    found[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return FLIP @ found @ FLIP
