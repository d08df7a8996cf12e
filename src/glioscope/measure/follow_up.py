"""Change between two dates, files to files: aligned, matched lesion by lesion, measured each on its own grid.

    two visits ──align──▶ matrix ──carry──▶ maps of growth and shrinkage on the later scan
        └──measure, each on its own grid──▶ percent, lesions, RANO's category ──▶ change.json

Volumes and diameters never come from interpolated labels; only the maps do.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError
from glioscope.files import sha256_of
from glioscope.labels import REGIONS, regions_from_labels
from glioscope.machine import versions
from glioscope.measure import rano
from glioscope.measure.alignment import SAME_BRAIN, Alignment, align, as_they_lie
from glioscope.measure.lesions import Date, Group, describe_group, find_lesions, match_lesions
from glioscope.measure.midline import SPECK_ML, Midline, find_midline
from glioscope.measure.one_date import measure
from glioscope.measure.visits import Visit, load_visit, scheme_of_dates
from glioscope.prepare.skull import brain_of
from glioscope.results import Flag, Measurements, gravest_first
from glioscope.results.change import (
    CHANGE,
    Both,
    Change,
    Counts,
    Enhancing,
    NoModel,
    RegionChange,
    Response,
    ScanFile,
    VisitRecord,
    write_change,
)
from glioscope.space.carrying import carry_labels
from glioscope.space.grid import Grid
from glioscope.space.registration import RegistrationConfig
from glioscope.space.resampling import write_transform
from glioscope.space.volumes import write_volume

MAP_VALUES = {"0": "neither date", "1": "earlier only (shrinkage)", "2": "later only (growth)", "3": "both dates"}
"""What the voxels of `change-<region>.nii.gz` mean."""
DATES: tuple[Date, Date] = ("earlier", "later")
_CUT_SHARE = 0.02
"""More of the earlier tumour than this beyond the later scan's field of view is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """What the user knows beside the two dates."""

    dates: tuple[str, str] | None = None
    """Of the scans, as 2024-01-31. They are never taken from names or headers."""
    earlier_scan: Path | str | None = None
    later_scan: Path | str | None = None
    """A scan on the grid of a label file."""
    scheme: str | None = None
    """Of label files; two of them, as ``brats2018,brats2023``, where the dates differ."""
    aligned: bool = False
    """Both dates share one space already; nothing is registered."""
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)


def change(
    earlier: Path | str, later: Path | str, output: Path | str, *, options: ChangeOptions = ChangeOptions()
) -> Change:
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
    Change
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
        A date cannot be read as one, or the later one comes first.
    RunError
        The output cannot be written.
    """
    days = _days(options.dates)
    output = Path(output)
    schemes = (options.scheme or scheme_of_dates([Path(earlier), Path(later)]) or "").split(",")
    before = load_visit(Path(earlier), scan=_path(options.earlier_scan), scheme=schemes[0])
    now = load_visit(Path(later), scan=_path(options.later_scan), scheme=schemes[-1])
    alignment = as_they_lie() if options.aligned else align(before, now, options.registration)
    carried = carry_labels(before.labels, now.labels.grid, alignment.matrix, before.scheme)
    regions: dict[Date, NDArray[np.bool_]] = {
        "earlier": regions_from_labels(carried, before.scheme),
        "later": regions_from_labels(now.labels.data, now.scheme),
    }
    measured: dict[Date, Measurements] = {
        date: measure(visit.labels.data, visit.labels.grid, visit.scheme, brain=_brain(visit))
        for date, visit in zip(DATES, (before, now), strict=True)
    }
    found = _enhancing(before, now, alignment.matrix, _midline(measured["later"], now))
    remarks = _flags(before, now, regions, measured, alignment.brain_overlap)
    flags = gravest_first([*alignment.flags, *remarks])
    dates = options.dates or (None, None)
    content = Change(
        earlier=_described(before, dates[0], measured["earlier"]),
        later=_described(now, dates[1], measured["later"]),
        interval_days=days,
        alignment=alignment.record,
        regions=_regions(measured, regions, now.labels.grid),
        enhancing=found,
        response=_response(found, measured, flags),
        flags=flags,
        map_values=MAP_VALUES,
        versions=versions(),
        outputs=_write(output, now.labels.grid, regions, carried, alignment),
    )
    write_change(output / CHANGE, content)
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


def _path(place: Path | str | None) -> Path | None:
    return None if place is None else Path(place)


def _brain(visit: Visit) -> NDArray[np.bool_] | None:
    """Return the brain of a date's first scan that shows one, or None."""
    for code in visit.scans:
        scan = visit.read(code)
        brain = brain_of(scan.data, scan.grid)
        if brain is not None:
            return brain
    return None


