"""Text from file names, headers and records on a page: shown as it stands, never run.

Pages are parsed as a browser would, so that an escape forgotten anywhere shows: an element, handler or address that
no template holds.
"""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioscope.cases import load_case
from glioscope.evaluation import RegionScores, compare_methods
from glioscope.evaluation.tables import rows_as_csv
from glioscope.labels import scheme_named
from glioscope.report import (
    write_case_report,
    write_cohort_report,
    write_comparison_report,
    write_evaluation_report,
)
from glioscope.results import CaseSummary, Flag, InputFile, write_summary
from glioscope.results.preparation import AffineGrid, BrainRecord, Preparation, RawOrigin, SeriesRecord
from glioscope.results.summary import EngineRecord, ModelRecord
from summaries import tiny_summary
from tiny import SHAPE, write_tiny_case

SCHEME = scheme_named("brats2023")
ATTACKS = (
    "</script><script>alert(666)</script>",
    '"><img src=x onerror=alert(666)>',
    "' onmouseover='alert(666)",
    "<svg onload=alert(666)>",
    "{{ 6661 * 3 }}{% raw %}",
    "javascript:alert(666)",
    "$\\frac{$ $\\alert{666}$",
    "<!--",
    "\u202egpj.exe",
)
NAMES = tuple(attack for attack in ATTACKS if not set("/\\\u202e") & set(attack))
"""Those that may name a folder."""


class Page(HTMLParser):
    """What a browser would find: elements, handlers, addresses, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.images = 0
        self._script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script"
        for name, value in attributes:
            if name.startswith("on"):
                self.found.append(f"<{tag} {name}={value}>")
            if name in ("href", "src", "action", "formaction") and (value or "").strip().lower().startswith(
                "javascript:"
            ):
                self.found.append(f"<{tag} {name}={value}>")
            if name == "src" and value == "x":
                self.found.append(f"<{tag} {name}={value}>")
        if self._script and not dict(attributes).get("type", "").endswith("json"):
            self._code = True
        else:
            self._code = False

    def handle_endtag(self, tag: str) -> None:
        self._script = self._code = False

    def handle_data(self, data: str) -> None:
        if self._script and self._code and "alert(666)" in data:
            self.found.append(f"script: {data[:80]}")


def assert_harmless(page: str) -> None:
    assert Page(page).found == []
    assert "19983" not in page, "a template was run"


def test_the_parser_sees_what_is_not_escaped() -> None:
    """Each attack, put on a page raw, is found: else the tests below would prove nothing."""
    raw: list[tuple[str, Callable[[str], str]]] = [
        (ATTACKS[0], lambda text: f"<p>{text}</p>"),
        (ATTACKS[1], lambda text: f'<p title="{text}">'),
        (ATTACKS[2], lambda text: f"<p title='{text}'>"),
        (ATTACKS[3], lambda text: f"<p>{text}</p>"),
        ("javascript:alert(666)", lambda text: f'<a href="{text}">'),
    ]
    for attack, page in raw:
        assert Page(page(attack)).found, attack


def poisoned(value: Any, attack: str) -> Any:
    """Return a record with an attack behind each text of it."""
    if isinstance(value, dict):
        return {key: poisoned(entry, attack) for key, entry in value.items()} | {attack: attack}
    if isinstance(value, list | tuple):
        return [poisoned(entry, attack) for entry in value]
    return f"{value}{attack}" if isinstance(value, str) else value


def labels() -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found[6:12, 6:12, 4:10] = 2
    found[8:10, 8:10, 6:8] = 3
    return found


def summary_of(folder: Path, name: str, attack: str) -> CaseSummary:
    raw = RawOrigin(
        why=attack,
        inputs={attack: InputFile(file=attack, channel=None, sha256=attack)},
        patient=attack,
        series={"t1n": SeriesRecord(series=attack, reason=attack, description=attack, problems=(attack,))},
        left_out={attack: attack},
        preparation=Preparation(
            reference=attack,
            grid=AffineGrid(shape=SHAPE, affine_ras_mm=((1.0, 0.0, 0.0, 0.0),) * 4),
            sequences={},
            brain=BrainRecord(method=attack, found_in=(attack,), ml=1.0, stripped_before=False),
            problems=(attack,),
            seconds={attack: 1.0},
            config={attack: attack},
        ),
        native={},
    )
    return tiny_summary(
        name,
        labels=labels(),
        grid=load_case(folder / "data" / name).grid,
        inputs={"t1n": InputFile(file=attack, channel=None, sha256=attack)},
        raw=raw,
        flags=(Flag("odd", "error", attack), Flag(attack, "info", attack)),
        seconds={"read": 1.0, attack: 2.0},
        settings={"scheme": f"brats2023{attack}", attack: [attack]},
        model=ModelRecord(name=attack, folder=attack, sha256=attack, members=(attack,)),
        engine=EngineRecord(name=attack, precision=attack, description=attack),
        versions={attack: attack, "glioscope": attack},
    )


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_case_page(tmp_path: Path, attack: str) -> None:
    name = attack if attack in NAMES else "p1"
    loaded = load_case(write_tiny_case(tmp_path / "data", name))
    write_case_report(tmp_path / "report.html", loaded, labels(), SCHEME, summary_of(tmp_path, name, attack))
    assert_harmless((tmp_path / "report.html").read_text("utf-8"))


def test_cohort_page(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in NAMES:
        write_tiny_case(tmp_path / "data", name)
        (out / name).mkdir(parents=True)
        write_summary(out / name / "summary.json", summary_of(tmp_path, name, name))
        (out / name / "report.html").write_text("")
    lines = ["case_id,reason", *(f'f{n},"{attack.replace(chr(34), chr(34) * 2)}"' for n, attack in enumerate(ATTACKS))]
    (out / "failures.csv").write_text("\n".join(lines), encoding="utf-8")
    page = write_cohort_report(out).read_text("utf-8")
    assert_harmless(page)
    assert 'href="javascript%3A' in page


def scored(attacks: tuple[str, ...], offset: float) -> list[RegionScores]:
    return [
        RegionScores(
            case_id=attack,
            protocol="whole",
            region=region,
            reference_ml=10.0 + n,
            prediction_ml=9.0,
            scores={"dice": 0.5 + 0.02 * n + offset, "hd95": 3.0},
        )
        for n, attack in enumerate(attacks)
        for region in ("WT", "TC", "ET")
    ]


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # names as long as these leave charts no room
def test_evaluation_and_comparison_pages(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text(rows_as_csv(scored(ATTACKS, 0.0)), encoding="utf-8")
    assert_harmless(write_evaluation_report(tmp_path).read_text("utf-8"))
    methods = {attack: scored(ATTACKS, 0.05 * n) for n, attack in enumerate(ATTACKS[:3])}
    comparison = compare_methods(methods, protocol="whole")
    write_comparison_report(tmp_path / "compare.html", methods, comparison=comparison, costs={})
    assert_harmless((tmp_path / "compare.html").read_text("utf-8"))
