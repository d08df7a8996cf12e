"""Where voxels lie in space: grids, boxes, orientations.

Space first. Scanner space is RAS+: x grows to the patient's right, y to anterior, z to superior, in millimetres. An
array axis i, j, k need not follow those directions; the affine of a grid maps a voxel index to millimetres. "LPS"
below is the *storage order* of an array (i grows to the left, and so on), never another coordinate space.

Everything here is arithmetic on shapes and affines, with exact ways back; values are moved in `resampling`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError
from glioscope.machine.imports import not_now

with not_now("pydicom"):  # nibabel takes it for a header extension that is not read here: a tenth of a cold start
    import nibabel as nib
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

SAME_GRID_MM = 0.1
"""Grids whose corners lie this close are one grid: programs round affines, and no scan is placed better than this."""

Shape3 = tuple[int, int, int]
Spacing = tuple[float, float, float]

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Millimetres of RAS to LPS, and back."""
MAX_VOXELS = 2**28
"""A grid of more voxels is refused before anything is made on it: 268 million, 1 GiB as float32. A head at 0.5 mm has
50 to 100 million; what lies beyond is a damaged header, a whole body, or voxels taken for metres."""
MAX_RESAMPLED_VOXELS = 2**26
"""A grid that all sequences are brought to has fewer: 406 mm cubed at 1 mm, and 1 GiB for four sequences. A head with
the neck has 17 million."""
SPACING_MM = (0.02, 50.0)
"""Voxel edges outside are refused: a header in metres or micrometres, or a damaged one. Scans have 0.1 to 20 mm."""
MAX_OFFSET_MM = 1e5
"""No grid begins further from the scanner's centre: beyond, the header's float32 no longer tells 0.01 mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A voxel grid: its shape and the affine that places it in RAS+ millimetres.

    Raises
    ------
    GeometryError
        The shape is not three positive numbers or has more than `MAX_VOXELS`; the affine is not 4×4, not finite, or
        singular; voxels or their place are beyond `SPACING_MM` and `MAX_OFFSET_MM`.
    """

    shape: Shape3
    affine: NDArray[np.float64]
    """(4, 4), voxel index to RAS+ millimetres."""

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"grid has shape {shape}; it needs three axes of at least one voxel")
        if math.prod(shape) > MAX_VOXELS:
            raise GeometryError(
                f"grid has shape {shape}, {math.prod(shape) / 1e6:,.0f} million voxels; at most {MAX_VOXELS // 10**6} "
                "million are taken. Crop the scan to the head, or write it again with coarser voxels."
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("grid has an affine that is not a finite 4x4 matrix; repair the file's header")
        _require_plausible(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel edge lengths along i, j, k in millimetres (column norms, so right for oblique grids)."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    @property
    def orientation(self) -> str:
        """Storage order as three letters, such as 'RAS' or 'LPS': where i, j and k grow to."""
        return "".join(nib.aff2axcodes(self.affine))

    def matches(self, other: "Grid", *, tolerance_mm: float = SAME_GRID_MM) -> bool:
        """Return whether both grids have one shape and no corner lies further apart than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        difference = (self.affine[:3, :3] - other.affine[:3, :3]) @ corners
        difference += (self.affine[:3, 3] - other.affine[:3, 3])[:, None]
        return bool(np.linalg.norm(difference, axis=0).max() <= tolerance_mm)

    @property
    def lps(self) -> NDArray[np.float64]:
        """(4, 4), voxel index to millimetres left, posterior, superior: the space of DICOM and ITK."""
        return FLIP @ self.affine

    def reoriented(self, codes: str = "RAS") -> "Grid":
        """Return the same voxels in the storage order nearest to `codes`, as `reorient` turns an array."""
        transform = _turn(self, codes)
        shape = [0, 0, 0]
        for axis, target in enumerate(transform[:, 0].astype(int)):
            shape[target] = self.shape[axis]
        return Grid((shape[0], shape[1], shape[2]), self.affine @ inv_ornt_aff(transform, self.shape))

    def as_dict(self) -> dict[str, object]:
        """Return shape and affine as JSON can hold them; `from_dict` is the way back."""
        return {"shape": list(self.shape), "affine_ras_mm": self.affine.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Grid":
        """Return the grid that `as_dict` stored."""
        return cls(tuple(stored["shape"]), np.array(stored["affine_ras_mm"]))

    def crop(self, box: "Box") -> "Grid":
        """Return the grid of the voxels inside `box`; the box may reach beyond the grid (padding)."""
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ np.array(box.start)
        return Grid(box.shape, affine)

    def describe(self) -> str:
        """Return one phrase for messages: shape, spacing, orientation, origin."""
        spacing = ", ".join(f"{s:.4g}" for s in self.spacing_mm)
        origin = ", ".join(f"{v:.4g}" for v in self.affine[:3, 3])
        return f"shape {self.shape}, spacing ({spacing}) mm, {self.orientation}, origin ({origin}) mm"


def _require_plausible(affine: NDArray[np.float64]) -> None:
    """Raise unless a finite affine could be a scan's."""
    if np.abs(affine[:3]).max() > MAX_OFFSET_MM:
        raise GeometryError(
            f"grid has an affine with {np.abs(affine[:3]).max():.3g} mm in it; no scan lies that far from the "
            "scanner's centre. Repair the file's header."
        )
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / np.where(edges > 0, edges, 1))) < 1e-3:
        raise GeometryError("grid has a singular affine (an axis of length 0); repair the file's header")
    low, high = SPACING_MM
    if edges.min() < low or edges.max() > high:
        words = " x ".join(f"{edge:.4g}" for edge in edges)
        raise GeometryError(
            f"grid has voxels of {words} mm; a scan has {low:g} to {high:g} mm. Is its header in metres or "
            "micrometres? Write it again in millimetres."
        )


