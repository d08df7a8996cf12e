"""The Python interface: what it offers, where that lives, and that asking for it late is not asking for it twice."""

import ast
import re
import subprocess
import sys

import pytest

import glioscope
from architecture.source import Module, modules

MODULES = modules()


def test_public_names_are_sorted() -> None:
    assert glioscope.__all__ == sorted(glioscope.__all__)
    assert {*glioscope.__all__} <= {*dir(glioscope)}


@pytest.mark.parametrize("name", [name for name in glioscope.__all__ if name not in ("TrainOptions", "train")])
def test_public_name_is_that_of_what_it_means(name: str) -> None:
    assert getattr(glioscope, name).__name__ == name


@pytest.mark.slow
def test_train_is_found_where_torch_is() -> None:
    """Elsewhere the missing package is named; a process of its own, as this loads torch."""
    pytest.importorskip("torch")
    script = "import glioscope; assert glioscope.train.__name__ == 'train' and callable(glioscope.train)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_path_may_be_text() -> None:
    """In every function of the interface and every option of it, in the source: `train` needs torch to be imported."""
    public = {name for name in glioscope.__all__ if name[0].islower()}
    options = {name for name in glioscope.__all__ if name.endswith("Options")}
    strict = []
    for module in MODULES:
        for node in module.tree.body:
            taken: list[ast.expr | None] = []
            if isinstance(node, ast.FunctionDef) and node.name in public and module.room not in ("cli", "web"):
                taken = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)]
            elif isinstance(node, ast.ClassDef) and node.name in options:
                taken = [field.annotation for field in node.body if isinstance(field, ast.AnnAssign)]
            words = [set(re.findall(r"\w+", ast.unparse(annotation))) for annotation in taken if annotation]
            strict += [f"{module.name}: {node.name}" for word in words if "Path" in word and "str" not in word]
    assert not strict


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="attribute segmnt"):
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
