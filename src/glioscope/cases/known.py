"""Which regions a data set's references know, where they do not know all: told by `dataset.toml`.

    known_regions = ["WT"]

holds for every case in the folder of the file and below, unless a folder further down has a file of its own.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from glioscope.errors import CaseError, ConfigError

STATEMENT = "dataset.toml"
"""Name of the file, which is looked for from the folder of a case up to the folder that was asked for."""


def read_statement(path: Path) -> tuple[str, ...]:
    """Return the regions that a statement names.

    Raises
    ------
    CaseError
        The file is no TOML, has another key or names no region, or one twice.
    """
    try:
        content: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CaseError(f'{path}: is not valid TOML ({error}); write known_regions = ["WT"]') from error
    if set(content) != {"known_regions"}:
        found = ", ".join(content) or "nothing"
        raise CaseError(f'{path}: has {found}; it must have known_regions alone, as in known_regions = ["WT"]')
    names = content["known_regions"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise CaseError(f'{path}: has known_regions = {names!r}; write a list of names, as in ["WT"]')
    if len(set(names)) < len(names):
        raise CaseError(f"{path}: names a region of known_regions twice; name each once")
    return tuple(names)


def stated(folder: Path, top: Path, seen: dict[Path, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the regions known in a folder of a case, or None where nothing is stated.

    Parameters
    ----------
    folder : Path
        Where the case lies, `top` or below.
    top : Path
        Where the search ends.
    seen : dict
        What was found before, by folder; added to.
    """
    if folder not in seen:
        file = folder / STATEMENT
        if file.is_file():
            seen[folder] = read_statement(file)
        else:
            seen[folder] = None if folder in (top, folder.parent) else stated(folder.parent, top, seen)
    return seen[folder]


def require_known(names: tuple[str, ...], regions: tuple[str, ...]) -> None:
    """Raise `ConfigError` if a region that references are said to know is none of those that are learnt."""
    unknown = [name for name in names if name not in regions]
    if unknown:
        raise ConfigError(f"{STATEMENT}: names region {', '.join(unknown)}; those learnt are {', '.join(regions)}")


def require_one_kind(known: Mapping[str, tuple[str, ...] | None], regions: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless cases of which only some regions are known all know the same, beside complete ones.

    Parameters
    ----------
    known : mapping
        Case id to the regions its reference knows, or None for all.
    regions : tuple of str
        Those that are to be learnt.
    """
    kinds: dict[frozenset[str], str] = {}
    for case_id, names in known.items():
        if names is not None:
            require_known(names, regions)
            kinds.setdefault(frozenset(names), case_id)
    if len(kinds) > 1:
        (first, a), (second, b) = list(kinds.items())[:2]
        raise ConfigError(
            f"case {a} knows {_listed(first, regions)} alone and case {b} {_listed(second, regions)} alone; train on "
            "one kind of partly known references at a time, beside cases that know every region"
        )
    if known and all(names is not None for names in known.values()):
        only = _listed(next(iter(kinds)), regions)
        raise ConfigError(f"all {len(known)} cases know {only} alone; add cases that know {', '.join(regions)}")


def _listed(names: frozenset[str], regions: tuple[str, ...]) -> str:
    return ", ".join(region for region in regions if region in names)
