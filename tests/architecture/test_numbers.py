"""Numbers that the shape of the code is held to: rooms, names, cycles, dictionaries without a type."""

import ast
from collections import defaultdict

from architecture.source import imports, modules, rooms

MODULES = modules()

MOST_ROOMS = 24


MOST_UNTYPED = 39
"""Uses of a mapping whose values may be anything: what JSON from outside is, until it is read as a record."""

SAME_THING = {
    **dict.fromkeys(("change", "case", "cohort", "comparison"), "a thing, and the page or command of it"),
    **dict.fromkeys(("card", "check", "compare", "demo", "export", "train", "app"), "a command, and what it calls"),
    "find": "cases found on disk, NIfTI or DICOM",
    "choosing": "which series, or which cases, are taken",
    "lesions": "the parts of a tumour: compared, measured, pasted",
    "patient": "one patient: made up, or prepared",
    "atlas": "an average brain: laid over a case, or named in parts",
    "anatomy": "what lies where in a head: made up, or told of a tumour",
    "radiomics": "features of texture and shape: counted, or stored",
    "parts": "parts of the brain: named, or painted",
    "settings": "what a room is told, and how all are read",
    "service": "a program that runs on: the web server, the node",
    "store": "what such a program keeps in its database",
    "records": "what a room keeps of its work",
    "summary": "what stands in a summary.json: of a case, of an evaluation",
    "schemes": "label schemes: of a data set, of what is scored",
}
"""File names that occur in two rooms, and what they both treat."""


def test_rooms_are_few() -> None:
    assert len(rooms()) <= MOST_ROOMS


def test_a_file_name_that_occurs_twice_means_one_thing() -> None:
    places = defaultdict(set)
    for module in MODULES:
        places[module.path.stem].add(module.room)
    twice = {stem for stem, where in places.items() if len(where) > 1 and not stem.startswith("__")}
    assert twice - SAME_THING.keys() == set()
    assert SAME_THING.keys() - twice == set()  # no reason outlives its case


def test_no_module_imports_itself_by_a_detour() -> None:
    """Imports at the top of a module alone: a late one, or one for types, is no cycle."""
    names = {module.dotted.removesuffix("."): module for module in MODULES}
    needs = {}
    for name, module in names.items():
        top = ast.Module([node for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        found = set()
        for source, taken, _ in imports(top):
            found |= {f"{source}.{one}" for one in taken if f"{source}.{one}" in names} or {source} & names.keys()
        needs[name] = found - {name}
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for needed in needs[name]:
                walk(needed, (*path, name))
            done.add(name)

    for name in needs:
        walk(name, ())


def test_what_has_no_type_is_rare() -> None:
    found = defaultdict(int)
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Subscript) and ast.unparse(node) in ("dict[str, Any]", "Mapping[str, Any]"):
                found[module.name] += 1
    assert sum(found.values()) <= MOST_UNTYPED, dict(found)
