import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from glioscope import __version__, cli, evaluation, segmentation
from glioscope.cli import main
from glioscope.cli.terminal import Watch, print_table
from glioscope.errors import RunError
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, write_tiny_case, write_tiny_model


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main([]) == 0
    assert "Research use only" in capsys.readouterr().out
    assert main(["segment", "--help"]) == 0
    assert "--no-report" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segmnt"], r"glioscope: No such command 'segmnt'"),
        (["segment", "x"], r"glioscope: Missing option '--output'.* See 'glioscope segment --help'"),
        (["segment", "-o", "out"], "name folders or zips .* or the files of one case"),
        (["segment", "x", "y", "--t1c", "z", "-o", "out"], "name the scans of one case; give one INPUT"),
        (["segment", "x", "-o", "out", "--dicom", "seg,pdf"], "--dicom names 'pdf'; choose from seg, rtstruct, sr"),
        (["segment", "x", "-o", "out", "--device", "tpu"], "'tpu' is not one of"),
        (["evaluate", "a", "b"], "name a folder for the results"),
        (["evaluate", "a", "b", "--json"], "name two files"),
        (["train", "x", "-o", "y", "--fold", "first"], "--fold is 'first'; give a whole number, all or none"),
        (["check", "/no/such/folder"], "glioscope: /no/such/folder: no such folder"),
        (["report", "/no/such/folder"], r"holds no summary\.json"),
        (["export", "/no/such/folder", "-o", "m"], r"fold 0 has no trained network \(those trained: none\)"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("glioscope: ")
    assert re.search(message, lines[0])


def test_segment_a_cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path / "model")
    for n in range(2):
        write_tiny_case(tmp_path / "data", f"p{n}", seed=n)
    command = ["segment", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--model", str(model), "--no-report"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out.strip().endswith("out: 2 segmented, 0 already done, 0 failed")
    assert "segment 1/2 p0: WT 0.2 ml" in told.err
    (tmp_path / "data" / "p1" / "p1-t1c.nii.gz").write_bytes(b"damaged")
    assert main(command) == 3
    told = capsys.readouterr()
    assert "0 segmented, 1 already done, 1 failed" in told.out
    assert "failures.csv" in told.err


def test_segment_single_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, case = write_tiny_model(tmp_path / "model"), write_tiny_case(tmp_path, "p")
    files = [f"--{s}={case / f'p-{s}.nii.gz'}" for s in ("t1c", "t2f")]
    assert main(["segment", *files, "-o", str(tmp_path / "out"), "--model", str(model), "--no-report"]) == 0
    assert (tmp_path / "out" / "p" / "segmentation.nii.gz").is_file()


def test_report_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, case = write_tiny_model(tmp_path / "model"), write_tiny_case(tmp_path, "p")
    segmentation.segment(case, tmp_path / "out", model=model)
    page = tmp_path / "out" / "p" / "report.html"
    page.unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert str(page) in capsys.readouterr().out
    assert page.is_file()


def test_check_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_case(tmp_path / "data", "p")
    assert main(["check", str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "shapes\t20×24×16: 1" in out
    assert json.loads((tmp_path / "out" / "fingerprint.json").read_text("utf-8"))["summary"]["cases"] == 1
    assert len((tmp_path / "out" / "fingerprint.csv").read_text("utf-8").splitlines()) == 2
    (tmp_path / "data" / "p" / "p-t2w.nii.gz").unlink()
    assert main(["check", str(tmp_path / "data")]) == 3
    assert "p\tlacks t2w" in capsys.readouterr().out


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[5:9, 5:9, 5:9] = 2
    labels[6:8, 6:8, 6:8] = 3
    paths = tmp_path / "pred" / "p.nii.gz", tmp_path / "ref" / "p.nii.gz"
    for path in paths:
        write_volume(path, labels, Grid(labels.shape, LPS))
    return paths


def test_evaluate_two_files_as_json(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *map(str, pair), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["whole"]["WT"]["dice"] == 1
    assert "brats2023-gli" in scores


def test_evaluate_folders(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(path.parent) for path in pair]
    command = ["evaluate", *folders, "-o", str(tmp_path / "scores"), "--workers", "1", "--no-report"]
    assert main([*command, "--protocol", "whole"]) == 0
    told = capsys.readouterr()
    assert "whole\tWT\tdice\t1.000" in told.out
    assert "evaluate 1/1" in told.err
    assert {p.name for p in (tmp_path / "scores").iterdir()} >= {"cases.csv", "summary.json"}
    assert main([*command, "--protocol", "brats1900"]) == 2


def test_phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {}
    monkeypatch.setattr("glioscope.phantom.write_phantoms", lambda *a, **k: asked.update(a=a, k=k) or [Path("x")] * 3)
    assert main(["phantoms", "-n", "3", "-o", str(tmp_path), "--layout", "msd", "--seed", "4"]) == 0
    assert asked["a"] == (tmp_path, 3)
    assert asked["k"]["layout"], asked["k"]["seed"] == ("msd", 4)
    assert "3 synthetic patients, layout msd" in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["glioscope"] == __version__
    assert "standard" in found["configurations"]
    assert main(["info"]) == 0
    assert "label schemes\tbrats2018, brats2023" in capsys.readouterr().out


def test_interruption_and_defects(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glioscope.cases.check_dataset", stop)
    assert main(["check", "x"]) == cli.INTERRUPTED
    assert "interrupted; what was done is kept" in capsys.readouterr().err

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("glioscope.cases.check_dataset", defect)
    with pytest.raises(ZeroDivisionError):
        main(["check", "x"])


def test_a_message_of_several_lines_is_printed_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RunError("disk\n  full")

    monkeypatch.setattr("glioscope.cases.check_dataset", fail)
    assert main(["check", "x"]) == 2
    assert capsys.readouterr().err == "glioscope: disk full\n"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Rooms that need torch, replaced: what the commands hand them is kept."""
    asked: dict[str, object] = {}

    def train(dataset: Path, run: Path, **kwargs: object) -> object:
        asked.update(dataset=dataset, run=run, **kwargs)
        kwargs["progress"](2, 2, "cases prepared")  # type: ignore[operator]
        kwargs["progress"](0.5, 1, "fold 0, step 3, loss 0.250, validation Dice 0.500")  # type: ignore[operator]
        return SimpleNamespace(trained_folds=lambda: (0,))

    def validate_run(run: Path, **kwargs: object) -> dict[int, object]:
        kwargs["progress"](1, 1, "predicting")  # type: ignore[operator]
        value = SimpleNamespace(mean=0.5, interval_95=(0.4, float("nan")), n=1)
        return {0: SimpleNamespace(summary={"whole": {"WT": {"dice": value, "nsd": value}}})}

    def run_demo(output: Path, **kwargs: object) -> object:
        asked.update(kwargs)
        kwargs["progress"](1, 6, "patients")  # type: ignore[operator]
        dice = {"original": {"WT": 0.5}, "standard": {"WT": 0.75}}
        return SimpleNamespace(dice=dice, seconds=90, comparison=output / "c.html", patient=output / "p.html")

    rooms = {
        "experiment.train": SimpleNamespace(TrainOptions=SimpleNamespace, train=train),
        "training": SimpleNamespace(first_process=lambda: True),
        "experiment.demo": SimpleNamespace(run_demo=run_demo),
    }
    for module in ("train", "demo"):
        monkeypatch.setattr(f"glioscope.cli.{module}.needing_torch", rooms.__getitem__)
    monkeypatch.setattr("glioscope.experiment.judge.validate_run", validate_run)
    monkeypatch.setattr("glioscope.experiment.compare.compare_runs", lambda _runs, output: output / "c.html")
    monkeypatch.setattr("glioscope.report.write_run_report", lambda run, **_: run / "report.html")
    return asked


def test_train_hands_everything_on(training: dict, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "data", "-o", "run", "--config", "original", "--set", "training.seed=1", "--minutes", "2"]
    assert main([*arguments, "--set", "loss.name=dice", "--fold", "3"]) == 0
    options = training["options"]
    assert (options.config, options.overrides) == ("original", ("training.seed=1", "loss.name=dice"))
    assert (options.fold, options.minutes, options.resume, options.initial) == (3, 2.0, False, None)
    told = capsys.readouterr()
    assert "train 2/2 cases prepared" in told.err
    assert "train 50% fold 0, step 3, loss 0.250" in told.err
    assert "whole\tWT\tdice\t0.500\t0.400 to nan\t1" in told.out
    assert "nsd" not in told.out
    assert "run/report.html" in told.out
    assert main(["train", "data", "-o", "run", "--fold", "none"]) == 0
    assert training["options"].fold == "none"
    assert "dice" not in capsys.readouterr().out


def test_compare_and_demo(training: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a", "b", "-o", "out"]) == 0
    assert "out/c.html: 2 runs side by side" in capsys.readouterr().out
    assert main(["demo", "-o", "out", "--minutes", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "standard\t0.750" in out
    assert "It took 1.5 minutes" in out
    assert "out/p.html" in out
    assert training["minutes"] == 0.5


def test_report_tells_what_a_folder_is(
    training: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("glioscope.report.write_evaluation_report", lambda folder: folder / "scores.html")
    (tmp_path / "cases.csv").touch()
    assert main(["report", str(tmp_path)]) == 0
    assert "scores.html" in capsys.readouterr().out
    (tmp_path / "config.json").touch()
    assert main(["report", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out


def test_export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from glioscope.experiment import export as exporting

    asked: list[tuple[object, ...]] = []

    def export_fold(*where: object, int8: bool) -> float:
        asked.append((*map(str, where), int8))
        return 0.99987

    monkeypatch.setattr(exporting, "export_fold", export_fold)
    assert main(["export", "run", "-o", "model", "--fold", "2"]) == 0
    assert main(["export", "run", "-o", "model", "--int8"]) == 0
    assert asked == [("run", "model", "2", False), ("run", "model", "0", True)]
    assert "model: agrees with torch on 99.9870% of voxels (at least 99.9% is needed)" in capsys.readouterr().out


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("glioscope.cli.train.import_module", absent)
    assert main(["train", "data", "-o", "run"]) == 2
    assert "pip install 'glioscope[train]'" in capsys.readouterr().err

    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'glioscope.x'", name="glioscope.x")

    monkeypatch.setattr("glioscope.cli.train.import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["train", "data", "-o", "run"])


def test_plain_lines_come_with_news_or_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("work", every=3600) as watch:
        watch(1, 10, "first", news=False)
        watch(2, 10, "second", news=False)
        watch(3, 10, "news")
        watch(0.25, 1, "share")
    assert capsys.readouterr().err.splitlines() == ["work 1/10 first", "work 3/10 news", "work 25% share"]


def test_on_a_terminal_there_is_a_bar_and_a_ruled_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Watch("work") as watch:
        watch(1, 2, "half", news=False)
        watch(2, 2, "[done]")
    print_table("Title", ("a", "b"), [("[x]", "y")])
    told = capsys.readouterr()
    assert "[done]" in told.err
    assert "[x]" in told.out
    assert "Title" in told.out


def test_the_module_is_the_program() -> None:
    command = [sys.executable, "-m", "glioscope", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == __version__


def test_default_protocols_exist() -> None:
    assert set(evaluation.DEFAULT_PROTOCOLS) <= set(evaluation.builtin_protocols())


@pytest.mark.parametrize("busy", [False, True])
def test_the_program_ends_with_its_code_after_what_was_asked_to_run_last(busy: bool) -> None:
    thread = "threading.Thread(target=lambda: (time.sleep(0.3), print('waited for'))).start(); " if busy else ""
    code = (
        "import atexit, sys, threading, time; from glioscope.cli import command; "
        f"atexit.register(print, 'last'); {thread}sys.argv = ['glioscope', 'check', 'nowhere']; command()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "glioscope: nowhere: no such folder\n"
    assert done.stdout.split("\n") == (["waited for"] if busy else []) + ["last", ""]
