"""What images tell where their tags are silent: which is T2 and which FLAIR, and whether one was enhanced by contrast.

Everything is relative, since MR intensities have no unit: images are compared with each other on one coarse grid,
inside the head and away from its surface (scalp and skull behave differently under each fat suppression). They are
laid over each other by their headers alone; at 3 mm a patient's small movement does not matter.

Measured on two raw patients and 16 BraTS cases: FLAIR was the image most like T2 outside the fluid in all 18; T2 was
the image least like the others in 17. From T1 to T1 with contrast the asymmetry below was 0.57 and 0.19 in the two raw
patients and 0.14 to 0.80 in 15 of 16 BraTS cases, 0 in one of poor enhancement; it is 0 for a scan repeated. It
presumes like protocols: a native spin echo beside an enhanced gradient echo of other contrast can hide it.
"""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.dicom.scans import RawScan
from glioscope.space.resampling import to_itk
from glioscope.space.volumes import Volume

COARSE_MM = 3.0
DEPTH_MM = 18.0
"""Distance from the head's surface, in the slice plane and through it, where the brain is most of what there is."""
FLUID_SHARE = 0.2
"""Share of the deep voxels that are set aside as fluid: those brightest in T2."""
ENHANCED = 0.12
"""Asymmetry above which the later of two T1 scans counts as enhanced."""
MIN_VOXELS = 1000


def enhancement(before: RawScan, after: RawScan) -> float | None:
    """Return how much more voxels brighten than darken from one T1 scan to the other.

    Both are scaled to one median; vessels, mucosa and enhancing tumour make a bright tail of the difference. The sum of
    its 0.5th and 99.5th percentiles, in units of the median, is positive if `after` is the enhanced one, negative if
    `before` is, and near 0 if neither is; None if the scans hardly overlap.
    """
    deep = _deep((before, after))
    if deep is None:
        return None
    first, second = deep
    difference = second / np.median(second) - first / np.median(first)
    low, high = np.percentile(difference, (0.5, 99.5))
    return float(low + high)


def likeness(scans: Sequence[RawScan]) -> NDArray[np.float64] | None:
    """Return the rank correlation of each scan with each inside the head, or None if they hardly overlap.

    Returns
    -------
    (n, n) float64
        T2 is the scan whose correlation with the others is least: its fluid is bright, theirs dark.
    """
    deep = _deep(scans)
    return None if deep is None else np.atleast_2d(np.corrcoef(_ranks(deep)))


def likeness_to_t2(t2: RawScan, scans: Sequence[RawScan]) -> NDArray[np.float64] | None:
    """Return the rank correlation of each scan with a T2 outside the fluid, or None if they hardly overlap.

    Grey matter is brighter than white in T2 and FLAIR, darker in T1, so FLAIR has the greatest.
    """
    deep = _deep((t2, *scans))
    if deep is None:
        return None
    ranks = _ranks(deep)
    kept = ranks[:, ranks[0] < np.quantile(ranks[0], 1 - FLUID_SHARE)]
    return np.atleast_2d(np.corrcoef(kept))[0, 1:]


def _ranks(values: NDArray) -> NDArray[np.float64]:
    return np.argsort(np.argsort(values, axis=1), axis=1).astype(np.float64)


def _deep(scans: Sequence[RawScan]) -> NDArray[np.float64] | None:
    """Return the intensities (n, voxels) of all scans deep inside the head they have in common."""
    reference = _coarse(scans[0])
    images = [_on(scan, reference) for scan in scans]
    head = np.logical_and.reduce([_head(image) for image in images])
    depth = ndimage.distance_transform_edt(np.pad(head, ((0, 0), (1, 1), (1, 1))), sampling=COARSE_MM)
    inside = depth[:, 1:-1, 1:-1] > DEPTH_MM
    if np.count_nonzero(inside) < MIN_VOXELS:
        return None
    return np.array([sitk.GetArrayViewFromImage(image)[inside] for image in images], np.float64)


def _coarse(scan: RawScan) -> sitk.Image:
    """Return an empty image over the scan's field of view, its voxels about `COARSE_MM` wide."""
    image = to_itk(Volume(scan.image, scan.grid))
    size = [max(1, round(n * edge / COARSE_MM)) for n, edge in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    coarse = sitk.Image(size, sitk.sitkFloat32)
    spacing = [n * edge / m for n, edge, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    coarse.SetSpacing(spacing)
    coarse.SetDirection(image.GetDirection())
    shift = [(a / b - 1) / 2 for a, b in zip(spacing, image.GetSpacing(), strict=True)]
    coarse.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(shift))
    return coarse


def _on(scan: RawScan, reference: sitk.Image) -> sitk.Image:
    smooth = sitk.SmoothingRecursiveGaussian(to_itk(Volume(scan.image, scan.grid)), COARSE_MM / 2)
    return sitk.Resample(smooth, reference, sitk.Transform(), sitk.sitkLinear, 0.0)


def _head(image: sitk.Image) -> NDArray[np.bool_]:
    """Return (k, j, i) where the head is: brighter than air, closed, holes of each slice filled."""
    bright = sitk.GetArrayViewFromImage(sitk.OtsuThreshold(image, 0, 1)).astype(bool)
    closed = ndimage.binary_closing(np.pad(bright, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    return np.array([ndimage.binary_fill_holes(layer) for layer in closed])
