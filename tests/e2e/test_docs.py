"""Whatever the documentation tells the reader to type is typed here, on small synthetic patients; and the site builds.

Python blocks run in `tests/architecture/test_readme.py`. Here the lines of ```console blocks run, page by page, in a
folder that holds what the pages take for granted: `BraTS/`, `patient/`, a trained `run`. A block that needs what only a
reader can bring is marked with a comment before it, `<!-- not run: why -->`, and such marks are counted.
"""

import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from glioscope.cases import Case
from glioscope.cli import main
from glioscope.experiment.cost import Cost
from glioscope.experiment.judge import validate_run
from glioscope.experiment.train import TrainOptions, train
from glioscope.phantom import PhantomConfig, write_phantoms
from glioscope.segmentation import segment

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
BLOCK = re.compile(r"(?:^<!-- not run: (?P<why>.+?) -->\n+)?^```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
TOML = re.compile(r"^```toml\n# (?P<name>[\w.-]+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = 12
"""Blocks that may be marked as not run, in all pages together."""
ELSEWHERE = ("make", "git", "python", "pip")
"""Programs that lines may start with besides `glioscope`: CI runs make and pip itself; scripts have their own tests."""

TINY = (
    *("preprocessing.spacing_mm=4", "training.steps=2", "training.stages=[{share = 1.0}]"),
    *("training.window=brain", "training.minimum_tumour=0", "training.validations=1"),
)
"""What every training here is told besides: two steps on voxels of 4 mm."""
NARROW = ("network.widths=[4, 8]", "network.blocks=[1, 1]")
"""Of `standard`; `original` has one size."""
GRID = PhantomConfig(shape=(48, 48, 36), spacing_mm=(4.5, 4.5, 4.5))

pytestmark = pytest.mark.slow


def shell_lines(page: Path) -> list[str]:
    """The lines that are run, continuation lines joined, comments cut."""
    text = "\n".join(match["body"] for match in BLOCK.finditer(page.read_text("utf-8")) if not match["why"])
    lines = (line.split("  #")[0].strip().removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def free_cost(_model: Path, case: Case) -> Cost:
    return Cost(case_id=case.case_id, seconds=1.0, peak_memory_mb=1.0, network_seconds=0.5)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has: a data set, a patient, files, trained runs, a model, predictions."""
    place = tmp_path_factory.mktemp("reader")
    folders = write_phantoms(place / "BraTS", 5, config=GRID)
    shutil.copytree(folders[0], place / "patient")
    for name, letter in (("t1c", "c"), ("t2f", "f")):
        shutil.copy(folders[0] / f"{folders[0].name}-{name}.nii.gz", place / f"{letter}.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glioscope.experiment.cost.measure_cost", free_cost)
        options = TrainOptions(config="standard", overrides=(*TINY, *NARROW))
        train(place / "BraTS", place / "run", options=options)
        validate_run(place / "run")
    for name in ("patients", "mine"):
        shutil.copytree(place / "BraTS", place / name)
    for name in ("run2", "other"):
        shutil.copytree(place / "run", place / name)
    shutil.copytree(place / "run" / "fold_0" / "model", place / "model")
    segment(place / "BraTS", place / "out", model=place / "model")
    return place


@pytest.mark.parametrize(
    "page", [p for p in PAGES if shell_lines(p)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_what_a_page_says_can_be_typed(
    page: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shell_lines(page)
    made = {word.rstrip("/") for line in lines for word in re.findall(r"(?:-o|--output) (\S+)", line)}
    for item in ready.iterdir():
        if item.name not in made:
            (shutil.copytree if item.is_dir() else shutil.copy)(item, tmp_path / item.name)
    for match in TOML.finditer(page.read_text("utf-8")):
        (tmp_path / match["name"]).write_text(match["body"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glioscope.experiment.cost.measure_cost", free_cost)
    monkeypatch.setattr("glioscope.phantom.write_phantoms", partial(write_phantoms, config=GRID))
    monkeypatch.setattr("glioscope.segmentation.worker.default_model", lambda: ready / "model")
    for line in lines:
        program, *words = shlex.split(line)
        if program in ELSEWHERE:
            continue
        assert program == "glioscope", line
        own = {"train": quick, "evaluate": lambda words: [*words, "--workers", "1"]}
        code = main(own.get(words[0], list)(words))
        done = (0, 3) if words[0] == "evaluate" else (0,)  # 3: some predictions are missing, as the page may mean it
        assert code in done, f"{line}\n{capsys.readouterr().err}"


def quick(words: list[str]) -> list[str]:
    """A training of two steps instead of the hour that the page speaks of."""
    if "--resume" in words:
        return [word for n, word in enumerate(words) if "--minutes" not in (word, words[n - 1])]
    narrow = () if "original" in words else NARROW
    kept = [word for n, word in enumerate(words) if "--minutes" not in (word, words[n - 1])]
    return kept + [part for setting in (*TINY, *narrow) for part in ("--set", setting)]


def test_few_blocks_are_not_run() -> None:
    marked = [m["why"] for page in PAGES for m in BLOCK.finditer(page.read_text("utf-8")) if m["why"]]
    assert len(marked) <= NOT_RUN, marked


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: the site cannot be built")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    fetching = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=.?(?:https?:)?//|<link[^>]+rel=.?stylesheet[^>]+//|import\(.?https"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    assert not [page.name for page in pages if fetching.search(page.read_text("utf-8"))]
    commands = (site / "reference" / "command-line.html").read_text("utf-8")
    assert "glioscope segment" in commands
    assert "--save-probabilities" in commands or "--probabilities" in commands
    assert 'href="examples/index.html"' in (site / "index.html").read_text("utf-8").partition("<article")[2]
    assert "hausdorff_95" in (site / "reference" / "scores.html").read_text("utf-8")
