"""Masks taken apart: connected components, and how they merge into lesions.

Components are 26-connected. BraTS merges those whose dilations connect (2023), and those of one tissue that touch the
same lesion of another (2024). Sources: rachitsaluja/BraTS-2023-Metrics 43c9052 and BraTS-2024-Metrics f1131e3, whose
results this follows and whose code it does not use.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.evaluation.metrics.overlap import Mask
from glioscope.evaluation.metrics.surface import Surface, border_voxels, surface_elements
from glioscope.space.grid import Spacing

Group = frozenset[int]
"""Components, numbered from 1, that count as one lesion."""

OwnedSurface = tuple[Surface, NDArray[np.integer[Any]]]
"""A surface and the component that each of its points belongs to."""


def _spread(mask: Mask, axis: int) -> Mask:
    """Return the mask grown by one voxel both ways along one axis."""
    grown = mask.copy()
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    grown[tuple(ahead)] |= mask[tuple(behind)]
    grown[tuple(behind)] |= mask[tuple(ahead)]
    return grown


def dilate(mask: Mask, iterations: int) -> Mask:
    """Return an (i, j, k) mask grown by the 3×3×3 cube without its 8 corners, `iterations` times.

    That cube is the union of three 3×3 squares, one in each plane, and a square is grown axis by axis. Nothing grows in
    from outside the array.
    """
    for _ in range(iterations):
        along_i = _spread(mask, 0)
        mask = _spread(along_i, 1) | _spread(along_i, 2) | _spread(_spread(mask, 1), 2)
    return mask


class MaskLesions:
    """One mask taken apart: its 26-connected components, their lesions and their surfaces, each worked out once."""

    def __init__(self, mask: Mask, spacing_mm: Spacing) -> None:
        self.mask = mask
        self.spacing_mm = spacing_mm
        # Components are numbered in the order of their first voxel, i fastest; the 2024 rule "smallest-numbered
        # partner" depends on it, and cc3d follows the memory order.
        labels = cc3d.connected_components(np.asfortranarray(mask), connectivity=26)
        self.labels: NDArray[np.unsignedinteger[Any]] = labels
        self.count = int(labels.max()) if labels.size else 0
        self.sizes = np.bincount(labels.ravel(order="K"), minlength=self.count + 1)
        self._groups: dict[int, tuple[Group, ...]] = {}

    @cached_property
    def boxes(self) -> list[tuple[slice, slice, slice]]:
        """Bounding box of each component, component 1 first."""
        return ndimage.find_objects(self.labels.astype(np.int32))

    @cached_property
    def a_voxel_of(self) -> NDArray[np.intp]:
        """Flat index of some voxel of each component; entry 0 is unused."""
        inside = np.flatnonzero(self.mask)
        voxel = np.zeros(self.count + 1, np.intp)
        voxel[self.labels.ravel()[inside]] = inside
        return voxel

    @property
    def whole(self) -> Group:
        """All components as one group."""
        return frozenset(range(1, self.count + 1))

    def size(self, group: Iterable[int]) -> int:
        """Return the voxel count of some components."""
        return int(self.sizes[list(group)].sum())

    def groups(self, dilation: int) -> tuple[Group, ...]:
        """Return the lesions: components whose dilations connect count as one. In the order of the dilated mask."""
        if dilation not in self._groups:
            self._groups[dilation] = self._merge(dilation)
        return self._groups[dilation]

    def _merge(self, dilation: int) -> tuple[Group, ...]:
        if self.count < 2:
            return (self.whole,) if self.count else ()
        window = _window(self.boxes, dilation, self.mask.shape)
        grown = np.asfortranarray(dilate(self.mask[window], dilation))
        merged = cc3d.connected_components(grown, connectivity=26)
        at = np.array(np.unravel_index(self.a_voxel_of[1:], self.mask.shape)).T - [s.start for s in window]
        lesions: dict[int, list[int]] = {}
        for component, lesion in enumerate(merged[tuple(at.T)].tolist(), start=1):
            lesions.setdefault(lesion, []).append(component)
        return tuple(frozenset(lesions[n]) for n in sorted(lesions))

    def select(self, group: Group, window: tuple[slice, ...]) -> Mask:
        """Return the mask of some components inside a window."""
        wanted = np.zeros(self.count + 1, bool)
        wanted[list(group)] = True
        return wanted[self.labels[window]]

    def around(self, group: Group, margin: int) -> tuple[slice, slice, slice]:
        """Return the window around some components, `margin` voxels wider but inside the array."""
        return _window([self.boxes[n - 1] for n in group], margin, self.mask.shape)

    @cached_property
    def elements(self) -> OwnedSurface:
        """Surface elements and the component that each belongs to."""
        surface = surface_elements(self.mask, self.spacing_mm)
        return surface, self._owners(surface, corners=True)

    @cached_property
    def border(self) -> OwnedSurface:
        """Border voxels and the component that each belongs to."""
        surface = border_voxels(self.mask, self.spacing_mm)
        return surface, self._owners(surface, corners=False)

    def _owners(self, surface: Surface, *, corners: bool) -> NDArray[np.integer]:
        """Return each point's component. The voxels around one corner touch, so they belong to one component."""
        if self.count < 2:
            return np.ones(len(surface.points), np.uint8)
        at = np.rint(surface.points / self.spacing_mm + (0.5 if corners else 0)).astype(np.intp)
        if not corners:
            return self.labels[tuple(at.T)]
        padded = np.pad(self.labels, 1)
        owners = np.zeros(len(at), self.labels.dtype)
        for step in np.ndindex(2, 2, 2):
            np.maximum(owners, padded[tuple((at + step).T)], out=owners)
        return owners


