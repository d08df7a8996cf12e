"""The page that sets networks or methods side by side."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glioscope.evaluation import Comparison, RegionScores
from glioscope.report.figures import box_figure, chart, difference_figure, has_values
from glioscope.report.page import write_page

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Region to method to one value per case, in the comparison's order of cases."""


def write_comparison_report(
    path: Path,
    methods: Mapping[str, Sequence[RegionScores]],
    *,
    comparison: Comparison,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the page of a comparison. Every number on it is the comparison's own, or a mean of the rows behind it.

    Parameters
    ----------
    path : Path
        Of the page.
    methods : mapping
        Name to rows, as `evaluation.read_rows` gives them and `comparison` was made from.
    comparison : Comparison
        As `evaluation.compare_methods` returns it: it says under which protocol, and which cases count.
    costs : mapping, optional
        Name to ``seconds_per_case``, ``peak_memory_mb``, ``parameters``, or other numbers, each a column.

    Raises
    ------
    RunError
        The page cannot be written.
    """
    dice, distances = (_values(methods, comparison, metric) for metric in ("dice", "hd95"))
    gains = [d for d in comparison.differences if d.metric == "dice" and math.isfinite(d.difference)]
    write_page(
        path,
        "comparison.html",
        {
            "title": "Comparison: " + ", ".join(comparison.methods),
            "comparison": comparison,
            "ranking": sorted(comparison.methods, key=lambda name: comparison.mean_rank[name]),
            "boxes": chart(box_figure(dice, label="Dice")) if has_values(dice) else None,
            "distances": chart(box_figure(distances, label="HD95, mm", top=None)) if has_values(distances) else None,
            "gains": chart(difference_figure(gains)) if gains else None,
            "means": {region: {name: _mean(own) for name, own in group.items()} for region, group in dice.items()},
            "cases": _case_rows(comparison, dice),
            "rank_pairs": [
                (one, other, comparison.rank_p[one, other])
                for one, other in itertools.combinations(comparison.methods, 2)
            ],
            "costs": dict(costs or {}),
            "cost_names": list(dict.fromkeys(key for record in (costs or {}).values() for key in record)),
        },
    )


def _values(methods: Mapping[str, Sequence[RegionScores]], comparison: Comparison, metric: str) -> Values:
    """Return the values of one metric, of the regions and cases that were compared; nan where there is none."""
    regions = list(dict.fromkeys(d.region for d in comparison.differences if d.metric == metric))
    tables = {
        name: {
            (row.case_id, row.region): row.scores.get(metric, math.nan)
            for row in methods[name]
            if row.protocol == comparison.protocol
        }
        for name in comparison.methods
    }
    return {
        region: {name: [own.get((case, region), math.nan) for case in comparison.cases] for name, own in tables.items()}
        for region in regions
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseRow:
    """One case under every method."""

    case_id: str
    means: Mapping[str, float]
    """Method to mean Dice over the regions."""
    gain: float
    """Of the last method over the first."""


def _case_rows(comparison: Comparison, dice: Values) -> list[_CaseRow]:
    """Return each case with its mean Dice by method, those first where first and last method differ most."""
    rows = []
    for n, case in enumerate(comparison.cases):
        means = {name: _mean([group[name][n] for group in dice.values()]) for name in comparison.methods}
        gain = means[comparison.methods[-1]] - means[comparison.methods[0]]
        rows.append(_CaseRow(case_id=case, means=means, gain=gain))
    return sorted(rows, key=lambda row: -abs(row.gain) if math.isfinite(row.gain) else math.inf)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return sum(known) / len(known) if known else math.nan
