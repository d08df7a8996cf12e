"""From volumes to pictures: one display order, one grey window, overlays in the colours of `style`.

Everything is shown in radiological convention: the patient's left is on the right of the picture. Arrays are therefore
turned to LPS storage order (i grows to the left, j to the back, k upwards), in which an axial slice read as rows and
columns is the picture already. No resampling happens before a picture is scaled to its final pixels, with the voxels'
true proportions.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from glioscope.cases import LoadedCase
from glioscope.labels import LabelScheme, rgb
from glioscope.prepare.preprocessing import PreparedCase
from glioscope.report.style import SEQUENCE_NAMES, colour_of
from glioscope.space.background import foreground
from glioscope.space.grid import Grid, bounding_box, cut, reorient

DRAWN_REGIONS = ("WT", "TC", "ET", "RC", "GTV")
"""Regions that are drawn where the scheme has them, outer before inner."""
Plane = Literal["axial", "coronal", "sagittal"]
PLANES: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Plane to the axis it is cut across, in LPS order."""
SIDES: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""Letters at the left, right, top and bottom of a picture."""
ERROR_COLOURS = {"missed": "#ff7043", "added": "#40c4ff", "other tissue": "#b388ff"}
PIXELS_PER_MM = 2.0

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A case as it is shown: LPS order, cropped to the brain, 8 bit."""

    grid: Grid
    images: Mapping[str, NDArray[np.uint8]]
    """By sequence code, (i, j, k)."""
    names: tuple[str, ...]
    """Regions that are drawn; region n is bit n of a code."""
    codes: NDArray[np.uint8]
    """(i, j, k) one bit per region."""
    reference: NDArray[np.uint8] | None = None
    """As `codes`."""
    uncertainty: NDArray[np.uint8] | None = None
    """0 certain, 255 a coin toss."""


