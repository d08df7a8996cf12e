"""Bias correction: take out the slow shading that a receive coil lays over a scan.

    scan, mask ──correct_bias──▶ the scan divided by its estimated field

N4 (Tustison et al. 2010, doi 10.1109/TMI.2010.2046908) by SimpleITK, estimated on a shrunk image and applied to the
whole one: the field is smooth, so nothing is lost and minutes are saved. Off by default: BraTS images are not
corrected, the networks saw shading in training, and N4 takes large bright oedema for shading in part.
"""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from glioscope.space.resampling import from_itk, resample, shrink, to_itk
from glioscope.space.volumes import Volume

ESTIMATE_MM = 4.0
"""Voxel edge at which the field is estimated."""
ITERATIONS = (50, 50, 30)
"""At most so many on each level of the spline, coarse to fine."""


def correct_bias(scan: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a scan without its shading, the mean inside the mask kept.

    Parameters
    ----------
    scan : Volume
        (i, j, k) float32. Negative values are left as they are by the division.
    mask : (i, j, k) bool
        Where to estimate: the brain. An empty mask gives the scan unchanged.

    Returns
    -------
    (i, j, k) float32
    """
    small = shrink(scan, ESTIMATE_MM)
    where = resample(Volume(mask, scan.grid), small.grid, interpolation="nearest") & (small.data > 0)
    if where.sum() < 8**3:
        return scan.data
    image = to_itk(Volume(np.maximum(small.data, 0), small.grid))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    corrector.Execute(image, to_itk(Volume(where.astype(np.uint8), small.grid)))
    # The spline at the fine scan's own voxels, by way of a 4 mm image: log fields are smooth enough for linear.
    log_field = from_itk(corrector.GetLogBiasFieldAsImage(image))
    field = np.exp(resample(Volume(log_field.data, small.grid), scan.grid))
    corrected = scan.data / field
    inside = mask & (scan.data > 0)
    corrected *= scan.data[inside].mean() / max(float(corrected[inside].mean()), 1e-6)
    return np.asarray(corrected, np.float32)
