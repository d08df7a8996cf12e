"""Brain extraction: which voxels of a scan with the skull on are brain.

    scan ──brain_share──▶ how sure each voxel is brain ──brain_mask──▶ one solid piece

The built-in way works offline: two small networks of deepbet (Fisch et al. 2024, doi 10.1016/j.compbiomed.2024.108845;
MIT licence, see the card in `models/brain`). Where the user has HD-BET (Isensee et al. 2019, doi 10.1002/hbm.24750) or
SynthStrip (Hoopes et al. 2022, doi 10.1016/j.neuroimage.2022.119474), those can be asked instead. A scan that was
stripped before is recognised, and keeps its own outline.

Beside `registration`, which carries the mask of the best-suited scans to the others.
"""

import functools
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cc3d
import numpy as np
import openvino
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.errors import CaseError, ConfigError, DependencyError, ModelError
from glioscope.prepare.skull import content
from glioscope.space.grid import bounding_box, cut, paste, reorient
from glioscope.space.volumes import Volume, read_volume, write_volume

BrainMethod = Literal["builtin", "hd-bet", "synthstrip", "none"]
BRAIN_METHODS: tuple[BrainMethod, ...] = ("builtin", "hd-bet", "synthstrip", "none")

MODEL_FOLDER = Path(__file__).parents[1] / "models" / "brain"
_LOCATE_EDGE, _OUTLINE_EDGE = 128, 256
"""Edges of the cubes that the two networks were trained on."""
_MARGIN = 0.1
"""The box around the located brain grows by this share of its edge on each side."""
_PLANE_SHARE = 0.02
"""A plane belongs to the box if more than this share of its voxels is brain."""
_LEVEL, _SPREAD = 0.449, 0.226
"""Mean and standard deviation of the intensities that the networks expect."""
_STRIPPED_DICE = 0.9
"""A scan whose non-background agrees with the brain found in it this well has no skull."""


def choose_sequences(available: Sequence[str], method: BrainMethod) -> tuple[str, ...]:
    """Return the sequences whose masks are averaged, best-suited first.

    The built-in networks were trained on T1. Averaging T1 with and without contrast beat either alone; averaging in
    FLAIR or T2 made it worse. The other tools were trained on all sequences and are slow, so they see one.
    """
    best = [s for s in ("t1n", "t1c", "t2f", "t2w") if s in available]
    if method == "builtin" and {"t1n", "t1c"} <= set(best):
        return ("t1n", "t1c")
    return tuple(best[:1])


def brain_share(scan: Volume, method: BrainMethod = "builtin") -> NDArray[np.float32]:
    """Return how sure each voxel is brain.

    Parameters
    ----------
    scan : Volume
        (i, j, k) float32, any storage order and spacing; with the skull, or stripped already.
    method : str
        `builtin`, `hd-bet` or `synthstrip`; `none` calls every voxel brain.

    Returns
    -------
    (i, j, k) float32
        In [0, 1]. All 0 where no brain is found, as in a constant image. A stripped scan gives its own outline.

    Raises
    ------
    ConfigError
        The method is not known.
    DependencyError
        The program asked for is not installed.
    ModelError
        The networks' files are damaged, or the program failed.
    """
    if method not in BRAIN_METHODS:
        raise ConfigError(f"brain method is '{method}'; choose one of {', '.join(BRAIN_METHODS)}")
    if method == "none":
        return np.ones(scan.data.shape, np.float32)
    clean = Volume(np.nan_to_num(scan.data, nan=0.0, posinf=0.0, neginf=0.0), scan.grid)
    share = _builtin(clean) if method == "builtin" else _external(clean, method)
    own = outline(clean.data)
    return own.astype(np.float32) if _agrees(own, share > 0.5) else share


