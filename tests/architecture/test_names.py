"""What regions and sequences are called, and their colours, are said once in Python; pages in the browser repeat it."""

import re

from architecture.source import PACKAGE
from glioscope.labels import REGION_COLOURS, REGION_NAMES
from glioscope.report.style import OTHER_REGION, SEQUENCE_NAMES

STATIC = PACKAGE / "web" / "static"


def test_the_browser_has_the_colours_and_names_of_python() -> None:
    style, panel = ((STATIC / name).read_text("utf-8") for name in ("web.css", "panel.js"))
    for region, colour in REGION_COLOURS.items():
        assert re.search(rf"\.chip\.{region}\b[^}}]*--tone: {colour}", style)
        assert f'{region}: ["{REGION_NAMES[region]}", "{colour}"]' in panel
    assert f".chip.other {{ --tone: {OTHER_REGION}; }}" in style
    for code, name in SEQUENCE_NAMES.items():
        assert f'{code}: "{name}"' in panel
