"""One synthetic patient on one grid: draw, grow, paint, scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError
from glioscope.geometry import Box, Grid, Shape3, Spacing, paste
from glioscope.phantom import anatomy, artefacts, head, signal, tumour
from glioscope.phantom.anatomy import Brain, Lattice, Person
from glioscope.phantom.fields import Field, refine, share
from glioscope.phantom.tumour import TUMOUR_KINDS, Focus, TumourKind

GEOMETRY_MM = 2.0
"""Surfaces are computed on a lattice no finer than this and refined: they are smooth, the grid of voxels need not be."""
BRAIN_BOX_MM = ((-77, -114, -82), (77, 77, 87))
"""Head coordinates that hold every brain; voxels outside stay background."""
STRIPPED_CENTRE_MM = (-119.5, 119.5, 77.0)
"""Scanner coordinates of the field's centre without skull: gives the affine of BraTS for 240×240×155 in LPS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomConfig:
    """How a synthetic patient is scanned, and what ails them."""

    shape: Shape3 = (240, 240, 155)
    """Voxels along i, j, k."""
    spacing_mm: Spacing = (1.0, 1.0, 1.0)
    """Voxel edges along i, j, k."""
    orientation: str = "LPS"
    """Storage order: where i, j and k grow to."""
    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Oblique scan: the grid is turned about x, y, z (in that order) round its centre, and the affine says so."""
    pose_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pose_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the head lies: moved and turned in the scanner, which the affine does not know (for registration)."""
    field_tesla: float | None = None
    """1.5 or 3.0; None draws it."""
    skull: bool = False
    """With skull, scalp and face (raw style) instead of stripped (BraTS style, background exactly 0)."""
    marker: bool = False
    """A bright capsule on the patient's right temple, outside the scalp; needs `skull`."""
    noise: float = 1.0
    """Multiplies the noise drawn for the scanner; 0 for none."""
    bias: float = 1.0
    """Multiplies the bias field drawn for the scanner; 0 for none."""
    motion: float = 0.0
    """Size of head jerks during each scan, millimetres."""
    slice_thickness_mm: float | None = None
    """Thickness along k of all sequences; None draws thick T2w and FLAIR for some patients; 0 for none."""
    tumour: TumourKind = "random"

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 4:
            raise ConfigError(f"phantom shape is {self.shape}; it needs three axes of at least 4 voxels")
        if len(self.spacing_mm) != 3 or not all(0.2 <= s <= 20 for s in self.spacing_mm):
            raise ConfigError(f"phantom spacing_mm is {self.spacing_mm}; it needs three edges of 0.2 to 20 mm")
        if sorted("LRPAIS".index(c) // 2 for c in self.orientation if c in "LRPAIS") != [0, 1, 2]:
            raise ConfigError(f"phantom orientation is '{self.orientation}'; it needs one each of L/R, P/A and I/S, as LPS")
        if self.field_tesla not in (None, *signal.FIELDS_TESLA):
            raise ConfigError(f"phantom field_tesla is {self.field_tesla}; choose 1.5 or 3.0")
        if self.tumour not in TUMOUR_KINDS:
            raise ConfigError(f"phantom tumour is '{self.tumour}'; choose one of {', '.join(TUMOUR_KINDS)}")
        if min(self.noise, self.bias, self.motion, self.slice_thickness_mm or 0) < 0:
            raise ConfigError("phantom noise, bias, motion and slice_thickness_mm must not be negative")
        if self.marker and not self.skull:
            raise ConfigError("phantom marker lies on the scalp; set skull as well")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A synthetic patient with the truth about them."""

    images: Mapping[str, NDArray[np.float32]]
    """By sequence code, each (i, j, k), not negative; 0 outside the brain unless the skull is there."""
    labels: NDArray[np.uint8]
    """(i, j, k), scheme brats2023: 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing."""
    brain: NDArray[np.bool_]
    """(i, j, k), what a perfect brain extraction keeps."""
    grid: Grid
    description: Mapping[str, Any]
    """What was drawn, JSON-ready: seed, scanner, foci with centres in scanner millimetres, volumes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """A person with grown foci: the same whatever grid they are scanned on."""

    person: Person
    foci: tuple[Focus, ...]


def phantom(seed: int, config: PhantomConfig | None = None) -> Phantom:
    """Return the synthetic patient of a seed, scanned as configured.

    The patient (head, tumour) depends on the seed and on `config.tumour` alone, so scans of one seed on different grids
    show one person. Same seed and configuration, same bytes.

    Parameters
    ----------
    seed : int >= 0
    config : PhantomConfig, optional
        None stands for the defaults: the BraTS grid, no skull, a tumour of any kind.

    Raises
    ------
    ConfigError
        The seed is negative.
    """
    config = config or PhantomConfig()
    if seed < 0:
        raise ConfigError(f"phantom seed is {seed}; it must not be negative")
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
    patient = draw_patient(streams[0], streams[1], config.tumour)
    scanner = signal.draw_scanner(streams[2], config.field_tesla)
    grid = _grid(config)
    box, fine, lattice, positions = _lattices(grid, config)
    painted = _Canvas(patient, scanner, signal.tissues(scanner.field_tesla, rng=streams[2], spread=0.03), lattice, fine, positions)
    painted.paint(config, max(0.9, min(config.spacing_mm)))
    factor = tuple(f // b for f, b in zip(fine, box.shape, strict=True))
    brain, labels, pictures = painted.collapse(factor)
    images = _scan(streams[3], streams[2], pictures, brain, scanner, config)
    full = {s: paste(images[s], box, grid.shape) for s in SEQUENCES}
    truth = paste(labels, box, grid.shape)
    return Phantom(
        images=MappingProxyType(full),
        labels=truth,
        brain=paste(brain, box, grid.shape),
        grid=grid,
        description=_describe(seed, patient, scanner, truth, grid, config),
    )


def draw_patient(head_rng: np.random.Generator, tumour_rng: np.random.Generator, kind: str) -> Patient:
    """Return a person and their grown foci; the second generator is not read for kind "none"."""
    person = anatomy.draw_person(head_rng)
    plans = tumour.draw_plans(tumour_rng, kind)
    centres = _place(tumour_rng, person, plans)

    def shares(lattice: Lattice, step: float) -> tuple[Field, Field]:
        return _white_and_grey(anatomy.brain(person, lattice, partial(tumour.mass_effect, centres, plans)), person, step)

    foci = tuple(tumour.grow(tumour_rng, p, c, shares) for p, c in zip(plans, centres, strict=True))
    return Patient(person=person, foci=foci)


def _white_and_grey(brain: Brain, person: Person, width_mm: float) -> tuple[Field, Field]:
    white = np.zeros_like(brain.cerebrum)
    grey = np.zeros_like(white)
    for tissue, weight in anatomy.paint(brain, person, width_mm):
        rest = 1 - weight
        white *= rest
        grey *= rest
        if tissue in ("white", "gliosis"):
            white += weight
        elif tissue != "csf":
            grey += weight
    return white, grey


def _place(rng: np.random.Generator, person: Person, plans: Sequence[tumour.Plan]) -> list[NDArray[np.float64]]:
    """Return a centre for each focus, in cerebral white matter; satellites 18 to 75 mm from the first."""
    if not plans:
        return []
    step = 6.0
    axes = [np.arange(a, b, step, dtype=np.float32) for a, b in zip(*BRAIN_BOX_MM, strict=True)]
    lattice = Lattice(points=tuple(np.meshgrid(*axes, indexing="ij")), steps=np.eye(3) * step)
    brain = anatomy.brain(person, lattice)
    white, _ = _white_and_grey(brain, person, step)
    x, y, z = lattice.points
    able = (white > 0.45) & (brain.cerebrum < -9) & (np.abs(x) > 11) & (z > -34) & (brain.ventricles > 2)
    sites = np.argwhere(able)
    centres: list[NDArray[np.float64]] = []
    for _ in plans:
        choice = np.array(sites[rng.integers(len(sites))])
        spot = np.array([float(p[tuple(choice)]) for p in lattice.points]) + rng.uniform(-2, 2, 3)
        centres.append(spot)
        away = np.sqrt((x - spot[0]) ** 2 + (y - spot[1]) ** 2 + (z - spot[2]) ** 2)
        able &= (away > 20) & ((away < 75) | (len(centres) > 1))
        sites = np.argwhere(able) if able.any() else sites
    return centres


def _grid(config: PhantomConfig) -> Grid:
    centre = np.array((0.0, 0.0, 0.0) if config.skull else STRIPPED_CENTRE_MM)
    axes = np.zeros((3, 3))
    for column, code in enumerate(config.orientation):
        place = "LRPAIS".index(code)
        axes[place // 2, column] = 1.0 if place % 2 else -1.0
    turned = Rotation.from_euler("xyz", config.rotation_degrees, degrees=True).as_matrix() @ axes
    affine = np.eye(4)
    affine[:3, :3] = turned * np.array(config.spacing_mm)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(config.shape) - 1) / 2)
    affine[np.abs(affine) < 1e-12] = 0
    return Grid(config.shape, affine)


def _head_affine(grid: Grid, config: PhantomConfig) -> NDArray[np.float64]:
    """Return the (4, 4) matrix from voxel index to head coordinates."""
    field = np.array((0.0, 0.0, 0.0) if config.skull else STRIPPED_CENTRE_MM)
    turn = Rotation.from_euler("xyz", config.pose_degrees, degrees=True).as_matrix()
    back = np.eye(4)
    back[:3, :3] = turn.T
    back[:3, 3] = np.array(anatomy.CENTRE_MM) - turn.T @ (field + np.array(config.pose_mm))
    return back @ grid.affine


def _lattices(
    grid: Grid, config: PhantomConfig
) -> tuple[Box, Shape3, Lattice, list[NDArray[np.float64]]]:
    """Return the box painted, its shape on the painting grid, the geometry lattice, and how one refines to the other.

    Thick voxels are painted as several thin ones and averaged, an odd number so that one lies at the centre.
    """
    matrix = _head_affine(grid, config)
    box = Box((0, 0, 0), grid.shape) if config.skull else _brain_box(matrix, grid.shape)
    thin = max(min(config.spacing_mm), 1.5)
    split = [max(1, int(s / thin / 2) * 2 + 1) if s >= 1.8 * thin else 1 for s in config.spacing_mm]
    fine = tuple(n * f for n, f in zip(box.shape, split, strict=True))
    points_axes, positions = [], []
    for start, count, factor, spacing in zip(box.start, fine, split, config.spacing_mm, strict=True):
        ratio = max(1.0, GEOMETRY_MM * factor / spacing)
        coarse = int(np.ceil((count - 1) / ratio)) + 1
        points_axes.append(start - 0.5 + (np.arange(coarse) * ratio + 0.5) / factor)
        positions.append(np.arange(count) / ratio)
    steps = matrix[:3, :3] * np.array([a[1] - a[0] for a in points_axes])
    points = [
        np.float32(row[3]) + sum(np.float32(w) * a for w, a in zip(row[:3], np.meshgrid(*points_axes, indexing="ij", sparse=True), strict=True))
        for row in matrix[:3]
    ]
    points = [np.ascontiguousarray(p, np.float32) for p in points]
    return box, fine, Lattice(points=tuple(points), steps=steps), positions  # type: ignore[arg-type]


def _brain_box(matrix: NDArray[np.float64], shape: Shape3) -> Box:
    corners = np.array(np.meshgrid(*zip(*BRAIN_BOX_MM, strict=True), indexing="ij")).reshape(3, -1)
    index = np.linalg.inv(matrix) @ np.vstack([corners, np.ones(8)])
    start = np.clip(np.floor(index[:3].min(axis=1)), 0, np.array(shape) - 3).astype(int)
    stop = np.clip(np.ceil(index[:3].max(axis=1)) + 1, start + 3, shape).astype(int)
    return Box(tuple(map(int, start)), tuple(map(int, stop)))  # type: ignore[arg-type]


class _Canvas:
    """The four signals of a patient being painted, layer over layer, on the fine grid."""

    def __init__(
        self,
        patient: Patient,
        scanner: signal.Scanner,
        table: Mapping[str, signal.Tissue],
        lattice: Lattice,
        shape: Shape3,
        positions: Sequence[NDArray[np.float64]],
    ) -> None:
        self.patient, self.scanner, self.table, self.lattice = patient, scanner, table, lattice
        self.shape, self.positions = shape, positions
        self.signals = np.zeros((4, *shape), np.float32)
        self.labels = np.zeros(shape, np.uint8)
        self.fluid = np.zeros(shape, np.float32)
        self.white = np.zeros(shape, np.float32)
        self.brain = np.zeros(shape, bool)

    def lay(self, tissue: str, weight: Field, *, millimolar: float | None = None) -> None:
        """Cover what is there with a tissue, by the share of each voxel that it fills."""
        dose = UPTAKE_MILLIMOLAR.get(tissue, 0.0) if millimolar is None else millimolar
        values = signal.signals(self.table[tissue], self.scanner, contrast_millimolar=dose)
        if tissue == "blood":
            values *= FLOW_VOID
        where = _extent(weight)
        if where is None:
            return
        weight = weight[where]
        for channel, value in zip(self.signals, values, strict=True):
            part = channel[where]
            part += weight * (value - part)
        fluid = self.fluid[where]
        fluid += weight * (np.float32(tissue == "csf") - fluid)
        white = self.white[where]
        white += weight * (np.float32(tissue in ("white", "gliosis")) - white)

    def paint(self, config: PhantomConfig, width_mm: float) -> None:
        """Paint head, brain and tumour."""
        person, foci = self.patient.person, self.patient.foci
        points = self.lattice.points
        push = partial(tumour.mass_effect, [f.centre for f in foci], [f.plan for f in foci])
        coarse = anatomy.brain(person, self.lattice, push)
        if config.skull:
            for tissue, weight in head.head_layers(anatomy.bend(person, points), coarse.envelope, 2 * width_mm):
                self.lay(tissue, self.fine(weight))
        brain = replace(coarse, **{n: self.fine(getattr(coarse, n)) for n in Brain.__slots__})
        for tissue, weight in anatomy.paint(brain, person, width_mm):
            self.lay(tissue, weight)
        self.brain = brain.envelope < 0
        for tissue, weight in anatomy.vessels(brain, width_mm):
            self.lay(tissue, weight)
        for focus in foci:
            self._paint_focus(focus, brain, width_mm)
        if config.marker:
            self.lay(*head.marker([self.fine(p) for p in points], width_mm))

    def fine(self, field: Field) -> Field:
        """Return a field of the geometry lattice on the painting grid."""
        return refine(field, self.shape, self.positions)

    def _paint_focus(self, focus: Focus, brain: Brain, width_mm: float) -> None:
        whole, core, dead, bare, texture = (self.fine(f) for f in tumour.sample_levels(focus, self.lattice.points))
        whole = whole + (1 - self.white) * np.float32(CORTEX_SPARED_MM)
        tissue = share(brain.envelope, width_mm) * (1 - self.fluid)
        swelling = share(whole, 3.0 * width_mm) * tissue * np.clip(np.float32(0.78) + np.float32(0.16) * texture, 0, 1)
        pool = brain.ventricles < 0
        self.lay("oedema", swelling)
        room = share(brain.envelope + np.float32(0.5), width_mm)
        solid = share(core, 1.6 * width_mm) * room
        self.lay("solid", solid)
        leak = np.clip(np.float32(0.72) + np.float32(0.28) * texture, 0.15, 1) * (1 - share(bare, 3 * width_mm))
        self.lay("solid", solid * leak, millimolar=focus.plan.gadolinium_millimolar)
        self.lay("necrosis", share(dead, 1.6 * width_mm) * room)
        inside = self.brain & ~pool
        oedema = inside & (whole < 0) & (tissue > 0.5) & (self.labels == 0)
        self.labels[oedema] = 2
        centre = inside & (core < 0)
        self.labels[centre] = 1
        self.labels[centre & (dead >= 0) & (bare >= 0)] = 3

    def collapse(self, factor: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.uint8], Field]:
        """Return brain, labels and signals on the voxels of the scan: thin slices averaged, the middle one's truth."""
        if all(f == 1 for f in factor):
            return self.brain, self.labels, self.signals
        middle = tuple(slice(f // 2, None, f) for f in factor)
        counts = [n // f for n, f in zip(self.shape, factor, strict=True)]
        split = [v for pair in zip(counts, factor, strict=True) for v in pair]
        return self.brain[middle], self.labels[middle], self.signals.reshape(4, *split).mean(axis=(2, 4, 6))


UPTAKE_MILLIMOLAR = {"blood": 1.0, "choroid": 0.5, "grey": 0.05, "white": 0.02, "skin": 0.15, "muscle": 0.12, "oedema": 0.01}
"""Gadolinium in healthy tissue some minutes after the injection."""
CORTEX_SPARED_MM = 3.5
"""Vasogenic oedema keeps to white matter: its edge in grey matter lies this much further in."""
FLOW_VOID = np.array([0.6, 1.0, 0.3, 0.35], np.float32)
"""Moving blood loses signal in the order of `SEQUENCES`."""


def _extent(weight: Field) -> tuple[slice, ...] | None:
    """Return the slices that hold every voxel with weight, or None: small structures cost little."""
    ranges = []
    part: Any = weight
    for axis in range(3):
        line = np.flatnonzero(part.max(axis=tuple(a for a in range(3) if a != axis)) > 0)
        if line.size == 0:
            return None
        ranges.append(slice(int(line[0]), int(line[-1]) + 1))
        part = part[(slice(None),) * axis + (ranges[-1],)]
    return tuple(ranges)


def _scan(
    noise_rng: np.random.Generator,
    scanner_rng: np.random.Generator,
    pictures: Field,
    brain: NDArray[np.bool_],
    scanner: signal.Scanner,
    config: PhantomConfig,
) -> dict[str, Field]:
    """Return the images: what the scanner and the skull stripping make of the signals."""
    strength = config.bias * float(scanner_rng.uniform(0.02, 0.09))
    sigma = config.noise * float(scanner_rng.uniform(0.012, 0.035))
    thick = float(scanner_rng.choice([0, 3, 4, 5], p=[0.6, 0.15, 0.1, 0.15]))
    images = {}
    for code, picture in zip(SEQUENCES, pictures, strict=True):
        level = float(picture[brain].mean()) if brain.any() else 1.0
        thickness = config.slice_thickness_mm
        if thickness is None:
            thickness = thick if code in ("t2w", "t2f") else 0.0
        image = artefacts.thicken(picture, config.spacing_mm[2], thickness)
        image = artefacts.move(noise_rng, image, config.motion / config.spacing_mm[1])
        image = image * artefacts.bias_field(scanner_rng, image.shape, strength)  # type: ignore[arg-type]
        image = artefacts.rician(noise_rng, image, sigma * level)
        image *= np.float32(500 * scanner.gain[code] / max(level, 1e-6))
        if not config.skull:
            image = np.where(brain, np.maximum(image, 1), 0).astype(np.float32)
        images[code] = image
    return images


def _describe(
    seed: int, patient: Patient, scanner: signal.Scanner, labels: NDArray[np.uint8], grid: Grid, config: PhantomConfig
) -> Mapping[str, Any]:
    to_world = grid.affine @ np.linalg.inv(_head_affine(grid, config))
    counts = np.bincount(labels.ravel(), minlength=4) * grid.voxel_volume_ml
    foci = []
    for focus in patient.foci:
        centre = to_world[:3] @ np.append(focus.centre, 1)
        foci.append(
            {
                "centre_mm": [round(float(v), 2) for v in centre],
                "side": "right" if focus.centre[0] > 0 else "left",
                "wt_ml_planned": round(focus.plan.wt_ml, 2),
                "enhancing": focus.plan.bare_share < 1,
            }
        )
    return MappingProxyType(
        {
            "seed": int(seed),
            "tumour": config.tumour,
            "foci": foci,
            "volumes_ml": {n: round(float(v), 3) for n, v in zip(("NCR", "ED", "ET"), counts[1:4], strict=True)},
            "field_tesla": scanner.field_tesla,
            "t1_inversion": scanner.t1_inversion,
            "skull": config.skull,
        }
    )
