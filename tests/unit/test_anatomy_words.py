"""The report in words: sentences chosen by fields, every number from a field, both languages, FHIR, the drawing."""

import base64
import json
import re
import string
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from glioscope.labels import SCHEMES
from glioscope.measure import measure
from glioscope.measure.anatomy.describe import Placed, describe, given
from glioscope.measure.anatomy.fhir import diagnostic_report
from glioscope.measure.anatomy.parts import AREAS, LOBES, STRUCTURES, BrainMap
from glioscope.measure.anatomy.phrases import IN_PLACE, LANGUAGES, NAMES, REGIONS, SECTIONS, SENTENCES, Language
from glioscope.measure.anatomy.sketch import sketch
from glioscope.measure.anatomy.wording import Sentence, Text, report_text
from glioscope.measure.midline import Midline
from glioscope.results import Flag
from glioscope.results.anatomy import Anatomy, Fit, Problem
from glioscope.space.grid import Grid

SCHEME = SCHEMES["brats2023"]
SHAPE = (60, 60, 60)
MIDDLE = Midline(normal=np.array([1.0, 0, 0]), point=np.zeros(3), source="by hand", asymmetry_mm=0.5)
AFFINE = np.eye(4)
AFFINE[:3, 3] = -29.5
GRID = Grid(SHAPE, AFFINE)


@cache
def brain() -> Placed:
    """Frontal in front, parietal behind, a ventricle in the middle, motor cortex on top."""
    structures = np.full(SHAPE, STRUCTURES.index("white matter"), np.uint8)
    structures[:, :, 52:] = STRUCTURES.index("cortex")
    structures[26:34, 20:40, 20:30] = STRUCTURES.index("ventricles")
    structures[26:34, 20:40, 30:34] = STRUCTURES.index("corpus callosum")
    lobes = np.full(SHAPE, LOBES.index("frontal"), np.uint8)
    lobes[:, :25] = LOBES.index("parietal")
    areas = np.zeros(SHAPE, np.uint8)
    areas[:, 25:35, 52:] = AREAS.index("motor")
    parts = BrainMap(
        grid=GRID, structures=structures, lobes=lobes, areas=areas, source="by hand", lacks=("dentate nucleus",)
    )
    return given(parts)


def tumour(*pieces: tuple[int, int, int, int, int]) -> np.ndarray:
    """Cubes: value, corner along i, j, k, edge."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, i, j, k, edge in pieces:
        labels[i : i + edge, j : j + edge, k : k + edge] = value
    return labels


LABELS = {
    "one": tumour((2, 4, 24, 20, 18), (3, 8, 28, 24, 10), (1, 11, 31, 27, 4)),
    "deep": tumour((3, 16, 25, 25, 20)),
    "cortical": tumour((2, 8, 22, 40, 16), (1, 10, 26, 46, 10)),
    "several": tumour((2, 2, 40, 5, 14), (3, 5, 42, 8, 8), (3, 45, 5, 40, 10), (2, 45, 45, 5, 9)),
    "oedema": tumour((2, 20, 5, 5, 20)),
    "none": tumour(),
}


@cache
def said(name: str, placed: Placed | None = None, midline: Midline = MIDDLE) -> Anatomy:
    return describe(LABELS[name], SCHEME, placed or brain(), np.ones(SHAPE, bool), midline=midline)


@cache
def text_of(name: str, language: Language = "en") -> Text:
    found = measure(LABELS[name], GRID, SCHEME)
    return report_text(said(name), language=language, measurements=found, flags=(Flag("thick-slices", "warning", "x"),))


def value_at(path: str, roots: dict[str, Any]) -> Any:
    """What stands at a path such as ``anatomy.regions[WT].distances.midline_mm``."""
    value: Any = roots
    for step in path.split("."):
        name, _, key = step.partition("[")
        value = value[name] if isinstance(value, dict) else getattr(value, name)
        if key := key.rstrip("]"):
            value = value[int(key)] if key.isdigit() else next((v for v in value if v.region == key), None)
            if value is None:
                return None
    return value


def numbers_in(value: Any) -> set[float]:
    """Every number below a field, and the percentages and differences that sentences make of them."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, tuple | list):
        return {float(len(value))}.union(*(numbers_in(v) for v in value))
    return set().union(*(numbers_in(getattr(value, n)) for n in value.__slots__))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LABELS)
def test_every_number_comes_from_a_field_that_the_sentence_names(name: str, language: Language) -> None:
    roots = {"anatomy": said(name), "measurements": measure(LABELS[name], GRID, SCHEME), "flags": ()}
    for sentence in text_of(name, language).sentences:
        fixed = {"1998", "5"}  # Sawaya's year; 5 mm past the midline
        numbers = set(re.findall(r"\d+(?:[.,]\d+)?", sentence.text)) - fixed
        if not numbers:
            continue
        known = set().union(*(numbers_in(value_at(path, roots)) for path in sentence.fields))
        shares = {100 * v for v in known}
        if len(known) <= 4:  # volumes of which the sentence makes percentages
            shares |= {100 * (a - b) / c for a in known for b in (*known, 0.0) for c in known if c}
        for told in (float(n.replace(",", ".")) for n in numbers):
            near = min((abs(told - v) for v in known | shares), default=np.inf)
            assert near <= 1.0, (sentence, told)


def test_the_words_of_one_tumour() -> None:
    findings = text_of("one").sections()[0][1]
    told = [s.text for s in findings]
    assert told[0] == "There is one lesion of 5.8 ml, on the left, 94% in the frontal lobe and 6% in the parietal lobe."
    assert told[1] == "Of the whole, 16% enhances, 1% is necrosis or non-enhancing core, and 83% is oedema."
    assert "The tumour core lies 9 mm from the ventricles; its oedema" not in " ".join(told)
    assert told[3] == "The tumour core does not touch the ventricles; the nearest wall is 9 mm away."
    assert findings[3].fields[0] == "anatomy.regions[TC].distances.ventricles_mm"
    assert told[-1].startswith(
        "It touches no eloquent area of the list of Sawaya et al. 1998; the nearest is the motor"
    )


