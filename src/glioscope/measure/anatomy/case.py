"""From a case's images and labels to where its tumour lies: the map laid over it once, on the brain's box alone.

images, brain, labels ──place_case──▶ PlacedCase: its anatomy, a drawing, a margin
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError
from glioscope.labels import LabelScheme
from glioscope.measure.anatomy.describe import Placed, describe
from glioscope.measure.anatomy.margins import Target, grow
from glioscope.measure.anatomy.placing import place
from glioscope.measure.anatomy.sketch import sketch
from glioscope.measure.midline import Midline, find_midline
from glioscope.results.anatomy import Anatomy
from glioscope.space.grid import Box, Grid, Shape3, bounding_box, cut, paste
from glioscope.space.volumes import Volume

LIKED = ("t1n", "t1c", "t2w", "t2f")
"""The map looks like a T1: the first of these that was scanned is laid under it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedCase:
    """A case with the map of the brain on its grid, cut to the box of brain and tumour."""

    placed: Placed
    labels: NDArray[np.integer]
    """(i, j, k) in `scheme`, on the map's grid."""
    brain: NDArray[np.bool_]
    """(i, j, k) on the map's grid."""
    scheme: LabelScheme
    midline: Midline
    box: Box
    """Where it was cut from the case's grid."""
    shape: Shape3
    """Of the case's grid."""

    def anatomy(self) -> Anatomy:
        """Return where the tumour lies."""
        return describe(self.labels, self.scheme, self.placed, self.brain, midline=self.midline)

    def sketch(self) -> str:
        """Return a drawing as SVG; empty where the map does not fit."""
        if not self.placed.fit.usable:
            return ""
        regions = self.scheme.regions
        whole, core = (np.isin(self.labels, regions.get(n, tuple(self.scheme.meanings))) for n in ("WT", "TC"))
        return sketch(self.placed.parts, whole, core)

    def target(self, margin_mm: float) -> Target:
        """Return gross tumour and clinical target volume on the case's grid. Errors as `margins.grow`."""
        grid = self.placed.parts.grid
        found = grow(
            self.labels,
            self.scheme,
            self.brain,
            grid,
            margin_mm=margin_mm,
            placed=self.placed,
            midline=self.midline,
        )
        whole = {name: paste(getattr(found, name), self.box, self.shape) for name in ("gtv", "ctv")}
        return replace(found, gtv=whole["gtv"], ctv=whole["ctv"])


def place_case(
    images: Mapping[str, NDArray[np.float32]],
    brain: NDArray[np.bool_],
    labels: NDArray[np.integer],
    grid: Grid,
    scheme: LabelScheme,
    *,
    deformable: bool = False,
) -> PlacedCase:
    """Lay the map of the average brain over a case.

    Parameters
    ----------
    images : mapping of sequence code to (i, j, k) float32
        At least one.
    brain : (i, j, k) bool
        Without skull.
    labels : (i, j, k) integer
        In `scheme`. An empty map gives an `Anatomy` without regions.
    grid : Grid
        Of all of them, in any space and storage order.
    deformable : bool
        Bend the map to this brain as well: slower, for scans in the patient's own space.

    Raises
    ------
    DependencyError
        No atlas is installed.
    GeometryError
        The arrays differ in shape.
    """
    code = next(code for code in LIKED if code in images)
    for what, array in ((code, images[code]), ("brain mask", brain), ("label map", labels)):
        if array.shape != grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but its grid {grid.shape}; they must agree")
    box = bounding_box(brain | (labels > 0), margin=2)
    image = Volume(cut(images[code], box), grid.crop(box))
    inside, numbers = cut(brain, box), cut(labels, box)
    return PlacedCase(
        placed=place(image, inside, numbers > 0, deformable=deformable),
        labels=numbers,
        brain=inside,
        scheme=scheme,
        midline=find_midline(image.grid, inside),
        box=box,
        shape=grid.shape,
    )
