"""Colours and names that mean the same on every page and in every figure.

The three region colours (`labels.REGION_COLOURS`) are told apart under protanopia, deuteranopia and tritanopia, and by
lightness alone in a grey print. `REGION_INK` holds the same hues darkened, for lines and
text on white, where gold would be too faint.
"""

import re

from glioscope.labels import REGION_COLOURS

REGION_INK = {"WT": "#3a63d8", "TC": "#b3155f", "ET": "#9a6a00"}
"""On paper (white ground): at least 4.5 to 1 in contrast."""
SEQUENCE_NAMES = {"t1n": "T1", "t1c": "T1 contrast", "t2w": "T2", "t2f": "FLAIR"}
_METRIC_WORDS = {"dice": "Dice", "hd95": "HD95", "nsd": "NSD", "iou": "IoU", "tp": "TP", "fp": "FP", "fn": "FN"}
TEXT = "#1c2530"
MUTED = "#5b6775"
RULE = "#d8dde3"
METHODS = ("#0b6e6e", "#b3541e", "#5b4b9a", "#6b7684", "#8a7a00", "#1f77b4")
"""Colours of networks or methods set side by side."""
TRAINING = "#7a8594"
VALIDATION = "#0b6e6e"

OTHER_REGION = "#009e73"
"""Any region beyond WT, TC and ET (a resection cavity, say)."""


def colour_of(region: str) -> str:
    """Return the colour of a region on images."""
    return REGION_COLOURS.get(region, OTHER_REGION)


def ink_of(region: str) -> str:
    """Return the colour of a region on white."""
    return REGION_INK.get(region, "#00664b")


def metric_name(metric: str) -> str:
    """Return how a metric of a table is written for people.

    >>> [metric_name(m) for m in ("lesion_dice", "hd95", "nsd_0.5mm", "sensitivity")]
    ['Lesion Dice', 'HD95, mm', 'NSD 0.5 mm', 'Sensitivity']
    """
    words = " ".join(_METRIC_WORDS.get(word, word) for word in metric.split("_"))
    words = re.sub(r"(\d)mm\b", r"\1 mm", words)
    return words[:1].upper() + words[1:] + (", mm" if words.endswith("HD95") else "")
