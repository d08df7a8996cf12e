"""Building blocks of the synthetic head: signed distances, smooth noise, and linear refinement.

A signed distance is negative inside a shape and grows by about one per millimetre across its surface, so one array
gives a sharp mask (``distance < 0``) and the share of a voxel that a tissue fills (`share`). All arrays are float32.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]

NOISE_MM = 256.0
"""Noise volumes are periodic cubes with this edge, larger than a head."""


def share(distance: Field, width_mm: float) -> Field:
    """Return the share of each voxel that lies inside a surface: partial volume.

    Parameters
    ----------
    distance : (...) float32
        Signed distance in millimetres, negative inside.
    width_mm : float > 0
        Thickness of the transition: the voxel's edge, or more for a blurred border.

    Returns
    -------
    (...) float32
        1 inside, 0 outside, a straight ramp between.
    """
    ramp = distance * np.float32(-1 / width_mm)
    ramp += np.float32(0.5)
    return np.clip(ramp, 0, 1, out=ramp)


def ellipsoid(points: Sequence[Field], centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Return the approximate signed distance to an ellipsoid, exact to first order at its surface.

    Parameters
    ----------
    points : three (...) float32
        x, y, z in millimetres.
    """
    scaled = [(p - np.float32(c)) * np.float32(1 / r) for p, c, r in zip(points, centre, radii, strict=True)]
    for part in scaled:
        np.square(part, out=part)
    root = np.sqrt(scaled[0] + scaled[1] + scaled[2])
    slope = np.full_like(root, 1e-6)
    for part, radius in zip(scaled, radii, strict=True):
        np.multiply(part, np.float32(1 / radius**2), out=part)
        slope += part
    np.sqrt(slope, out=slope)
    root *= root - 1
    return np.divide(root, slope, out=root)


def tube(points: Sequence[Field], path: Sequence[Sequence[float]]) -> Field:
    """Return the signed distance to a bent tube of changing radius.

    Parameters
    ----------
    path : sequence of (x, y, z, radius)
        At least two stations, millimetres; radius runs straight from one to the next.
    """
    nearest: Field | None = None
    for start, stop in pairwise(path):
        axis = [b - a for a, b in zip(start[:3], stop[:3], strict=True)]
        reach = [(p - np.float32(a)) * np.float32(d) for p, a, d in zip(points, start[:3], axis, strict=True)]
        along = np.clip((reach[0] + reach[1] + reach[2]) * np.float32(1 / sum(d * d for d in axis)), 0, 1)
        gap = sum(
            (p - np.float32(a) - along * np.float32(d)) ** 2 for p, a, d in zip(points, start[:3], axis, strict=True)
        )
        distance = np.sqrt(gap) - (np.float32(start[3]) + along * np.float32(stop[3] - start[3]))
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    assert nearest is not None
    return nearest


def length(first: Field, second: Field) -> Field:
    """Return sqrt(first² + second²); no overflow to guard against here, so faster than `numpy.hypot`."""
    return np.sqrt(first * first + second * second)


def blend(first: Field, second: Field, radius_mm: float) -> Field:
    """Return the union of two shapes with a rounded seam (polynomial smooth minimum)."""
    overlap = np.maximum(np.float32(radius_mm) - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / radius_mm)


def carve(first: Field, second: Field, radius_mm: float) -> Field:
    """Return the intersection of two shapes with a rounded edge (polynomial smooth maximum)."""
    return -blend(-first, -second, radius_mm)


def band_noise(rng: np.random.Generator, wavelength_mm: float, *, spread: float = 0.25) -> Field:
    """Return a periodic cube of Gaussian noise whose waves have about one length.

    Parameters
    ----------
    wavelength_mm : float >= 8
        Centre of the band, crest to crest.
    spread : float > 0
        Width of the band relative to its centre.

    Returns
    -------
    (n, n, n) float32
        Mean 0, standard deviation 1, the cube's edge is `NOISE_MM`; n is 32 where the waves are long, else 64.
    """
    side = 32 if wavelength_mm >= 40 else 64
    white = rng.standard_normal((side,) * 3, dtype=np.float32)
    step = NOISE_MM / side
    steps = [fft.fftfreq(side, step), fft.fftfreq(side, step), fft.rfftfreq(side, step)]
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*steps, indexing="ij", sparse=True)))
    gain = np.exp(-0.5 * ((frequency * wavelength_mm - 1) / spread) ** 2).astype(np.float32)
    gain[0, 0, 0] = 0
    noise = fft.irfftn(fft.rfftn(white) * gain, s=white.shape)
    return (noise / noise.std()).astype(np.float32)


def sample_noise(noise: Field, points: Sequence[Field], *, order: int = 1) -> Field:
    """Return a noise cube's values at points in millimetres (the cube repeats without end).

    For `order` 2 and above the cube holds spline coefficients, as `scipy.ndimage.spline_filter` returns them.
    """
    index = np.stack([p.ravel() for p in points]) * np.float32(noise.shape[0] / NOISE_MM)
    values = ndimage.map_coordinates(noise, index, np.float32, order=order, mode="grid-wrap", prefilter=False)
    return values.reshape(points[0].shape)


def refine(coarse: Field, shape: Sequence[int], positions: Sequence[NDArray[np.float64]]) -> Field:
    """Return an array sampled along each axis at fractional indices, linearly: separable, so fast.

    Parameters
    ----------
    coarse : (i, j, k) float32
    shape : three ints
        Of the result.
    positions : three 1-D arrays
        For each axis of the result, the index in `coarse`; clipped to the array.
    """
    out = coarse
    for axis in (2, 1, 0):  # the strided axis while the array is small, the contiguous one last
        count, position = shape[axis], positions[axis]
        last = out.shape[axis] - 1
        if last == 0 or (count == out.shape[axis] and np.array_equal(position, np.arange(count))):
            continue
        clipped = np.clip(position, 0, last)
        lower = np.minimum(clipped.astype(np.intp), last - 1)
        weight = (clipped - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        first = np.take(out, lower, axis)
        step = np.take(out, lower + 1, axis)
        step -= first
        step *= weight
        step += first
        out = step
    return out
