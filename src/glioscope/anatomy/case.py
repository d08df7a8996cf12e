"""From a case's images and labels to where its tumour lies: `place` and `describe` on the brain's box alone."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from glioscope.anatomy.describe import describe
from glioscope.anatomy.placing import place
from glioscope.anatomy.records import Anatomy
from glioscope.errors import GeometryError
from glioscope.labels import LabelScheme
from glioscope.space.grid import Grid, bounding_box, cut
from glioscope.space.volumes import Volume

LIKED = ("t1n", "t1c", "t2w", "t2f")
"""The map looks like a T1: the first of these that was scanned is laid under it."""


def find_anatomy(
    images: Mapping[str, NDArray[np.float32]],
    brain: NDArray[np.bool_],
    labels: NDArray[np.integer],
    grid: Grid,
    scheme: LabelScheme,
    *,
    deformable: bool = False,
) -> Anatomy:
    """Return where the tumour of a case lies.

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
    small = grid.crop(box)
    image = Volume(cut(images[code], box), small)
    inside, numbers = cut(brain, box), cut(labels, box)
    placed = place(image, inside, numbers > 0, deformable=deformable)
    return describe(numbers, scheme, placed, inside)
