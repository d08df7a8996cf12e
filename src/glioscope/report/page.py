"""One HTML file that needs nothing else: styles, scripts and pictures inside, no address of any network.

Templates escape every value; what may stand unescaped is marked so here and nowhere else: this package's own style
sheet and scripts, and JSON whose `<`, `>` and `&` are written as escapes.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import glioscope
from glioscope.errors import GlioscopeError
from glioscope.files import read_json, write_text
from glioscope.labels import REGION_COLOURS, REGION_NAMES
from glioscope.report.images import (
    ERROR_COLOURS,
    SIDES,
    Picture,
    Scene,
    comparison,
    data_url,
    grey_picture,
    jpeg,
)
from glioscope.report.style import SEQUENCE_NAMES, colour_of, metric_name
from glioscope.results.stored import as_json


@dataclass(frozen=True, slots=True)
class Still:
    """A picture on a page."""

    url: str
    """A `data:` address."""
    alt: str
    """What it shows, for readers who cannot see it."""
    caption: str = ""
    sides: tuple[str, ...] = ()
    """Letters at the left, right, top and bottom."""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRow:
    """Pictures side by side."""

    name: str
    """Of the row: a plane, or a case."""
    stills: Sequence[Still]
    label: str = ""
    """Of the sequence, where a row is of one."""
    region: str = ""
    """That the row is about, where it is about one."""


def still(picture: Picture, alt: str, caption: str = "", sides: tuple[str, ...] = ()) -> Still:
    """Return a picture (rows, columns, 3) as a JPEG still."""
    return Still(data_url(jpeg(picture), "image/jpeg"), alt, caption, sides, picture.shape[1], picture.shape[0])


def sequence_stills(scene: Scene, at: tuple[int, int, int], what: str) -> list[Still]:
    """Return the same axial slice of each sequence, without overlay.

    `what` completes the words for readers who cannot see it.
    """
    stills = []
    for name in scene.images:
        label = SEQUENCE_NAMES.get(name, name)
        picture = grey_picture(scene, name, "axial", at)
        stills.append(still(picture, f"Axial slice of {label}, {what}", label, SIDES["axial"]))
    return stills


def comparison_stills(scene: Scene, at: tuple[int, int, int], case_id: str) -> list[Still]:
    """Return image and prediction, and where there is a reference that and the difference: one axial slice."""
    return [still(picture, f"{label} of {case_id}", label, SIDES["axial"]) for label, picture in comparison(scene, at)]


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON record, empty where it is absent or damaged: a page shows what there is."""
    try:
        content = read_json(path, what="record")
    except GlioscopeError:
        return {}
    return content if isinstance(content, dict) else {}


def asset(name: str) -> str:
    """Return the text of a file in `report/assets`."""
    return (resources.files("glioscope.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def packed_asset(name: str) -> str:
    """Return a compressed file in `report/assets` as base64."""
    return base64.b64encode((resources.files("glioscope.report") / "assets" / name).read_bytes()).decode("ascii")


def environment(package: str) -> Environment:
    """Return what fills the templates of a room: every value is escaped, a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["number"] = number
    made.globals.update(
        json_data=json_data,
        colour_of=colour_of,
        region_names=REGION_NAMES,
        sequence_names=SEQUENCE_NAMES,
        version=glioscope.__version__,
    )
    return made


@cache
def _environment() -> Environment:
    made = environment("glioscope.report")
    made.filters["words"] = words
    made.filters["chance"] = chance
    made.filters["metric"] = metric_name
    made.globals.update(
        style=Markup(asset("page.css")),
        as_json=as_json,
        script=lambda name: Markup(asset(name)),
        packed=packed_asset,
        error_colours=ERROR_COLOURS,
        region_colours=REGION_COLOURS,
    )
    return made


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Fill a template of `report/templates` and write it, complete or not at all."""
    write_text(path, _environment().get_template(template).render(**values))


def json_data(value: Any) -> Markup:
    """Return a value as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def number(value: Any, digits: int = 1, missing: str = "–") -> str:
    """Return a number with a fixed count of decimals, a dash for None, NaN or an empty cell."""
    try:
        figure = float(value)
    except (TypeError, ValueError):
        return missing
    return f"{figure:,.{digits}f}" if math.isfinite(figure) else missing


def chance(p: float) -> str:
    """Return a p-value as text: three decimals, and never a false zero."""
    return "<0.001" if p < 0.001 else number(p, 3)


def words(value: Any) -> str:
    """Return a value of a summary as one line of text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(words(v) for v in value)
    return "–" if value is None else str(value)


def flatten(record: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested record as rows of a table: (dotted name in words, value)."""
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix} · {key}" if prefix else str(key)
        name = name.replace("_", " ")
        if isinstance(value, Mapping):
            rows += flatten(value, name)
        else:
            rows.append((name, words(value)))
    return rows
