"""The flag: one remark on an input or a result."""

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One remark on an input or a result."""

    code: str
    """Short and stable, for programs: `missing-t1c`, `empty`, …"""
    severity: Severity
    """`error`: do not use without looking; `warning`: look; `info`: good to know."""
    message: str
    """One sentence for a person."""

    def as_dict(self) -> dict[str, str]:
        """Return the flag as JSON-ready fields."""
        return asdict(self)