def _midline(measured: Measurements, visit: Visit) -> Midline:
    """Return the midline that `measure` found; without a tumour nothing asks for it."""
    if measured.side is None:
        return find_midline(visit.labels.grid, None)
    plane = measured.side.midline
    return Midline(normal=np.array(plane.normal), point=np.array(plane.point_mm), source=plane.source)


def _described(visit: Visit, date: str | None, measured: Measurements) -> VisitRecord:
    """Return a date as it is stored: what it is, where its files lie, what it measures."""
    return VisitRecord(
        case_id=visit.name,
        subject_id=visit.subject_id,
        date=date,
        scheme=visit.scheme.name,
        grid=visit.labels.grid.describe(),
        segmentation=str(visit.source.resolve()),
        scans={
            code: ScanFile(file=str(scan.path.resolve()), channel=scan.channel) for code, scan in visit.scans.items()
        },
        model=visit.summary.model if visit.summary else NoModel(),
        measurements=measured,
    )


def _enhancing(before: Visit, now: Visit, matrix: NDArray[np.float64], midline: Midline) -> Enhancing:
    """Return the enhancing lesions of both dates, matched, and the sums that RANO's category rests on."""
    (earlier, few), (later, specks) = (
        find_lesions(np.isin(visit.labels.data, visit.scheme.regions["ET"]), visit.labels.grid)
        for visit in (before, now)
    )
    groups = match_lesions(earlier, later, matrix)
    rows = [
        describe_group(
            f"lesion {n}",
            group,
            midline,
            inside=None if group.earlier else round(_share_inside(group, before, matrix), 3),
        )
        for n, group in enumerate(groups, 1)
    ]
    targets = [group for group in groups if group.target]
    return Enhancing(
        lesions=tuple(rows),
        new=tuple(row.name for row in rows if row.status == "new"),
        gone=tuple(row.name for row in rows if row.status == "gone"),
        sum_of_products_mm2=Both(
            earlier=round(sum(group.product("earlier") for group in targets), 1),
            later=round(sum(group.product("later") for group in targets), 1),
        ),
        specks_left_out=Counts(earlier=few, later=specks),
        speck_ml=SPECK_ML,
    )


def _share_inside(group: Group, before: Visit, matrix: NDArray[np.float64]) -> float:
    """Return the share of a new lesion that lies in what was whole tumour on the earlier date."""
    points = np.concatenate([lesion.points_mm for lesion in group.later])
    step = np.linalg.inv(before.labels.grid.affine) @ matrix
    index = np.round(points @ step[:3, :3].T + step[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < before.labels.grid.shape)).all(axis=1)
    values = before.labels.data[tuple(index[inside].T)]
    return float(np.isin(values, before.scheme.regions["WT"]).sum() / len(points))


def _response(found: Enhancing, measured: Mapping[Date, Measurements], flags: Sequence[Flag]) -> Response:
    """Return RANO's category by diameters and by volume, with its rule; none where two people may be meant."""
    volumes = Both(**{date: measured[date].volumes_ml["ET"] for date in DATES})
    by_diameters = rano.category(_sizes(found, found.sum_of_products_mm2), rano.BY_DIAMETERS)
    by_volume = rano.category(_sizes(found, volumes), rano.BY_VOLUME)
    if any(flag.code == "other-brain" for flag in flags):
        by_diameters, by_volume = (rano.not_judged(by_diameters), rano.not_judged(by_volume))
    return Response(
        by_diameters=by_diameters,
        by_volume=by_volume,
        agree=by_diameters.code == by_volume.code,
        specks=f"enhancing parts below {SPECK_ML:g} ml are not counted as lesions",
        not_judged=rano.NOT_JUDGED,
        not_known=rano.NOT_KNOWN,
        source=rano.SOURCE,
        doubtful=any(flag.severity == "error" for flag in flags),
    )


