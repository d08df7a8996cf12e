"""The brain's parts by name, and a map that says which part each voxel is.

Three questions are kept apart: which *structure* a voxel is (cortex, thalamus, ventricles…), which *lobe* it belongs
to, and which *eloquent area*, if any. A structure and a lobe are exclusive; an area is a part of a structure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GeometryError
from glioscope.space.grid import Box, Grid, cut

STRUCTURES = (
    "outside",
    "cortex",
    "white matter",
    "corpus callosum",
    "internal capsule",
    "thalamus",
    "basal ganglia",
    "hippocampus and amygdala",
    "ventral diencephalon",
    "ventricles",
    "brainstem",
    "cerebellum",
    "fluid",
)
"""Index: the number in `BrainMap.structures`. "fluid" is what lies in the sulci and cisterns."""
LOBES = ("none", "frontal", "parietal", "temporal", "occipital", "insula", "deep", "brainstem", "cerebellum")
"""Index: the number in `BrainMap.lobes`. "deep" holds callosum, capsule, thalamus, basal ganglia and ventricles."""
AREAS = ("none", "motor", "sensory", "vision", "speech, motor", "speech, receptive")
"""Index: the number in `BrainMap.areas`: eloquent cortex."""
ELOQUENT_STRUCTURES = ("internal capsule", "basal ganglia", "thalamus", "ventral diencephalon", "brainstem")
"""Eloquent as a whole. Sawaya et al. 1998 (Neurosurgery 42:1044, doi 10.1097/00006123-199805000-00054) list motor and
sensory cortex, the visual and the speech centre, internal capsule, basal ganglia, hypothalamus or thalamus, brainstem
and dentate nucleus; "ventral diencephalon" holds the hypothalamus, and no map here has the dentate nucleus."""
DEEP_WHITE_MATTER = ("internal capsule", "corpus callosum", "brainstem")
"""What VASARI's feature 21 counts as deep white matter."""


def number_of(name: str) -> int:
    """Return the number of a structure."""
    return STRUCTURES.index(name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrainMap:
    """Which part of the brain each voxel of a grid is.

    Raises
    ------
    GeometryError
        An array differs from the grid in shape.
    """

    grid: Grid
    structures: NDArray[np.uint8]
    """(i, j, k), index into `STRUCTURES`."""
    lobes: NDArray[np.uint8]
    """(i, j, k), index into `LOBES`; known a little beyond the brain too, so that a rim is not without a lobe."""
    areas: NDArray[np.uint8]
    """(i, j, k), index into `AREAS`."""
    source: str
    """Where the map comes from, as a report says it."""
    lacks: tuple[str, ...] = ()
    """Structures and areas that the map does not show: nothing is said about them."""

    def __post_init__(self) -> None:
        for name in ("structures", "lobes", "areas"):
            shape = getattr(self, name).shape
            if shape != self.grid.shape:
                raise GeometryError(f"brain map: {name} has shape {shape} but its grid {self.grid.shape}")

    def crop(self, box: Box) -> "BrainMap":
        """Return the map of the voxels inside `box`; 0 where the box reaches outside."""
        arrays = {n: cut(getattr(self, n), box) for n in ("structures", "lobes", "areas")}
        return BrainMap(grid=self.grid.crop(box), source=self.source, lacks=self.lacks, **arrays)

    def of(self, *names: str) -> NDArray[np.bool_]:
        """Return the mask of the structures named."""
        return np.isin(self.structures, [number_of(name) for name in names])


def map_from(
    masks: Mapping[str, Mapping[str, NDArray[np.bool_]]], grid: Grid, source: str, *, lacks: tuple[str, ...] = ()
) -> BrainMap:
    """Return a map put together from masks.

    Parameters
    ----------
    masks : mapping
        ``structures``, ``lobes`` and ``areas``, each by name a mask (i, j, k) on the grid; of overlapping ones the
        last counts.
    """
    names = {"structures": STRUCTURES, "lobes": LOBES, "areas": AREAS}
    arrays = {kind: np.zeros(grid.shape, np.uint8) for kind in names}
    for kind, found in masks.items():
        for name, mask in found.items():
            arrays[kind][mask] = names[kind].index(name)
    return BrainMap(grid=grid, source=source, lacks=lacks, **arrays)
