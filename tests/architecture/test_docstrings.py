"""What a docstring says of its parameters is true: the names exist, and stand in the order of the signature."""

import ast
import inspect
import re
from collections.abc import Iterator

from architecture.source import Module, functions, modules

MODULES = modules()


def documented_parameters(docstring: str) -> list[str]:
    """Names in the numpy-style `Parameters` section; `a, b : int` documents two."""
    match = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, re.DOTALL | re.MULTILINE)
    if match is None:
        return []
    entries = re.findall(r"^(\*{0,2}\w+(?:, *\*{0,2}\w+)*)(?: *:.*)?$", match[1], re.MULTILINE)
    return [name.strip(" *") for entry in entries for name in entry.split(",")]


def signatures(module: Module) -> Iterator[tuple[str, str, list[str]]]:
    """Name, docstring and parameter names of every public function, method and class with an `__init__`."""
    for function in functions(module.tree):
        docstring = ast.get_docstring(function)
        if docstring and not function.name.startswith("_"):
            yield function.name, docstring, _names(function)
    for node in ast.walk(module.tree):
        docstring = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
        if docstring:
            fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
            constructors = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            yield node.name, docstring, _names(constructors[0]) if constructors else fields


def _names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    variadic = [a for a in (arguments.vararg, arguments.kwarg) if a]
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic)]


def test_documented_parameters_are_those_of_the_signature() -> None:
    wrong = {}
    for module in MODULES:
        for name, docstring, parameters in signatures(module):
            documented = documented_parameters(docstring)
            if documented != [parameter for parameter in parameters if parameter in documented]:
                wrong[f"{module.name}: {name}"] = f"documents {documented}, takes {parameters}"
    assert not wrong


def test_modules_open_with_a_docstring() -> None:
    assert not [module.name for module in MODULES if not ast.get_docstring(module.tree)]


def test_the_parser_reads_a_numpy_docstring() -> None:
    docstring = inspect.cleandoc(
        """A line.

        Parameters
        ----------
        first : (i, j, k) bool
            Mask.
        second, third : float
            Numbers.

        Returns
        -------
        float
            A number.
        """
    )
    assert documented_parameters(docstring) == ["first", "second", "third"]
