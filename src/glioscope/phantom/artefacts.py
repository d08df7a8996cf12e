"""What the scanner adds to a perfect picture: bias field, Rician noise, thick slices, motion."""

import numpy as np
from scipy import fft, ndimage

from glioscope.phantom.fields import Field, refine


def bias_field(rng: np.random.Generator, shape: tuple[int, int, int], strength: float) -> Field:
    """Return a smooth gain with mean near 1, as a surface coil leaves.

    Parameters
    ----------
    strength : float >= 0
        About the standard deviation of the gain; 0 gives ones.

    Returns
    -------
    (i, j, k) float32, positive
    """
    if strength <= 0:
        return np.ones(shape, np.float32)
    knots = ndimage.gaussian_filter(rng.standard_normal((28, 28, 28), dtype=np.float32), 4.5)[6:-6, 6:-6, 6:-6]
    log = np.float32(strength) * (knots / knots.std())
    return refine(np.exp(log - log.mean()), shape, [np.linspace(0, log.shape[0] - 1, n) for n in shape])


def rician(rng: np.random.Generator, image: Field, sigma: float) -> Field:
    """Return the magnitude of the image with Gaussian noise in both of its quadratures.

    Gudbjartsson and Patz 1995, Magn Reson Med 34:910, doi 10.1002/mrm.1910340618.
    """
    if sigma <= 0:
        return image
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(sigma)
    noisy += image
    other = rng.standard_normal(image.shape, dtype=np.float32)
    other *= np.float32(sigma)
    noisy *= noisy
    other *= other
    noisy += other
    return np.sqrt(noisy, out=noisy)


def thicken(image: Field, spacing_mm: float, thickness_mm: float) -> Field:
    """Return the image as thick slices along k leave it, resampled back to its own grid.

    Slices of `thickness_mm` are averaged (a box profile), kept one per thickness, and joined by straight lines: what a
    2-D acquisition looks like after resampling to the challenge's grid. Thinner than a voxel: returned unchanged.
    """
    factor = round(thickness_mm / spacing_mm)
    if factor <= 1:
        return image
    count = image.shape[2]
    averaged = ndimage.uniform_filter1d(image, factor, axis=2, mode="nearest")
    first = (count % factor + factor) // 2
    kept = averaged[:, :, min(first, count - 1) :: factor]
    still = [np.arange(n, dtype=float) for n in image.shape[:2]]
    return refine(kept, image.shape, [*still, (np.arange(count) - first) / factor])


def move(rng: np.random.Generator, image: Field, shift_voxels: float) -> Field:
    """Return the image of a head that moved during the scan: ghosts and blur along j, the phase-encoding axis.

    Each line of k-space is taken with the head at its own place; a shift is a phase ramp there. The lines at the
    centre, which hold the contrast, are taken at rest.

    Parameters
    ----------
    shift_voxels : float >= 0
        Size of the jerks; 0 returns the image unchanged.
    """
    if shift_voxels <= 0:
        return image
    count = image.shape[1]
    frequency = fft.rfftfreq(count)
    jerks = np.cumsum(rng.standard_normal(frequency.size) * (rng.random(frequency.size) < 6 / frequency.size))
    place = shift_voxels * jerks * np.clip((frequency - 0.02) / 0.05, 0, 1)
    phase = np.exp(-2j * np.pi * frequency * place).astype(np.complex64)
    moved = fft.irfft(fft.rfft(image, axis=1) * phase[None, :, None], n=count, axis=1)
    return np.abs(moved).astype(np.float32)