def brain_mask(share: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the largest connected piece above one half, its holes filled; empty where nothing is above."""
    rough = share > 0.5
    mask = np.zeros(share.shape, bool)
    if not rough.any():
        return mask
    box = bounding_box(rough, margin=1)
    solid = ndimage.binary_fill_holes(_largest(cut(rough, box)))
    return paste(solid, box, mask.shape)  # type: ignore[arg-type]


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(cc3d.largest_k(np.ascontiguousarray(mask).astype(np.uint8), k=1, connectivity=26)) > 0


def outline(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the one piece that differs from a constant background, its holes filled; else nothing.

    The background of a stripped scan is constant (0) along the border of its field of view.
    """
    found = content(image)
    if found.mean() > 0.8 or not found.any():
        return np.zeros(image.shape, bool)
    return brain_mask(found.astype(np.float32))


def _agrees(own: NDArray[np.bool_], brain: NDArray[np.bool_]) -> bool:
    total = int(own.sum()) + int(brain.sum())
    return total > 0 and 2 * int((own & brain).sum()) >= _STRIPPED_DICE * total


def looks_stripped(scan: Volume, mask: NDArray[np.bool_]) -> bool:
    """Return whether a scan holds nothing beside the brain found in it.

    Parameters
    ----------
    mask : (i, j, k) bool
        The brain as `brain_mask` gives it; an empty one means no.
    """
    return _agrees(outline(scan.data), mask)


def _builtin(scan: Volume) -> NDArray[np.float32]:
    turned, grid = reorient(scan.data, scan.grid)
    whole = _Span.over(turned.shape)
    small = whole.sample(turned, _LOCATE_EDGE)
    low, high = np.quantile(small, (0.005, 0.995))
    if not high > low:
        return np.zeros(scan.data.shape, np.float32)
    rough = _run("locate", _scale(small, low, high)) > 0.5
    if not rough.any():
        return np.zeros(scan.data.shape, np.float32)
    span = whole.narrow(_largest(rough))
    fine = _run("outline", _scale(span.sample(turned, _OUTLINE_EDGE), low, high))
    share, _ = reorient(span.spread(fine, turned.shape), grid, scan.grid.orientation)
    return np.ascontiguousarray(share)


def _scale(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    clipped = np.clip((image - low) / (high - low), 0, 1)
    deviation = max(float(clipped.std()), 1e-6)
    return (_SPREAD * (clipped - clipped.mean()) / deviation + _LEVEL).astype(np.float32)


class _Span:
    """A box in voxel coordinates, edges anywhere between voxels, and the way to a cube of samples and back."""

    def __init__(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> None:
        self._start, self._stop = start, stop

    @classmethod
    def over(cls, shape: tuple[int, ...]) -> "_Span":
        return cls(np.zeros(3), np.array(shape, np.float64))

    def narrow(self, mask: NDArray[np.bool_]) -> "_Span":
        """Return the span of a mask that was found in this one's samples, grown by the margin but not beyond."""
        start, stop = self._start.copy(), self._stop.copy()
        for axis in range(3):
            line = mask.mean(axis=tuple(a for a in range(3) if a != axis))
            inside = np.flatnonzero(line > min(_PLANE_SHARE, 0.5 * line.max()))
            edge = (self._stop[axis] - self._start[axis]) / mask.shape[axis]
            margin = _MARGIN * (inside[-1] + 1 - inside[0])
            start[axis] = max(self._start[axis], self._start[axis] + edge * (inside[0] - margin))
            stop[axis] = min(self._stop[axis], self._start[axis] + edge * (inside[-1] + 1 + margin))
        return _Span(start, stop)

    def sample(self, image: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
        """Return a cube of nearest voxels, as the networks were trained."""
        for axis in range(3):
            width = (self._stop[axis] - self._start[axis]) / edge
            index = np.floor(self._start[axis] + (np.arange(edge) + 0.5) * width).astype(int)
            image = np.take(image, np.clip(index, 0, image.shape[axis] - 1), axis=axis)
        return image

    def spread(self, cube: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a cube's values on the voxels of an array, linear inside the box, 0 outside."""
        for axis, count in enumerate(shape):
            edge = cube.shape[axis]
            width = (self._stop[axis] - self._start[axis]) / edge
            at = (np.arange(count) + 0.5 - self._start[axis]) / width - 0.5
            column = [1, 1, 1]
            column[axis] = -1
            inside = ((at > -0.5) & (at < edge - 0.5)).astype(np.float32).reshape(column)
            at = np.clip(at, 0, edge - 1)
            lower = np.minimum(np.floor(at).astype(int), edge - 2)
            weight = (at - lower).astype(np.float32).reshape(column)
            cube = np.take(cube, lower, axis=axis) * (1 - weight) + np.take(cube, lower + 1, axis=axis) * weight
            cube *= inside
        return cube


@functools.cache
def _network(name: str) -> Any:
    """Return a compiled network, its files checked first."""
    try:
        sums = json.loads((MODEL_FOLDER / "checksums.json").read_text("utf-8"))
        for file in (f"{name}.xml", f"{name}.bin"):
            if hashlib.sha256((MODEL_FOLDER / file).read_bytes()).hexdigest() != sums[file]:
                raise ModelError(f"{MODEL_FOLDER / file}: is not the file that was shipped; install Glioscope again")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{MODEL_FOLDER}: brain extraction is incomplete ({error}); install Glioscope again"
        ) from error
    # Always fp32: the same mask on every machine, and bf16 gains little here.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(MODEL_FOLDER / f"{name}.xml", "CPU", options)


def _run(name: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(_network(name)(image[None, None])[0][0, 0])


_PROGRAMS = {"hd-bet": "hd-bet", "synthstrip": "mri_synthstrip"}
_HINTS = {
    "hd-bet": "install it with: pip install hd-bet",
    "synthstrip": "it comes with FreeSurfer, or as a script named mri_synthstrip from its website",
}


def _external(scan: Volume, method: Literal["hd-bet", "synthstrip"]) -> NDArray[np.float32]:
    """Return the mask of another program, which is found on the path and given one NIfTI file."""
    program = shutil.which(_PROGRAMS[method])
    if program is None:
        raise DependencyError(
            f"{method}: the program {_PROGRAMS[method]} is not on the path; {_HINTS[method]}, or use --brain builtin"
        )
    with tempfile.TemporaryDirectory(prefix="glioscope-") as name:
        source, target = Path(name) / "scan.nii.gz", Path(name) / "brain.nii.gz"
        if method == "hd-bet":
            mask = Path(name) / "brain_bet.nii.gz"
            options = ["-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"]
            command = [program, "-i", str(source), "-o", str(target), *options]
        else:
            mask = Path(name) / "mask.nii.gz"
            command = [program, "-i", str(source), "-o", str(target), "-m", str(mask)]
        write_volume(source, scan.data, scan.grid)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            found = read_volume(mask)
        except CaseError as error:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(
                f"{method}: left no mask (exit code {result.returncode}: {last}); use --brain builtin"
            ) from error
    if not found.grid.matches(scan.grid):
        raise ModelError(
            f"{method}: its mask has {found.grid.describe()} but the scan {scan.grid.describe()}; use --brain builtin"
        )
    return (found.data > 0).astype(np.float32)
