"""Tables of scores: rows to CSV, and over cases to means with their uncertainty."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import subject_of
from glioscope.errors import CaseError
from glioscope.evaluation.scoring import RegionScores
from glioscope.files import csv_text
from glioscope.results.stored import Stored

COLUMNS = ("case_id", "protocol", "region", "status", "empty", "reference_ml", "prediction_ml")
RESAMPLES = 2000
"""Bootstrap resamples of the subjects."""
SEED = 20230501
"""Seed of the bootstrap: the same table gives the same interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary(Stored):
    """One metric of one region over the cases of a data set, in the metric's own unit."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}  # nan and inf are values here

    n: int
    """Cases with a finite value: those that mean, sd and interval are over."""
    mean: float
    """Over the finite values; nan where there are none."""
    median: float
    """Over all defined cases, an infinite distance counted as the largest."""
    sd: float
    """Sample standard deviation; nan for fewer than two cases."""
    interval_95: tuple[float, float]
    """Bootstrap interval of the mean, resampling subjects; nan for fewer than two."""
    undefined: int
    """Cases without a value (nan), left out."""
    infinite: int
    """Cases at infinite distance, left out of the mean."""
    by_rule: Mapping[str, int]
    """Cases whose value the protocol sets: both masks empty, one empty, prediction missing or refused."""


def metric_names(rows: Iterable[RegionScores]) -> list[str]:
    """Return the metrics that occur, in order of first occurrence."""
    return list(dict.fromkeys(m for row in rows for m in row.scores))


def _cell(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def rows_as_csv(rows: Sequence[RegionScores]) -> str:
    """Return rows as CSV: a line per case, protocol and region, a column per metric.

    An empty cell means that the protocol has no such metric; ``nan`` that it is undefined, ``inf`` a distance to
    nothing.
    """
    metrics = metric_names(rows)
    lines = []
    for row in rows:
        head = [row.case_id, row.protocol, row.region, row.status, row.empty]
        volumes = ["" if math.isnan(v) else f"{v:.6g}" for v in (row.reference_ml, row.prediction_ml)]
        scores = [_cell(row.scores[m]) if m in row.scores else "" for m in metrics]
        lines.append([*head, *volumes, *scores, row.reason])
    return csv_text([*COLUMNS, *metrics, "reason"], lines)


def read_rows(path: Path) -> list[RegionScores]:
    """Read the rows that `rows_as_csv` wrote.

    Parameters
    ----------
    path : Path
        ``cases.csv``, or the folder that holds it.

    Raises
    ------
    CaseError
        The file is absent or is not such a table.
    """
    file = path / "cases.csv" if path.is_dir() else path
    if not file.is_file():
        raise CaseError(f"{file}: no such file; 'glioscope evaluate' writes it")
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        names = reader.fieldnames or []
        if missing := [c for c in (*COLUMNS, "reason") if c not in names]:
            raise CaseError(f"{file}: lacks column {', '.join(missing)}; it is not a cases.csv of 'glioscope evaluate'")
        metrics = [n for n in names if n not in COLUMNS and n != "reason"]
        try:
            return [_row(line, metrics) for line in reader]
        except (TypeError, ValueError) as error:
            raise CaseError(f"{file}: line {reader.line_num} is damaged ({error}); evaluate again") from error


def _row(line: Mapping[str, str], metrics: Sequence[str]) -> RegionScores:
    return RegionScores(
        case_id=line["case_id"],
        protocol=line["protocol"],
        region=line["region"],
        status=line["status"],  # type: ignore[arg-type]
        reason=line["reason"],
        empty=line["empty"],  # type: ignore[arg-type]
        reference_ml=float(line["reference_ml"] or "nan"),
        prediction_ml=float(line["prediction_ml"] or "nan"),
        scores={m: float(line[m]) for m in metrics if line[m] != ""},
    )


def subject_weights(case_ids: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """Return how often each case is drawn in each bootstrap resample of the subjects.

    Returns
    -------
    (resample, case) float64
        Cases of one subject are drawn together.
    """
    subjects, member = np.unique([subject_of(c) for c in case_ids], return_inverse=True)
    n = len(subjects)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn[:, member].astype(np.float64)


def bootstrap_interval(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of (case,) values, nan left out; nan if fewer than two count.

    Parameters
    ----------
    weights : (resample, case)
        From `subject_weights`.
    """
    counted = np.isfinite(values)
    if counted.sum() < 2:
        return math.nan, math.nan
    total = weights[:, counted].sum(axis=1)
    sums = weights[:, counted] @ values[counted]
    low, high = np.percentile(sums[total > 0] / total[total > 0], (2.5, 97.5))
    return float(low), float(high)


def summarise(rows: Sequence[RegionScores]) -> dict[str, dict[str, dict[str, MetricSummary]]]:
    """Return protocol to region to metric to its summary over cases."""
    cases = list(dict.fromkeys(row.case_id for row in rows))
    position = {c: n for n, c in enumerate(cases)}
    weights = subject_weights(cases)
    grouped: dict[tuple[str, str], list[RegionScores]] = {}
    for row in rows:
        grouped.setdefault((row.protocol, row.region), []).append(row)
    summary: dict[str, dict[str, dict[str, MetricSummary]]] = {}
    for (protocol, region), group in grouped.items():
        places = [position[row.case_id] for row in group]
        metrics = {m: _summary(group, m, weights[:, places]) for m in metric_names(group)}
        summary.setdefault(protocol, {})[region] = metrics
    return summary


def _summary(rows: Sequence[RegionScores], metric: str, weights: NDArray[np.float64]) -> MetricSummary:
    values = np.array([row.scores.get(metric, math.nan) for row in rows], np.float64)
    finite = values[np.isfinite(values)]
    defined = values[~np.isnan(values)]
    by_rule = {
        "both empty": sum(row.empty == "both" and row.status == "scored" for row in rows),
        "reference empty": sum(row.empty == "reference" for row in rows),
        "prediction empty": sum(row.empty == "prediction" for row in rows),
        "prediction missing": sum(row.status == "missing" for row in rows),
        "prediction refused": sum(row.status == "refused" for row in rows),
    }
    return MetricSummary(
        n=len(finite),
        mean=float(finite.mean()) if finite.size else math.nan,
        median=float(np.median(defined)) if defined.size else math.nan,
        sd=float(finite.std(ddof=1)) if finite.size > 1 else math.nan,
        interval_95=bootstrap_interval(values, weights),
        undefined=int(np.isnan(values).sum()),
        infinite=int(np.isinf(values).sum()),
        by_rule={k: n for k, n in by_rule.items() if n},
    )


def plain(value: Any) -> Any:
    """Return a JSON-ready copy: numbers that are not finite become the strings nan, inf and -inf."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
