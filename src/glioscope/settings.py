"""Settings: TOML tables of differences; each default stands once, in the dataclass of the room that uses it."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from glioscope.errors import ConfigError

TABLES = ("regions", "preprocessing", "network", "augment", "loss", "training", "inference")
"""Tables of a configuration file, one per room that has settings."""

Config = dict[str, dict[str, object]]

T = TypeVar("T")


def builtin_configs() -> tuple[str, ...]:
    """Return the names of the configurations that come with the package."""
    folder = resources.files("glioscope") / "configs"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def read_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration by name or from a TOML file and apply ``table.key=value`` overrides.

    Returns
    -------
    dict of dict
        One dict per table of `TABLES`, holding differences from the defaults.

    Raises
    ------
    ConfigError
        The file is absent or not TOML, or a table or override is not known.
    """
    place = resources.files("glioscope") / "configs" / f"{name_or_path}.toml"
    source = place if name_or_path in builtin_configs() else Path(name_or_path)
    if not source.is_file():
        raise ConfigError(f"configuration '{name_or_path}' is neither a file nor one of {', '.join(builtin_configs())}")
    try:
        raw = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not text, not TOML, or nested without end
        raise ConfigError(f"configuration '{name_or_path}' is not valid TOML: {error}") from error
    config: Config = {table: {} for table in TABLES}
    for table, values in raw.items():
        if table not in TABLES or not isinstance(values, dict):
            raise ConfigError(f"configuration '{name_or_path}' has '{table}'; its tables are {', '.join(TABLES)}")
        config[table].update(values)
    for override in overrides:
        _override(config, override)
    return config


def _override(config: Config, override: str) -> None:
    key, equals, value = override.partition("=")
    table, dot, name = key.strip().partition(".")
    if not equals or not dot or table not in TABLES:
        raise ConfigError(f"--set {override}: write table.key=value, with one of the tables {', '.join(TABLES)}")
    try:
        config[table][name] = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        config[table][name] = value.strip()  # a bare word is a string


def settings(cls: type[T], config: Mapping[str, Mapping[str, object]], table: str) -> T:
    """Return one room's settings record from a configuration.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest name is offered) or a value is of the wrong type.
    """
    values = dict(config.get(table, {}))
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
            raise ConfigError(f"setting {table}.{key} is not known; {hint}")
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([table, *(str(part) for part in first["loc"])])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise cause from error
        raise ConfigError(f"setting {where} is {first['input']!r}: {first['msg']}") from error
