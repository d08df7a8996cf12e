"""Where one mask lies, on a grid whose every voxel has a part of the brain.

    mask, Scene ──locate──▶ Location

Distances are between voxel centres; two regions *touch* where they overlap or voxels lie side by side, corners
included. Only the surfaces of two regions are compared, which is exact and quick.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from glioscope.measure.anatomy.parts import AREAS, DEEP_WHITE_MATTER, ELOQUENT_STRUCTURES, LOBES, STRUCTURES, BrainMap
from glioscope.measure.diameters import to_mm
from glioscope.measure.midline import Midline, crosses, side_of
from glioscope.results.anatomy import Answer, Distances, Eloquent, Location, Share, SideName
from glioscope.space.grid import Box, Grid, bounding_box, cut

LEAST_SHARE = 0.01
"""Parts that hold less of a region are not listed."""
LEAST_ML = 0.05
"""A region lies in a structure when it holds this much of it: less is the error of any outline."""
CALLOSUM_MM = 8.0
"""Callosum this near the midline joins the two halves of a tumour."""

BRAIN = "brain"
CALLOSUM = "corpus callosum"
STRUCTURES_MEASURED = ("ventricles", "cortex", CALLOSUM, *ELOQUENT_STRUCTURES)
"""Distances are taken to these."""

FEW = 50
"""Every so many points of a surface are tried first."""

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What a mask is held against; made by `scene_of`."""

    parts: BrainMap
    """On the case's grid."""
    midline: Midline
    usable: bool
    """Whether the map fits: without it only side, midline and surface are told."""
    sided: bool
    """Whether the midline can be trusted."""
    surfaces: Mapping[str, cKDTree]
    """Surface voxels, in mm, of each structure and area that distances are taken to, and of the brain."""

    @property
    def touch_mm(self) -> float:
        """Distance of voxels that touch: the diagonal of a voxel."""
        return float(np.linalg.norm(self.parts.grid.spacing_mm)) * 1.01


def scene_of(parts: BrainMap, brain: Mask, midline: Midline, *, usable: bool = True, sided: bool = True) -> Scene:
    """Return what masks are held against.

    Parameters
    ----------
    brain : (i, j, k) bool
        On the map's grid.
    """
    masks = {BRAIN: brain}
    if usable:
        masks |= {name: parts.of(name) for name in STRUCTURES_MEASURED}
        masks |= {name: parts.areas == number for number, name in enumerate(AREAS) if number}
    found = {name: _surface(mask, parts.grid) for name, mask in masks.items()}
    surfaces = {name: cKDTree(points) for name, points in found.items() if len(points)}
    return Scene(parts=parts, midline=midline, usable=usable, sided=sided, surfaces=surfaces)


def locate(region: str, mask: Mask, scene: Scene) -> Location:
    """Return where a mask lies.

    Parameters
    ----------
    region : str
        Its name: WT, TC, ET.
    mask : (i, j, k) bool
        On the scene's grid, not empty.
    """
    grid = scene.parts.grid
    volume_ml = int(np.count_nonzero(mask)) * grid.voxel_volume_ml
    away = scene.midline.signed_mm(to_mm(np.argwhere(mask), grid))
    edge = _surface(mask, grid)
    held = dict(zip(STRUCTURES, _shares(scene.parts.structures, mask, len(STRUCTURES)), strict=True))
    held |= dict(zip(AREAS[1:], _shares(scene.parts.areas, mask, len(AREAS))[1:], strict=True))
    gaps = {name: 0.0 if held.get(name) else _gap(edge, tree) for name, tree in scene.surfaces.items()}
    crossing = _crosses(mask, scene)
    known = scene.usable
    shows_callosum = known and CALLOSUM not in scene.parts.lacks
    return Location(
        region=region,
        volume_ml=round(volume_ml, 4),
        side=_side(mask, scene),
        left_share=round(float((away < 0).mean() + (away == 0).mean() / 2), 4) if scene.sided else None,
        lobes=_listed(LOBES, _shares(scene.parts.lobes, mask, len(LOBES))) if known else (),
        structures=_listed(STRUCTURES, tuple(held[name] for name in STRUCTURES)) if known else (),
        distances=Distances(
            ventricles_mm=gaps.get("ventricles"),
            midline_mm=_to_midline(away) if scene.sided else None,
            cortex_mm=gaps.get("cortex"),
            surface_mm=gaps.get(BRAIN),
        ),
        touches_ventricles=_touches("ventricles", gaps, scene),
        reaches_cortex=_touches("cortex", gaps, scene),
        cortex_share=round(held["cortex"], 4) if known else None,
        crosses_midline=crossing,
        in_callosum=_answer(held[CALLOSUM] * volume_ml >= LEAST_ML) if shows_callosum else "not determined",
        crosses_callosum=_through_callosum(mask, scene) if shows_callosum else "not determined",
        deep_white_matter=tuple(n for n in DEEP_WHITE_MATTER if _touches(n, gaps, scene) == "yes"),
        eloquent=tuple(_eloquent(n, gaps, held[n] * volume_ml, scene) for n in _asked(scene)),
    )


