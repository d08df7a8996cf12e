"""How a record stands in a file: JSON, units in the names, every field checked as it is read.

A record is a frozen dataclass that inherits from `Stored`. What may be missing from a file is a field with the default
`optional()`: it is not written while it is empty, and files from before it existed are read as if it were. Such a field
may be added at any time. Whatever else changes (a field renamed, dropped, or of another meaning) raises `FORMAT`, and
`read_stored` turns older files into the new form.
"""

import json
from collections.abc import Hashable, Mapping
from dataclasses import field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from glioscope.errors import RunError
from glioscope.files import write_json

FORMAT = 1
"""Of the files written here. Files of 0.1.0 name no format and have the fields of format 1."""

_LEFT_OUT = "left out while empty"
_LONGEST_SHOWN = 60
"""Characters of a wrong value that a message shows."""


class Stored:
    """Base of what is written to a file: unknown fields are refused, and numbers that are not finite."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}


T = TypeVar("T", bound=Stored)


def optional(empty: type | None = None) -> Any:
    """Return the default of a field that is not written while it is empty: None, or ``empty()`` as for `tuple`."""
    if empty is None:
        return field(default=None, metadata={_LEFT_OUT: None})
    return field(default_factory=empty, metadata={_LEFT_OUT: empty()})


def as_json(value: Any) -> Any:
    """Return a record, and all that it holds, as what `json` writes: mappings, lists, numbers, texts and None."""
    if is_dataclass(value):
        pairs = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: as_json(v) for f, v in pairs if _LEFT_OUT not in f.metadata or v != f.metadata[_LEFT_OUT]}
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    return [as_json(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_stored(path: Path, record: Stored) -> None:
    """Write a record, complete or not at all.

    Raises
    ------
    RunError
        The folder cannot be written or the disk is full.
    """
    write_json(path, as_json(record))


def read_stored(path: Path, kind: type[T]) -> T:
    """Read a record that `write_stored` wrote, or 0.1.0.

    Raises
    ------
    RunError
        The file is absent, damaged, of a later format, or a field in it is missing, unknown or of the wrong type: one
        line that names the file and the field.
    """
    return from_json(read_content(path), kind, path)


def read_content(path: Path) -> dict[str, object]:
    """Return what a file holds, its fields not yet checked.

    Raises
    ------
    RunError
        The file is absent or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: is damaged, it is no JSON ({error}); make the result again") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: is damaged, it holds no record but a {type(content).__name__}; make the result again")
    return content


def from_json(content: Mapping[str, object], kind: type[T], path: Path) -> T:
    """Return the record that the content of a file describes; `path` is for messages. Errors as `read_stored`."""
    check_format(content, path)
    try:
        found: T = _adapter(cast("Hashable", kind)).validate_python({**content, "format": FORMAT})
    except ValidationError as error:
        raise RunError(f"{path}: {_first_fault(error)}; undo the edit or make the result again") from error
    return found


def check_format(content: Mapping[str, object], path: Path) -> None:
    """Raise `RunError` unless the content of a file is of a format that is read here."""
    found = content.get("format", FORMAT)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise RunError(f"{path}: format is {found!r}; it must be a whole number from 1, make the result again")
    if found > FORMAT:
        raise RunError(
            f"{path}: format is {found}, of a later Glioscope; this version reads up to {FORMAT}, install a newer one"
        )


def _first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, as field, value and what is wrong."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the record"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "unexpected_keyword_argument":
        return f"{where} is not a field that is known here"
    value = repr(fault["input"])
    shown = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
    return f"{where} is {shown}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks a kind of record. Built when a file is first read: to write one it is not needed."""
    return TypeAdapter(kind)


def json_schema(kind: type) -> dict[str, object]:
    """Return the JSON schema of a kind of record."""
    return dict(_adapter(kind).json_schema())
