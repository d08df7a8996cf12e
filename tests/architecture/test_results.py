"""What is known of a result is read by field from a record, nowhere by string from a dictionary."""

import ast
import itertools
import re
import runpy
import sys
from dataclasses import fields

import pytest

from architecture.source import PACKAGE, ROOT, Module, modules
from glioscope.results.stored import Stored

MODULES = modules()
HOLDERS = r"(summary|summaries|measurements|measured|diameters|lesions?|flags?|response|regions|enhancing|alignment)"
"""Names that a part of a result has in the code."""


def kinds(base: type = Stored) -> set[type]:
    """Every kind of record that is written to a file; of the two classes that `slots=True` makes the one in use."""
    found = set(base.__subclasses__())
    found |= {inner for kind in found for inner in kinds(kind)}
    return {kind for kind in found if getattr(sys.modules[kind.__module__], kind.__name__, None) is kind}


def names_of_fields() -> set[str]:
    for module in MODULES:  # every record is known once its module is loaded
        if "Stored)" in module.path.read_text("utf-8"):
            __import__(module.dotted)
    return {field.name for kind in kinds() for field in fields(kind)}  # type: ignore[arg-type]


FIELDS = names_of_fields() - {"earlier", "later"}
"""The two dates also index mappings of whole records."""


def subscripts(tree: ast.AST) -> list[tuple[int, str, str]]:
    """Line, what is asked, and the string, of each `x["…"]` and `x.get("…")`."""
    found = []
    for node in ast.walk(tree):
        asked, key = None, None
        if isinstance(node, ast.Subscript):
            asked, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            asked, key = node.func.value, node.args[0]
        if asked is not None and isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.append((node.lineno, ast.unparse(asked), key.value))
    return found


def by_string(module: Module) -> list[str]:
    return [
        f"{module.name}:{line} {asked}[{key!r}]"
        for line, asked, key in subscripts(module.tree)
        if key in FIELDS and re.search(rf"\b{HOLDERS}(?:'\])?$", asked)
    ]


def test_no_field_of_a_result_is_asked_for_by_string() -> None:
    assert len(FIELDS) > 100
    assert [line for module in MODULES if module.room != "results" for line in by_string(module)] == []


def test_the_rule_sees_what_it_forbids() -> None:
    text = 'a = summary["measurements"]\nb = summary.get("flags")\nc = flag["code"]\nd = volumes_ml["WT"]\n'
    found = by_string(Module(PACKAGE / "x.py", ast.parse(text)))
    assert [line.split()[0] for line in found] == ["x.py:1", "x.py:2", "x.py:3"]


def test_no_template_asks_by_string() -> None:
    asked = re.compile(r"""(\w+)(?:\.get\(|\[)["'](\w+)["']""")
    found = [
        f"{path.name}: {match[0]}"
        for path in PACKAGE.rglob("*.html")
        for match in asked.finditer(path.read_text("utf-8"))
        if match[2] in FIELDS and re.fullmatch(HOLDERS, match[1])
    ]
    assert found == []


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_field_of_a_record_is_told(kind: type) -> None:
    """With its unit where it has one: lengths, areas, volumes, angles and times say so in words."""
    (module,) = [module for module in MODULES if module.dotted == kind.__module__]
    (body,) = [node.body for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    told = {
        node.target.id: after.value.value
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    own = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    assert [name for name in own if name not in told] == []
    units = {"_mm": "millimetre", "_mm2": "square millimetre", "_ml": "millilitre", "_degrees": "degree"}
    for name in own:
        for ending, unit in units.items():
            if name.endswith(ending):
                assert unit in str(told[name]).lower(), f"{name}: {told[name]}"


def test_the_schemas_in_the_documentation_are_those_of_the_records() -> None:
    """`python docs/make_schemas.py` writes them."""
    made = runpy.run_path(str(ROOT / "docs" / "make_schemas.py"))["files"]()
    assert len(made) == 5
    for name, text in made.items():
        assert (ROOT / "docs" / "reference" / name).read_text("utf-8") == text, name
