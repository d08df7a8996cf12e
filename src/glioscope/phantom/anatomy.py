"""The head as a list of surfaces: which tissue fills which signed distance, painted in order.

Coordinates are RAS millimetres of the MNI kind: x to the right, y to anterior, z to superior, the origin near the
anterior commissure; positions of the structures follow that space. Nothing here is taken from anybody's scan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.phantom.fields import Field, band_noise, blend, carve, ellipsoid, sample_noise, share, tube

CENTRE_MM = (0.0, -17.0, 3.0)
"""The point of the head that stands at the centre of the field of view."""

LATERAL_VENTRICLE = ((9, 32, 3, 2.2), (8, 20, 12, 3.4), (8, 2, 20, 3.2), (11, -18, 22, 3.2), (19, -36, 16, 4.2))
OCCIPITAL_HORN = ((19, -36, 16, 4.2), (24, -50, 8, 3.4), (21, -70, 5, 1.2))
TEMPORAL_HORN = ((20, -38, 14, 3.6), (32, -38, 0, 2.6), (34, -22, -14, 1.6), (27, -9, -19, 1.0))
CAUDATE = ((14, 20, 2, 5.6), (15, 12, 11, 5.0), (16, -2, 20, 3.4), (20, -20, 22, 2.4), (27, -34, 15, 1.6))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """What makes one head differ from another. Drawn once, read at any resolution."""

    scale: tuple[float, float, float]
    warp: tuple[NDArray[np.float32], ...]
    """Three noise cubes: how far each axis is bent."""
    warp_mm: float
    folds: NDArray[np.float32]
    """Noise cube whose zero crossings are the sulci."""
    depth: NDArray[np.float32]
    """Noise cube that makes some sulci deep and others shallow."""
    sulcus_mm: float
    """Half width of a sulcus: age opens it."""
    ventricle_mm: float
    """Added to the radius of the ventricles: age again."""
    cortex_mm: float
    gliosis_mm: float
    """Reach of the periventricular hyperintensities of age; 0 or less for none."""
    midline_mm: float
    """Bend of the falx at its middle, to the right where positive."""


def draw_person(rng: np.random.Generator) -> Person:
    """Return a head drawn at random."""
    age = rng.beta(2.0, 1.6)  # 0 young, 1 old: gliomas are a disease of the later half
    return Person(
        scale=tuple(float(v) for v in rng.normal(1, 0.03, 3) + rng.normal(0, 0.02)),  # type: ignore[arg-type]
        warp=tuple(band_noise(rng, 75, spread=0.35) for _ in range(3)),
        warp_mm=float(rng.uniform(1.2, 2.4)),
        folds=band_noise(rng, float(rng.uniform(21, 25)), spread=0.16),
        depth=band_noise(rng, 40, spread=0.4),
        sulcus_mm=float(0.45 + 0.75 * age),
        ventricle_mm=float(-0.8 + 3.4 * age**2),
        cortex_mm=float(rng.uniform(2.5, 3.0)),
        gliosis_mm=float(rng.uniform(-3, 7) * age),
        midline_mm=float(rng.normal(0, 1.2)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Evenly spaced points at which a head is evaluated, turned in any way."""

    points: tuple[Field, Field, Field]
    """Head coordinates, each (i, j, k), millimetres."""
    steps: NDArray[np.float64]
    """(3, 3); column a leads from a point to its neighbour along axis a."""

    def gradient(self, field: Field) -> list[Field]:
        """Return the gradient of a field along x, y and z, per millimetre."""
        slopes = np.gradient(field)
        inverse = np.linalg.inv(self.steps).T.astype(np.float32)
        return [sum(w * s for w, s in zip(row, slopes, strict=True) if w) for row in inverse]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Brain:
    """Signed distances of one brain on a lattice of points, millimetres, negative inside; each (i, j, k) float32."""

    envelope: Field
    """Everything a brain mask holds: cerebrum with its sulci, cerebellum, brainstem."""
    cerebrum: Field
    fold: Field
    """Signed distance to the nearest sulcal sheet (positive on one side, negative on the other)."""
    floor: Field
    """Positive below the bottom of the sulcus, in millimetres."""
    midline: Field
    """x of the bent midline plane."""
    falx: Field
    """Negative where callosum and ventricles take the fissure's place."""
    sylvian: Field
    callosum: Field
    cerebellum: Field
    folia: Field
    brainstem: Field
    striatum: Field
    pallidum: Field
    thalamus: Field
    ventricles: Field
    choroid: Field
    sinus: Field
    height: Field
    """z of the standard head."""


