"""What the architecture tests read: every module of the package, parsed."""

import ast
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "glioscope"

ROOMS = (
    *("errors", "files", "machine", "labels", "space", "cases", "settings", "runs", "results", "phantom", "dicom"),
    *("prepare", "model", "inference", "training", "evaluation", "measure", "quality", "report"),
    *("segmentation", "experiment", "node", "web", "cli"),
)
"""A room imports only rooms to its left."""

TORCH_MODULES = ("model/network", "training/*", "experiment/train", "experiment/dealing", "experiment/demo")
"""Only these need torch; all else works without it."""


def needs_torch(module: str) -> bool:
    """Whether a module, named as in ``report/figures.py``, is among `TORCH_MODULES`."""
    return any(fnmatch(module.removesuffix(".py"), pattern) for pattern in TORCH_MODULES)


@dataclass(frozen=True, slots=True)
class Module:
    """One source file."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """Path below the package, as in `report/figures.py`."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def dotted(self) -> str:
        """Name that imports it."""
        return ".".join(("glioscope", *Path(self.name.removesuffix(".py").removesuffix("__init__")).parts))

    @property
    def room(self) -> str:
        """First part of the name: a module, or a folder of modules."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Module]:
    """Every module of the package, sorted by path."""
    return [Module(path, ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def rooms() -> list[str]:
    """The rooms that exist, in order of dependence."""
    found = {module.room for module in modules()} - {"__init__", "__main__"}
    return [room for room in ROOMS if room in found]


def imports(tree: ast.AST) -> list[tuple[str, tuple[str, ...], int]]:
    """Every import below `tree`: the module, the names taken from it (none for a plain import), the line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.module, tuple(alias.name for alias in node.names), node.lineno))
        elif isinstance(node, ast.Import):
            found.extend((alias.name, (), node.lineno) for alias in node.names)
    return found


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method below `tree`, nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
