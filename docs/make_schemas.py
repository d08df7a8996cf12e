"""Writes `reference/results.md`: every file of a result, field by field, from the records that read and write it.

    python docs/make_schemas.py

The page and the JSON schemas beside it (`reference/*.schema.json`) are kept in the repository; a test holds them to the
records.
"""

import ast
import inspect
import itertools
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from glioscope.evaluation.summary import EvaluationSummary
from glioscope.results.change import Change
from glioscope.results.preparation import Preparation
from glioscope.results.stored import FORMAT, json_schema
from glioscope.results.summary import CaseSummary

FOLDER = Path(__file__).parent / "reference"
FILES = {
    "summary": (CaseSummary, "`<case>/summary.json`, written by `segment` and by a correction on the server"),
    "change": (Change, "`change.json`, written by `change`"),
    "evaluation": (EvaluationSummary, "`summary.json` beside `cases.csv`, written by `evaluate`"),
    "prepare": (Preparation, "`prepare.json` beside prepared scans, written by `prepare` and `segment`"),
}
INTRODUCTION = f"""# Files of a result

Made by `docs/make_schemas.py` from the records in `glioscope.results`; a test holds this page to them. The same as JSON
schema: {{links}}.

Files carry `format`, now {FORMAT}. Those of 0.1.0 carry none and are read. A file of a later format is refused, and so
is one in which a field is missing, unknown or of the wrong kind: one line names the file and the field. Of several
cases only that one fails. Fields marked *may be absent* are not written while they are empty.

```python
from pathlib import Path

from glioscope.results import read_summary

for path in sorted(Path("out").glob("*/summary.json")):
    summary = read_summary(path)
    print(summary.case_id, summary.measurements.volumes_ml["WT"])
```

On the server `GET /api/cases/KEY/summary.json` answers with the first of these, its files named without folders.
"""


def page() -> str:
    """Return the page."""
    links = ", ".join(f"[{name}]({name}.schema.json)" for name in FILES)
    parts, told = [INTRODUCTION.format(links=links)], set()
    for kind, where in FILES.values():
        parts.append(f"## {kind.__name__}\n\n{where}. {_first_line(kind)}\n\n{_table(kind)}\n")
        told.add(kind)
        for inner in _below(kind):
            if inner not in told:
                told.add(inner)
                parts.append(f"### {inner.__name__}\n\n{_first_line(inner)}\n\n{_table(inner)}\n")
    return "\n".join(parts)


def _below(kind: type) -> list[type]:
    """Return the records that one consists of, in order of first use."""
    found: dict[type, None] = {}
    for hint in typing.get_type_hints(kind).values():
        for inner in _records(hint):
            found |= {inner: None} | dict.fromkeys(_below(inner))
    return list(found)


def _records(hint: object) -> list[type]:
    if isinstance(hint, type) and hint.__module__.startswith("glioscope") and not typing.get_origin(hint):
        return [hint]
    return [inner for part in typing.get_args(hint) for inner in _records(part)]


def _first_line(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _table(kind: type) -> str:
    told, hints = _told(kind), typing.get_type_hints(kind)
    rows = ["| field | kind | what it is |", "|---|---|---|"]
    for field in fields(kind):
        absent = " *May be absent.*" if field.metadata else ""
        rows.append(f"| `{field.name}` | {_words(hints[field.name])} | {told[field.name]}{absent} |")
    return "\n".join(rows)


def _told(kind: type) -> dict[str, str]:
    """Return the docstring of each field, from the source."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    return {
        node.target.id: " ".join(str(after.value.value).split()).replace("|", "\\|")
        for node, after in itertools.pairwise(tree.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def _words(hint: object) -> str:
    """Return a type as a reader of JSON would call it."""
    plain = {
        float: "number",
        int: "whole number",
        str: "text",
        bool: "true or false",
        object: "anything",
        type(None): "null",
    }
    if isinstance(hint, type) and hint in plain:
        return plain[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part) for part in inner)
    if origin is Mapping:
        return f"table of {_words(inner[1])}"
    if origin is tuple:
        return f"list of {_words(inner[0])}" if inner[-1] is ... else f"{len(inner)} × {_words(inner[0])}"
    name = getattr(hint, "__name__", str(hint))
    return f"[{name}](#{re.sub(r'[^a-z0-9]+', '-', name.lower())})"


def files() -> dict[str, str]:
    """Return name to text of the page and of the schemas."""
    schemas = {
        f"{name}.schema.json": json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"
        for name, (kind, _) in FILES.items()
    }
    return {"results.md": page(), **schemas}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
