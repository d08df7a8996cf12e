"""What the slice viewer of a report needs, packed small: each volume as one picture of all its axial slices.

A browser decodes such a mosaic by itself, scripts read its grey values back, and no format has to be invented. Images
are JPEG (their noise is larger than its error); label codes and uncertainty are PNG, exact. Code n is stored as 16 n,
so that browsers which disturb read-back pixels a little, against tracking, cannot change a label.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from glioscope.labels import REGION_NAMES
from glioscope.report.images import SIDES, Plane, Scene, data_url, jpeg, png
from glioscope.report.style import SEQUENCE_NAMES, colour_of
from glioscope.results import Lesion
from glioscope.space.grid import Grid

MAX_VOXELS = 6_000_000
"""Per volume; a brain at 1 mm has about 4 million in its box. Finer volumes are thinned for the viewer alone."""
JPEG_QUALITIES = (82, 70, 55)
"""The first at which all sequences together fit, else the last."""
MOST_IMAGE_BYTES = 4_000_000
"""Of all sequences of a case: with them its page stays below 8 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerSequence:
    """A volume of grey values."""

    name: str
    label: str
    url: str
    """A `data:` address of its mosaic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerRegion:
    """An overlay, by its bit in the codes."""

    name: str
    label: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A place to go to."""

    label: str
    voxel: tuple[int, ...]
    """(i, j, k)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerData:
    """All that the slice viewer shows, as its script reads it from the page."""

    shape: tuple[int, ...]
    """(i, j, k), of the thinned grid."""
    spacing: tuple[float, ...]
    """Millimetres."""
    affine: list[list[float]]
    """(3, 4): voxel to RAS+ mm."""
    tiles: tuple[int, int]
    """Columns and rows of the mosaics."""
    sequences: tuple[ViewerSequence, ...]
    regions: tuple[ViewerRegion, ...]
    segmentation: str | None
    """A `data:` address; likewise of the next two."""
    reference: str | None
    uncertainty: str | None
    lesions: tuple[Jump, ...]
    start: tuple[int, ...]
    """Voxel where the crosshair begins."""
    sides: Mapping[Plane, tuple[str, ...]]
    """Plane to the letters at its left, right, top and bottom."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What the viewer calls things, where not as for one date."""


def viewer_data(
    scene: Scene, at: tuple[int, int, int], lesions: Sequence[Lesion], region: str | None = None
) -> ViewerData:
    """Return the viewer's data.

    Parameters
    ----------
    at : (i, j, k)
        Voxel where the crosshair begins.
    lesions : sequence of Lesion
        Places to jump to.
    region : str, optional
        Of the lesions.
    """
    step = _thinning(scene.grid)
    pick = tuple(slice(None, None, s) for s in step)
    grid = _thinned_grid(scene.grid, step, scene.codes[pick].shape)
    tiles = _tiling(grid.shape)

    def exact(array: NDArray[np.uint8] | None, factor: int = 1) -> str | None:
        return None if array is None else data_url(png(mosaic(array[pick] * np.uint8(factor), tiles)), "image/png")

    pictures = _jpegs({name: mosaic(image[pick], tiles) for name, image in scene.images.items()})
    # In steps of 3 %, which takes a third of the bytes.
    unsure = None if scene.uncertainty is None else scene.uncertainty & np.uint8(0xF8)
    return ViewerData(
        shape=grid.shape,
        spacing=tuple(round(s, 4) for s in grid.spacing_mm),
        affine=grid.affine[:3].round(6).tolist(),
        tiles=tiles,
        sequences=tuple(
            ViewerSequence(name=name, label=SEQUENCE_NAMES.get(name, name), url=data_url(picture, "image/jpeg"))
            for name, picture in pictures.items()
        ),
        regions=tuple(ViewerRegion(name=n, label=REGION_NAMES.get(n, n), colour=colour_of(n)) for n in scene.names),
        segmentation=exact(scene.codes, 16),
        reference=exact(scene.reference, 16),
        uncertainty=exact(unsure),
        lesions=_jumps(lesions, region, grid),
        start=tuple(min(a // s, n - 1) for a, s, n in zip(at, step, grid.shape, strict=True)),
        sides=SIDES,
    )


def _jpegs(sheets: Mapping[str, NDArray[np.uint8]]) -> dict[str, bytes]:
    """Return each sheet as JPEG, all at the best quality at which they fit together."""
    for quality in JPEG_QUALITIES:
        packed = {name: jpeg(sheet, quality=quality) for name, sheet in sheets.items()}
        if sum(map(len, packed.values())) <= MOST_IMAGE_BYTES:
            break
    return packed


def mosaic(volume: NDArray[np.uint8], tiles: tuple[int, int]) -> NDArray[np.uint8]:
    """Return all axial slices of a volume (i, j, k) side by side, `tiles` (columns, rows) of them."""
    columns, rows = tiles
    ni, nj, nk = volume.shape
    sheet = np.zeros((rows * columns, nj, ni), np.uint8)
    sheet[:nk] = volume.transpose(2, 1, 0)
    return sheet.reshape(rows, columns, nj, ni).transpose(0, 2, 1, 3).reshape(rows * nj, columns * ni)


def _tiling(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return columns and rows of a mosaic that is about square: browsers limit each side of a picture."""
    ni, nj, nk = shape
    columns = max(1, min(nk, round(math.sqrt(nk * nj / ni))))
    return columns, math.ceil(nk / columns)


def _thinning(grid: Grid) -> tuple[int, int, int]:
    """Return the step along each axis that brings the volume below the limit, the finest axes thinned first."""
    step = [1, 1, 1]
    shape, spacing = np.array(grid.shape), np.array(grid.spacing_mm)
    while np.prod(np.ceil(shape / step)) > MAX_VOXELS:
        step[int(np.argmin(spacing * step))] += 1
    return step[0], step[1], step[2]


def _thinned_grid(grid: Grid, step: tuple[int, int, int], shape: tuple[int, ...]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, :3] = affine[:3, :3] * np.array(step)
    return Grid((shape[0], shape[1], shape[2]), affine)


def _jumps(lesions: Sequence[Lesion], region: str | None, grid: Grid) -> tuple[Jump, ...]:
    """Return what the viewer calls each lesion, and the voxel at its centre."""
    inverse = np.linalg.inv(grid.affine)
    jumps = []
    for n, lesion in enumerate(lesions, start=1):
        voxel = inverse[:3, :3] @ np.array(lesion.centroid_mm) + inverse[:3, 3]
        place = [int(np.clip(round(float(v)), 0, m - 1)) for v, m in zip(voxel, grid.shape, strict=True)]
        jumps.append(Jump(label=f"{region or 'lesion'} {n}: {lesion.volume_ml:.2f} ml", voxel=tuple(place)))
    return tuple(jumps)
