"""Every bad file through every command that reads scans: one line that says what is wrong, and all other cases done.

The short form passes all of them at once as one cohort, and some alone. `make test-long` passes each alone through each
command, in each place.
"""

import csv
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from glioscope.errors import GlioscopeError
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_labels, read_volume, write_volume
from robustness.bad_scans import BROKEN, LABELS, ODD, UNREADABLE, Damage
from robustness.batch import Answer, many
from tiny import LPS, SHAPE, tiny_images, write_tiny_case, write_tiny_model

pytestmark = pytest.mark.slow

ALONE = ("text", "pipe", "gzip-bomb", "4-d", "affine-nan", "voxels-of-1-m", "cut-at-4-of-8", "constant")
"""Of each kind one, passed alone in the short form."""
ODD_AMONG_BROKEN = ("big-endian", "slope-0", "some-nan", "near-the-end-of-float32", "nifti-2")
OF_THE_VOXELS = ("constant", "all-nan", "all-infinite", "beyond-float32-everywhere")
"""Bad as a scan; as a label map there are other words for it."""
PROGRESS = re.compile(r"^(segment|evaluate|check|prepare) \d+/\d+ ")
NO_LINE = re.compile(r"^glioscope: [^\n]*\n\Z")


def scan(case: Path, code: str = "t1n") -> Path:
    return case / f"{case.name}-{code}.nii.gz"


def bad_case(folder: Path, name: str, damage: Damage) -> Path:
    case = write_tiny_case(folder, name)
    damage(scan(case))
    return case


def clean(answer: Answer) -> None:
    """No traceback, no warning, nothing called a defect."""
    for text in (answer.output, answer.errors):
        assert "Traceback" not in text, text
        assert "defect" not in text, text
        assert "Warning" not in text, text