def _asked(scene: Scene) -> tuple[str, ...]:
    """Return the eloquent areas and structures that the map shows; none where it does not fit."""
    return tuple(n for n in (*AREAS[1:], *ELOQUENT_STRUCTURES) if scene.usable and n not in scene.parts.lacks)


def _answer(value: bool) -> Answer:
    return "yes" if value else "no"


def _touches(name: str, gaps: Mapping[str, float], scene: Scene) -> Answer:
    """Return whether a region touches a structure or area, told by its distance."""
    if not scene.usable or name in scene.parts.lacks:
        return "not determined"
    return _answer(gaps.get(name, np.inf) <= scene.touch_mm)


def _surface(mask: Mask, grid: Grid) -> Points:
    """Return the voxels of a mask that have a neighbour outside it, face to face; (n, 3) mm."""
    if not mask.any():
        return np.zeros((0, 3))
    box = bounding_box(mask)
    wide = Box(tuple(a - 1 for a in box.start), tuple(b + 1 for b in box.stop))  # type: ignore[arg-type]
    near = cut(mask, wide)
    inner = near[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (slice(0, -2), slice(2, None)):
            inner &= near[tuple(shift if a == axis else slice(1, -1) for a in range(3))]
    return to_mm(np.argwhere(near[1:-1, 1:-1, 1:-1] & ~inner) + np.array(box.start), grid)


def _gap(edge: Points, other: cKDTree) -> float:
    """Return the distance from a surface to another, mm: a few points bound it, so that the rest is soon done."""
    bound = float(other.query(edge[::FEW])[0].min())
    away = other.query(edge, distance_upper_bound=bound * (1 + 1e-6) + 1e-6)[0]
    return round(min(bound, float(away.min())), 2)


def _shares(numbers: NDArray[np.uint8], mask: Mask, count: int) -> tuple[float, ...]:
    found = np.bincount(numbers[mask], minlength=count)
    return tuple(float(n) / float(found.sum()) for n in found)


def _listed(names: tuple[str, ...], shares: tuple[float, ...]) -> tuple[Share, ...]:
    pairs = sorted(zip(shares, names, strict=True), key=lambda pair: -pair[0])
    return tuple(Share(name=name, share=round(share, 4)) for share, name in pairs if share >= LEAST_SHARE)


def _to_midline(away: Points) -> float:
    return 0.0 if away.min() <= 0 <= away.max() else round(float(np.abs(away).min()), 2)


def _side(mask: Mask, scene: Scene) -> SideName:
    if not scene.sided:
        return "not determined"
    found = side_of(mask, scene.parts.grid, scene.midline)
    return found.side if found is not None else "not determined"


def _crosses(mask: Mask, scene: Scene) -> Answer:
    if not scene.sided:
        return "not determined"
    return _answer(any(True for _ in _crossing_parts(mask, scene)))


def _crossing_parts(mask: Mask, scene: Scene) -> list[NDArray[np.integer]]:
    """Return the voxels (n, 3) of each connected part that crosses the midline."""
    box = bounding_box(mask)
    parts, count = cc3d.connected_components(np.ascontiguousarray(cut(mask, box)), connectivity=26, return_N=True)
    where = np.argwhere(parts)
    number = parts[tuple(where.T)]
    voxels = where + np.array(box.start)
    away = scene.midline.signed_mm(to_mm(voxels, scene.parts.grid))
    return [voxels[number == n] for n in range(1, count + 1) if crosses(away[number == n])]


def _through_callosum(mask: Mask, scene: Scene) -> Answer:
    if not scene.sided:
        return "not determined"
    grid = scene.parts.grid
    callosum = scene.parts.of(CALLOSUM)
    for voxels in _crossing_parts(mask, scene):
        within = voxels[callosum[tuple(voxels.T)]]
        near = np.abs(scene.midline.signed_mm(to_mm(within, grid))) <= CALLOSUM_MM
        if int(near.sum()) * grid.voxel_volume_ml >= LEAST_ML:
            return "yes"
    return "no"


def _eloquent(name: str, gaps: Mapping[str, float], inside_ml: float, scene: Scene) -> Eloquent:
    return Eloquent(
        name=name,
        involved=_touches(name, gaps, scene),
        volume_ml=round(inside_ml, 3),
        distance_mm=gaps.get(name),
    )
