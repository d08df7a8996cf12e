"""Rooms import one way; torch stays where it belongs; nothing hides an import inside a function."""

import ast
import re
import subprocess
import sys
import tomllib

from architecture.source import PACKAGE, ROOMS, ROOT, TORCH_MODULES, Module, functions, imports, modules, needs_torch

MODULES = modules()
ENTRY_POINTS = ("__init__", "__main__")


def imported_rooms(module: Module) -> list[tuple[str, int]]:
    found = []
    for name, names, line in imports(module.tree):
        if name == "glioscope":
            found.extend((taken, line) for taken in names if taken in ROOMS)
        elif name.startswith("glioscope."):
            found.append((name.split(".")[1], line))
    return found


def test_every_module_stands_in_a_known_room() -> None:
    unknown = [module.name for module in MODULES if module.room not in (*ROOMS, *ENTRY_POINTS)]
    assert not unknown, f"add the room to ROOMS in its place, or move the module: {unknown}"


def test_imports_point_to_earlier_rooms_only() -> None:
    wrong = [
        f"{module.name}:{line} imports {room}"
        for module in MODULES
        if module.room not in ENTRY_POINTS
        for room, line in imported_rooms(module)
        if room != module.room and ROOMS.index(room) > ROOMS.index(module.room)
    ]
    assert not wrong


def test_relative_imports_are_not_used() -> None:
    assert not [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def test_no_room_takes_a_private_name_of_another() -> None:
    taken = [
        f"{module.name}:{line} {name}.{private}"
        for module in MODULES
        for name, names, line in imports(module.tree)
        if name.startswith("glioscope.") and name.split(".")[1] != module.room
        for private in names
        if private.startswith("_")
    ]
    assert not taken


def test_torch_is_imported_in_its_modules_only() -> None:
    """`inference` alone may also load it, late, in the engine that runs on a GPU (proved below)."""
    offenders = {
        module.name
        for module in MODULES
        if not needs_torch(module.name)
        and module.room != "inference"
        and any(name.split(".")[0] == "torch" for name, _, _ in imports(module.tree))
    }
    assert not offenders


LATE = {
    "machine": {"openvino", "psutil", "platformdirs"},  # asked by few, and a cold start counts
    # Only other spacings than the network's, and few predictions, are resampled, and a cold start counts.
    "prepare": {"glioscope.space.resampling"},
    "evaluation": {"glioscope.space.resampling"},
    "report": {"matplotlib"},  # slow to load, and most pages of a batch are written by workers that draw nothing
    "space": {"SimpleITK"},  # for formats that few have
    "inference": {"openvino", "nncf", "glioscope.model.network"},  # each engine loads what it runs on
    # Pages and raw scans: not every run has them. What measures brings much of scipy: loaded while the network runs.
    "segmentation": {
        *("glioscope.measure", "glioscope.report", "glioscope.segmentation"),
        *(f"glioscope.measure.anatomy.{name}" for name in ("case", "fhir", "sketch", "wording")),  # on request alone
        "glioscope.measure.radiomics",
    },
}


def optional_packages() -> set[str]:
    """Import names of what the extras bring, but the core does not need."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    names = {re.split(r"[<>=\[]", requirement)[0] for extra in extras.values() for requirement in extra}
    return {name.replace("-", "_") for name in names} | {"dicomanonymizer"}  # of the package dicom-anonymizer


def test_functions_import_nothing_but_optional_packages() -> None:
    """The command line may: it loads a heavy room when a command needs it."""
    optional = optional_packages()
    hidden = [
        f"{module.name}:{line} {name}"
        for module in MODULES
        if module.room not in ("cli", "__init__")
        for function in functions(module.tree)
        for name, _, line in imports(function)
        if not {name, name.split(".")[0]} & (optional | LATE.get(module.room, set()))
    ]
    assert not hidden


def test_the_coverage_threshold_leaves_out_what_needs_torch_alone() -> None:
    omitted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["coverage"]["run"]["omit"]
    files = (pattern if pattern.endswith("*") else f"{pattern}.py" for pattern in TORCH_MODULES)
    assert sorted(omitted) == sorted(f"*/glioscope/{file}" for file in files)


HEAVY = ("web", "node", "__main__")
"""Need an extra, or run the program when imported."""

WITHOUT_TORCH = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Block())
for module in {modules}:
    importlib.import_module(module)
assert not {blocked} & {{name.split(".")[0] for name in sys.modules}}
"""


def test_every_other_module_imports_without_any_optional_package() -> None:
    light = [module.dotted for module in MODULES if not needs_torch(module.name) and module.room not in HEAVY]
    blocked = {"torch", "tensorboard", "safetensors", "onnx", "ray", "fastapi", "pydicom", "highdicom"}
    script = WITHOUT_TORCH.format(blocked=repr(blocked), modules=repr(light))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_openvino_sends_no_usage_reports() -> None:
    """Left alone, `import openvino` reports itself to its maker over the network."""
    script = "import glioscope, openvino, sys; sys.exit(sys.modules['openvino_telemetry'] is not None)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_one_place_edits_the_list_of_modules() -> None:
    """Reading it is no harm: what is loaded, or which program runs."""
    call = re.compile(r"sys\.modules\.(setdefault|pop|update|clear)")
    editors = {
        module.name
        for module in MODULES
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and "sys.modules" in ast.unparse(node))
        or (isinstance(node, ast.Call) and call.match(ast.unparse(node.func)))
    }
    assert editors == {"machine/imports.py"}


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_a_start_does_not_wait_for_pydicom() -> None:
    """nibabel would load it, if it is there; it is loaded when DICOM is read, and can be."""
    program = (
        "import sys, glioscope.segmentation; assert 'pydicom' not in sys.modules; "
        "import pydicom; assert pydicom.dcmread"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
