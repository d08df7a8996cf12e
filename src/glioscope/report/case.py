"""The report of one case: what was found, where, how sure, and what it rests on.

Of the summary, measurements and flags are laid out. Everything else is shown as it is, in the table of provenance:
model, versions, checksums, engine, seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glioscope.cases import LoadedCase, scheme_of_reference
from glioscope.errors import GeometryError, LabelError
from glioscope.evaluation.metrics import overlap
from glioscope.files import atomic_path
from glioscope.labels import LabelScheme, convert_labels
from glioscope.report import images as im
from glioscope.report.page import Still, StillRow, flatten, sequence_stills, still, write_page
from glioscope.report.style import SEQUENCE_NAMES, colour_of
from glioscope.report.viewer import viewer_data
from glioscope.report.whereabouts import whereabouts
from glioscope.results import CaseSummary, Ends, Lesion, Measurements, gravest_first
from glioscope.results.stored import as_json

THUMBNAIL_PIXELS = 160
LAID_OUT = ("measurements", "flags", "case_id", "anatomy")


def write_case_report(
    path: Path,
    loaded: LoadedCase,
    labels: NDArray[np.uint8],
    scheme: LabelScheme,
    summary: CaseSummary,
    *,
    reference: NDArray[np.uint8] | None = None,
    uncertainty: NDArray[np.floating] | None = None,
) -> None:
    """Write one self-contained page about a segmented case, and `thumbnail.jpg` beside it for a cohort's page.

    Parameters
    ----------
    path : Path
        Of the page, such as `report.html`.
    loaded : LoadedCase
        The scan.
    labels : (i, j, k) uint8
        Segmentation on the case's own grid.
    scheme : LabelScheme
        Of `labels` and `reference`.
    summary : CaseSummary
        What stands in `summary.json`.
    reference : (i, j, k) uint8, optional
        On the same grid. Without it the case's own is shown, if it has one.
    uncertainty : (i, j, k) float, optional
        In [0, 1], as `quality.uncertainty` gives it, on the case's own grid.

    Raises
    ------
    GeometryError
        An array differs from the case's grid in shape.
    RunError
        The page cannot be written.
    """
    if reference is None:
        labels, scheme, reference = _beside_reference(loaded, labels, scheme)
    for what, array in (("labels", labels), ("reference", reference), ("uncertainty", uncertainty)):
        if array is not None and array.shape != loaded.grid.shape:
            raise GeometryError(f"{what}: has shape {array.shape} but the case {loaded.grid.shape}; they must agree")
    measurements = summary.measurements
    scene = im.make_scene(loaded, labels, scheme, reference=reference, uncertainty=uncertainty)
    at = im.largest_slices(scene)
    lesions = _main_lesions(measurements)
    found = bool(scene.codes.any())
    values = {
        "case_id": loaded.case.case_id,
        "title": f"{loaded.case.case_id}: tumour segmentation",
        "flags": gravest_first(summary.flags),
        "measurements": measurements,
        "names": scene.names,
        "found": found,
        "sequences": sequence_stills(scene, at, "aligned, skull off" if summary.raw else "as read"),
        "planes": _planes(scene, at),
        "has_reference": reference is not None,
        "diameter": _diameter_still(scene, measurements),
        "lesions": lesions,
        "whereabouts": whereabouts(summary, path.parent),
        "agreement": {} if reference is None else _agreement(scene),
        "missing": loaded.case.missing,
        "viewer": viewer_data(scene, at, lesions.places, lesions.region),
        "origin": _origin(summary, loaded),
        "correction": summary.correction,
        "not_measurable": summary.not_measurable,
        "raw": summary.raw,
        "provenance": flatten({k: v for k, v in as_json(summary).items() if k not in LAID_OUT}),
    }
    write_page(path, "case.html", values)
    _write_thumbnail(path.with_name("thumbnail.jpg"), scene, at)


def _beside_reference(
    loaded: LoadedCase, labels: NDArray[np.uint8], scheme: LabelScheme
) -> tuple[NDArray[np.uint8], LabelScheme, NDArray[np.uint8] | None]:
    """Return labels, the scheme that both are drawn in, and the case's own reference in it.

    That is the reference's scheme where it has tissues that the other lacks (a cavity). No reference is drawn where
    there is none, its scheme stays open, or neither scheme can express both.
    """
    if loaded.reference is None:
        return labels, scheme, None
    try:
        source = scheme_of_reference(loaded.case, np.unique(loaded.reference).tolist())
    except LabelError:
        return labels, scheme, None
    try:
        return labels, scheme, convert_labels(loaded.reference, source, scheme)
    except LabelError:
        pass
    try:
        return convert_labels(labels, scheme, source), source, loaded.reference
    except LabelError:
        return labels, scheme, None


def _first(scene: im.Scene, *wanted: str) -> str:
    """Return the first sequence of `wanted` that the case has, else any."""
    return next(name for name in (*wanted, *scene.images) if name in scene.images)


def _planes(scene: im.Scene, at: tuple[int, int, int]) -> list[StillRow]:
    """Return for each plane its stills: plain, segmentation, and what else there is to compare."""
    rows = []
    for plane in im.PLANES:
        sides = im.SIDES[plane]
        anatomy = _first(scene, "t1c", "t2f") if plane == "axial" else _first(scene, "t2f", "t1c")
        label = SEQUENCE_NAMES.get(anatomy, anatomy)
        grey = im.grey_picture(scene, anatomy, plane, at)
        codes = im.take(scene.codes, plane, at)
        stills = [
            still(grey, f"{plane} slice of {label}", label, sides),
            still(im.overlay(grey, codes, scene.names), f"{plane} slice with the segmentation", "Segmentation", sides),
        ]
        if scene.reference is not None:
            truth = im.take(scene.reference, plane, at)
            picture = im.overlay(grey, truth, scene.names)
            stills.append(still(picture, f"{plane} slice with the reference", "Reference", sides))
            picture = im.error_picture(grey, codes, truth)
            stills.append(still(picture, f"{plane} slice with the differences", "Difference", sides))
        if scene.uncertainty is not None:
            picture = im.heat_picture(grey, im.take(scene.uncertainty, plane, at))
            stills.append(still(picture, f"{plane} slice with the uncertainty", "Uncertainty", sides))
        rows.append(StillRow(name=plane, stills=stills))
    return rows


def _diameter_still(scene: im.Scene, measurements: Measurements) -> Still | None:
    """Return the axial slice on which the diameters were taken, with both drawn."""
    diameters = measurements.diameters
    if diameters is None:
        return None
    inverse = np.linalg.inv(scene.grid.affine)

    def voxels(ends: Ends) -> NDArray[np.float64]:
        return np.asarray(ends, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    first, second = voxels(diameters.longest_ends_mm), voxels(diameters.perpendicular_ends_mm)
    k = int(np.clip(round(float(first[0, 2])), 0, scene.codes.shape[2] - 1))
    name = _first(scene, "t1c", "t2f")
    picture = im.grey_picture(scene, name, "axial", (0, 0, k))
    bit = scene.names.index(diameters.region) if diameters.region in scene.names else 0
    mask = (scene.codes[:, :, k].T >> bit & 1).astype(bool)
    picture = im.paint(picture, mask, colour_of(diameters.region), fill=0.12)
    scale = np.array([picture.shape[1] / scene.codes.shape[0], picture.shape[0] / scene.codes.shape[1]])
    picture = im.draw_lines(picture, [(first[:, :2], "#ffffff"), (second[:, :2], "#9be7ff")], scale)
    alt = f"Axial slice with the longest diameter of the {diameters.region} lesion and its perpendicular"
    return still(picture, alt, SEQUENCE_NAMES.get(name, name), im.SIDES["axial"])


def _agreement(scene: im.Scene) -> dict[str, dict[str, float]]:
    """Return for each drawn region the reference's volume and the Dice with it; nan where both are empty."""
    assert scene.reference is not None
    found = {}
    for bit, name in enumerate(scene.names):
        mine, truth = (codes >> bit & 1 for codes in (scene.codes, scene.reference))
        counted = overlap(truth.astype(bool), mine.astype(bool))
        found[name] = {"ml": counted.reference * scene.grid.voxel_volume_ml, "dice": counted.dice}
    return found


