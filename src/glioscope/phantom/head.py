"""What surrounds the brain when the skull is not stripped: fluid, bone, marrow, fat, muscle, skin, eyes, air.

Also a marker capsule on the right temple, as radiographers tape one on to prove left from right.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from glioscope.phantom.fields import Field, blend, carve, ellipsoid, share, tube

MARKER_MM = (92.0, 0.0, 20.0)
"""Centre of the capsule, head coordinates: on the patient's right."""
MARKER_RADIUS_MM = 6.0

RIM_MM = 1.0
"""Fluid between the brain's envelope and the bone, beside the 0.6 mm within the envelope. As thin as a patient's, whose
T2 shows it through voxels of 0.9 mm: at most 1.3 times as bright as the brain, where a wide rim would be thrice."""


def head_layers(points: Sequence[Field], whole: Field, width_mm: float) -> Iterator[tuple[str, Field]]:
    """Yield (tissue, share) in painting order, from the skin inwards to the fluid around the brain.

    Parameters
    ----------
    points : three (...) float32
        Standard head coordinates.
    whole : (...) float32
        Signed distance of the brain's envelope.
    """
    x, y, z = points
    side = np.abs(x)
    mirrored = (side, y, z)
    inner = whole - np.float32(RIM_MM)
    vault = carve(ellipsoid(points, (0, -17, 12), (66, 86, 65)), -z - np.float32(14), 12)
    table = blend(inner, vault, 8)  # bone fills the notch behind the tentorium, as the occipital protuberance does
    face = ellipsoid(points, (0, 42, -52), (58, 52, 62))
    neck = tube(points, ((0, -28, -40, 56), (0, -34, -150, 54)))
    skin = ellipsoid(points, (0, -16, 8), (84, 105, 84))
    skin = blend(blend(blend(table - np.float32(11), skin, 12), face, 16), neck, 16)
    nose = tube(points, ((0, 92, -28, 7), (0, 104, -52, 10)))
    skin = blend(skin, nose, 8)
    yield "skin", share(skin, width_mm)
    yield "fat", share(skin + np.float32(2.2), width_mm)
    yield "muscle", share(np.maximum(skin + np.float32(7), z + np.float32(12)), width_mm)
    temporalis = np.maximum(skin + np.float32(3.5), ellipsoid(mirrored, (70, 12, -8), (14, 30, 34)))
    yield "muscle", share(temporalis, width_mm)
    cut = -z - np.float32(66)
    yield "bone", share(carve(table - np.float32(6.5), cut, 4), width_mm)
    yield "marrow", share(carve(np.abs(table - np.float32(3.4)) - np.float32(1.5), cut + np.float32(20), 4), width_mm)
    sinus = np.minimum(ellipsoid(mirrored, (22, 56, -50), (13, 16, 15)), ellipsoid(mirrored, (9, 78, 2), (11, 6, 11)))
    sinus = np.minimum(sinus, ellipsoid(points, (0, 38, -34), (11, 16, 11)))
    sinus = np.minimum(sinus, ellipsoid(points, (0, 40, -66), (12, 34, 16)))
    yield "air", share(sinus, width_mm)
    orbit = ellipsoid(mirrored, (31, 54, -32), (19, 28, 17))
    yield "fat", share(np.maximum(orbit, skin + np.float32(1.5)), width_mm)
    yield "muscle", share(tube(mirrored, ((31, 62, -32, 3), (12, 20, -24, 2.4))), width_mm)
    yield "eye", share(ellipsoid(mirrored, (32, 68, -32), (12, 12, 12)), width_mm)
    yield "muscle", share(ellipsoid(mirrored, (32, 76, -32), (4, 2, 4)), width_mm)
    yield "csf", share(inner, width_mm)


def marker(points: Sequence[Field], width_mm: float) -> tuple[str, Field]:
    """Return the marker capsule as a layer: oil, bright in every sequence."""
    return "fat", share(ellipsoid(points, MARKER_MM, (MARKER_RADIUS_MM,) * 3), width_mm)
