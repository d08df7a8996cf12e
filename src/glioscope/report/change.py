"""The page of a change between two dates: what grew, what shrank, what RANO calls it, and by which rule.

Made from what `change` wrote (change.json, the maps) and from the scans where it says they lie, so that the page can be
made again. Everything is shown on the later scan's grid; the earlier scan is carried onto it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import GlioscopeError
from glioscope.labels import REGIONS
from glioscope.report import images as im
from glioscope.report.page import Still, StillRow, flatten, still, write_page
from glioscope.report.style import SEQUENCE_NAMES
from glioscope.report.viewer import ViewerData, ViewerRegion, viewer_data
from glioscope.results import Lesion
from glioscope.results.change import CHANGE, Category, Change, FollowedLesion, read_change
from glioscope.results.stored import as_json
from glioscope.space.background import foreground
from glioscope.space.grid import Grid, bounding_box, cut, reorient
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume, VolumeFile, read_labels, read_volume

GROWTH, SHRINKAGE = "#ff8c42", "#3fb8ff"
"""Orange and blue: told apart under every colour blindness, and by lightness."""
PALE_GROWTH, PALE_SHRINKAGE = "#ffd9b8", "#c2e6ff"
"""Of the whole tumour around the core, in the viewer."""
KEPT = "#d9dfe6"
EARLIER, LATER = 1, 2
"""Bits of a change map: on the earlier date, on the later one."""
SHOWN = ("t1c", "t2f", "t1n", "t2w", "scan")
SCALE = (-100.0, 100.0)
"""Percent, ends of the ruler; changes beyond stand at its end."""


def write_change_report(folder: Path) -> Path:
    """Write `change.html` from what `change` wrote into a folder; return its path.

    Scans that are gone are left out of the pictures; the numbers do not need them.

    Raises
    ------
    RunError
        There is no change.json, or the page cannot be written.
    CaseError
        A map is gone.
    """
    content = read_change(folder / CHANGE)
    maps = {name: read_labels(folder / f"change-{name}.nii.gz") for name in REGIONS}
    scene, missing = _scene(content, maps)
    at = im.largest_slices(replace(scene, codes=_weight(scene)))
    path = folder / "change.html"
    response = content.response
    dates = [content.earlier.date or "earlier", content.later.date or "later"]
    record = as_json(content)
    values = {
        "title": f"{content.earlier.case_id} to {content.later.case_id}: change between two dates",
        "content": content,
        "two_dates": True,
        "dates": dates,
        "interval": _interval(content.interval_days),
        "missing": missing,
        "response": response,
        "rulers": [ruler(response.by_diameters), ruler(response.by_volume)],
        "planes": _planes(scene, at, dates) if scene.images else [],
        "viewer": _viewer(scene, at, content) if scene.images else None,
        "colours": {"growth": GROWTH, "shrinkage": SHRINKAGE, "kept": KEPT},
        "provenance": flatten(
            {
                "alignment": {k: v for k, v in record["alignment"].items() if k not in ("matrix_ras_mm", "problems")},
                **{date: {k: record[date][k] for k in ("grid", "scheme", "model")} for date in ("earlier", "later")},
                "versions": content.versions,
            }
        ),
    }
    write_page(path, "change.html", values)
    return path


def _interval(days: int | None) -> str:
    """Return how far apart the dates are, in words; nothing where nobody said."""
    if days is None:
        return ""
    if days < 14:
        return f"{days} day{'s' if days != 1 else ''}"
    return f"{days / 7:.0f} weeks" if days < 365 else f"{days / 30.44:.0f} months"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """Where a change stands between RANO's thresholds, as shares of a line from 0 to 100."""

    partial: float
    """Threshold of partial response."""
    growth: float
    """Threshold of progression."""
    at: float | None
    """The change; None where there is no percentage."""
    beyond: bool
    """It is more than the line holds."""


def ruler(answer: Category) -> Ruler:
    """Return where a change stands between RANO's thresholds."""

    def place(percent: float) -> float:
        low, high = SCALE
        return round(100 * (min(max(percent, low), high) - low) / (high - low), 2)

    change = answer.percent
    return Ruler(
        partial=place(-answer.loss_percent),
        growth=place(answer.growth_percent),
        at=None if change is None else place(change),
        beyond=change is not None and change > SCALE[1],
    )


