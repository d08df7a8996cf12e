"""How a synthetic patient is scanned: the configuration, the grid it means, and where the head lies on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from glioscope.errors import ConfigError
from glioscope.phantom import anatomy, signal
from glioscope.phantom.anatomy import Lattice
from glioscope.phantom.tumour import TUMOUR_KINDS, TumourKind
from glioscope.space.grid import Box, Grid, Shape3, Spacing

GEOMETRY_MM = 2.0
"""Surfaces are computed on a lattice no finer than this and refined to the voxels: surfaces are smooth."""
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
            raise ConfigError(
                f"phantom orientation is '{self.orientation}'; it needs one each of L/R, P/A and I/S, as LPS"
            )
        if self.field_tesla not in (None, *signal.FIELDS_TESLA):
            raise ConfigError(f"phantom field_tesla is {self.field_tesla}; choose 1.5 or 3.0")
        if self.tumour not in TUMOUR_KINDS:
            raise ConfigError(f"phantom tumour is '{self.tumour}'; choose one of {', '.join(TUMOUR_KINDS)}")
        if min(self.noise, self.bias, self.motion, self.slice_thickness_mm or 0) < 0:
            raise ConfigError("phantom noise, bias, motion and slice_thickness_mm must not be negative")
        if self.marker and not self.skull:
            raise ConfigError("phantom marker lies on the scalp; set skull as well")


def grid_of(config: PhantomConfig) -> Grid:
    """Return the voxel grid that a configuration describes; its centre does not depend on its shape."""
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


def head_affine(grid: Grid, config: PhantomConfig) -> NDArray[np.float64]:
    """Return the (4, 4) matrix from voxel index to head coordinates."""
    field = np.array((0.0, 0.0, 0.0) if config.skull else STRIPPED_CENTRE_MM)
    turn = Rotation.from_euler("xyz", config.pose_degrees, degrees=True).as_matrix()
    back = np.eye(4)
    back[:3, :3] = turn.T
    back[:3, 3] = np.array(anatomy.CENTRE_MM) - turn.T @ (field + np.array(config.pose_mm))
    return back @ grid.affine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A box of a grid, ready for painting: where the head is evaluated, and the way from there to voxels."""

    box: Box
    shape: Shape3
    """Of the painting grid: the box, thick voxels split into thin ones along their long axes."""
    split: Shape3
    """Thin voxels per voxel, an odd number along each axis, so that one lies at the centre."""
    lattice: Lattice
    positions: tuple[NDArray[np.float64], ...]
    """Along each axis, where the voxels of the painting grid lie on the lattice."""


def view(grid: Grid, config: PhantomConfig, *, whole: bool = False) -> View:
    """Return the view of the brain's box, or of the whole grid with voxels left unsplit."""
    matrix = head_affine(grid, config)
    box = Box((0, 0, 0), grid.shape) if whole else _brain_box(matrix, grid.shape)
    thin = max(min(config.spacing_mm), 1.5)
    split = [1 if whole or s < 1.8 * thin else int(s / thin / 2) * 2 + 1 for s in config.spacing_mm]
    fine = tuple(n * f for n, f in zip(box.shape, split, strict=True))
    nodes, positions = [], []
    for start, count, factor, spacing in zip(box.start, fine, split, config.spacing_mm, strict=True):
        ratio = max(1.0, GEOMETRY_MM * factor / spacing)
        coarse = max(2, int(np.ceil((count - 1) / ratio)) + 1)
        nodes.append(start - 0.5 + (np.arange(coarse) * ratio + 0.5) / factor)
        positions.append(np.arange(count) / ratio)
    mesh = np.meshgrid(*nodes, indexing="ij", sparse=True)
    points = [row[3] + sum(w * m for w, m in zip(row[:3], mesh, strict=True)) for row in matrix[:3]]
    lattice = Lattice(
        points=tuple(np.ascontiguousarray(p, np.float32) for p in points),
        steps=matrix[:3, :3] * np.array([n[1] - n[0] for n in nodes]),
    )
    return View(box=box, shape=fine, split=tuple(split), lattice=lattice, positions=tuple(positions))  # type: ignore[arg-type]


def _brain_box(matrix: NDArray[np.float64], shape: Shape3) -> Box:
    corners = np.array(np.meshgrid(*zip(*anatomy.BRAIN_BOX_MM, strict=True), indexing="ij")).reshape(3, -1)
    index = np.linalg.inv(matrix) @ np.vstack([corners, np.ones(8)])
    start = np.clip(np.floor(index[:3].min(axis=1)), 0, np.array(shape) - 3).astype(int)
    stop = np.clip(np.ceil(index[:3].max(axis=1)) + 1, start + 3, shape).astype(int)
    return Box(tuple(map(int, start)), tuple(map(int, stop)))  # type: ignore[arg-type]