def bend(person: Person, points: Sequence[Field]) -> list[Field]:
    """Return points of the standard head that correspond to points of this head."""
    out = []
    for point, scale, noise in zip(points, person.scale, person.warp, strict=True):
        moved = point * np.float32(1 / scale)
        moved += np.float32(person.warp_mm) * sample_noise(noise, points)
        out.append(moved)
    return out


def envelope(points: Sequence[Field]) -> tuple[Field, Field, Field, Field]:
    """Return the signed distances of brain, cerebrum, cerebellum and brainstem at standard points."""
    x, y, z = points
    side = np.sqrt(x * x + np.float32(1))
    mirrored = (side, y, z)
    dome = ellipsoid(mirrored, (7, -17, 12), (61, 86, 65))
    base = -z - np.float32(21) + np.float32(0.0022) * (y + 12) ** 2 - np.float32(0.05) * (y + 60)
    upper = carve(dome, base, 14)
    temporal = ellipsoid(mirrored, (42, -8, -20), (23, 43, 21))
    cerebrum = blend(upper, temporal, 9)
    cerebellum = blend(ellipsoid(mirrored, (25, -63, -36), (28, 27, 19)), ellipsoid(points, (0, -62, -32), (14, 24, 17)), 8)
    stem = tube(points, ((0, -20, -2, 15), (0, -24, -16, 14), (0, -25, -30, 15), (0, -34, -48, 9), (0, -42, -80, 7)))
    brain = blend(blend(cerebrum, cerebellum, 4), stem, 5)
    return brain, cerebrum, cerebellum, stem


def brain(person: Person, lattice: Lattice, shift: Sequence[Field] | None = None) -> Brain:
    """Return the brain of a person on a lattice.

    Parameters
    ----------
    lattice : Lattice
    shift : three (i, j, k) float32, optional
        Mass effect: tissue found at a point came from the point plus this; 0 at the envelope, for skull is hard.
    """
    points = lattice.points
    standard = bend(person, points)
    whole, depth, cerebellum, stem = envelope(standard)
    normal = lattice.gradient(depth)
    if shift is not None:
        standard = [s + d for s, d in zip(standard, shift, strict=True)]
        points = [p + d for p, d in zip(points, shift, strict=True)]
        _, depth, cerebellum, stem = envelope(standard)
    fold, floor = _sulci(person, points, depth, normal, lattice)
    x, y, z = standard
    x = x - np.float32(person.midline_mm) * np.exp(-(((y + 10) / 50) ** 2))
    mirrored = (np.abs(x), y, z)
    parts = _deep(person, (x, y, z), mirrored)
    return Brain(
        envelope=whole,
        cerebrum=depth,
        fold=fold,
        floor=floor,
        midline=x,
        falx=_falx(y, z),
        sylvian=_sylvian(mirrored),
        cerebellum=cerebellum,
        folia=sample_noise(person.folds, [p * np.float32(2.6) for p in points]),
        brainstem=stem,
        sinus=_sinus(x, whole),
        height=z,
        **parts,
    )


