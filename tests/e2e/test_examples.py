"""The notebooks of `examples/` run as they are, trained for a second instead of minutes."""

import runpy
import tempfile
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_examples_are_notebooks_that_fit_on_a_page_or_two() -> None:
    assert len(EXAMPLES) == 3
    for example in EXAMPLES:
        text = example.read_text(encoding="utf-8")
        assert text.startswith("# %% [markdown]\n# # ")
        assert len(text.splitlines()) <= 120
        assert len(max(text.splitlines(), key=len)) <= 120


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*non-interactive:UserWarning")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLIOSCOPE_EXAMPLE_MINUTES", "0.002")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = runpy.run_path(str(example))
    names["plt"].close("all") if "plt" in names else None
    assert capsys.readouterr().out.count("\n") >= 5
    assert Path(names["WORK"]).is_relative_to(tmp_path)
