"""Pages as text: templates of this room, in the look of the reports. Every value is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment

from glioscope.report.page import environment

_SCRIPTS = (
    *("theme.js", "server.js", "home.js", "case.js", "editor.js", "space.js", "bitmap.js", "tools.js", "views.js"),
    *("pointer.js", "clicks.js", "keys.js", "panel.js", "doubt.js"),
)
_FILES = {
    "page.css": ("glioscope.report", "assets", "text/css; charset=utf-8"),
    "niivue.umd.js.gz": ("glioscope.report", "assets", "text/javascript; charset=utf-8"),
    "web.css": ("glioscope.web", "static", "text/css; charset=utf-8"),
    **dict.fromkeys(_SCRIPTS, ("glioscope.web", "static", "text/javascript; charset=utf-8")),
}
"""All that is served besides pages and cases; nothing else in these folders can be asked for."""


@cache
def static_file(name: str) -> tuple[bytes, str] | None:
    """Return the bytes of a static file and its type, or None."""
    if name not in _FILES:
        return None
    package, folder, kind = _FILES[name]
    return (resources.files(package) / folder / name).read_bytes(), kind


@cache
def _templates() -> Environment:
    return environment("glioscope.web")


def render(template: str, values: Mapping[str, object]) -> str:
    """Fill a template of `web/templates`."""
    return _templates().get_template(template).render(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one address answers to one method."""

    method: str
    path: str
    description: str
    parameters: Sequence[Mapping[str, Any]]
    """As OpenAPI has them, without those in the path."""
    body: Sequence[tuple[str, str]]
    """Fields of what is sent, and what they mean."""
    answers: Sequence[tuple[str, str]]
    """Code, and what it means."""


def operations(schema: Mapping[str, Any]) -> list[Operation]:
    """Return the operations of an OpenAPI schema, for the page that shows them without any network."""
    found = []
    for path, methods in schema.get("paths", {}).items():
        for method, operation in methods.items():
            answers = operation.get("responses", {}).items()
            found.append(
                Operation(
                    method=method.upper(),
                    path=path,
                    description=operation.get("description", ""),
                    parameters=[p for p in operation.get("parameters", []) if p.get("in") != "path"],
                    body=_fields(operation.get("requestBody", {}), schema),
                    answers=[(code, answer.get("description", "")) for code, answer in answers],
                )
            )
    return found


def _fields(body: Mapping[str, Any], schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a request's body, and what they mean."""
    found: list[tuple[str, str]] = []
    for content in body.get("content", {}).values():
        described = content.get("schema", {})
        name = described.get("$ref", "").rpartition("/")[2]
        described = schema.get("components", {}).get("schemas", {}).get(name, described)
        found += [(field, about.get("description", "")) for field, about in described.get("properties", {}).items()]
    return found