def _sulci(
    person: Person, points: Sequence[Field], depth: Field, normal: Sequence[Field], lattice: Lattice
) -> tuple[Field, Field]:
    """Return signed distance to the sulcal sheets, and how far below their bottom a point lies.

    Sheets stand on the surface because the noise is read mostly at a point's foot on it; a quarter of the depth is
    kept, which bends them.
    """
    length = np.sqrt(sum(n * n for n in normal)) + np.float32(1e-3)
    sink = np.clip(depth, -26, 6) * np.float32(0.7)
    foot = [p - sink * (n / length) for p, n in zip(points, normal, strict=True)]
    noise = sample_noise(person.folds, foot, order=3)
    slope = np.sqrt(sum(g * g for g in lattice.gradient(noise)))
    fold = noise / np.maximum(slope, np.float32(0.1))
    reach = np.float32(13) + np.float32(5) * sample_noise(person.depth, foot)
    return fold, -depth - np.clip(reach, 4, 22)


def _falx(y: Field, z: Field) -> Field:
    """Return a distance in the midsagittal plane, negative from the callosum's upper edge inwards and below."""
    arch = ellipsoid((np.zeros_like(y), y, z), (0, -4, -2), (1e3, 42, 33))
    below = carve(z - np.float32(2), np.abs(y + 14) - np.float32(30), 4)
    return np.minimum(arch, below)


def _sylvian(mirrored: Sequence[Field]) -> Field:
    """Return the distance to the Sylvian fissure: a cleft inwards from the side, and the insula's wall across its end."""
    x, y, z = mirrored
    cleft = np.maximum(np.abs(z - np.float32(0.14) * (-y) - np.float32(0)) - np.float32(0.5), np.float32(37) - x)
    cleft = np.maximum(cleft, np.abs(y + 8) - np.float32(27))
    bow = np.float32(39) + np.float32(0.006) * (y - 2) ** 2 * -1 + np.float32(0.01) * -((z - 3) ** 2)
    wall = np.maximum(np.abs(x - bow) - np.float32(0.4), np.abs(z - 4) - np.float32(13))
    wall = np.maximum(wall, np.abs(y + 2) - np.float32(20))
    return np.minimum(cleft, wall)


def _sinus(x: Field, whole: Field) -> Field:
    """Return the distance to the superior sagittal sinus and the falx's enhancing edge, at the rim of the midline."""
    return np.sqrt(x * x + (whole + np.float32(1.0)) ** 2) - np.float32(1.8)


def _deep(person: Person, points: Sequence[Field], mirrored: Sequence[Field]) -> dict[str, Field]:
    """Return callosum, deep nuclei, ventricles and choroid plexus."""
    x, y, z = points
    a = mirrored[0]
    arch = ellipsoid((np.zeros_like(y), y, z), (0, -4, -2), (1e3, 40, 31))
    band = np.maximum(np.abs(arch + np.float32(3.5) + np.float32(0.004) * a * a) - np.float32(3), -z + np.float32(2))
    callosum = np.maximum(band, a - np.float32(22))
    grown = np.float32(person.ventricle_mm)
    lateral = blend(tube(mirrored, LATERAL_VENTRICLE), tube(mirrored, OCCIPITAL_HORN), 3)
    lateral = blend(lateral, tube(mirrored, TEMPORAL_HORN), 2) - grown
    lateral = np.maximum(lateral, np.float32(1.0) - a)  # the septum stays
    third = ellipsoid(points, (0, -13, -1), (2.0 + max(person.ventricle_mm, 0) * 0.6, 15, 9))
    fourth = ellipsoid(points, (0, -43, -33), (7, 5, 9))
    aqueduct = tube(points, ((0, -26, -6, 1.0), (0, -35, -18, 1.0), (0, -42, -28, 1.6)))
    striatum = np.minimum(tube(mirrored, CAUDATE), _putamen(mirrored))
    return {
        "callosum": callosum,
        "striatum": striatum,
        "pallidum": ellipsoid(_tilt(mirrored, (19.5, -3, 0), -0.35), (0, 0, 0), (4.6, 10, 7)),
        "thalamus": ellipsoid(_tilt(mirrored, (11.5, -18, 6), -0.45), (0, 0, 0), (8, 15, 9)),
        "ventricles": np.minimum(np.minimum(lateral, third), np.minimum(fourth, aqueduct)),
        "choroid": tube(mirrored, ((14, -24, 20, 1.2), (21, -38, 14, 2.4), (27, -38, 6, 1.4))),
    }


