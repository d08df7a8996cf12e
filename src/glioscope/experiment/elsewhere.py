"""Measurements of a network that were made elsewhere: on cases that whoever trains here has never seen.

    a JSON file ──read_elsewhere──▶ Elsewhere ──scripts/make_starter.py──▶ the network's card

Who keeps cases apart measures with the project's own functions (`experiment.card`, `evaluation`) and hands over
numbers, not images. A card holds them to the same form as its own: that is what is checked here.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from glioscope.cases import SEQUENCES
from glioscope.errors import RunError
from glioscope.experiment.card import subsets
from glioscope.labels import REGIONS

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, le=10)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A score over cases."""

    mean: Finite
    median: Finite
    interval_95: tuple[Finite, Finite]
    """Bootstrap over patients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTable:
    """Scores of a region: the first two by the rules of BraTS 2021, the last by those of 2023."""

    dice: Statistic
    hd95_mm: Statistic
    lesion_dice: Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores of some cases; of no case, no region has any."""

    cases: Annotated[int, Field(ge=0)]
    WT: RegionTable | None = None
    TC: RegionTable | None = None
    ET: RegionTable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetRow:
    """Mean Dice with some of the sequences."""

    sequences: tuple[str, ...]
    cases: Annotated[int, Field(gt=0)]
    WT: Share
    TC: Share
    ET: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTable:
    """`experiment.card.Calibration`, rounded."""

    temperature: tuple[Temperature, Temperature, Temperature]
    error_before: tuple[Share, Share, Share]
    error_after: tuple[Share, Share, Share]
    curve: Annotated[list[list[tuple[Share, Share, int]]], Field(min_length=3, max_length=3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedDice:
    """How far the network's guess of its own Dice is off."""

    mean_absolute_error: Share
    spearman: Annotated[float, Field(ge=-1, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Scores of scans of another kind, of which less is known: one region, no interval."""

    kind: str
    """Which scans, in words; one of them or many."""
    cases: Annotated[int, Field(gt=0)]
    region: str
    dice: Share
    """Mean."""
    words: str
    """What to expect of such a scan."""
    median: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What was measured, all of it on the same cases but `others`."""

    held_out: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the cases."""
    scores: dict[str, ScoreTable]
    """`all`, and by data set."""
    by_size: dict[str, ScoreTable]
    """By volume of the whole tumour."""
    subsets: tuple[SubsetRow, ...]
    calibration: CalibrationTable
    expected_dice: dict[str, ExpectedDice]
    others: tuple[Scan, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    """What to expect of scans of a data set or of tumours of a size, by its name: a sentence each."""


def read_elsewhere(path: Path) -> Elsewhere:
    """Read measurements made elsewhere and hold them to the form of a card.

    Raises
    ------
    RunError
        The file cannot be read, a number is absent or out of its range, or the parts do not fit each other.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: is not a file of measurements in JSON ({error})") from error
    try:
        scores = dict(content["scores"])
        found = TypeAdapter(Elsewhere).validate_python(
            {**content, "scores": scores, "by_size": scores.pop("by_size")}, strict=False
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path}: {where}: {first['msg']}; ask for the measurements again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: lacks scores with a table by_size; is it a file of measurements?") from error
    wrong = _misfit(found)
    if wrong:
        raise RunError(f"{path}: {wrong}; ask for the measurements again")
    return found


def _misfit(found: Elsewhere) -> str | None:
    """What does not fit, in words."""
    cases = len(found.held_out)
    tables = {**found.scores, **found.by_size}
    groups = [table.cases for name, table in found.scores.items() if name != "all"]
    sizes = [table.cases for table in found.by_size.values()]
    checks = {
        "held_out names a case twice": len(set(found.held_out)) == cases,
        f"held_out names {cases} cases, and scores.all is not of as many": "all" in tables
        and tables["all"].cases == cases,
        f"its data sets have {sum(groups)} cases together, and held_out names {cases}": sum(groups) in (0, cases),
        f"its sizes have {sum(sizes)} cases together, and held_out names {cases}": sum(sizes) in (0, cases),
        "a table of scores lacks a region": not any(
            table.cases and None in (table.WT, table.TC, table.ET) for table in tables.values()
        ),
        "subsets is not of the 15 subsets of t1n, t1c, t2w, t2f, each once": sorted(r.sequences for r in found.subsets)
        == sorted(subsets(SEQUENCES)),
        f"words speak of {sorted(set(found.words) - set(tables))}, which has no scores": set(found.words)
        <= set(tables),
        f"expected_dice is not of {', '.join(REGIONS)}": set(found.expected_dice) == set(REGIONS),
    }
    return next((words for words, holds in checks.items() if not holds), None)