def _origin(summary: CaseSummary, loaded: LoadedCase) -> list[tuple[str, str]]:
    """Return the few lines of provenance that everyone should see; the whole record follows them on the page."""
    version = summary.versions.get("glioscope")
    what = {
        "Model": f"{summary.model.name}, SHA-256 {summary.model.sha256[:12]}…",
        "Computed by": summary.engine.description,
        "Program": f"Glioscope {version}" if version else "",
        "Seconds": f"{summary.total_seconds:.1f}" if summary.seconds else "",
        "Images": ", ".join(f"{name}: {file.path.name}" for name, file in loaded.case.sequences.items()),
        "Grid": loaded.grid.describe(),
    }
    return [(name, value) for name, value in what.items() if value]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesions:
    """What the page lists of the lesions of one region."""

    region: str | None
    """None where there is no tumour."""
    rows: Sequence[Lesion]
    others: int
    """Those that are not listed."""
    places: Sequence[Lesion]
    """Those that the viewer goes to."""


def _main_lesions(measurements: Measurements) -> _Lesions:
    """Return the lesions to list and go to, largest first: of ET, else TC, else WT; specks below 0.05 ml unlisted."""
    lesions = measurements.lesions
    region = next((name for name in ("ET", "TC", "WT") if lesions.get(name)), None)
    rows = lesions[region] if region else ()
    listed = [lesion for lesion in rows if lesion.volume_ml >= 0.05][:12] or rows[:3]
    return _Lesions(region=region, rows=listed, others=len(rows) - len(listed), places=rows[:12])


def _write_thumbnail(path: Path, scene: im.Scene, at: tuple[int, int, int]) -> None:
    picture = im.grey_picture(scene, _first(scene, "t1c", "t2f"), "axial", at)
    picture = im.overlay(picture, im.take(scene.codes, "axial", at), scene.names)
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    with atomic_path(path) as scratch:
        image.save(scratch, "JPEG", quality=85)
