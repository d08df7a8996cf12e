"""Change between two dates, files to files: aligned, matched lesion by lesion, measured each on its own grid.

    two visits ──align──▶ matrix ──carry──▶ maps of growth and shrinkage on the later scan
        └──measure, each on its own grid──▶ percent, lesions, RANO's category ──▶ change.json

Volumes and diameters never come from interpolated labels; only the maps do.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError
from glioscope.files import sha256_of, write_json
from glioscope.labels import REGIONS, regions_from_labels
from glioscope.machine import versions
from glioscope.measure import rano
from glioscope.measure.alignment import SAME_BRAIN, Alignment, align, as_they_lie, flag
from glioscope.measure.lesions import Group, describe_group, find_lesions, match_lesions
from glioscope.measure.midline import SPECK_ML, Midline, find_midline
from glioscope.measure.one_date import measure
from glioscope.measure.visits import Visit, load_visit
from glioscope.prepare.skull import brain_of
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import Grid
from glioscope.space.registration import RegistrationConfig
from glioscope.space.resampling import write_transform
from glioscope.space.volumes import write_volume

MAP_VALUES = {"0": "neither date", "1": "earlier only (shrinkage)", "2": "later only (growth)", "3": "both dates"}
"""What the voxels of `change-<region>.nii.gz` mean."""
SEVERITIES = ("error", "warning", "info")
_CUT_SHARE = 0.02
"""More of the earlier tumour than this beyond the later scan's field of view is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """What the user knows beside the two dates."""

    dates: tuple[str, str] | None = None
    """Of the scans, as 2024-01-31. They are never taken from names or headers."""
    earlier_scan: Path | None = None
    later_scan: Path | None = None
    """A scan on the grid of a label file."""
    scheme: str | None = None
    """Of label files."""
    aligned: bool = False
    """Both dates share one space already; nothing is registered."""
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)


def change(
    earlier: Path | str, later: Path | str, output: Path | str, *, options: ChangeOptions = ChangeOptions()
) -> dict[str, Any]:
    """Compare two dates of one patient and write what changed.

    Parameters
    ----------
    earlier, later : path
        Case folders that `segment` wrote, or label files.
    output : path
        Gets ``change.json``, ``change-WT.nii.gz``, ``-TC`` and ``-ET`` (uint8 on the later grid, `MAP_VALUES`),
        ``earlier-segmentation.nii.gz`` (carried onto the later grid) and ``earlier-to-later.tfm`` (ITK).

    Returns
    -------
    dict
        What stands in ``change.json``. Regions that are empty on a date have 0 ml there and a percentage of 0 (empty
        on both) or None (something came of nothing); never NaN.

    Raises
    ------
    CaseError
        A date cannot be read, or the two do not show one head.
    GeometryError
        Scan and labels of a date differ in grid.
    LabelError
        The labels do not fit a glioma scheme.
    ConfigError
        The dates are no dates, or the later one comes first.
    RunError
        The output cannot be written.
    """
    days = _days(options.dates)
    output = Path(output)
    before = load_visit(Path(earlier), scan=options.earlier_scan, scheme=options.scheme)
    now = load_visit(Path(later), scan=options.later_scan, scheme=options.scheme)
    alignment = as_they_lie() if options.aligned else align(before, now, options.registration)
    carried = carry_labels(before.labels, now.labels.grid, alignment.matrix, before.scheme)
    regions = {
        "earlier": regions_from_labels(carried, before.scheme),
        "later": regions_from_labels(now.labels.data, now.scheme),
    }
    measured = {
        date: measure(visit.labels.data, visit.labels.grid, visit.scheme, brain=_brain(visit))
        for date, visit in (("earlier", before), ("later", now))
    }
    found = _enhancing(before, now, alignment.matrix, _midline(measured["later"], now))
    dates = options.dates or (None, None)
    remarks = _flags(before, now, regions, measured, alignment.record.get("brain_overlap"))
    flags = sorted([*alignment.flags, *remarks], key=lambda f: SEVERITIES.index(f["severity"]))
    content: dict[str, Any] = {
        "earlier": _described(before, dates[0], measured["earlier"]),
        "later": _described(now, dates[1], measured["later"]),
        "interval_days": days,
        "alignment": alignment.record,
        "regions": _regions(measured, regions, now.labels.grid),
        "enhancing": found,
        "response": {**_response(found, measured), "doubtful": any(f["severity"] == "error" for f in flags)},
        "flags": flags,
        "map_values": MAP_VALUES,
        "versions": versions(),
    }
    content["outputs"] = _write(output, now.labels.grid, regions, carried, alignment)
    write_json(output / "change.json", content)
    return content


