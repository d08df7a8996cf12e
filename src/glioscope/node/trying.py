"""What the rules would do with a folder of DICOM: read, told, and nothing received, kept or sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from glioscope.dicom.archive import starts_like_dicom, walk
from glioscope.dicom.reading import read_dicom
from glioscope.errors import GlioscopeError
from glioscope.node.rules import About, Rule, rule_for

_HEAD = 132
_TAGS = ["StudyInstanceUID", "StudyDescription", "StationName"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would become of one folder of a study."""

    folder: Path
    rule: str
    """That decides; empty where none fits."""
    sequences: tuple[str, ...]
    verdict: str
    """`taken`, or why not."""
    returns: tuple[str, ...]
    """Archive and kinds, where it is taken."""


def try_rules(folder: Path, rules: Sequence[Rule], archives: Iterable[str], calling: str) -> tuple[Trial, ...]:
    """Return what the rules would do with each study below a folder.

    Parameters
    ----------
    folder : Path
        Each of its folders with DICOM is taken as a study.
    rules : sequence of Rule
        As `read_rules` returns them.
    archives : iterable of str
        AE titles that results could go to.
    calling : str
        AE title that the study would come from.
    """
    names = tuple(archives)
    return tuple(_try(path, header, rules, names, calling) for path, header in _studies(folder).values())


def _studies(folder: Path) -> dict[str, tuple[Path, Any]]:
    found: dict[str, tuple[Path, Any]] = {}
    for path in walk(folder):
        with path.open("rb") as file:
            if not starts_like_dicom(file.read(_HEAD)):
                continue
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        uid = str(header.get("StudyInstanceUID") or path.parent)
        earlier = found.get(uid, (path.parent, header))[0]
        found[uid] = (_common(earlier, path.parent), header)
    return found


def _common(a: Path, b: Path) -> Path:
    """Return the innermost folder that holds both."""
    return next(parent for parent in (a, *a.parents) if b == parent or parent in b.parents)


def _try(path: Path, header: Any, rules: Sequence[Rule], archives: Sequence[str], calling: str) -> Trial:
    about = About(
        calling=calling,
        station=str(header.get("StationName") or ""),
        description=str(header.get("StudyDescription") or ""),
    )
    rule = rule_for(rules, about)
    sequences: tuple[str, ...] = ()
    if rule is None or not rule.take:
        verdict = "fits no rule" if rule is None else f"rule '{rule.name}' leaves it alone"
    else:
        try:
            sequences = tuple(read_dicom(path).scans)
            verdict = rule.lacks(sequences) or "taken"
        except GlioscopeError as error:
            verdict = str(error)
    returns = tuple(f"{ae}: {', '.join(kinds)}" for ae in archives if rule and (kinds := rule.kinds_for(ae)))
    return Trial(
        folder=path,
        rule=rule.name if rule else "",
        sequences=sequences,
        verdict=verdict,
        returns=returns if verdict == "taken" else (),
    )