def test_the_words_of_a_tumour_that_crosses() -> None:
    told = text_of("deep").plain()
    assert "across the midline, 70% of it on the left" in told
    assert "The tumour core touches the wall of a ventricle." in told
    assert "The tumour core crosses the midline. It crosses through the corpus callosum." in told
    assert "The enhancing tumour is solid" in told


def test_the_words_of_several_and_of_none() -> None:
    several = text_of("several").plain()
    assert "There are 3 separate lesions, together 4.5 ml" in several
    assert "Lesion 2 (1.0 ml) lies on the right, in the parietal lobe." in several
    assert "multicentric by position" in several
    none = text_of("none").plain()
    assert "Findings\nNo tumour was segmented.\n" in none
    assert "Measurements" not in none


def test_what_could_not_be_told_is_said() -> None:
    fit = Fit(method="affine", source="by hand", overlap=0.4, usable=False)
    placed = Placed(
        parts=brain().parts, fit=fit, middle=None, problems=(Problem(code="map-misfit", message="does not fit"),)
    )
    lame = replace(MIDDLE, asymmetry_mm=9.0)
    for language, words in (("en", ("a side that could not be told", "does not fit")), ("de", ("nicht bestimmbar",))):
        plain = report_text(said("one", placed, lame), language=language).plain()
        assert all(word in plain for word in words)
        assert ("midline" not in plain.split("Quality")[0]) or language == "de"


def test_german_is_complete() -> None:
    assert SENTENCES["en"].keys() == SENTENCES["de"].keys()
    assert NAMES["en"].keys() == NAMES["de"].keys()
    assert IN_PLACE["en"].keys() == IN_PLACE["de"].keys() == set(LOBES)
    assert SECTIONS["en"].keys() == SECTIONS["de"].keys()
    assert REGIONS["en"].keys() == REGIONS["de"].keys()

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert all(fields(SENTENCES["en"][key]) == fields(SENTENCES["de"][key]) for key in SENTENCES["en"])
    plain = text_of("one", "de").plain()
    assert "Es besteht eine Läsion von 5,8 ml, links, 94 % im Frontallappen und 6 % im Parietallappen." in plain


def test_nothing_is_concluded() -> None:
    """No sentence of either language names a disease, a grade, a marker's state, or what will become of the patient."""
    never = (
        r"glioblastom|astrocytom|oligodendr|\bgrade\b|\bGrad\b|IDH|MGMT|1p/19q|surviv|überleben|malign|benign|resect"
    )
    texts = [*SENTENCES["en"].values(), *SENTENCES["de"].values()]
    assert not [text for text in texts if re.search(never, text, re.IGNORECASE)]


def test_percentages_add_up() -> None:
    for name in ("one", "several", "cortical"):
        line = next(s.text for s in text_of(name).sentences if s.text.startswith("Of the whole"))
        assert sum(int(n) for n in re.findall(r"(\d+)%", line)) == 100


def test_comparison_is_told_by_the_change() -> None:
    class Region:
        earlier_ml, later_ml, percent = 10.0, 12.5, 25.0

    class Change:
        regions = {"WT": Region()}  # noqa: RUF012

    told = report_text(said("one"), change=Change())  # type: ignore[arg-type]
    assert told.sections()[2][1][0] == Sentence(
        section="comparison",
        text="Whole tumour: 10.0 ml earlier, 12.5 ml now, a change of +25%.",
        fields=("change.regions[WT].earlier_ml", "change.regions[WT].later_ml", "change.regions[WT].percent"),
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_fhir_holds_the_text_and_the_numbers_with_units(language: Language) -> None:
    found = said("one")
    text = text_of("one", language)
    report = json.loads(json.dumps(diagnostic_report(text, found, subject_id="patient <1>"), allow_nan=False))
    assert report["resourceType"] == "DiagnosticReport"
    assert report["status"] == "preliminary"
    assert "conclusion" not in report
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode() == text.plain()
    div = ElementTree.fromstring(report["text"]["div"])
    assert div.tag == "{http://www.w3.org/1999/xhtml}div"
    assert text.sentences[0].text in "".join(div.itertext())
    contained = {o["id"]: o["valueQuantity"] for o in report["contained"]}
    whole = found.region("WT")
    assert whole is not None
    assert contained["volume-WT"] == {
        "value": whole.volume_ml,
        "unit": "ml",
        "system": "http://unitsofmeasure.org",
        "code": "mL",
    }
    assert {r["reference"] for r in report["result"]} == {f"#{key}" for key in contained}


def test_the_drawing_is_small_valid_and_shows_left_on_the_right() -> None:
    parts = brain().parts
    whole = LABELS["one"] > 0
    drawn = sketch(parts, whole, LABELS["one"] == 3)
    root = ElementTree.fromstring(drawn)
    assert len(drawn) < 60_000
    assert not re.search(r"<script|href|on\w+=", drawn)
    axial = root.find("{http://www.w3.org/2000/svg}g")
    assert axial is not None
    path = next(p for p in axial if p.get("fill") == "#f2a24a").get("d") or ""
    x = [float(v) for v in re.findall(r"[ML]([\d.-]+) ", path)]
    assert np.mean(x) > 30  # the tumour lies left; the drawing is 60 wide
    assert ElementTree.fromstring(sketch(parts, whole & False, whole & False)).tag.endswith("svg")