def _days(dates: tuple[str, str] | None) -> int | None:
    """Return the days between two dates; None without."""
    if dates is None:
        return None
    try:
        first, second = (datetime.date.fromisoformat(text) for text in dates)
    except ValueError as error:
        raise ConfigError(f"dates are {dates[0]} and {dates[1]}; give two as 2024-01-31") from error
    if second < first:
        raise ConfigError(f"the earlier date is {dates[0]}, the later {dates[1]}; swap the dates or the folders")
    return (second - first).days


def _brain(visit: Visit) -> NDArray[np.bool_] | None:
    """Return the brain of a date's first scan that shows one, or None."""
    for code in visit.scans:
        scan = visit.read(code)
        brain = brain_of(scan.data, scan.grid)
        if brain is not None:
            return brain
    return None


def _midline(measured: Mapping[str, Any], visit: Visit) -> Midline:
    """Return the midline that `measure` found; without a tumour nothing asks for it."""
    plane = (measured["side"] or {}).get("midline")
    if plane is None:
        return find_midline(visit.labels.grid, None)
    return Midline(normal=np.array(plane["normal"]), point=np.array(plane["point_mm"]), source=plane["source"])


def _described(visit: Visit, date: str | None, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return a date JSON-ready: what it is, where its files lie, what it measures."""
    return {
        "case_id": visit.name,
        "subject_id": visit.subject_id,
        "date": date,
        "scheme": visit.scheme.name,
        "grid": visit.labels.grid.describe(),
        "segmentation": str(visit.source.resolve()),
        "scans": {
            code: {"file": str(scan.path.resolve()), "channel": scan.channel} for code, scan in visit.scans.items()
        },
        "model": dict(visit.summary.get("model") or {}),
        "measurements": dict(measured),
    }


def _enhancing(before: Visit, now: Visit, matrix: NDArray[np.float64], midline: Midline) -> dict[str, Any]:
    """Return the enhancing lesions of both dates, matched, and the sums that RANO's category rests on."""
    found, specks = {}, {}
    for date, visit in (("earlier", before), ("later", now)):
        mask = np.isin(visit.labels.data, visit.scheme.regions["ET"])
        found[date], specks[date] = find_lesions(mask, visit.labels.grid)
    groups = match_lesions(found["earlier"], found["later"], matrix)
    rows = [describe_group(f"lesion {n}", group, midline) for n, group in enumerate(groups, 1)]
    for row, group in zip(rows, groups, strict=True):
        if row["status"] == "new":
            row["share_in_earlier_tumour"] = round(_share_inside(group, before, matrix), 3)
    targets = [group for group in groups if group.target]
    return {
        "lesions": rows,
        "new": [row["name"] for row in rows if row["status"] == "new"],
        "gone": [row["name"] for row in rows if row["status"] == "gone"],
        "sum_of_products_mm2": {d: round(sum(group.product(d) for group in targets), 1) for d in ("earlier", "later")},
        "specks_left_out": specks,
        "speck_ml": SPECK_ML,
    }


def _share_inside(group: Group, before: Visit, matrix: NDArray[np.float64]) -> float:
    """Return the share of a new lesion that lies in what was whole tumour on the earlier date."""
    points = np.concatenate([lesion.points_mm for lesion in group.later])
    step = np.linalg.inv(before.labels.grid.affine) @ matrix
    index = np.round(points @ step[:3, :3].T + step[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < before.labels.grid.shape)).all(axis=1)
    values = before.labels.data[tuple(index[inside].T)]
    return float(np.isin(values, before.scheme.regions["WT"]).sum() / len(points))


def _response(found: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return RANO's category by diameters and by volume, each with its rule."""
    rows = found["lesions"]
    measurable_earlier = any(row["target"] for row in rows)
    sums = {
        rano.BY_DIAMETERS: found["sum_of_products_mm2"],
        rano.BY_VOLUME: {date: measured[date]["volumes_ml"]["ET"] for date in ("earlier", "later")},
    }
    answers = {}
    for rule, amount in sums.items():
        sizes = rano.Sizes(
            earlier=float(amount["earlier"]),
            later=float(amount["later"]),
            enhancing_earlier=any(row["status"] != "new" for row in rows),
            enhancing_later=any(row["status"] != "gone" for row in rows),
            measurable_earlier=measurable_earlier,
            new_measurable=any(row["status"] == "new" and row["measurable_now"] for row in rows),
            became_measurable=not measurable_earlier
            and any(row["status"] == "followed" and row["measurable_now"] for row in rows),
        )
        answers[rule.name] = rano.category(sizes, rule)
    return {
        "by_diameters": answers["diameters"],
        "by_volume": answers["volume"],
        "agree": answers["diameters"]["code"] == answers["volume"]["code"],
        "specks": f"enhancing parts below {SPECK_ML:g} ml are not counted as lesions",
        "not_judged": rano.NOT_JUDGED,
        "not_known": rano.NOT_KNOWN,
        "source": rano.SOURCE,
    }


def _regions(
    measured: Mapping[str, Mapping[str, Any]], masks: Mapping[str, NDArray[np.bool_]], grid: Grid
) -> dict[str, Any]:
    """Return per region the volumes of both dates, each on its own grid, and what the maps hold of growth."""
    before, now = measured["earlier"]["volumes_ml"], measured["later"]["volumes_ml"]
    table: dict[str, Any] = {}
    for name in (region for region in now if region in before):
        change = rano.percent(before[name], now[name])
        table[name] = {
            "earlier_ml": before[name],
            "later_ml": now[name],
            "change_ml": round(now[name] - before[name], 4),
            "percent": None if change is None else round(change, 2),
        }
        if name in REGIONS:
            was, is_ = (masks[date][REGIONS.index(name)] for date in ("earlier", "later"))
            parts = {"grown_ml": is_ & ~was, "shrunk_ml": was & ~is_, "kept_ml": was & is_}
            table[name] |= {k: round(int(np.count_nonzero(v)) * grid.voxel_volume_ml, 4) for k, v in parts.items()}
    return table


def _flags(
    before: Visit,
    now: Visit,
    masks: Mapping[str, NDArray[np.bool_]],
    measured: Mapping[str, Mapping[str, Any]],
    overlap: float | None,
) -> Iterable[dict[str, str]]:
    """Yield what may mislead in a comparison of these two dates, whose aligned brains overlap so far (Dice)."""
    if before.subject_id != now.subject_id and None not in (before.subject_id, now.subject_id):
        names = f"the dates are named for {before.subject_id} and {now.subject_id}"
        if (overlap or 0) >= SAME_BRAIN:
            yield flag("other-name", "info", f"{names}; the aligned brains match as those of one person do")
        else:
            yield flag("other-name", "warning", f"{names}; make sure that both are one patient")
    models = [visit.summary.get("model", {}).get("sha256") for visit in (before, now)]
    if models[0] != models[1]:
        yield flag("other-model", "warning", "two networks segmented the two dates; part of the change may be theirs")
    for visit, word in ((before, "earlier"), (now, "later")):
        missing = visit.summary.get("missing_sequences") or []
        if "t1c" in missing:
            text = f"the {word} date has no T1 with contrast; what enhances there is a guess, and so is the category"
            yield flag("no-contrast", "error", text)
        grave = [f["code"] for f in visit.summary.get("flags") or [] if f.get("severity") in ("error", "warning")]
        if grave:
            yield flag("flagged", "warning", f"the {word} segmentation carries flags of its own: {', '.join(grave)}")
        if not visit.labels.data.any():
            yield flag("empty", "info", f"no tumour was found on the {word} date")
    if set(before.scans) != set(now.scans):
        text = f"the dates have other sequences: {', '.join(before.scans)} and {', '.join(now.scans)}"
        yield flag("other-sequences", "warning", text)
    whole = measured["earlier"]["volumes_ml"]["WT"]
    carried = int(np.count_nonzero(masks["earlier"][0])) * now.labels.grid.voxel_volume_ml
    if whole > 0 and carried < (1 - _CUT_SHARE) * whole:
        text = f"{1 - carried / whole:.0%} of the earlier tumour lies beyond the later scan; the maps lack it"
        yield flag("cut", "warning", text)


def _write(
    output: Path,
    grid: Grid,
    masks: Mapping[str, NDArray[np.bool_]],
    carried: NDArray[np.uint8],
    alignment: Alignment,
) -> dict[str, str]:
    """Write the maps and the transform; return their checksums."""
    for n, name in enumerate(REGIONS):
        codes = masks["earlier"][n].astype(np.uint8) + 2 * masks["later"][n].astype(np.uint8)
        write_volume(output / f"change-{name}.nii.gz", codes, grid)
    write_volume(output / "earlier-segmentation.nii.gz", carried, grid)
    write_transform(output / "earlier-to-later.tfm", alignment.matrix)
    names = [f"change-{name}.nii.gz" for name in REGIONS] + ["earlier-segmentation.nii.gz", "earlier-to-later.tfm"]
    return {name: sha256_of(output / name) for name in names}
