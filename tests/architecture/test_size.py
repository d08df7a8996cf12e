"""The tail is held short: a reader should be able to see a function, and to finish a module."""

import ast

import pytest

from architecture.source import Module, functions, modules

MODULE_LINES = 600
"""400 is the aim; beyond 600 a module becomes a folder of modules."""
FUNCTION_LINES = 50
"""Without docstring, blank lines and comments: the statements alone."""
PARAMETERS = 7
"""Six and a configuration."""

MODULES = modules()


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return len({line for statement in body for node in ast.walk(statement) for line in _span(node)})


def _span(node: ast.AST) -> range:
    """Lines that a leaf of the tree stands on; inner nodes and long strings count by their first line."""
    line = getattr(node, "lineno", None)
    return range(line, line + 1) if line else range(0)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_module_is_short(module: Module) -> None:
    lines = len(module.path.read_text("utf-8").splitlines())
    assert lines <= MODULE_LINES


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_functions_are_short(module: Module) -> None:
    long = {f.name: n for f in functions(module.tree) if (n := lines_of_code(f)) > FUNCTION_LINES}
    assert not long


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_functions_take_few_parameters(module: Module) -> None:
    """Commands of the command line have one parameter for each option, so they are left out."""
    if module.room == "cli":
        return
    many = {}
    for function in functions(module.tree):
        arguments = function.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > PARAMETERS:
            many[function.name] = count
    assert not many


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_libraries_do_not_print_or_exit(module: Module) -> None:
    if module.room in ("cli", "__main__"):
        return
    calls = [
        f"line {node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "exit", "sys.exit", "quit", "os._exit")
    ]
    assert not calls
