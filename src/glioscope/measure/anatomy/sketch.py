"""A small brain with the tumour's place: lobes outlined in three planes, drawn from the map and never from the scan.

BrainMap, tumour, core ──sketch──▶ SVG
"""

from collections.abc import Iterator, Mapping

import contourpy
import numpy as np
from numpy.typing import NDArray

from glioscope.measure.anatomy.parts import LOBES, BrainMap
from glioscope.space.grid import reorient

SKETCH = "place.svg"
"""Its name in a case's folder."""
COLOURS: Mapping[str, str] = {
    "frontal": "#cfe0f3",
    "parietal": "#d9ecd2",
    "temporal": "#fbe3c3",
    "occipital": "#e6d9ef",
    "insula": "#f6d5d9",
    "deep": "#e4e4e0",
    "brainstem": "#d4ded9",
    "cerebellum": "#efe8c9",
}
VENTRICLES, TUMOUR, CORE, LINE = "#8fa3b5", "#f2a24a", "#c0392b", "#6b7280"
GAP = 6
"""Millimetres between the planes."""
_PLANES = ((2, (0, 1)), (1, (0, 2)), (0, (1, 2)))
"""Axis across each plane (axial, coronal, sagittal), and the two it shows."""

Mask = NDArray[np.bool_]


def sketch(parts: BrainMap, tumour: Mask, core: Mask) -> str:
    """Return the drawing, one millimetre a unit; patient's left on the right of axial and coronal planes.

    Parameters
    ----------
    parts : BrainMap
        On the case's grid; voxels of a few millimetres will do.
    tumour, core : (i, j, k) bool
        On the same grid. Without a tumour the planes go through the middle of the map.
    """
    grid = parts.grid
    turned = [reorient(a, grid, "RAS")[0] for a in (parts.lobes, parts.of("ventricles"), tumour, core)]
    turned[0] = np.where(reorient(parts.structures, grid, "RAS")[0] > 0, turned[0], 0)
    spacing = reorient(parts.lobes, grid, "RAS")[1].spacing_mm
    middle = np.argwhere(turned[2] if turned[2].any() else turned[0] > 0)
    at = np.median(middle, axis=0).astype(int) if len(middle) else np.array(turned[0].shape) // 2
    pieces, left, height = [], 0.0, 0.0
    for across, shown in _PLANES:
        step = np.array([spacing[axis] for axis in shown])
        size = np.array([turned[0].shape[axis] for axis in shown]) * step
        planes = [np.take(array, int(at[across]), axis=across) for array in turned]
        paths = "".join(_layers(planes, step, size, mirrored=across != 0))
        pieces.append(f'<g transform="translate({left:.0f} 0)">{paths}</g>')
        left += float(size[0]) + GAP
        height = max(height, float(size[1]))
    title = "The tumour's place on a map of an average brain: axial, coronal and sagittal plane"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left - GAP:.0f} {height:.0f}" role="img">'
        f"<title>{title}</title>{''.join(pieces)}</svg>"
    )


def _layers(planes: list[NDArray], step: NDArray, size: NDArray, *, mirrored: bool) -> Iterator[str]:
    """Yield the paths of one plane: lobes, ventricles, tumour, core."""
    lobes, ventricles, tumour, core = planes
    for name, colour in COLOURS.items():
        yield _path(lobes == LOBES.index(name), step, size, colour, mirrored=mirrored, line=LINE)
    yield _path(ventricles, step, size, VENTRICLES, mirrored=mirrored)
    yield _path(tumour, step, size, TUMOUR, mirrored=mirrored, opacity=0.75)
    yield _path(core, step, size, CORE, mirrored=mirrored, opacity=0.85)


def _path(
    mask: Mask, step: NDArray, size: NDArray, colour: str, *, mirrored: bool, line: str = "none", opacity: float = 1
) -> str:
    """Return the outlines of a mask as one path; nothing for an empty one."""
    if not mask.any():
        return ""
    wide = np.pad(mask.astype(np.float32), 1)
    lines = contourpy.contour_generator(z=wide.T).lines(0.5)
    steps = []
    for line_points in lines:
        points = np.asarray(line_points, np.float64)
        if len(points) < 8:
            continue
        spots = (points[:: 2 if len(points) > 60 else 1] - 0.5) * step
        spots[:, 1] = size[1] - spots[:, 1]
        if mirrored:
            spots[:, 0] = size[0] - spots[:, 0]
        steps.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots) + "Z")
    return (
        f'<path fill="{colour}" fill-opacity="{opacity:g}" fill-rule="evenodd" stroke="{line}" stroke-width=".6" '
        f'd="{"".join(steps)}"/>'
        if steps
        else ""
    )
