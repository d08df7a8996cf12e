"""Which studies are taken, which sequences suffice, and what is returned where: a TOML file, checked at the start.

    [[rule]]
    name = "glioma"
    description = ["*brain*", "*glio*"]
    station = ["MR*"]
    calling = ["PACS", "MR1"]
    sequences = [["t1c", "t2f"], ["t2f"]]
    return = { ORTHANC = ["seg", "sr"], VIEWER = ["capture"] }

The first rule that fits decides. A pattern may hold `*` and `?`; capitals count for nothing. A study that fits no rule
is listed and not done. Without a file every study is taken, and everything goes to every archive.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError
from glioscope.segmentation.records import ClinicalFile

KINDS: tuple[ClinicalFile, ...] = get_args(ClinicalFile)
"""Kinds of results that can be returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a rule looks at."""

    calling: str
    station: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; an empty list of patterns fits everything."""

    name: str
    take: bool = True
    """False leaves the studies that fit alone."""
    calling: tuple[str, ...] = ()
    """AE titles of senders."""
    station: tuple[str, ...] = ()
    """StationName."""
    description: tuple[str, ...] = ()
    """StudyDescription."""
    sequences: tuple[tuple[str, ...], ...] = ()
    """Sets of sequences of which one must be there; empty takes any sequence."""
    returns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """AE title of an archive to the kinds of results it gets; empty gives everything to every archive."""
    hold_errors: bool = True
    """Whether a result with a flag of severity `error` is not returned, but listed as failed."""

    def fits(self, study: About) -> bool:
        """Return whether the rule speaks of a study."""
        wanted = ((self.calling, study.calling), (self.station, study.station), (self.description, study.description))
        return all(not patterns or any(_like(text, p) for p in patterns) for patterns, text in wanted)

    def lacks(self, sequences: Collection[str]) -> str:
        """Return what a study lacks by this rule, one line; nothing if it has what suffices."""
        if not self.sequences or any(set(enough) <= set(sequences) for enough in self.sequences):
            return ""
        wanted = " or ".join("+".join(enough) for enough in self.sequences)
        return f"has {'+'.join(sequences) or 'no sequence'}, but rule '{self.name}' needs {wanted}"

    def kinds_for(self, ae: str) -> tuple[str, ...]:
        """Return what an archive gets."""
        return self.returns.get(ae, ()) if self.returns else KINDS


EVERYTHING = Rule(name="everything")
"""What holds without a file."""


def _like(text: str, pattern: str) -> bool:
    return fnmatch(text.casefold(), pattern.casefold())


def rule_for(rules: Sequence[Rule], study: About) -> Rule | None:
    """Return the first rule that fits a study, or None."""
    return next((rule for rule in rules if rule.fits(study)), None)


def read_rules(path: Path, archives: Collection[str]) -> tuple[Rule, ...]:
    """Read rules from a file.

    Parameters
    ----------
    path : Path
        TOML, as above.
    archives : collection of str
        AE titles that results can go to.

    Raises
    ------
    ConfigError
        The file is no TOML, has no rule, or a rule has an unknown key, value, sequence, kind or archive.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"rules {path}: cannot be read as TOML ({error})") from error
    tables = raw.pop("rule", None)
    if raw or not isinstance(tables, list) or not tables:
        extra = f" and has '{next(iter(raw))}'" if raw else ""
        raise ConfigError(f"rules {path}: needs tables [[rule]] alone{extra}")
    rules = tuple(_rule(f"rules {path}, rule {n}", table) for n, table in enumerate(tables, 1))
    for rule in rules:
        _check(f"rules {path}, rule '{rule.name}'", rule, archives)
    return rules


def _rule(where: str, table: Any) -> Rule:
    known = ["return" if f.name == "returns" else f.name for f in fields(Rule)]
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: is no table; write [[rule]]")
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise ConfigError(f"{where}: has '{key}'; known are {', '.join(near or known)}")
    values = {"returns" if key == "return" else key: value for key, value in table.items()}
    try:
        return TypeAdapter(Rule).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join("return" if part == "returns" else str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {place}: {first['msg']}") from error


def _check(where: str, rule: Rule, archives: Collection[str]) -> None:
    named = {code for enough in rule.sequences for code in enough}
    if unknown := sorted(named - set(SEQUENCES)):
        raise ConfigError(f"{where}: sequences names '{unknown[0]}'; known are {', '.join(SEQUENCES)}")
    for ae, kinds in rule.returns.items():
        if ae not in archives:
            known = ", ".join(sorted(archives)) or "none"
            raise ConfigError(f"{where}: return names archive '{ae}', but --send-to has {known}")
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ConfigError(f"{where}: return names '{unknown[0]}'; known are {', '.join(KINDS)}")