def _scene(content: Change, maps: Mapping[str, Volume]) -> tuple[im.Scene, list[str]]:
    """Return both dates ready to be shown on the later grid, and the scans that are gone.

    `codes` holds WT, TC and ET of the later date, `reference` those of the earlier one.
    """
    grid = maps["WT"].grid
    found, missing = _scans(content, grid)
    there = np.zeros(grid.shape, bool)
    for array in (*found.values(), *(volume.data for volume in maps.values())):
        there |= foreground(array)
    box = bounding_box(there, margin=2)
    part = grid.crop(box)

    def shown(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(reorient(cut(array, box), part, "LPS")[0])

    def coded(date: int) -> NDArray[np.uint8]:
        bits = np.zeros(grid.shape, np.uint8)
        for n, name in enumerate(REGIONS):
            bits |= ((maps[name].data & date) > 0).astype(np.uint8) << n
        return shown(bits)

    scene = im.Scene(
        grid=reorient(cut(there, box), part, "LPS")[1],
        images={name: im.to_grey(shown(image)) for name, image in found.items()},
        names=REGIONS,
        codes=coded(LATER),
        reference=coded(EARLIER),
    )
    return scene, missing


def _scans(content: Change, grid: Grid) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Return up to two sequences of each date on the later grid, the earlier ones as `earlier t1c`."""
    matrix = np.array(content.alignment.matrix_ras_mm)
    earlier, later = content.earlier.scans, content.later.scans
    shared = [code for code in SHOWN if code in earlier and code in later][:2]
    found: dict[str, NDArray[np.float32]] = {}
    missing = []
    for code in shared:
        try:
            now, before = (
                read_volume(VolumeFile(Path(scans[code].file), scans[code].channel)) for scans in (later, earlier)
            )
        except GlioscopeError:
            missing.append(code)
            continue
        found[code] = resample(now, grid)
        found[f"earlier {code}"] = resample(before, grid, matrix)
    return found, missing


def _bits(scene: im.Scene, region: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a region's masks on the earlier and the later date."""
    n = scene.names.index(region)
    reference = scene.codes if scene.reference is None else scene.reference
    return (reference >> n & 1).astype(bool), (scene.codes >> n & 1).astype(bool)


def _weight(scene: im.Scene) -> NDArray[np.uint8]:
    """Return codes with more bits where there is more to see: core that changed, whole tumour that did, tumour."""
    total = np.zeros(scene.codes.shape, np.uint8)
    for bit, region in ((0, "WT"), (2, "TC")):
        before, now = _bits(scene, region)
        total |= (before | now).astype(np.uint8) << bit
        total |= (before ^ now).astype(np.uint8) << (bit + 1)
    return total


def _planes(scene: im.Scene, at: tuple[int, int, int], dates: list[str]) -> list[StillRow]:
    """Return rows of three pictures: the earlier date, the later one, what changed between them."""
    codes = [name for name in scene.images if not name.startswith("earlier ")]
    first = codes[0]
    rows = [_row(scene, at, first, plane, "TC", dates) for plane in im.PLANES]
    if len(codes) > 1:
        rows.append(_row(scene, at, codes[1], "axial", "WT", dates))
    return rows


def _row(
    scene: im.Scene, at: tuple[int, int, int], code: str, plane: im.Plane, region: str, dates: list[str]
) -> StillRow:
    label, sides = SEQUENCE_NAMES.get(code, code), im.SIDES[plane]
    reference = scene.codes if scene.reference is None else scene.reference
    stills: list[Still] = []
    for date, name, labels in (("earlier", f"earlier {code}", reference), ("later", code, scene.codes)):
        grey = im.grey_picture(scene, name, plane, at)
        picture = im.overlay(grey, im.take(labels, plane, at), scene.names)
        word = dates[0] if date == "earlier" else dates[1]
        caption = f"{word.capitalize()}{', aligned' if date == 'earlier' else ''}"
        stills.append(still(picture, f"{plane} slice of {label}, {date} date, with the segmentation", caption, sides))
    picture = change_picture(scene, code, plane, at, region)
    text = "core" if region == "TC" else "whole tumour"
    stills.append(
        still(picture, f"{plane} slice with growth and shrinkage of the {text}", f"Change of the {text}", sides)
    )
    return StillRow(name=plane, label=label, region=region, stills=stills)


def change_picture(scene: im.Scene, code: str, plane: im.Plane, at: tuple[int, int, int], region: str) -> im.Picture:
    """Return the later scan with what a region gained, lost and kept."""
    picture = (im.grey_picture(scene, code, plane, at) * 0.8).astype(np.uint8)
    before, now = (im.take(mask, plane, at) for mask in _bits(scene, region))
    picture = im.paint(picture, before & now, KEPT, fill=0.08)
    picture = im.paint(picture, now & ~before, GROWTH, fill=0.6)
    return im.paint(picture, before & ~now, SHRINKAGE, fill=0.6)


def _viewer(scene: im.Scene, at: tuple[int, int, int], content: Change) -> ViewerData:
    """Return the slice viewer's data: both dates' scans, growth and shrinkage of whole tumour and core as overlays."""
    layers = (
        ("Tumour lost", "WT", False, PALE_SHRINKAGE),
        ("Tumour grown", "WT", True, PALE_GROWTH),
        ("Core lost", "TC", False, SHRINKAGE),
        ("Core grown", "TC", True, GROWTH),
    )
    codes = np.zeros(scene.codes.shape, np.uint8)
    for bit, (_, region, grown, _) in enumerate(layers):
        before, now = _bits(scene, region)
        codes |= ((now & ~before) if grown else (before & ~now)).astype(np.uint8) << bit
    shown = replace(scene, codes=codes, reference=None, names=tuple(name for name, *_ in layers))
    rows = [(row, row.centre_mm) for row in content.enhancing.lesions if row.centre_mm is not None]
    places = [Lesion(volume_ml=row.volume_ml.later, centroid_mm=centre) for row, centre in rows]
    data = viewer_data(shown, at, places, "ET")
    return replace(
        data,
        regions=tuple(ViewerRegion(name=name, label=name.lower(), colour=colour) for name, _, _, colour in layers),
        words={"segmentation": "change", "none": "none"},
        sequences=tuple(replace(sequence, label=_dated(sequence.name)) for sequence in data.sequences),
        lesions=tuple(replace(jump, label=_label(row)) for jump, (row, _) in zip(data.lesions, rows, strict=True)),
    )


def _dated(name: str) -> str:
    """Return what the viewer calls a scan: `earlier t1c` is of the earlier date, `t1c` of the later one."""
    date, _, code = name.rpartition(" ")
    return f"{SEQUENCE_NAMES.get(code, code)} {date or 'later'}"


def _label(row: FollowedLesion) -> str:
    """Return what the viewer calls a lesion."""
    return f"{row.name}{' (new)' if row.status == 'new' else ''}: {row.volume_ml.later:.1f} ml"
