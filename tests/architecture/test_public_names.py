"""The Python interface: what it offers, where that lives, and that asking for it late is not asking for it twice."""

import ast
import subprocess
import sys

import pytest

import glioscope
from architecture.source import Module, modules

MODULES = modules()


def test_public_names_are_sorted_and_each_has_a_home() -> None:
    assert glioscope.__all__ == sorted(glioscope.__all__)
    assert sorted(glioscope._HOMES) == glioscope.__all__


@pytest.mark.parametrize("name", [name for name in glioscope.__all__ if name != "train"])
def test_public_name_is_found(name: str) -> None:
    room, attribute = glioscope._HOMES[name]
    assert getattr(glioscope, name).__module__.split(".")[1] == room
    assert getattr(glioscope, name).__name__ == attribute


@pytest.mark.slow
def test_train_is_found_where_torch_is() -> None:
    """Elsewhere the missing package is named; a process of its own, as this loads torch."""
    pytest.importorskip("torch")
    script = "import glioscope; assert callable(glioscope.train)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'glioscope' has no attribute 'segmnt'"):
        _ = glioscope.segmnt


def test_import_is_quick_because_it_loads_nothing() -> None:
    script = "import glioscope, sys; sys.exit(bool({'numpy', 'nibabel', 'scipy', 'openvino'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_names_listed_as_public_exist() -> None:
    absent = {module.name: sorted(listed(module) - defined(module)) for module in MODULES}
    assert not {name: names for name, names in absent.items() if names}


def listed(module: Module) -> set[str]:
    return {
        element.value
        for node in module.tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for element in getattr(node.value, "elts", [])
    }


def defined(module: Module) -> set[str]:
    names = {name.id for name in ast.walk(module.tree) if isinstance(name, ast.Name)}
    names |= {node.name for node in module.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {
        alias.asname or alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
