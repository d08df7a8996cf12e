"""The head as a list of surfaces: which tissue fills which signed distance, painted in order.

Coordinates are RAS millimetres of the MNI kind: x to the right, y to anterior, z to superior, the origin near the
anterior commissure; positions of the structures follow that space. Nothing here is taken from anybody's scan.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.phantom.fields import Field, band_noise, blend, carve, ellipsoid, length, sample_noise, share, tube

CENTRE_MM = (0.0, -17.0, 3.0)
"""The point of the head that stands at the centre of the field of view."""

BRAIN_BOX_MM = ((-77, -114, -82), (77, 77, 87))
"""Head coordinates that hold every brain; voxels outside stay background without skull."""

LATERAL_VENTRICLE = ((13, 33, 2, 2.4), (8, 21, 11, 4.2), (7, 4, 19, 4.0), (10, -16, 22, 4.0), (18, -35, 17, 5.2))
OCCIPITAL_HORN = ((18, -35, 17, 5.2), (25, -50, 8, 4.4), (22, -72, 4, 1.2))
TEMPORAL_HORN = ((21, -38, 13, 4.2), (32, -38, 0, 3.0), (34, -22, -14, 1.8), (27, -9, -19, 1.0))
CAUDATE = ((15, 20, 3, 5.4), (16, 12, 11, 4.8), (17, -2, 20, 3.4), (21, -20, 22, 2.4), (28, -34, 15, 1.6))


CISTERN_MM = 24.0
"""How widely the envelope rounds the seams of cerebrum, cerebellum and brainstem: clefts of up to half of it are fluid
within the brain's outline, as brain extraction draws it."""

WAVES = 6
"""Plane waves that bend a standard head into a person's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """What makes one head differ from another. Drawn once, read at any resolution."""

    scale: tuple[float, float, float]
    waves: NDArray[np.float32]
    """(wave, 4): wave vector in radians a millimetre, and phase."""
    bends_mm: NDArray[np.float32]
    """(3, wave): how far each wave bends x, y and z."""
    folds: NDArray[np.float32]
    """Noise cube whose zero crossings are the sulci, as quadratic spline coefficients."""
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
    directions = rng.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    folds = band_noise(rng, float(rng.uniform(18.5, 21.5)), spread=0.2)
    age = rng.beta(2.0, 1.6)  # 0 young, 1 old: gliomas are a disease of the later half
    return Person(
        scale=tuple(float(v) for v in rng.normal(1, 0.03, 3) + rng.normal(0, 0.02)),  # type: ignore[arg-type]
        waves=np.column_stack([directions * (2 * np.pi / rng.uniform(70, 130, (WAVES, 1))), phases]).astype(np.float32),
        bends_mm=(rng.normal(0, 0.9, (3, WAVES)) * rng.uniform(0.6, 1.3)).astype(np.float32),
        folds=ndimage.spline_filter(folds, 2, np.float32, mode="grid-wrap"),
        depth=band_noise(rng, 40, spread=0.4),
        sulcus_mm=float(0.45 + 0.75 * age),
        ventricle_mm=float(-0.8 + 3.4 * age**2),
        cortex_mm=float(rng.uniform(2.7, 3.3)),
        gliosis_mm=float(rng.uniform(-3, 7) * age),
        midline_mm=float(rng.normal(0, 0.9)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Evenly spaced points at which a head is evaluated, turned in any way."""

    points: tuple[Field, ...]
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
    """Everything a brain mask holds: cerebrum with its sulci, cerebellum, brainstem, the cisterns between them."""
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
    veins: Field
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
    out = [point * np.float32(1 / scale) for point, scale in zip(points, person.scale, strict=True)]
    for wave, bends in zip(person.waves, person.bends_mm.T, strict=True):
        angle = points[0] * wave[0]
        angle += points[1] * wave[1]
        angle += points[2] * wave[2]
        angle += wave[3]
        np.sin(angle, out=angle)
        for axis, amount in enumerate(bends):
            out[axis] += amount * angle
    return out