def _sizes(found: Enhancing, amount: Both) -> rano.Sizes:
    """Return what a category by this amount is decided by."""
    rows = found.lesions
    measurable_earlier = any(row.target for row in rows)
    return rano.Sizes(
        earlier=float(amount.earlier),
        later=float(amount.later),
        enhancing_earlier=any(row.status != "new" for row in rows),
        enhancing_later=any(row.status != "gone" for row in rows),
        measurable_earlier=measurable_earlier,
        new_measurable=any(row.status == "new" and row.measurable_now for row in rows),
        became_measurable=not measurable_earlier
        and any(row.status == "followed" and row.measurable_now for row in rows),
    )


def _regions(
    measured: Mapping[Date, Measurements], masks: Mapping[Date, NDArray[np.bool_]], grid: Grid
) -> dict[str, RegionChange]:
    """Return per region the volumes of both dates, each on its own grid, and what the maps hold of growth."""
    before, now = measured["earlier"].volumes_ml, measured["later"].volumes_ml
    table = {}
    for name in (region for region in now if region in before):
        change = rano.percent(before[name], now[name])
        overlaid: dict[str, float] = {}
        if name in REGIONS:
            was, is_ = (masks[date][REGIONS.index(name)] for date in DATES)
            parts = {"grown_ml": is_ & ~was, "shrunk_ml": was & ~is_, "kept_ml": was & is_}
            overlaid = {k: round(int(np.count_nonzero(v)) * grid.voxel_volume_ml, 4) for k, v in parts.items()}
        table[name] = RegionChange(
            earlier_ml=before[name],
            later_ml=now[name],
            change_ml=round(now[name] - before[name], 4),
            percent=None if change is None else round(change, 2),
            **overlaid,
        )
    return table


def _flags(
    before: Visit,
    now: Visit,
    masks: Mapping[Date, NDArray[np.bool_]],
    measured: Mapping[Date, Measurements],
    overlap: float | None,
) -> Iterator[Flag]:
    """Yield what may mislead in a comparison of these two dates, whose aligned brains overlap so far (Dice)."""
    if before.subject_id != now.subject_id and None not in (before.subject_id, now.subject_id):
        names = f"the dates are named for {before.subject_id} and {now.subject_id}"
        if (overlap or 0) >= SAME_BRAIN:
            yield Flag("other-name", "info", f"{names}; the aligned brains match as those of one person do")
        else:
            yield Flag("other-name", "warning", f"{names}; make sure that both are one patient")
    models = [visit.summary.model.sha256 if visit.summary else None for visit in (before, now)]
    if models[0] != models[1]:
        yield Flag("other-model", "warning", "two networks segmented the two dates; part of the change may be theirs")
    for visit, word in zip((before, now), DATES, strict=True):
        yield from _flags_of(visit, word)
    if set(before.scans) != set(now.scans):
        text = f"the dates have other sequences: {', '.join(before.scans)} and {', '.join(now.scans)}"
        yield Flag("other-sequences", "warning", text)
    whole = measured["earlier"].volumes_ml["WT"]
    carried = int(np.count_nonzero(masks["earlier"][0])) * now.labels.grid.voxel_volume_ml
    if whole > 0 and carried < (1 - _CUT_SHARE) * whole:
        text = f"{1 - carried / whole:.0%} of the earlier tumour lies beyond the later scan; the maps lack it"
        yield Flag("cut", "warning", text)


def _flags_of(visit: Visit, word: Date) -> Iterator[Flag]:
    """Yield what may mislead in one of the dates."""
    summary = visit.summary
    if summary and "t1c" in summary.missing_sequences:
        text = f"the {word} date has no T1 with contrast; what enhances there is a guess, and so is the category"
        yield Flag("no-contrast", "error", text)
    grave = [flag.code for flag in summary.flags if flag.severity != "info"] if summary else []
    if grave:
        yield Flag("flagged", "warning", f"the {word} segmentation carries flags of its own: {', '.join(grave)}")
    if not visit.labels.data.any():
        yield Flag("empty", "info", f"no tumour was found on the {word} date")


def _write(
    output: Path,
    grid: Grid,
    masks: Mapping[Date, NDArray[np.bool_]],
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
