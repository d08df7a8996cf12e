"""What README and docs tell the reader to type exists: commands, options, files, settings, Python."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from architecture.source import PACKAGE, ROOT, rooms
from glioscope.cli import app

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(page.read_text("utf-8")) if found == language]


def shell_lines(page: Path, program: str) -> list[str]:
    """Lines of console blocks that start `program`, continuation lines joined, comments cut."""
    text = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    lines = (line.split("  #")[0].strip().removeprefix("$ ") for line in text.splitlines())
    return [line for line in lines if line.split(" ")[0] == program]


@cache
def commands() -> dict[str, set[str]]:
    """Every command of the program and its options."""
    found = get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in found.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_exists(page: Path) -> None:
    for line in shell_lines(page, "glioscope"):
        _, name, *words = line.split()
        assert name in commands(), line
        options = {word.split("=")[0] for word in words if word.startswith("-")}
        assert options <= commands()[name] | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {word for line in shell_lines(page, "make") for word in line.split()[1:] if "=" not in word}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    dead = [target for target in LINK.findall(page.read_text("utf-8")) if not (page.parent / target).exists()]
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_toml_block_is_a_configuration(page: Path) -> None:
    from glioscope.settings import TABLES

    for block in blocks(page, "toml"):
        assert set(tomllib.loads(block)) <= set(TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_python_blocks_run_in_order(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_index_lists_every_room_in_order() -> None:
    listed = re.findall(r"`(\w+)`(?= ·|$)", (ROOT / "docs" / "index.md").read_text("utf-8"), re.MULTILINE)
    assert listed == rooms()


def test_the_map_names_what_is_there() -> None:
    """Every file that docs/architecture.md sends a reader to, and every room in its picture, in order."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`((?:src/glioscope/)?[a-z_]+/[\w/.-]+)`", text)
    assert len(named) > 60
    gone = [
        name
        for name in named
        if not (ROOT / name).exists() and not (PACKAGE / name).exists() and not name.startswith("tests/")
    ]
    assert gone == []
    picture = text.split("```text")[1].split("```")[0]
    assert [word for line in picture.splitlines() for word in re.split(r" {3,}", line)[0].split()] == rooms()


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=lambda page: page.stem)
def test_decision_has_its_five_parts(page: Path) -> None:
    parts = re.findall(r"^\*\*([\w ]+)\.\*\*", page.read_text("utf-8"), re.MULTILINE)
    assert parts == ["Context", "Options", "Choice", "Evidence", "What would change our mind"]


def test_readme_says_what_it_is_not() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:20])
    assert "research use only" in first_screen.lower()
    assert "not a medical device" in first_screen.lower()
