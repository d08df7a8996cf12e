"""Folders and names that nobody meant: each is named or simply works, and the cases beside are done."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glioscope.cases import scan_cases
from glioscope.errors import CaseError
from robustness.bad_scans import in_place
from robustness.batch import Answer, many
from robustness.test_bad_scans import clean, model, rows, scan
from tiny import write_tiny_case

__all__ = ["model"]  # the fixture
pytestmark = pytest.mark.slow

NAMES = (
    "Größe 患者",
    "مریض",
    "émile (2) [x] & 'y'",
    "-o",
    "%s{0}$HOME",
    "a" * 200,
    "x.nii",
    "CON",
    "<script>alert(1)<",
)
"""Unusual, and folders may well be called so."""
UNUSABLE = {"line\nbreak": r"line\nbreak", "\x1b[2Jcleared": r"\x1b[2Jcleared", "half\udce9": r"half\udce9"}
"""Names that no line may hold, and how they are shown instead."""


def run(folder: Path, model: Path, *more: list[str]) -> list[Answer]:
    base = ["segment", str(folder / "data"), "-o", str(folder / "out"), "--model", str(model), "--no-report"]
    answers = many([base, ["check", str(folder / "data"), "-o", str(folder / "checked")], *more], cwd=folder)
    for answer in answers:
        clean(answer)
    return answers


def case_named(folder: Path, name: str) -> Path:
    """A case whose name tiny cannot write: it is made under a plain one and then renamed."""
    case = write_tiny_case(folder, "plain")
    for path in list(case.iterdir()):
        path.rename(path.with_name(path.name.replace("plain", name)))
    return case.rename(folder / name)


def test_unusual_names_work_and_unusable_ones_are_named(tmp_path: Path, model: Path) -> None:
    for name in (*NAMES, *UNUSABLE):
        case_named(tmp_path / "data", name)
    segmented, checked = run(tmp_path, model)
    assert segmented.code == checked.code == 3
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == set(NAMES)
    assert len(rows(tmp_path / "out" / "failures.csv")) == len(UNUSABLE)
    for shown in UNUSABLE.values():
        assert shown in checked.output
    for answer in (segmented, checked):
        assert "\x1b" not in answer.output + answer.errors


def test_a_path_that_is_not_utf8_works(tmp_path: Path, model: Path) -> None:
    """The folder above may be named in Latin-1; summaries name it all the same, and a second run finds it."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_tiny_case(folder / "data", "p1")
    command = ["segment", str(folder / "data"), "-o", str(folder / "out"), "--model", str(model)]
    first, second, again = many([command, command, ["report", str(folder / "out")]], cwd=tmp_path)
    for answer in (first, second, again):
        clean(answer)
        assert answer.code == 0, answer.errors
    assert "1 already done" in second.output


def test_links_in_a_circle_folders_as_files_and_ten_thousand_strangers(tmp_path: Path, model: Path) -> None:
    data = tmp_path / "data"
    case = write_tiny_case(data, "good")
    (data / "loop").symlink_to(data)
    (case / "up").symlink_to("..")
    (data / "itself").symlink_to("itself")
    os.mkfifo(data / "pipe")
    in_place(Path.mkdir)(scan(write_tiny_case(data, "with-folder")))
    many_files = data / "exports"
    many_files.mkdir()
    for n in range(10_000):
        (many_files / f"IM{n:05}.jpg").touch()
    segmented, _, prepared = run(
        tmp_path, model, ["prepare", str(many_files), "-o", str(tmp_path / "prepared"), "--brain", "none"]
    )
    done = {path.parent.name for path in (tmp_path / "out").glob("*/segmentation.nii.gz")}
    assert done == {"good", "with-folder"}, segmented.errors
    assert "missing-t1n" in segmented.errors, "a folder is no scan, and that is said"
    assert prepared.code == 2
    assert "holds no DICOM images" in prepared.errors


def test_a_folder_that_cannot_be_listed_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as a user who may read anything, so the refusal is played."""
    for name in ("closed", "open"):
        write_tiny_case(tmp_path, name)
    listed = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    cases, problems = scan_cases(tmp_path)
    assert [case.case_id for case in cases] == ["open"]
    assert "cannot be listed (Permission denied); check its permissions" in problems["closed"]
    with pytest.raises(CaseError, match="cannot be listed"):
        scan_cases(tmp_path / "closed")


def test_outputs_that_are_in_the_way(tmp_path: Path, model: Path) -> None:
    """A file where a folder is due, a folder where a file is due, and an output inside the input."""
    write_tiny_case(tmp_path / "data", "p1")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folders" / "p1" / "segmentation.nii.gz").mkdir(parents=True)
    base = ["segment", str(tmp_path / "data"), "--model", str(model), "--no-report", "-o"]
    file, folder, inside, twice = many(
        [[*base, str(tmp_path / place)] for place in ("file", "folders", "data", "data")], cwd=tmp_path
    )
    for answer in (file, folder, inside, twice):
        clean(answer)
    assert (file.code, folder.code, inside.code) == (2, 2, 0), (file, folder, inside)
    assert "cannot be written" in file.errors
    assert "cannot be written" in folder.errors
    assert "already done" in twice.output


@pytest.mark.parametrize("arguments", [["check", "data"], ["info"]])
def test_a_reader_that_goes_away_is_no_defect(tmp_path: Path, arguments: list[str]) -> None:
    """As in `glioscope check DATA | head -1`."""
    for n in range(3):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    with subprocess.Popen(
        [sys.executable, "-m", "glioscope", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors, errors
    assert "BrokenPipe" not in errors, errors


def test_words_that_are_no_arguments(tmp_path: Path, model: Path) -> None:
    """Nothing, a name that is not there, an empty name, a number where a folder is due, no such option."""
    case = write_tiny_case(tmp_path / "data", "p1")
    for n in range(2):
        shutil.copytree(case, tmp_path / "twice" / str(n) / "p1")
    wrong = [
        ["segment"],
        ["segment", "-o", "out"],
        ["segment", "absent", "-o", "out", "--model", str(model)],
        ["segment", "", "-o", "out", "--model", "absent"],
        ["segment", "data", "-o", "out", "--model", str(model), "--scheme", "brats1999"],
        ["segment", "twice", "-o", "out", "--model", str(model)],
        ["segment", "data", "-o", "out", "--threads", "-3"],
        ["segment", "--t1n", "absent.nii", "-o", "out", "--model", str(model)],
        ["check"],
        ["check", "absent"],
        ["check", "/dev/null"],
        ["evaluate", "absent", "data", "-o", "out"],
        ["evaluate", "data", "data", "-o", "out", "--protocol", "absent"],
        ["prepare", "-o", "out"],
        ["prepare", "absent", "-o", "out"],
        ["prepare", "/dev/null", "-o", "out"],
        ["prepare", "--t1n", "absent.nii", "-o", "out"],
        ["report", "absent"],
        ["frobnicate"],
        ["segment", "data", "--frobnicate"],
    ]
    for arguments, answer in zip(wrong, many(wrong, cwd=tmp_path), strict=True):
        clean(answer)
        assert answer.code in (2, 3), (arguments, answer)
        assert answer.errors.strip().count("\n") <= 2, (arguments, answer.errors)
