"""One synthetic patient on one grid: draw, grow, paint, scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError
from glioscope.phantom import anatomy, artefacts, signal, tumour
from glioscope.phantom.anatomy import Brain, Lattice, Person
from glioscope.phantom.fields import Field
from glioscope.phantom.painting import Patient, paint_brain, paint_head
from glioscope.phantom.scan import PhantomConfig, grid_of, head_affine, view
from glioscope.space.grid import Grid, paste


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
    description: Mapping[str, object]
    """What was drawn, JSON-ready: seed, scanner, foci with centres in scanner millimetres, volumes."""


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
    table = signal.tissues(scanner.field_tesla, rng=streams[2], spread=0.03)
    grid = grid_of(config)
    sight = view(grid, config)
    picture = paint_brain(patient, scanner, table, sight, width_mm=max(0.9, min(config.spacing_mm)))
    box, signals, brain = sight.box, picture.signals, picture.brain
    if config.skull:
        around = view(grid, config, whole=True)
        signals = paint_head(patient, scanner, table, around, marker=config.marker)
        place = (slice(None), *(slice(a, b) for a, b in zip(box.start, box.stop, strict=True)))
        signals[place] *= 1 - picture.cover
        signals[place] += picture.signals
        box, brain = around.box, paste(brain, box, grid.shape)
    images = _scan(streams[3], streams[2], signals, brain, scanner, config)
    truth = paste(picture.labels, sight.box, grid.shape)
    return Phantom(
        images=MappingProxyType({s: paste(images[s], box, grid.shape) for s in SEQUENCES}),
        labels=truth,
        brain=paste(picture.brain, sight.box, grid.shape),
        grid=grid,
        description=_describe(seed, patient, scanner, truth, grid, config),
    )


def draw_patient(head_rng: np.random.Generator, tumour_rng: np.random.Generator, kind: str) -> Patient:
    """Return a person and their grown foci; the second generator is not read for kind "none"."""
    person = anatomy.draw_person(head_rng)
    plans = tumour.draw_plans(tumour_rng, kind)
    centres = _place(tumour_rng, person, plans)

    def shares(lattice: Lattice, step: float) -> tuple[Field, Field]:
        return _white_and_grey(
            anatomy.brain(person, lattice, partial(tumour.mass_effect, centres, plans)), person, step
        )

    foci = tuple(tumour.grow(tumour_rng, p, c, shares) for p, c in zip(plans, centres, strict=True))
    return Patient(person=person, foci=foci)


def _white_and_grey(brain: Brain, person: Person, width_mm: float) -> tuple[Field, Field]:
    """Return the shares of tissue that a glioma spreads in fast and slowly; none in fluid, or past falx and tentorium.

    The falx may be thinner than the lattice's step, so the nodes that face it are emptied: no tumour leaps across.
    """
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
    left = brain.midline < 0
    falx = left & ndimage.binary_dilation(~left) & (brain.falx > 0)
    barred = falx | (brain.cerebellum < 0)
    white[barred] = grey[barred] = 0
    return white, grey


def _place(rng: np.random.Generator, person: Person, plans: Sequence[tumour.Plan]) -> list[NDArray[np.float64]]:
    """Return a centre for each focus, in cerebral white matter; satellites 18 to 75 mm from the first."""
    if not plans:
        return []
    step = 6.0
    axes = [np.arange(a, b, step, dtype=np.float32) for a, b in zip(*anatomy.BRAIN_BOX_MM, strict=True)]
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
        image = image * artefacts.bias_field(scanner_rng, image.shape, strength)
        image = artefacts.rician(noise_rng, image, sigma * level)
        image *= np.float32(500 * scanner.gain[code] / max(level, 1e-6))
        if not config.skull:
            image = np.where(brain, np.maximum(image, 1), 0).astype(np.float32)
        images[code] = image
    return images


def _describe(
    seed: int, patient: Patient, scanner: signal.Scanner, labels: NDArray[np.uint8], grid: Grid, config: PhantomConfig
) -> Mapping[str, object]:
    to_world = grid.affine @ np.linalg.inv(head_affine(grid, config))
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