@dataclass(frozen=True, slots=True)
class Box:
    """A box of voxels: `start` inclusive, `stop` exclusive, along i, j, k. May reach outside an array."""

    start: Shape3
    stop: Shape3

    @property
    def shape(self) -> Shape3:
        """Edge lengths in voxels."""
        i, j, k = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k


def bounding_box(mask: NDArray[np.bool_], *, margin: int = 0) -> Box:
    """Return the smallest box around the True voxels, grown by `margin` but kept inside the array.

    Parameters
    ----------
    mask : (i, j, k) bool
        An empty mask gives the box of the whole array, so that nothing is ever cropped away.
    """
    start, stop = [], []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if line.size == 0:
            return Box((0, 0, 0), mask.shape)
        start.append(max(0, int(line[0]) - margin))
        stop.append(min(mask.shape[axis], int(line[-1]) + 1 + margin))
    return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]


def _overlap(box: Box, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the index of the overlap in an array of `shape`, and in the box; leading axes are taken whole."""
    inside = [(max(a, 0), min(b, n)) for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    inside = [(a, max(a, b)) for a, b in inside]
    array = tuple(slice(a, b) for a, b in inside)
    cut = tuple(slice(a - s, b - s) for (a, b), s in zip(inside, box.start, strict=True))
    return (..., *array), (..., *cut)


def cut(array: NDArray[Any], box: Box, *, fill: float = 0) -> NDArray[Any]:
    """Return the voxels of `array` inside `box`, `fill` where the box reaches outside.

    Parameters
    ----------
    array : (..., i, j, k)
        Leading axes are kept.
    """
    out = np.full((*array.shape[:-3], *box.shape), fill, array.dtype)
    source, target = _overlap(box, array.shape[-3:])
    out[target] = array[source]
    return out


def paste(piece: NDArray[Any], box: Box, shape: Shape3, *, fill: float = 0) -> NDArray[Any]:
    """Return an array of `shape` holding `piece` at `box` and `fill` elsewhere: the way back from `cut`."""
    out = np.full((*piece.shape[:-3], *shape), fill, piece.dtype)
    target, source = _overlap(box, shape)
    out[target] = piece[source]
    return out


def reorient(array: NDArray[Any], grid: Grid, codes: str = "RAS") -> tuple[NDArray[Any], Grid]:
    """Return array and grid in the storage order nearest to `codes`: axes swapped and flipped, never resampled.

    ``reorient(*reorient(a, g, "RAS"), g.orientation)`` gives `a` and `g` back, exactly, oblique grids included.

    Parameters
    ----------
    array : (i, j, k)
        On `grid`. The result is a view where numpy can make one.
    codes : str
        Three letters, one of each pair L/R, P/A, I/S.
    """
    return apply_orientation(array, _turn(grid, codes)), grid.reoriented(codes)


def _turn(grid: Grid, codes: str) -> NDArray[np.float64]:
    """Return where each axis goes, and which way: nibabel's orientation transform, (3, 2)."""
    return ornt_transform(io_orientation(grid.affine), axcodes2ornt(tuple(codes)))