def make_scene(
    loaded: LoadedCase,
    labels: NDArray[np.uint8],
    scheme: LabelScheme,
    *,
    reference: NDArray[np.uint8] | None = None,
    uncertainty: NDArray[np.floating] | None = None,
) -> Scene:
    """Return a case ready to be shown; arguments as `write_case_report`."""
    brain = labels > 0
    for image in loaded.images.values():
        brain |= foreground(image)
    box = bounding_box(brain, margin=2)
    grid = loaded.grid.crop(box)
    names = tuple(name for name in DRAWN_REGIONS if name in scheme.regions)

    def shown(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(reorient(cut(array, box), grid, "LPS")[0])

    return Scene(
        grid=reorient(cut(labels, box), grid, "LPS")[1],
        images={name: to_grey(shown(image)) for name, image in loaded.images.items()},
        names=names,
        codes=region_codes(shown(labels), scheme, names),
        reference=None if reference is None else region_codes(shown(reference), scheme, names),
        uncertainty=None
        if uncertainty is None
        else (np.clip(np.nan_to_num(shown(uncertainty)), 0, 1) * 255).astype(np.uint8),
    )


def scene_of_prepared(
    prepared: PreparedCase, sequences: Sequence[str], *, prediction: NDArray[np.bool_] | None = None
) -> Scene:
    """Return a prepared case, as a network sees it, ready to be shown.

    Parameters
    ----------
    sequences : sequence of str
        Sequence code of each channel.
    prediction : (r, i, j, k) bool, optional
        The regions learnt, on the prepared grid. The case's reference is the scene's reference.
    """

    def shown(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(reorient(array, prepared.grid, "LPS")[0])

    def coded(regions: NDArray[np.bool_] | None) -> NDArray[np.uint8] | None:
        if regions is None:
            return None
        bits = np.zeros(regions.shape[1:], np.uint8)
        for bit, region in enumerate(regions):
            bits |= region.astype(np.uint8) << bit
        return shown(bits)

    guess = coded(prediction)
    return Scene(
        grid=reorient(prepared.brain, prepared.grid, "LPS")[1],
        images={
            name: to_grey(shown(channel))
            for name, channel, there in zip(sequences, prepared.image, prepared.presence, strict=True)
            if there
        },
        names=prepared.regions.names,
        codes=np.zeros(shown(prepared.brain).shape, np.uint8) if guess is None else guess,
        reference=coded(prepared.reference),
    )


def region_codes(labels: NDArray[np.uint8], scheme: LabelScheme, names: Sequence[str]) -> NDArray[np.uint8]:
    """Return a label map as one bit per region, in the order of `names`; unknown values belong to none."""
    table = np.zeros(256, np.uint8)
    for bit, name in enumerate(names):
        table[list(scheme.regions[name])] |= 1 << bit
    return table[labels]


def to_grey(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an image as grey levels: 0 background, black to white from the 0.5th to the 99.5th percentile inside."""
    inside = image[foreground(image)]
    sample = inside[:: max(1, inside.size // 100_000)]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return np.zeros(image.shape, np.uint8)
    low, high = np.percentile(sample, [0.5, 99.5])
    low = min(low, 0.25 * high) if low > 0 else low  # a brain without dark fluid keeps its greys
    scaled = np.nan_to_num(image, nan=low, posinf=high, neginf=low, copy=True)
    scaled -= np.float32(low)
    scaled *= np.float32(250 / max(high - low, 1e-6))
    scaled += np.float32(5)
    np.clip(scaled, 0, 255, out=scaled)
    scaled[image == 0] = 0
    return scaled.astype(np.uint8)


def largest_slices(scene: Scene) -> tuple[int, int, int]:
    """Return the slice across each axis where the tumour is largest, inner regions counting again; else the middle."""
    codes = scene.codes if scene.codes.any() or scene.reference is None else scene.reference
    weight = np.array([int(code).bit_count() for code in range(256)], np.uint8)[codes]
    if not weight.any():
        return tuple(n // 2 for n in codes.shape)
    i, j, k = (int(weight.sum(tuple(a for a in range(3) if a != axis), dtype=np.int64).argmax()) for axis in range(3))
    return i, j, k


def take(array: NDArray[Any], plane: Plane, at: tuple[int, int, int]) -> NDArray[Any]:
    """Return a slice through voxel `at` as rows and columns of a picture."""
    axis = PLANES[plane]
    rows = array.take(at[axis], axis=axis).T
    return rows if plane == "axial" else rows[::-1]


def pixel_size(scene: Scene, plane: Plane, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (width, height) in pixels of a slice of `shape` (rows, columns), in the voxels' true proportions."""
    across = [s for axis, s in enumerate(scene.grid.spacing_mm) if axis != PLANES[plane]]
    return (
        max(1, round(shape[1] * across[0] * PIXELS_PER_MM)),
        max(1, round(shape[0] * across[1] * PIXELS_PER_MM)),
    )


def _scaled(values: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize(size, method))


def grey_picture(scene: Scene, sequence: str, plane: Plane, at: tuple[int, int, int]) -> Picture:
    """Return a slice of one sequence as (row, column, 3)."""
    values = take(scene.images[sequence], plane, at)
    grey = _scaled(values, pixel_size(scene, plane, values.shape), Image.Resampling.BICUBIC)
    return np.repeat(grey[..., None], 3, axis=2)


def _grown(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return _scaled(mask.astype(np.uint8) * 255, size, Image.Resampling.BILINEAR) >= 128


def paint(picture: Picture, mask: NDArray[np.bool_], colour: str, *, fill: float = 0.35) -> Picture:
    """Return the picture with a region tinted and outlined.

    Parameters
    ----------
    mask : (rows, columns) bool
        Of the slice, in voxels; scaled to the picture here.
    fill : float
        Opacity of the tint; the outline, two pixels wide, is opaque.
    """
    if not mask.any():
        return picture
    grown = _grown(mask, (picture.shape[1], picture.shape[0]))
    outline = grown & ~ndimage.binary_erosion(grown, iterations=2, border_value=1)
    ink = np.array(rgb(colour), np.float32)
    out = picture.astype(np.float32)
    out[grown] = out[grown] * (0.9 - fill) + ink * fill
    out[outline] = ink
    return out.astype(np.uint8)


def overlay(picture: Picture, codes: NDArray[np.uint8], names: Sequence[str]) -> Picture:
    """Return the picture with each voxel of a slice tinted in the colour of the innermost region it belongs to."""
    for bit, name in enumerate(names):
        inner = codes >> (bit + 1) > 0
        picture = paint(picture, (codes >> bit & 1).astype(bool) & ~inner, colour_of(name))
    return picture


def error_picture(picture: Picture, codes: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Picture:
    """Return the picture, dimmed, with what was missed, what was added, and tumour of another tissue."""
    picture = (picture * 0.7).astype(np.uint8)
    parts = {
        "other tissue": (codes != reference) & (codes > 0) & (reference > 0),
        "missed": (codes == 0) & (reference > 0),
        "added": (codes > 0) & (reference == 0),
    }
    for name, mask in parts.items():
        picture = paint(picture, mask, ERROR_COLOURS[name], fill=0.75)
    return picture


def comparison(scene: Scene, at: tuple[int, int, int]) -> list[tuple[str, Picture]]:
    """Return the axial slice plain and with the prediction, and with reference and difference where there is one."""
    name = next((n for n in ("t1c", "t2f") if n in scene.images), next(iter(scene.images)))
    grey = grey_picture(scene, name, "axial", at)
    codes = take(scene.codes, "axial", at)
    pictures = [(SEQUENCE_NAMES.get(name, name), grey), ("Prediction", overlay(grey, codes, scene.names))]
    if scene.reference is not None:
        truth = take(scene.reference, "axial", at)
        pictures.append(("Reference", overlay(grey, truth, scene.names)))
        pictures.append(("Difference", error_picture(grey, codes, truth)))
    return pictures


def heat_picture(picture: Picture, heat: NDArray[np.uint8]) -> Picture:
    """Return the picture with heat from 0 (clear) through orange to 255 (pale yellow); below 5 % nothing is drawn."""
    amount = _scaled(heat, (picture.shape[1], picture.shape[0]), Image.Resampling.BILINEAR).astype(np.float32) / 255
    amount = amount[..., None]
    ink = np.array([255.0, 90.0, 20.0]) * (1 - amount) + np.array([255.0, 245.0, 170.0]) * amount
    opacity = np.clip((amount - 0.05) * 1.7, 0, 0.9)
    return (picture * (1 - opacity) * 0.85 + ink * opacity).astype(np.uint8)


def draw_lines(picture: Picture, lines: Sequence[tuple[NDArray[np.float64], str]], at_scale: NDArray[Any]) -> Picture:
    """Return the picture with straight lines; each is ((2, 2) ends in voxel column and row, colour)."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for ends, colour in lines:
        points = [tuple(float(x) for x in (end + 0.5) * at_scale) for end in ends]
        pen.line(points, fill="#000000", width=5)
        pen.line(points, fill=colour, width=2)
    return np.asarray(image)


def jpeg(picture: Picture, *, quality: int = 86) -> bytes:
    """Return a picture (rows, columns) or (rows, columns, 3) as JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def png(picture: Picture) -> bytes:
    """Return a picture as PNG, exact."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def data_url(content: bytes, kind: str) -> str:
    """Return bytes as a `data:` address, so that a page needs no second file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
