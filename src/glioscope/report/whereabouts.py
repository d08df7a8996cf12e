"""The part of a case's page that says where the tumour lies: the report in words, a drawing, VASARI's features."""

import base64
from dataclasses import dataclass
from pathlib import Path

from glioscope.measure.anatomy.parts import LOBES
from glioscope.measure.anatomy.phrases import Language
from glioscope.measure.anatomy.sketch import COLOURS, CORE, SKETCH, TUMOUR, VENTRICLES
from glioscope.measure.anatomy.wording import Text, report_text
from glioscope.results import CaseSummary
from glioscope.results.anatomy import Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """What the page shows."""

    text: Text
    sketch: str
    """Address of the drawing as data, so that nothing in it can run; empty where there is none."""
    legend: tuple[tuple[str, str], ...]
    """Colour and what it stands for."""
    vasari: tuple[Feature, ...]


def whereabouts(summary: CaseSummary, folder: Path) -> Whereabouts | None:
    """Return what is to be shown of a case in its folder; None if nobody asked where its tumour lies."""
    anatomy = summary.anatomy
    if anatomy is None:
        return None
    language: Language = "de" if summary.settings.get("anatomy") == "de" else "en"
    text = report_text(anatomy, language=language, measurements=summary.measurements, flags=summary.flags)
    path = folder / SKETCH
    drawn = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    lobes = [(COLOURS[name], name) for name in LOBES if name in COLOURS]
    legend = (*lobes, (VENTRICLES, "ventricles"), (TUMOUR, "tumour"), (CORE, "tumour core"))
    return Whereabouts(
        text=text,
        sketch=f"data:image/svg+xml;base64,{drawn}" if drawn else "",
        legend=legend if drawn else (),
        vasari=anatomy.vasari,
    )
