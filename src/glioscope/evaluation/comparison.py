"""Methods side by side: differences with their uncertainty, and the challenge's ranking.

Every comparison is paired: only cases that both methods scored count, and cases of one subject are resampled together.
The ranking follows BraTS: methods are ranked per case, region and metric, and the ranks averaged; a permutation test
says whether the difference of two mean ranks could be chance. Ranks are relative: they change with the company.

Sources: Wilcoxon 1945, doi 10.2307/3001968; Holm 1979 (step-down correction); Bakas et al. 2018, arXiv 1811.02629 and
Wiesenfarth et al. 2021, doi 10.1038/s41598-021-82017-6 (ranking).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from glioscope.cases import subject_of
from glioscope.errors import CaseError, ConfigError
from glioscope.evaluation.scoring import RegionScores
from glioscope.evaluation.tables import RESAMPLES, SEED, bootstrap_interval, subject_weights
from glioscope.files import csv_text, write_text

LOWER_IS_BETTER = ("hd95", "fp", "fn")
"""Metrics whose name is or ends in one of these are better when smaller."""

PERMUTATIONS = 10_000
DEFAULT_METRICS = ("dice", "hd95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two methods on one metric of one region."""

    region: str
    metric: str
    first: str
    second: str
    n: int
    """Cases that both scored with a finite value."""
    left_out: int
    """Shared cases where either value is undefined or infinite."""
    mean_first: float
    mean_second: float
    difference: float
    """Mean of second minus first, over the same cases."""
    interval_95: tuple[float, float]
    """Paired bootstrap over subjects; nan for fewer than two cases."""
    p: float
    """Wilcoxon signed-rank, two-sided; nan where no case differs."""
    p_holm: float
    """Corrected for all comparisons of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Methods side by side under one protocol."""

    protocol: str
    methods: tuple[str, ...]
    cases: tuple[str, ...]
    """Cases that every method has."""
    left_out: tuple[str, ...]
    """Cases that some method lacks."""
    differences: tuple[Difference, ...]
    mean_rank: Mapping[str, float]
    """Method to its mean rank, 1 the best."""
    rank_p: Mapping[tuple[str, str], float]
    """Pair of methods to the permutation test's p for the difference of their mean ranks, two-sided."""


def compare_methods(
    methods: Mapping[str, Sequence[RegionScores]],
    *,
    protocol: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    regions: Sequence[str] | None = None,
    seed: int = SEED,
) -> Comparison:
    """Compare methods on the cases that all of them have.

    Parameters
    ----------
    methods : mapping
        Name to rows, as `evaluate` returns or `read_rows` reads them; the order is that of the tables.
    protocol : str
        Whose rows count.
    metrics, regions : sequence of str
        What is compared and ranked; without `regions` all that occur.

    Raises
    ------
    CaseError
        No case is shared under the protocol.
    ConfigError
        There are fewer than two methods, or a metric or region does not occur.
    """
    if len(methods) < 2:
        raise ConfigError("one method cannot be compared; give two or more evaluations")
    tables = {
        name: {(r.case_id, r.region): r for r in rows if r.protocol == protocol} for name, rows in methods.items()
    }
    shared, left_out = _shared_cases(tables, protocol)
    found = list(dict.fromkeys(region for table in tables.values() for _, region in table))
    chosen = list(regions) if regions is not None else found
    values = _values(tables, shared, chosen, metrics, protocol)
    weights = subject_weights(shared, resamples=RESAMPLES, seed=seed)
    differences = [
        _difference(
            {"region": region, "metric": metric, "first": one, "second": other},
            values[one, region, metric],
            values[other, region, metric],
            weights,
        )
        for region, metric in itertools.product(chosen, metrics)
        for one, other in itertools.combinations(tables, 2)
        if _defined(values[one, region, metric], values[other, region, metric])
    ]
    ranks = _ranks(values, list(tables), chosen, metrics)
    return Comparison(
        protocol=protocol,
        methods=tuple(tables),
        cases=tuple(shared),
        left_out=tuple(left_out),
        differences=_holm(differences),
        mean_rank=dict(zip(tables, np.nanmean(ranks, axis=1).tolist(), strict=True)),
        rank_p=_permutation_tests(ranks, list(tables), shared, seed),
    )