def _window(boxes: Iterable[tuple[slice, ...]], margin: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    boxes = list(boxes)
    i, j, k = (
        slice(max(0, min(b[a].start for b in boxes) - margin), min(shape[a], max(b[a].stop for b in boxes) + margin))
        for a in range(3)
    )
    return i, j, k


def belongs(surface: OwnedSurface, group: Group) -> NDArray[np.bool_]:
    """Return which points of a surface belong to some components."""
    wanted = np.zeros(int(surface[1].max(initial=0)) + 1, bool)
    wanted[[n for n in group if n < len(wanted)]] = True
    return wanted[surface[1]]


def touching(one: MaskLesions, other: MaskLesions) -> set[tuple[int, int]]:
    """Return the pairs (component of one, component of other) that lie within one dilation of each other.

    Both masks are on the same array.
    """
    if not one.count or not other.count:
        return set()
    i, j, k = np.nonzero(dilate(one.mask, 1) & other.mask)
    theirs = other.labels[i, j, k].astype(np.int64)
    padded = np.pad(one.labels, 1)
    found: set[tuple[int, int]] = set()
    for di, dj, dk in np.ndindex(3, 3, 3):
        if di != 1 and dj != 1 and dk != 1:
            continue  # the corners of the cube are not part of the dilation
        mine = padded[i + di, j + dj, k + dk]
        hit = mine > 0
        if hit.any():
            code = np.unique(mine[hit].astype(np.int64) * (other.count + 1) + theirs[hit])
            found.update(zip(*(part.tolist() for part in np.divmod(code, other.count + 1)), strict=True))
    return found


def merge_touching(
    lesions: Sequence[Group], own: MaskLesions, others: Iterable[tuple[Sequence[Group], MaskLesions]]
) -> tuple[Group, ...]:
    """Merge lesions of one tissue that touch the same lesion of another (BraTS 2024).

    For each other tissue in turn: if two or more pairs (lesion, other lesion) touch, every lesion goes with the
    first of its partners, and lesions with one partner become one. The rule is not transitive, and it is the official
    one: a single touching pair changes nothing, and a lesion that joins two partners joins only the first.

    Parameters
    ----------
    lesions : sequence of groups
        Lesions of `own`.
    others : iterable of (lesions, mask)
        Tissues to look at, in the official order; their lesions are those merged by dilation alone.
    """
    merged = list(lesions)
    for partners, mask in others:
        contacts = touching(own, mask)
        owner = {component: n for n, group in enumerate(partners) for component in group}
        pairs = set()
        for n, group in enumerate(merged):
            pairs |= {(n, owner[b]) for a, b in contacts if a in group and b in owner}
        if len(pairs) < 2:
            continue
        first = {n: min(p for m, p in pairs if m == n) for n, _ in pairs}
        joined = [frozenset().union(*(merged[n] for n in first if first[n] == p)) for p in sorted(set(first.values()))]
        merged = [group for n, group in enumerate(merged) if n not in first] + joined
    return tuple(merged)