def refused_in_one_line(answer: Answer, words: str, code: int = 2) -> None:
    clean(answer)
    assert answer.code == code, answer
    *before, last = answer.errors.split("\r")[-1].splitlines(keepends=True)
    assert NO_LINE.search(last), answer.errors
    assert not [line for line in before if not PROGRESS.match(line)], answer.errors
    assert re.search(words, answer.errors), answer.errors


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every bad case, some odd ones, and two sound ones."""
    folder = tmp_path_factory.mktemp("robust") / "data"
    for name, (damage, _) in BROKEN.items():
        bad_case(folder, name, damage)
    for name in ODD_AMONG_BROKEN:
        bad_case(folder, f"odd-{name}", ODD[name])
    for n in range(2):
        write_tiny_case(folder, f"good-{n}", seed=n)
    return folder


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) + len(LABELS) >= 60


@pytest.fixture(scope="module")
def answers(cohort: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Answer, Path]:
    out = tmp_path_factory.mktemp("out")
    segmented, checked = many(
        [
            ["segment", str(cohort), "-o", str(out), "--model", str(model), "--no-report"],
            ["check", str(cohort), "-o", str(out / "check")],
        ],
        cwd=out,
    )
    return segmented, checked, out


def test_segment_does_the_good_and_names_the_bad(answers: tuple[Answer, Answer, Path]) -> None:
    answer, _, out = answers
    clean(answer)
    assert answer.code == 3, answer.errors
    reasons = {row["case_id"]: row["reason"] for row in rows(out / "failures.csv")}
    assert set(reasons) == set(BROKEN)
    for name, (_, words) in BROKEN.items():
        assert re.search(words, reasons[name]), f"{name}: {reasons[name]}"
        assert re.search(rf"\b{name}\b", reasons[name]), f"{name}: the case is not named: {reasons[name]}"
    done = {path.parent.name for path in out.glob("*/segmentation.nii.gz")}
    assert done == {"good-0", "good-1"} | {f"odd-{name}" for name in ODD_AMONG_BROKEN}
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_check_names_the_bad(answers: tuple[Answer, Answer, Path]) -> None:
    _, answer, out = answers
    clean(answer)
    assert answer.code == 3
    problems = {row["case_id"]: row["problems"] for row in rows(out / "check" / "fingerprint.csv")}
    for name, (_, words) in BROKEN.items():
        assert re.search(words, problems[name]), f"{name}: {problems[name]}"
    assert problems["good-0"] == problems["good-1"] == ""


def odd_cases(folder: Path) -> Path:
    for name, damage in ODD.items():
        bad_case(folder, name, damage)
    return folder


def test_the_odd_can_be_read(tmp_path: Path) -> None:
    """Other bytes, same numbers; what changes the numbers on purpose is only read."""
    kept = {"big-endian", "slope-0", "slope-nan", "slope-infinite", "wrong-header-size", "uint64", "float64", "nifti-2"}
    kept |= {"trailing-axes-of-1", "qform-elsewhere", "no-form-at-all", "zeros-behind", "several-gzip-members"}
    odd_cases(tmp_path)
    for name in ODD:
        data = read_volume(scan(tmp_path / name)).data
        assert data.shape == SHAPE
        if name in kept:
            np.testing.assert_array_equal(data, tiny_images()["t1n"], err_msg=name)


@pytest.mark.long
def test_the_odd_are_segmented(tmp_path: Path, model: Path) -> None:
    commands = [["segment", str(odd_cases(tmp_path / "data")), "-o", str(tmp_path / "out"), "--model", str(model)]]
    (answer,) = many(commands, cwd=tmp_path)
    clean(answer)
    assert answer.code == 0, answer.errors
    done = {row["case_id"] for row in rows(tmp_path / "out" / "cohort.csv") if row["status"] == "done"}
    assert done == set(ODD)  # no-form-at-all too: its grid differs from the others', so it is prepared first


def label_map(path: Path, value: int = 1) -> Path:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:8, 4:8, 4:8] = value
    write_volume(path, labels, Grid(SHAPE, LPS))
    return path


def as_labels() -> Iterable[tuple[str, Damage, str]]:
    """Every damage that is one of a label map too, with the words."""
    for name, (damage, words) in BROKEN.items():
        if name not in OF_THE_VOXELS:
            yield name, damage, words
    for name, (damage, words) in LABELS.items():
        yield name, damage, words


def test_evaluate_scores_the_good_and_refuses_the_bad_predictions(tmp_path: Path) -> None:
    expected = {}
    for name, damage, words in as_labels():
        label_map(tmp_path / "ref" / f"{name}.nii.gz")
        damage(label_map(tmp_path / "pred" / f"{name}.nii.gz"))
        expected[name] = words
    for place in ("ref", "pred"):
        label_map(tmp_path / place / "good.nii.gz")
    (answer,) = many(
        [["evaluate", str(tmp_path / "pred"), str(tmp_path / "ref"), "-o", str(tmp_path / "out"), "--workers", "1",
          "--scheme", "brats2023", "--protocol", "whole", "--no-report"]],
        cwd=tmp_path,
    )  # fmt: skip
    clean(answer)
    assert answer.code == 3, answer.errors
    table = rows(tmp_path / "out" / "cases.csv")
    status = {row["case_id"]: (row["status"], row["reason"]) for row in table}
    assert status.pop("good")[0] == "scored"
    assert next(float(r["dice"]) for r in table if r["case_id"] == "good" and r["region"] == "WT") == 1
    for name, words in expected.items():
        assert status[name][0] == "refused", f"{name}: {status[name]}"
        assert re.search(words, status[name][1]), f"{name}: {status[name]}"


def alone_commands(folder: Path, name: str, damage: Damage, model: Path, place: str) -> list[list[str]]:
    case = bad_case(folder / "in", name, damage)
    out = str(folder / "out")
    if place == "segment":
        return [["segment", str(case), "-o", out, "--model", str(model), "--no-report"]]
    if place == "prepare":
        return [["prepare", "--t1n", str(scan(case)), "-o", out, "--brain", "none"]]
    label_map(folder / "pred" / f"{name}.nii.gz")
    damage(label_map(folder / "ref" / f"{name}.nii.gz"))
    return [["evaluate", str(folder / "pred"), str(folder / "ref"), "-o", out, "--workers", "1", "--no-report",
             "--protocol", "whole", "--scheme", "brats2023"]]  # fmt: skip


def each_alone(tmp_path: Path, model: Path, place: str, names: Iterable[str]) -> None:
    """Every bad file alone: exit code 2, one line, nothing written."""
    known = {name: (damage, words) for name, damage, words in as_labels()} if place == "evaluate" else BROKEN
    chosen = [name for name in names if name in known]
    commands = []
    for name in chosen:
        commands += alone_commands(tmp_path / name, name, known[name][0], model, place)
    for name, answer in zip(chosen, many(commands, cwd=tmp_path), strict=True):
        refused_in_one_line(answer, known[name][1])
        assert name in answer.errors
        assert not list((tmp_path / name / "out").rglob("*.nii.gz"))
        shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize("place", ["segment", "prepare", "evaluate"])
def test_alone_each_is_one_line(tmp_path: Path, model: Path, place: str) -> None:
    each_alone(tmp_path, model, place, ALONE)


@pytest.mark.long
@pytest.mark.parametrize("place", ["segment", "prepare", "evaluate"])
def test_alone_every_one_is_one_line(tmp_path: Path, model: Path, place: str) -> None:
    each_alone(tmp_path, model, place, [*BROKEN, *LABELS])


@pytest.mark.long
@pytest.mark.parametrize("code", ["t1c", "t2w", "t2f"])
def test_in_any_sequence(tmp_path: Path, model: Path, code: str) -> None:
    for name, (damage, _) in BROKEN.items():
        damage(scan(write_tiny_case(tmp_path / "data", name), code))
    write_tiny_case(tmp_path / "data", "good")
    commands = [["segment", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--model", str(model), "--no-report"]]
    (answer,) = many(commands, cwd=tmp_path)
    clean(answer)
    assert answer.code == 3
    assert {row["case_id"] for row in rows(tmp_path / "out" / "failures.csv")} == set(BROKEN)
    assert (tmp_path / "out" / "good" / "segmentation.nii.gz").is_file()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_at_any_of_fifty_places_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_volume(path, tiny_images()["t1n"], Grid(SHAPE, LPS))
    whole = path.read_bytes()
    for n in range(50):
        path.write_bytes(whole[: len(whole) * n // 50])
        for read in (read_volume, read_labels):
            with pytest.raises(GlioscopeError, match=rf"x\{suffix}: .*({UNREADABLE})"):
                read(path)