def _ramp(value: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high`, a smooth step between."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def envelope(points: Sequence[Field]) -> tuple[Field, Field, Field, Field]:
    """Return the signed distances of brain, cerebrum, cerebellum and brainstem at standard points."""
    x, y, z = points
    side = np.sqrt(x * x + np.float32(1))
    mirrored = (side, y, z)
    dome = ellipsoid(mirrored, (7, -17, 12), (61, 86, 65))
    base = -z - np.float32(22) + np.float32(0.10) * np.maximum(-y - 20, 0) + np.float32(0.05) * np.maximum(y - 20, 0)
    ridge = np.exp(-((side / np.float32(30)) ** 2))  # the tentorium rises towards the midline behind the stem
    base = base + (np.float32(4) + np.float32(14) * _ramp(-y, 25, 50)) * ridge - np.float32(2)
    upper = carve(dome, base, 16)
    temporal = ellipsoid(mirrored, (42, -8, -20), (23, 43, 21))
    cerebrum = blend(upper, temporal, 9)
    hemisphere = ellipsoid(mirrored, (23, -62, -36), (30, 31, 25))
    cerebellum = blend(hemisphere, ellipsoid(points, (0, -60, -28), (14, 25, 22)), 8)
    cerebellum = np.maximum(cerebellum, np.float32(2) - cerebrum)  # the tentorium keeps them apart
    stem = tube(points, ((0, -20, -2, 15), (0, -24, -16, 14), (0, -25, -30, 15), (0, -34, -48, 9), (0, -42, -80, 7)))
    brain = blend(blend(cerebrum, cerebellum, CISTERN_MM), stem, CISTERN_MM)
    return brain, cerebrum, cerebellum, stem


Push = Callable[[Sequence[Field], Field], Sequence[Field]]
"""Points and depth below the envelope in; where their tissue came from, minus the points, out."""


def brain(person: Person, lattice: Lattice, push: Push | None = None) -> Brain:
    """Return the brain of a person on a lattice.

    Parameters
    ----------
    lattice : Lattice
    push : callable, optional
        Mass effect; the envelope itself does not move, for bone is hard.
    """
    points = lattice.points
    standard = bend(person, points)
    whole, depth, cerebellum, stem = envelope(standard)
    normal = lattice.gradient(depth)
    if push is not None:
        shift = push(points, -whole)
        standard = [s + d for s, d in zip(standard, shift, strict=True)]
        points = tuple(p + d for p, d in zip(points, shift, strict=True))
        _, depth, cerebellum, stem = envelope(standard)
    fold, floor = _sulci(person, points, depth, normal, lattice)
    y, z = standard[1:]
    bow = np.exp(-(((y + 10) / 50) ** 2)).astype(np.float32)
    x = standard[0] - np.float32(person.midline_mm) * bow
    mirrored = (np.abs(x), y, z)
    arch = _arch(y, z)
    parts = _deep(person, (x, y, z), mirrored, arch)
    return Brain(
        envelope=whole,
        cerebrum=depth,
        fold=fold,
        floor=floor,
        midline=x,
        falx=_falx(y, z, arch),
        sylvian=_sylvian(mirrored),
        cerebellum=cerebellum,
        folia=sample_noise(person.depth, [points[0] * 3, (points[1] - points[2]) * 5, (points[2] + points[1]) * 3]),
        veins=sample_noise(person.depth, [p * 2 for p in points]),
        brainstem=stem,
        sinus=_sinus(x, whole),
        height=z,
        **parts,
    )


def _sulci(
    person: Person, points: Sequence[Field], depth: Field, normal: Sequence[Field], lattice: Lattice
) -> tuple[Field, Field]:
    """Return signed distance to the sulcal sheets, and how far below their bottom a point lies.

    Sheets stand on the surface because the noise is read near a point's foot on it; a fifth of the depth is kept, which
    bends them.
    """
    size = np.sqrt(sum(n * n for n in normal)) + np.float32(1e-3)
    sink = np.clip(depth, -30, 6) * np.float32(0.8)
    foot = [p - sink * (n / size) for p, n in zip(points, normal, strict=True)]
    noise = np.full_like(depth, 9)
    near = depth < 5
    noise[near] = sample_noise(person.folds, [f[near] for f in foot], order=2)
    slope = np.sqrt(sum(g * g for g in lattice.gradient(noise)))
    fold = np.divide(noise, np.maximum(slope, np.float32(0.1)), dtype=np.float32)
    reach = np.float32(18) + np.float32(5) * sample_noise(person.depth, foot)
    return fold, -depth - np.clip(reach, 7, 28)


def _arch(y: Field, z: Field) -> Field:
    """Return the distance in the midsagittal plane to the callosum's upper edge, negative below it."""
    radius = length((y + np.float32(4)) * np.float32(1 / 40), (z + np.float32(2)) * np.float32(1 / 31))
    return (radius - 1) * np.float32(34)


def _falx(y: Field, z: Field, arch: Field) -> Field:
    """Return a distance in the midsagittal plane, negative where there is no fissure between the hemispheres."""
    below = carve(z - np.float32(2), np.abs(y + 14) - np.float32(30), 4)
    return np.minimum(arch - np.float32(2), below)


def _sylvian(mirrored: Sequence[Field]) -> Field:
    """Return the distance to the Sylvian fissure: a rising cleft from the side, and the insula's wall at its end."""
    x, y, z = mirrored
    rise = np.float32(-1) - np.float32(0.5) * y + np.float32(1.8) * np.sin(y * np.float32(0.2) + x * np.float32(0.12))
    wall_x = np.float32(41) - np.float32(0.016) * (y - 1) ** 2 - np.float32(0.02) * (z - 2) ** 2
    cleft = np.maximum(np.abs(z - rise) - np.float32(0.2), wall_x - x)
    cleft = np.maximum(cleft, np.abs(y + 4) - np.float32(27))
    wall = np.maximum(np.abs(x - wall_x) * np.float32(0.9) - np.float32(0.1), np.abs(z - rise - 3) - np.float32(11))
    wall = np.maximum(wall, np.abs(y - 1) - np.float32(17))
    return np.minimum(cleft, wall)


def _sinus(x: Field, whole: Field) -> Field:
    """Return the distance to the superior sagittal sinus and the falx's enhancing edge, at the rim of the midline."""
    return np.sqrt(x * x + (whole + np.float32(1.0)) ** 2) - np.float32(1.8)


def _deep(person: Person, points: Sequence[Field], mirrored: Sequence[Field], arch: Field) -> dict[str, Field]:
    """Return callosum, deep nuclei, ventricles and choroid plexus."""
    z = points[2]
    a = mirrored[0]
    thickness = np.float32(3.2) - np.float32(0.008) * a * a
    callosum = np.maximum(np.abs(arch + np.float32(3.5) - np.float32(0.006) * a * a) - thickness, np.float32(2) - z)
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
    sheet = length(b.fold, np.maximum(b.floor, 0))
    half = np.float32(person.sulcus_mm) * (np.float32(0.55) + np.exp(np.clip(b.cerebrum, -60, 0) * np.float32(0.16)))
    surface = np.maximum(b.cerebrum + np.float32(0.6), half - sheet)
    fissure = length(b.midline, np.maximum(-b.falx, 0))
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
    leaf: Field = length(np.float32(2.5) * b.folia, np.maximum(-b.cerebellum - np.float32(9), 0))
    furrow = share(leaf - np.float32(0.4), 2 * width_mm)
    yield "csf", furrow * share(b.cerebellum, width_mm) * np.float32(0.5)
    arbor = np.subtract(b.cerebellum + np.float32(11), np.float32(5) * np.abs(b.folia), dtype=np.float32)
    yield "white", share(arbor, 2 * width_mm) * np.float32(0.9)
    yield "brainstem", share(b.brainstem + np.float32(1), width_mm)
    yield "white", share(b.callosum, width_mm)
    yield "thalamus", share(b.thalamus, 2 * width_mm)
    yield "striatum", share(b.striatum, width_mm)
    yield "pallidum", share(b.pallidum, 1.5 * width_mm)
    if person.gliosis_mm > 0:
        cap = share(b.ventricles - np.float32(person.gliosis_mm * 0.5), 2 * person.gliosis_mm)
        spots = share((np.float32(2.6) - b.veins) * np.float32(4) - np.float32(person.gliosis_mm * 0.4), 2 * width_mm)
        yield "gliosis", np.maximum(cap, spots) * share(white + np.float32(2), width_mm) * np.float32(0.8)
    yield "csf", share(b.ventricles, width_mm)


def vessels(b: Brain, width_mm: float) -> Iterator[tuple[str, Field]]:
    """Yield what enhances in health, in painting order: choroid plexus, veins in the sulci, the sagittal sinus."""
    yield "choroid", share(np.maximum(b.choroid, b.ventricles), width_mm)
    vein = np.maximum(length(b.fold, np.float32(5) * b.veins) - np.float32(0.6), b.cerebrum + np.float32(1))
    yield "blood", share(np.maximum(vein, -b.cerebrum - np.float32(12)), width_mm)
    yield "blood", share(np.maximum(b.sinus, np.float32(14) - b.height), width_mm)
