"""The flag: one remark on an input or a result."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from glioscope.results.stored import Stored

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The gravest first."""


@dataclass(frozen=True, slots=True)
class Flag(Stored):
    """One remark on an input or a result."""

    code: str
    """Short and stable, for programs: `missing-t1c`, `empty`, …"""
    severity: Severity
    """`error`: do not use without looking; `warning`: look; `info`: good to know."""
    message: str
    """One sentence for a person."""


def gravest_first(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """Return flags by severity, errors first; those of one severity stay in their order."""
    return tuple(sorted(flags, key=lambda flag: SEVERITIES.index(flag.severity)))