def _shared_cases(
    tables: Mapping[str, Mapping[tuple[str, str], RegionScores]], protocol: str
) -> tuple[list[str], list[str]]:
    cases = [{case for case, _ in table} for table in tables.values()]
    shared = sorted(set.intersection(*cases))
    if not shared:
        counts = ", ".join(f"{name} has {len(c)}" for name, c in zip(tables, cases, strict=True))
        raise CaseError(
            f"no case is shared under protocol '{protocol}': {counts}; evaluate all methods on the same cases"
        )
    return shared, sorted(set.union(*cases) - set(shared))


def _values(
    tables: Mapping[str, Mapping[tuple[str, str], RegionScores]],
    cases: Sequence[str],
    regions: Sequence[str],
    metrics: Sequence[str],
    protocol: str,
) -> dict[tuple[str, str, str], NDArray[np.float64]]:
    """Return (method, region, metric) to (case,) values, nan where a row or a value is lacking."""
    known = {m for table in tables.values() for row in table.values() for m in row.scores}
    if absent := [m for m in metrics if m not in known]:
        raise ConfigError(f"protocol '{protocol}' has no metric {', '.join(absent)}; it has {', '.join(sorted(known))}")
    if absent := [r for r in regions if not any(r == region for table in tables.values() for _, region in table)]:
        raise ConfigError(f"protocol '{protocol}' has no region {', '.join(absent)} in these tables")
    values = {}
    for name, region, metric in itertools.product(tables, regions, metrics):
        rows = [tables[name].get((case, region)) for case in cases]
        values[name, region, metric] = np.array([r.scores.get(metric, math.nan) if r else math.nan for r in rows])
    return values