def _tilt(points: Sequence[Field], centre: Sequence[float], radians: float) -> list[Field]:
    """Return points relative to a centre, turned about the z axis: nuclei fan outwards to the back."""
    x, y, z = [p - np.float32(c) for p, c in zip(points, centre, strict=True)]
    c, s = np.float32(np.cos(radians)), np.float32(np.sin(radians))
    return [c * x - s * y, s * x + c * y, z]


def _putamen(mirrored: Sequence[Field]) -> Field:
    return ellipsoid(_tilt(mirrored, (26.5, 2, 1), -0.28), (0, 0, 0), (5.2, 17, 10))


def grey_surface(b: Brain, person: Person) -> Field:
    """Return the signed distance of the cerebral surface with all its clefts: grey matter and what it wraps."""
    sheet = np.hypot(b.fold, np.maximum(b.floor, 0))
    half = np.float32(person.sulcus_mm) * (np.float32(0.55) + np.exp(np.clip(b.cerebrum, -60, 0) * np.float32(0.16)))
    surface = np.maximum(b.cerebrum + np.float32(0.6), half - sheet)
    fissure = np.hypot(b.midline, np.maximum(-b.falx, 0))
    np.maximum(surface, np.float32(0.5 + person.sulcus_mm * 0.7) - fissure, out=surface)
    return np.maximum(surface, np.float32(0.3 + person.sulcus_mm * 0.8) - np.maximum(b.sylvian, 0), out=surface)


def paint(b: Brain, person: Person, width_mm: float) -> Iterator[tuple[str, Field]]:
    """Yield (tissue, share of the voxel) of a brain in painting order; each covers what came before it.

    Parameters
    ----------
    width_mm : float
        Width of the partial-volume ramp.
    """
    yield "csf", share(b.envelope, width_mm)
    surface = grey_surface(b, person)
    yield "grey", share(surface, width_mm)
    white = surface + np.float32(person.cortex_mm)
    yield "white", share(white, width_mm)
    yield "cerebellum", share(b.cerebellum + np.float32(0.8), width_mm)
    arbor = b.cerebellum + np.float32(7.5) + np.float32(3) * b.folia
    yield "white", share(arbor, width_mm)
    yield "brainstem", share(b.brainstem + np.float32(1), width_mm)
    yield "white", share(b.callosum, width_mm)
    yield "thalamus", share(b.thalamus, 2 * width_mm)
    yield "striatum", share(b.striatum, width_mm)
    yield "pallidum", share(b.pallidum, 1.5 * width_mm)
    if person.gliosis_mm > 0:
        cap = share(b.ventricles - np.float32(person.gliosis_mm * 0.5), 2 * person.gliosis_mm)
        yield "gliosis", cap * share(white, width_mm) * np.float32(0.8)
    yield "csf", share(b.ventricles, width_mm)


def vessels(b: Brain, width_mm: float) -> Iterator[tuple[str, Field]]:
    """Yield what enhances in health, in painting order: choroid plexus, veins in the sulci, the sagittal sinus."""
    yield "choroid", share(np.maximum(b.choroid, b.ventricles), width_mm)
    vein = np.maximum(np.hypot(b.fold, np.float32(6) * b.folia) - np.float32(0.7), b.cerebrum + np.float32(1))
    yield "blood", share(np.maximum(vein, -b.cerebrum - np.float32(12)), width_mm)
    yield "blood", share(np.maximum(b.sinus, np.float32(14) - b.height), width_mm)
