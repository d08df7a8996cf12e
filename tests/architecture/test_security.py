"""What no module may do: load a pickle, run text as code, hand text to a shell, mark text as safe HTML."""

import ast

import pytest

from architecture.source import PACKAGE, Module, imports, modules

PICKLES = ("pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle")
"""Modules that run code while they load data."""
SAFE_MARKUP = ("report/page.py",)
"""The only module that may say of text that it is safe HTML; it says so of this package's own files."""


def calls(module: Module) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = node.func
            text = name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")
            found.append((text, node))
    return found


def keyword(call: ast.Call, name: str) -> object:
    for one in call.keywords:
        if one.arg == name:
            return one.value.value if isinstance(one.value, ast.Constant) else "computed"
    return None


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_nothing_that_is_read_can_run(module: Module) -> None:
    wrong = [f"{name}:{line}" for name, _, line in imports(module.tree) if name.split(".")[0] in PICKLES]
    for name, call in calls(module):
        where = f"{name}:{call.lineno}"
        owner = ast.unparse(call.func)
        if owner == "torch.load" and keyword(call, "weights_only") is not True:
            wrong.append(where)
        if keyword(call, "allow_pickle") not in (None, False):
            wrong.append(where)
        if owner in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"):
            wrong.append(where)
        if keyword(call, "shell") not in (None, False):
            wrong.append(where)
        if name in ("extractall", "unpack_archive"):
            wrong.append(where)
        if name == "Markup" and module.name not in SAFE_MARKUP:
            wrong.append(where)
    assert not wrong


def test_the_rules_see_what_they_forbid() -> None:
    text = "import pickle\ntorch.load(f)\nnp.load(f, allow_pickle=True)\neval(x)\nrun(x, shell=True)\nz.extractall()"
    tree = ast.parse(text)
    assert [name for name, _, _ in imports(tree)] == ["pickle"]
    assert [name for name, _ in calls(Module(modules()[0].path, tree))] == ["load", "load", "eval", "run", "extractall"]


def test_no_template_switches_escaping_off() -> None:
    for module in modules():
        for name, call in calls(module):
            if name == "Environment":
                assert keyword(call, "autoescape") is True, module.name
    templates = list(PACKAGE.rglob("templates/*.html"))
    assert templates
    for path in templates:
        text = path.read_text("utf-8")
        assert "| safe" not in text, path
        assert "|safe" not in text, path
        assert "autoescape false" not in text, path
