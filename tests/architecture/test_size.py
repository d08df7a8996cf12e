"""The tail is held short: a reader should be able to see a function, and to finish a module."""

import ast

from architecture.source import functions, modules

MODULE_LINES = 460
"""400 is the aim; well beyond it a module becomes a folder of modules."""
FUNCTION_LINES = 50
"""Without docstring, blank lines and comments: the statements alone."""

MODULES = modules()


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return len({line for statement in body for node in ast.walk(statement) for line in _span(node)})


def _span(node: ast.AST) -> range:
    """Lines that a leaf of the tree stands on; inner nodes and long strings count by their first line."""
    line = getattr(node, "lineno", None)
    return range(line, line + 1) if line else range(0)


def test_modules_are_short() -> None:
    lines = {module.name: len(module.path.read_text("utf-8").splitlines()) for module in MODULES}
    assert not {name: n for name, n in lines.items() if n > MODULE_LINES}


def test_functions_are_short() -> None:
    lines = {f"{module.name}: {f.name}": lines_of_code(f) for module in MODULES for f in functions(module.tree)}
    assert not {name: n for name, n in lines.items() if n > FUNCTION_LINES}


def test_libraries_do_not_print_or_exit() -> None:
    calls = [
        f"{module.name}:{node.lineno} {ast.unparse(node.func)}"
        for module in MODULES
        if module.room not in ("cli", "__main__")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "exit", "sys.exit", "quit", "os._exit")
    ]
    assert not calls