def _defined(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return not (np.isnan(first).all() and np.isnan(second).all())


def _difference(
    label: Mapping[str, str], first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> Difference:
    """Return the difference of two methods' (case,) values; `label` names region, metric and methods."""
    counted = np.isfinite(first) & np.isfinite(second)
    gain = np.where(counted, second, math.nan) - np.where(counted, first, math.nan)
    n = int(counted.sum())
    changed = n > 0 and bool(np.any(gain[counted] != 0))
    return Difference(
        **label,
        n=n,
        left_out=len(first) - n,
        mean_first=float(first[counted].mean()) if n else math.nan,
        mean_second=float(second[counted].mean()) if n else math.nan,
        difference=float(gain[counted].mean()) if n else math.nan,
        interval_95=bootstrap_interval(gain, weights),
        p=float(wilcoxon(gain[counted]).pvalue) if changed else math.nan,
        p_holm=math.nan,
    )


def _holm(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Return the differences with p corrected by Holm's step-down method."""
    order = sorted((n for n, d in enumerate(differences) if not math.isnan(d.p)), key=lambda n: differences[n].p)
    corrected, highest = {}, 0.0
    for place, n in enumerate(order):
        highest = max(highest, min(1.0, differences[n].p * (len(order) - place)))
        corrected[n] = highest
    return tuple(replace(d, p_holm=corrected.get(n, math.nan)) for n, d in enumerate(differences))


def better_sign(metric: str) -> int:
    """Return 1 if a larger value of a metric is better, -1 if a smaller one is."""
    return -1 if metric.rsplit("_", 1)[-1] in LOWER_IS_BETTER else 1


def _ranks(
    values: Mapping[tuple[str, str, str], NDArray[np.float64]],
    methods: Sequence[str],
    regions: Sequence[str],
    metrics: Sequence[str],
) -> NDArray[np.float64]:
    """Return (method, case) mean ranks over regions and metrics; ties share the mean, no value ranks last.

    A region and metric that no method has a value for in a case gives no rank.
    """
    each = []
    for region, metric in itertools.product(regions, metrics):
        table = np.stack([values[m, region, metric] for m in methods])
        worst_last = np.where(np.isnan(table), np.inf, -better_sign(metric) * table)
        ranks = rankdata(worst_last, axis=0)
        each.append(np.where(np.isnan(table).all(axis=0), math.nan, ranks))
    stacked = np.stack(each)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(known, stacked, 0).sum(axis=0) / known.sum(axis=0)


def _permutation_tests(
    ranks: NDArray[np.float64], methods: Sequence[str], cases: Sequence[str], seed: int
) -> dict[tuple[str, str], float]:
    """Return for each pair of methods how often swapping them by subject at random gives as large a difference."""
    _, member = np.unique([subject_of(c) for c in cases], return_inverse=True)
    rng = np.random.default_rng(seed)
    signs = rng.choice((-1.0, 1.0), size=(PERMUTATIONS, int(member.max()) + 1))
    result = {}
    for a, b in itertools.combinations(range(len(methods)), 2):
        gap = np.nan_to_num(ranks[a] - ranks[b])
        by_subject = np.bincount(member, weights=gap)
        chance = np.abs(signs @ by_subject)
        extreme = int((chance >= abs(by_subject.sum()) - 1e-12).sum())
        result[methods[a], methods[b]] = (extreme + 1) / (PERMUTATIONS + 1)
    return result


def write_comparison(comparison: Comparison, output: Path) -> None:
    """Write ``comparison.md``, ``comparison.tex`` and ``comparison.csv``."""
    write_text(output / "comparison.md", as_markdown(comparison))
    write_text(output / "comparison.tex", as_latex(comparison))
    write_text(output / "comparison.csv", as_csv(comparison))


# --- tables for a paper --------------------------------------------------------------------------------------------

_HEAD = ("Region", "Metric", "A", "B", "n", "Mean A", "Mean B", "B - A", "95 % interval", "p", "p (Holm)")


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _cells(comparison: Comparison) -> list[tuple[str, ...]]:
    return [
        (
            d.region,
            d.metric,
            d.first,
            d.second,
            str(d.n),
            _number(d.mean_first),
            _number(d.mean_second),
            _number(d.difference),
            f"{_number(d.interval_95[0])} to {_number(d.interval_95[1])}",
            _p(d.p),
            _p(d.p_holm),
        )
        for d in comparison.differences
    ]


def _caption(comparison: Comparison) -> str:
    left = f"; {len(comparison.left_out)} cases that not all have are left out" if comparison.left_out else ""
    return (
        f"Protocol {comparison.protocol}, {len(comparison.cases)} cases{left}. Interval: paired bootstrap over "
        "subjects; p: Wilcoxon signed-rank, and corrected by Holm. Mean rank per case, region and metric (1 is best); "
        "p of ranks: permutation by subject."
    )


def as_markdown(comparison: Comparison) -> str:
    """Return both tables as Markdown, caption first."""
    lines = [_caption(comparison), "", "| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(cells) + " |" for cells in _cells(comparison)]
    lines += ["", "| Method | Mean rank | " + " | ".join(f"p against {m}" for m in comparison.methods) + " |"]
    lines += ["|" + "---|" * (2 + len(comparison.methods))]
    for name in sorted(comparison.methods, key=comparison.mean_rank.__getitem__):
        against = [_p(_rank_p(comparison, name, other)) for other in comparison.methods]
        lines.append(f"| {name} | {comparison.mean_rank[name]:.3f} | " + " | ".join(against) + " |")
    return "\n".join(lines) + "\n"


def _rank_p(comparison: Comparison, one: str, other: str) -> float:
    return comparison.rank_p.get((one, other), comparison.rank_p.get((other, one), math.nan))


def as_latex(comparison: Comparison) -> str:
    """Return the table of differences as a LaTeX `tabular` for the `booktabs` package, ranks beneath it."""
    head = " & ".join(_latex(h) for h in _HEAD)
    rows = [" & ".join(_latex(c) for c in cells) + r" \\" for cells in _cells(comparison)]
    ranks = ", ".join(
        f"{_latex(name)} {comparison.mean_rank[name]:.3f}"
        for name in sorted(comparison.methods, key=comparison.mean_rank.__getitem__)
    )
    return "\n".join(
        (
            f"% {_caption(comparison)}",
            r"\begin{tabular}{llllrrrrlrr}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *rows,
            r"\midrule",
            rf"\multicolumn{{{len(_HEAD)}}}{{l}}{{Mean rank: {ranks}}} \\",
            r"\bottomrule",
            r"\end{tabular}",
            "",
        )
    )


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "<": "$<$", "–": "--"}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def as_csv(comparison: Comparison) -> str:
    """Return the differences as CSV, numbers in full."""
    lines = []
    names = ("region", "metric", "first", "second", "n", "left_out", "mean_first", "mean_second", "difference")
    for d in comparison.differences:
        ranks = (comparison.mean_rank[d.first], comparison.mean_rank[d.second], comparison.rank_p[d.first, d.second])
        lines.append((comparison.protocol, *(getattr(d, n) for n in names), *d.interval_95, d.p, d.p_holm, *ranks))
    more = ("low_95", "high_95", "p", "p_holm", "mean_rank_first", "mean_rank_second", "p_rank")
    return csv_text(("protocol", *names, *more), lines)
