"""Clicks on a case, and where the network doubts: from what `segment --logits` kept beside the segmentation."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError
from glioscope.labels import scheme_named
from glioscope.quality import uncertainty
from glioscope.segmentation.clicks import Click, Scene, refine_scene
from glioscope.segmentation.logits import FILE, probabilities_of, read_logits
from glioscope.space.volumes import read_grid, read_volume, write_volume
from glioscope.web import results
from glioscope.web.store import Store

Runs = list[int]
"""Changed voxels in the order of a NIfTI file: start, length, label, start, length, label, …"""
UNSURE = 0.7
"""Bits of entropy from which a voxel is doubtful: a chance between 19 and 81 %."""
MOST_PLACES = 30
LEAST_ML = 0.05
"""Smaller doubtful places are not gone to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the network doubts."""

    at_mm: tuple[float, float, float]
    """Its voxel nearest to its middle; millimetres, RAS."""
    volume_ml: float


class Scenes:
    """The scenes of the cases last clicked on, kept in memory: reading one takes longer than answering a click."""

    def __init__(self, store: Store, most: int = 3) -> None:
        self._store, self._most = store, most
        self._kept: OrderedDict[tuple[str, str], Scene] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: str, content: str) -> Scene:
        """Return the scene of a case, on the part of its grid that the viewer shows; `content` marks its first version.

        Raises
        ------
        CaseError
            The case was segmented without keeping logits.
        """
        with self._lock:
            if (key, content) not in self._kept:
                self._kept[key, content] = self._read(key)
            self._kept.move_to_end((key, content))
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key, content]

    def _read(self, key: str) -> Scene:
        box, path = results.view_box(self._store, key), logits_file(self._store, key)
        grid = read_grid(results.segmentation_file(self._store, key, 1))
        sequences = results.case_of(results.read_summary(self._store, key, 1)).sequences
        files = {code: results.view_file(self._store, key, code) for code in sequences}
        images = {code: read_volume(file, dtype=np.uint8).data for code, file in files.items()}
        return Scene(grid=grid.crop(box), images=images, logits=read_logits(path, grid, box))


def logits_file(store: Store, key: str) -> Path:
    """Return where the logits of a case are.

    Raises
    ------
    CaseError
        There are none: it was segmented by an older version.
    """
    path = results.result_folder(store, key) / FILE
    if not path.is_file():
        raise CaseError("the network's logits were not kept for this case; segment it again to correct it by clicks")
    return path


def refined(
    scene: Scene, before: NDArray[np.uint8], changes: Sequence[int], clicks: Sequence[Click], scheme: str
) -> Runs:
    """Return what clicks change on a label map (i, j, k) with unsaved changes, as runs.

    Raises
    ------
    CaseError
        The changes are no runs on this grid, or a click cannot be answered.
    LabelError
        A change has a label that the scheme does not know.
    """
    labels = with_runs(before, changes)
    return runs_of(labels, refine_scene(scene, labels, scheme_named(scheme), clicks))


def with_runs(labels: NDArray[np.uint8], runs: Sequence[int]) -> NDArray[np.uint8]:
    """Return a label map with runs written over it."""
    flat = labels.flatten(order="F")
    if len(runs) % 3:
        raise CaseError("the changes: are no runs of start, length and label")
    for start, length, label in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        if start < 0 or length < 1 or start + length > flat.size or not 0 <= label <= 255:
            raise CaseError(f"the changes: a run of {length} voxels from {start} does not fit {flat.size} voxels")
        flat[start : start + length] = label
    return flat.reshape(labels.shape, order="F")


def runs_of(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Runs:
    """Return where one label map differs from another, as runs of the labels after."""
    old, new = before.ravel(order="F"), after.ravel(order="F")
    changed = np.flatnonzero(old != new)
    if not changed.size:
        return []
    label = new[changed]
    first = np.flatnonzero(np.r_[True, (np.diff(changed) > 1) | (np.diff(label.astype(np.int16)) != 0)])
    length = np.diff(np.r_[first, changed.size])
    return [int(n) for n in np.stack([changed[first], length, label[first]], axis=1).ravel()]


def uncertainty_file(store: Store, key: str) -> Path:
    """Return the uncertainty of a case as the viewer gets it, made at the first call: 255 is a coin toss."""
    path = store.folder(key) / "view" / "uncertainty.nii.gz"
    if not path.is_file():
        source, box = logits_file(store, key), results.view_box(store, key)
        grid = read_grid(results.segmentation_file(store, key, 1))
        unsure = uncertainty(probabilities_of(read_logits(source, grid, box)))
        write_volume(path, np.round(255 * unsure).astype(np.uint8), grid.crop(box))
    return path


def doubtful_places(store: Store, key: str) -> list[Place]:
    """Return where the network doubts most, the largest place first."""
    volume = read_volume(uncertainty_file(store, key), dtype=np.uint8)
    parts = cc3d.connected_components(volume.data >= 255 * UNSURE, connectivity=6)
    sizes = np.bincount(parts.ravel())[1:]
    places = []
    for part in np.argsort(-sizes, kind="stable")[:MOST_PLACES] + 1:
        volume_ml = float(sizes[part - 1] * volume.grid.voxel_volume_ml)
        if volume_ml < LEAST_ML:
            break
        inside = np.argwhere(parts == part)
        middle = inside[np.argmin(((inside - inside.mean(axis=0)) ** 2).sum(axis=1))]
        x, y, z = (volume.grid.affine @ [*middle, 1])[:3]
        places.append(Place(at_mm=(float(x), float(y), float(z)), volume_ml=round(volume_ml, 3)))
    return places
