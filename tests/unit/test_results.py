"""Records on disk: read as they were written, 0.1.0's too; refused in one line that names file and field."""

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glioscope.errors import RunError
from glioscope.evaluation.summary import EvaluationSummary, read_evaluation
from glioscope.evaluation.tables import plain
from glioscope.results import CaseSummary, Flag, gravest_first, read_summary, summaries, usable_summary, write_summary
from glioscope.results.change import Change, read_change, write_change
from glioscope.results.stored import FORMAT, as_json, from_json
from glioscope.results.summary import without_folders
from summaries import tiny_summary

STORED = Path(__file__).parents[1] / "golden" / "data"
KINDS = {"summary": CaseSummary, "change": Change, "evaluation": EvaluationSummary}


def stored(name: str) -> dict[str, Any]:
    """What 0.1.0 wrote of a phantom (`segment`), of two (`change`), of both (`evaluate`, shortened)."""
    return dict(json.loads((STORED / f"{name}-0.1.0.json").read_text("utf-8")))


@pytest.mark.parametrize("name", KINDS)
def test_files_of_0_1_0_are_read_and_only_format_is_new(name: str) -> None:
    read = {"summary": read_summary, "change": read_change, "evaluation": read_evaluation}[name]
    before = stored(name)
    assert "format" not in before
    now = plain(as_json(read(STORED / f"{name}-0.1.0.json")))
    assert list(now) == ["format", *before]
    assert now == {"format": 1, **before}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    summary = tiny_summary(flags=(Flag("x", "warning", "\udce9 no UTF-8, \"quoted\", 'too', ‑ a dash"),))
    write_summary(tmp_path / "a" / "summary.json", summary)
    assert read_summary(tmp_path / "a" / "summary.json") == summary
    change = read_change(STORED / "change-0.1.0.json")
    write_change(tmp_path / "change.json", change)
    assert read_change(tmp_path / "change.json") == change
    assert json.loads((tmp_path / "change.json").read_text("utf-8"))["format"] == FORMAT


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field, entry and element."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in pairs:
        yield (*path, key)
        yield from places(entry, (*path, key))


def edited(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(content)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


@pytest.mark.parametrize("name", KINDS)
def test_any_field_of_a_wrong_kind_is_named(name: str) -> None:
    """Each field in turn holds what no field holds; what is free (settings) takes anything."""
    content, checked = stored(name), 0
    for path in places(content):
        if path[0] == "settings":
            continue
        with pytest.raises(RunError) as caught:
            from_json(edited(content, path, [{"odd": [None]}]), KINDS[name], Path("summary.json"))
        message = str(caught.value)
        assert message.startswith(f"summary.json: {path[0]}"), (path, message)
        assert [str(key) for key in path if str(key) not in message] == []
        assert "\n" not in message
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("name", KINDS)
def test_any_field_that_is_gone_or_unknown_is_named(name: str) -> None:
    content = stored(name)
    for key in content:
        less = {k: v for k, v in content.items() if k != key}
        if key in ("outputs", "seconds") and name == "summary":  # a correction has no seconds
            from_json(less, KINDS[name], Path("x"))
            continue
        with pytest.raises(RunError, match=f"^x: {key} is missing; undo the edit"):
            from_json(less, KINDS[name], Path("x"))
    with pytest.raises(RunError, match=r"^x: volums_ml is not a field that is known here"):
        from_json({**content, "volums_ml": 1}, KINDS[name], Path("x"))


def test_numbers_that_are_not_finite_are_refused() -> None:
    for value in (float("nan"), float("inf"), "nan"):
        with pytest.raises(RunError, match=r"^x: measurements\.volumes_ml\.WT is "):
            from_json(edited(stored("summary"), ("measurements", "volumes_ml", "WT"), value), CaseSummary, Path("x"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged, it is no JSON"),
        ('{"case_id": "p', "is damaged, it is no JSON"),
        ("[1, 2]", "holds no record but a list"),
        ("[" * 100_000, "is damaged, it is no JSON"),
        ("{}", "case_id is missing"),
        ('{"format": 2}', "format is 2, of a later Glioscope; this version reads up to 1"),
        ('{"format": 0}', "format is 0; it must be a whole number from 1"),
        ('{"format": "new"}', "format is 'new'; it must be a whole number from 1"),
        ('{"format": true}', "format is True; it must be"),
    ],
)
def test_a_damaged_file_or_one_of_a_later_format_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        read_summary(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if '"format": 2' in text:
        with pytest.raises(RunError, match="later Glioscope"):
            usable_summary(path)
    elif "format" not in text:
        assert usable_summary(path) is None


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"summary\.json: cannot be read \(No such file"):
        read_summary(tmp_path / "summary.json")
    assert usable_summary(tmp_path / "summary.json") is None


def test_below_a_folder_each_summary_or_what_is_wrong_with_it(tmp_path: Path) -> None:
    """An evaluation's summary is of another kind and no case; the order is that of the paths."""
    for name in ("a", "c"):
        write_summary(tmp_path / name / "summary.json", tiny_summary(name))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "summary.json").write_text("{", encoding="utf-8")
    (tmp_path / "scores").mkdir()
    shutil.copyfile(STORED / "evaluation-0.1.0.json", tmp_path / "scores" / "summary.json")
    found = list(summaries(tmp_path))
    assert [path.parent.name for path, _ in found] == ["a", "b", "c"]
    assert [type(summary) for _, summary in found] == [CaseSummary, RunError, CaseSummary]


def test_flags_stand_gravest_first_else_as_noticed() -> None:
    flags = [Flag(code, severity, "") for code, severity in zip("abcd", ("info", "error", "warning", "error"))]  # type: ignore[arg-type]  # noqa: B905
    assert [flag.code for flag in gravest_first(flags)] == ["b", "d", "c", "a"]


def test_files_are_named_without_their_folders() -> None:
    told = read_summary(STORED / "summary-0.1.0.json")
    assert told.inputs["t1c"].file.startswith("/data/")
    bare = without_folders(told)
    assert bare.inputs["t1c"].file == "BraTS-GLI-00001-000-t1c.nii.gz"
    assert replace(bare, inputs=told.inputs) == told
