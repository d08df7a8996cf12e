"""What must never be committed: patients, weights that can run code, and traces of one machine."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from architecture.source import ROOT, imports, modules

SCAN = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|dcm|img|hdr)$", re.IGNORECASE)
PICKLE = re.compile(r"\.(pt|pth|pkl|pickle|npy|joblib)$", re.IGNORECASE)
TEXT = re.compile(r"\.(py|md|toml|lock|cff|txt|json|html|css|js|yml|yaml|csv)$|(^|/)(Makefile|run)$")
MACHINE = re.compile(
    r"(?<![\w.~])/(?:work|root|home|mnt|opt|Users)/\w"  # a folder of one machine
    r"|\b(?:extra-)?index-url\b|\bfind-links\b"  # where one machine finds its packages
    r"|file:///"
)
LARGEST_KIB = 4096
"""Each version of a large file stays in the history for ever; shipped weights alone are worth it."""


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout: there is no list of committed files to look at")
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def kib(path: Path) -> float:
    return (ROOT / path).stat().st_size / 1024


def test_no_scan_is_tracked(tracked: list[Path]) -> None:
    """Tests make their images; a file could be a patient's, and nobody would see it."""
    assert not [path for path in tracked if SCAN.search(path.name)]


def test_test_data_stay_below_a_mebibyte(tracked: list[Path]) -> None:
    assert sum(kib(path) for path in tracked if path.parts[0] == "tests" and "data" in path.parts) < 1024


def test_nothing_is_large_but_shipped_weights(tracked: list[Path]) -> None:
    weights = ("src", "glioscope", "models")
    assert not [path for path in tracked if kib(path) > LARGEST_KIB and path.parts[:3] != weights]


def test_no_file_can_run_code_when_it_is_loaded(tracked: list[Path]) -> None:
    assert not [path for path in tracked if PICKLE.search(path.name)]


def test_no_file_names_a_folder_or_server_of_one_machine(tracked: list[Path]) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in tracked
        if TEXT.search(path.as_posix()) and path != Path(__file__).relative_to(ROOT)
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found


def test_versions_agree(tracked: list[Path]) -> None:
    """The package, the citation and the changelog name one version."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "src/glioscope/__init__.py").read_text("utf-8"))
    assert version is not None
    assert f"version: {version[1]}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_imported_package_is_declared() -> None:
    """A package that another one happens to bring may be gone with that one's next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    declared = {re.split(r"[<>=\[;]", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    homes = metadata.packages_distributions()
    undeclared = {
        f"{module.name}:{line} {name}"
        for module in modules()
        for name, _, line in imports(module.tree)
        if (top := name.split(".")[0]) not in (*sys.stdlib_module_names, "glioscope")
        and not {home.lower().replace("_", "-") for home in homes.get(top, [top])} & declared
    }
    assert not undeclared


def test_the_licence_files_are_there_and_name_what_is_bundled() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(project["license"].split(" AND ")) == {"Apache-2.0", "MIT", "BSD-2-Clause"}
    first_lines = {name: (ROOT / name).read_text("utf-8") for name in project["license-files"]}
    assert any("MIT License" in text for text in first_lines.values())
    assert any("NiiVue" in text for text in first_lines.values())
