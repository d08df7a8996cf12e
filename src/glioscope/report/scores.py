"""The page of one evaluation, and the charts of its scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glioscope.cases import Case, load_case, scan_cases
from glioscope.errors import CaseError, GlioscopeError
from glioscope.evaluation import EvaluationSummary, MetricSummary, RegionScores, read_evaluation, read_rows
from glioscope.evaluation.summary import PairRecord
from glioscope.labels import REGIONS, convert_labels, scheme_named
from glioscope.report import images as im
from glioscope.report.figures import box_figure, chart, has_values, scatter_figure
from glioscope.report.page import Still, comparison_stills, write_page
from glioscope.report.style import metric_name
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_labels

WORST_CASES = 6
SHOWN_METRICS = ("dice", "hd95", "sensitivity", "specificity", "precision", "iou", "accuracy")
"""Metrics of the summary table, in this order; others follow as the protocol has them."""


def write_evaluation_report(folder: Path) -> Path:
    """Write `report.html` of an evaluation from its `cases.csv` and `summary.json`, and return its path.

    The worst cases are drawn where the files that `summary.json` names are still there.

    Raises
    ------
    CaseError
        The folder holds no readable table.
    RunError
        Its summary.json is damaged or of a later format, or the page cannot be written.
    """
    rows = read_rows(folder)
    record = folder / "summary.json"
    summary = read_evaluation(record) if record.is_file() else None
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    charts = [_charts(rows, protocol) for protocol in protocols]
    results, main = summary.results if summary else {}, main_protocol(rows)
    page = folder / "report.html"
    write_page(
        page,
        "evaluation.html",
        {
            "title": f"{folder.resolve().name}: evaluation",
            "name": folder.resolve().name,
            "cases": len({row.case_id for row in rows}),
            "charts": charts,
            "protocols": summary.protocols if summary else {},
            "results": _result_tables(results),
            "dice": _dice_name([row for row in rows if row.protocol == main]),
            "headline": {region: found for region, found in results.get(main, {}).items() if region in REGIONS},
            "missing": summary.missing if summary else (),
            "refused": summary.refused if summary else {},
            "resampled": summary.resampled if summary else (),
            "counted": summary.counted if summary else "",
            "worst": _worst(rows, main, summary),
            "main": main,
            "names": REGIONS,
        },
    )
    return page


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCharts:
    """Charts of one `cases.csv` under one protocol; None where there is nothing to draw."""

    protocol: str = ""
    cases: int = 0
    boxes: str | None = None
    distances: str | None = None
    scatter: str | None = None


def score_charts(path: Path) -> ScoreCharts:
    """Return the charts of one `cases.csv` under its main protocol; without charts if it is no such table."""
    try:
        rows = read_rows(path)
    except CaseError:
        return ScoreCharts()
    return _charts(rows, main_protocol(rows)) if rows else ScoreCharts()


def main_protocol(rows: Sequence[RegionScores]) -> str:
    """Return the protocol that charts are drawn for: plain definitions where they were computed, else the first."""
    names = list(dict.fromkeys(row.protocol for row in rows))
    return "whole" if "whole" in names or not names else names[0]


def _dice_name(rows: Sequence[RegionScores]) -> str:
    """Return the protocol's Dice: `dice`, else the first metric that is one under another name."""
    names = list(dict.fromkeys(m for row in rows for m in row.scores))
    return next((m for m in ("dice", *names) if m in names and ("dice" in m or "dsc" in m)), "dice")


def _regions(rows: Sequence[RegionScores], protocol: str) -> list[str]:
    return list(dict.fromkeys(row.region for row in rows if row.protocol == protocol))


def _values(rows: Sequence[RegionScores], protocol: str, metric: str | None = None) -> dict[tuple[str, str], float]:
    """Return (case, region) to score."""
    own = [row for row in rows if row.protocol == protocol]
    name = metric or _dice_name(own)
    return {(row.case_id, row.region): row.scores.get(name, math.nan) for row in own}


