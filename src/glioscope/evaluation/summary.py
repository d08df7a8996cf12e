"""What `evaluate` writes beside its table: `summary.json`, all that is needed to judge the scores and repeat them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from glioscope.evaluation.tables import MetricSummary, plain
from glioscope.files import write_json
from glioscope.results.stored import FORMAT, Stored, as_json, read_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolRecord(Stored):
    """A protocol that was scored under."""

    title: str
    """In words."""
    source: tuple[str, ...]
    """Where its rules stand."""
    notes: str
    """What to know of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemesRecord(Stored):
    """Label schemes, joined by + where cases differ."""

    references: str
    """Of the references."""
    predictions: str
    """Of the predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSchemes(Stored):
    """Label schemes of one case."""

    reference: str
    """Of its reference."""
    prediction: str
    """Of its prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord(Stored):
    """The files of one case."""

    reference: str
    """Path."""
    prediction: str | None
    """Path; None where none was found."""
    schemes: PairSchemes
    """What the values were read as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapRecord(Stored):
    """How intervals were computed."""

    resamples: int
    """A count."""
    seed: int
    """Of the random numbers."""
    unit: str
    """What is drawn."""
    interval: str
    """In words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSummary(Stored):
    """All that is told of an evaluation beside its rows. Numbers may be nan or infinite, in the file as those words."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    format: int = FORMAT
    """Version of this table; 0.1.0 wrote none."""
    protocols: Mapping[str, ProtocolRecord]
    """By name."""
    schemes: SchemesRecord
    """Of all cases together."""
    cases: Mapping[str, PairRecord]
    """Case id to its files."""
    missing: tuple[str, ...]
    """Cases without a prediction."""
    refused: Mapping[str, str]
    """Cases whose prediction cannot be scored, and why."""
    resampled: tuple[str, ...]
    """Cases whose prediction was moved onto the reference's grid."""
    predictions_without_reference: tuple[str, ...]
    """They were not scored."""
    counted: str
    """What is in the means, in words."""
    bootstrap: BootstrapRecord
    """How intervals were computed."""
    seconds: float
    """Wall clock of the whole evaluation."""
    results: Mapping[str, Mapping[str, Mapping[str, MetricSummary]]]
    """Protocol to region to metric to its summary; distances in millimetres, all other scores without a unit."""


def write_summary(path: Path, summary: EvaluationSummary) -> None:
    """Write a summary.json of `evaluate`, complete or not at all. Errors as `results.stored.write_stored`."""
    write_json(path, plain(as_json(summary)))


def read_evaluation(path: Path) -> EvaluationSummary:
    """Read a summary.json of `evaluate`. Errors as `results.stored.read_stored`."""
    return read_stored(path, EvaluationSummary)