def _charts(rows: Sequence[RegionScores], protocol: str) -> ScoreCharts:
    own = [row for row in rows if row.protocol == protocol]
    dice = _dice_name(own)
    regions = [r for r in _regions(rows, protocol) if any(dice in row.scores for row in own if row.region == r)]
    scores = {r: {"": [row.scores.get(dice, math.nan) for row in own if row.region == r]} for r in regions}
    far = {r: {"": [row.scores.get("hd95", math.nan) for row in own if row.region == r]} for r in regions}
    points = {r: ([row.reference_ml for row in own if row.region == r], group[""]) for r, group in scores.items()}
    drawn = has_values(scores)
    return ScoreCharts(
        protocol=protocol,
        cases=len({row.case_id for row in own}),
        boxes=chart(box_figure(scores, label=metric_name(dice))) if drawn else None,
        distances=chart(box_figure(far, label="HD95, mm", top=None)) if has_values(far) else None,
        scatter=chart(scatter_figure(points, x="reference volume, ml", y=metric_name(dice))) if drawn else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ResultTable:
    """The summary of one protocol as a table."""

    metrics: Sequence[str]
    """Columns."""
    regions: Mapping[str, Mapping[str, MetricSummary]]
    """Rows."""


def _result_tables(results: Mapping[str, Mapping[str, Mapping[str, MetricSummary]]]) -> dict[str, _ResultTable]:
    """Return for each protocol its metrics in order, and per region the summary of each."""
    tables = {}
    for protocol, regions in results.items():
        found = list(dict.fromkeys(m for metrics in regions.values() for m in metrics))
        metrics = [m for m in SHOWN_METRICS if m in found] + [m for m in found if m not in SHOWN_METRICS]
        tables[protocol] = _ResultTable(metrics=metrics, regions=regions)
    return tables


@dataclass(frozen=True, slots=True, kw_only=True)
class _WorstCase:
    """A case of low scores."""

    case_id: str
    mean: float
    scores: Mapping[str, float]
    """Region to Dice."""
    stills: Sequence[Still]


def _worst(rows: Sequence[RegionScores], protocol: str, summary: EvaluationSummary | None) -> list[_WorstCase]:
    """Return the cases of lowest mean Dice, with pictures where their files are still there."""
    by_case: dict[str, dict[str, float]] = {}
    for (case, region), value in _values(rows, protocol).items():
        by_case.setdefault(case, {})[region] = value
    means = {case: _mean(list(scores.values())) for case, scores in by_case.items()}
    order = sorted((case for case in means if math.isfinite(means[case])), key=means.__getitem__)[:WORST_CASES]
    files = summary.cases if summary else {}
    return [
        _WorstCase(
            case_id=case,
            mean=means[case],
            scores=by_case[case],
            stills=_case_stills(case, files[case]) if case in files else [],
        )
        for case in order
    ]


def _case_stills(case_id: str, files: PairRecord) -> list[Still]:
    """Return image, prediction, reference and difference of a case; nothing where a file is gone or unreadable."""
    if files.prediction is None:
        return []
    try:
        own, other = scheme_named(files.schemes.reference), scheme_named(files.schemes.prediction)
        reference, prediction = read_labels(Path(files.reference)), read_labels(Path(files.prediction))
        if not prediction.grid.matches(reference.grid):
            return []
        labels = convert_labels(prediction.data, other, own)
        folder = Path(files.reference).parent
        found = [case for case in scan_cases(folder)[0] if case.case_id == case_id]
        loaded = load_case(_one_sequence(found[0])) if found else None
    except GlioscopeError:
        return []
    if loaded is None or not loaded.grid.matches(Grid(reference.data.shape, reference.grid.affine)):
        return []
    scene = im.make_scene(loaded, labels, own, reference=reference.data)
    at = im.largest_slices(scene)
    return comparison_stills(scene, at, case_id)


def _one_sequence(case: Case) -> Case:
    """Return the case with only the sequence that is drawn: reading is what takes the time."""
    name = next((n for n in ("t1c", "t2f") if n in case.sequences), next(iter(case.sequences)))
    return replace(case, sequences={name: case.sequences[name]}, reference=None)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return sum(known) / len(known) if known else math.nan
