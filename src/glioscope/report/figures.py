"""Charts: curves of a training, boxes of scores, scores against volume, volumes of a cohort.

In: plain columns of numbers. Out: a PNG file or an SVG as bytes. Matplotlib is used through its objects and the Agg
canvas alone, never through pyplot, so nothing here leaves global state and threads may draw at once.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from glioscope.errors import RunError
from glioscope.files import atomic_path
from glioscope.report.images import data_url
from glioscope.report.style import METHODS, MUTED, RULE, TEXT, TRAINING, VALIDATION, colour_of, ink_of

if TYPE_CHECKING:  # it brings scipy.stats, which most pages do without
    from glioscope.evaluation import Difference

Columns = Mapping[str, NDArray[np.float64]]


def read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a `history.csv` as numbers, NaN where a cell is empty or not a number.

    Raises
    ------
    RunError
        The file is missing or has no header. A file with a header alone gives empty columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: no readable history ({error}); a training writes it after its first steps") from error
    if not names:
        raise RunError(f"{path}: is empty; a history has a header line such as 'step,epoch,seconds,…'")
    return {name: np.array([_number(row.get(name)) for row in rows], np.float64) for name in names}


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.nan


def draw_curves(history_csv: Path, png_path: Path) -> None:
    """Draw loss, Dice, accuracy and learning rate of a training, and write them as one PNG.

    Parameters
    ----------
    history_csv : Path
        As a training writes it: columns step, train_loss, train_dice, train_accuracy, val_loss, val_dice, val_dice_WT,
        val_dice_TC, val_dice_ET, val_accuracy, learning_rate; empty cells where nothing was measured. Absent columns
        leave their panel saying so.
    png_path : Path
        Written complete or not at all.
    """
    figure = curves_figure(read_history(history_csv))
    with atomic_path(png_path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)


def curves_figure(history: Columns) -> Figure:
    """Return the four panels of a training: loss, Dice, accuracy, learning rate."""
    figure = new_figure(11, 6.4)
    axes = figure.subplots(2, 2, sharex=True)
    _pair(axes[0, 0], history, "train_loss", "val_loss", title="Loss")
    _dice_panel(axes[0, 1], history)
    _pair(axes[1, 0], history, "train_accuracy", "val_accuracy", title="Voxel accuracy")
    _line(axes[1, 1], history, "learning_rate", "learning rate", TEXT, smooth=False)
    axes[1, 1].set_title("Learning rate", loc="left", color=TEXT, fontsize=11, fontweight="bold")
    axes[1, 1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    for axis in axes[1]:
        axis.set_xlabel("step", color=MUTED)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes.flat:
        _finish(axis)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """Return a white figure of `width` by `height` inches on the Agg canvas."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _pair(axis: Axes, history: Columns, train: str, validation: str, *, title: str) -> None:
    _line(axis, history, train, "training", TRAINING)
    _line(axis, history, validation, "validation", VALIDATION, smooth=False)
    axis.set_title(title, loc="left", color=TEXT, fontsize=11, fontweight="bold")


def _dice_panel(axis: Axes, history: Columns) -> None:
    _line(axis, history, "train_dice", "training, mean", TRAINING)
    for region in (column.removeprefix("val_dice_") for column in history if column.startswith("val_dice_")):
        _line(axis, history, f"val_dice_{region}", f"validation {region}", ink_of(region), smooth=False)
    _line(axis, history, "val_dice", "validation, mean", TEXT, smooth=False)
    axis.set_title("Dice", loc="left", color=TEXT, fontsize=11, fontweight="bold")
    axis.set_ylim(0, 1)


def _line(axis: Axes, history: Columns, column: str, label: str, colour: str, *, smooth: bool = True) -> None:
    values = history.get(column)
    if values is None or not np.isfinite(values).any():
        return
    steps = history.get("step")
    x = steps if steps is not None and np.isfinite(steps).all() else np.arange(len(values), dtype=np.float64)
    known = np.isfinite(values)
    x, y = x[known], values[known]
    many = smooth and y.size > 60
    if many:  # single steps of batch 1 are noise: the pale line is each step, the strong one their running mean
        axis.plot(x, y, color=colour, linewidth=0.6, alpha=0.3)
        y = running_mean(y, max(5, y.size // 40))
    marker = "o" if not smooth and y.size <= 40 and not column.startswith("learning") else None
    axis.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label)


def beside_figure(histories: Mapping[str, Columns]) -> Figure:
    """Return the validation Dice of several trainings over their minutes of training, mean of the regions.

    Parameters
    ----------
    histories : mapping
        Name to the columns of a `history.csv`; one without a validation leaves no line.
    """
    figure = new_figure(6.4, 3.3)
    axis = figure.subplots()
    for (name, history), colour in zip(histories.items(), METHODS * len(histories), strict=False):
        dice = history.get("val_dice", np.array([]))
        known = np.isfinite(dice)
        if known.any():
            minutes = history["seconds"][known] / 60
            axis.plot(minutes, dice[known], color=colour, linewidth=1.8, marker="o", markersize=3.5, label=name)
    axis.set_ylim(0, 1)
    axis.set_xlabel("minutes of training", color=MUTED)
    axis.set_ylabel("validation Dice, mean", color=MUTED)
    _finish(axis)
    return figure


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of the last `width` values at each place (of fewer at the start)."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    stop = np.arange(1, values.size + 1)
    start = np.maximum(0, stop - width)
    return (total[stop] - total[start]) / (stop - start)


def _finish(axis: Axes) -> None:
    axis.grid(color=RULE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(RULE)
    axis.tick_params(colors=MUTED, labelsize=9)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8.5, labelcolor=TEXT)
    elif not axis.has_data():
        axis.text(0.5, 0.5, "not measured yet", transform=axis.transAxes, ha="center", va="center", color=MUTED)


def box_figure(groups: Mapping[str, Mapping[str, Sequence[float]]], *, label: str, top: float | None = 1.0) -> Figure:
    """Return box plots with every case as a dot.

    Parameters
    ----------
    groups : mapping
        Region to method to values; NaN and infinite values are left out of the boxes, and counted under them. With one
        method the boxes take the region's colour, with several the method's.
    label : str
        Of the values' axis.
    top : float, optional
        Upper end of that axis; None lets the values decide.
    """
    methods = list(dict.fromkeys(method for group in groups.values() for method in group))
    figure = new_figure(max(3.8, 0.9 + len(groups) * (0.3 + 0.42 * len(methods))), 3.3)
    axis = figure.subplots()
    rng = np.random.default_rng(0)
    for place, (region, group) in enumerate(groups.items()):
        for n, method in enumerate(methods):
            values = np.array(group.get(method, ()), np.float64)
            at = place + (n - (len(methods) - 1) / 2) * 0.8 / len(methods)
            colour = ink_of(region) if len(methods) == 1 else METHODS[n % len(METHODS)]
            _box(axis, values, at, 0.55 / len(methods), colour, rng)
            if place == 0 and len(methods) > 1:
                axis.plot([], [], color=colour, linewidth=6, alpha=0.6, label=method)
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.set_ylabel(label, color=MUTED)
    if top is not None:
        axis.set_ylim(-0.02 * top, top * 1.02)
    else:
        axis.set_ylim(bottom=0)
    _finish(axis)
    axis.grid(visible=False, axis="x")
    if len(methods) > 1:  # above the boxes, where it hides no case
        axis.legend(frameon=False, fontsize=8.5, labelcolor=TEXT, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def _box(
    axis: Axes, values: NDArray[np.float64], at: float, width: float, colour: str, rng: np.random.Generator
) -> None:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return
    spread = rng.uniform(-0.35, 0.35, known.size) * width
    axis.scatter(at + spread, known, s=14, color=colour, alpha=0.6, linewidths=0, zorder=2)
    line = {"color": colour, "linewidth": 1.6}
    box = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.6}
    median = {"color": colour, "linewidth": 2.6}
    axis.boxplot(
        [known],
        positions=[at],
        widths=width,
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops=box,
        whiskerprops=line,
        capprops=line,
        medianprops=median,
        zorder=3,
    )


def difference_figure(gains: "Sequence[Difference]") -> Figure:
    """Return differences of one metric with their 95 % intervals, a line for no difference among them.

    Parameters
    ----------
    gains : sequence of Difference
        At least one, each with a finite difference; without an interval (fewer than two cases) the dot stands alone.
    """
    figure = new_figure(6.4, 1.0 + 0.36 * len(gains))
    axis = figure.subplots()
    several = len({(gain.first, gain.second) for gain in gains}) > 1
    for row, gain in enumerate(reversed(gains)):
        axis.plot(gain.interval_95, (row, row), color=ink_of(gain.region), linewidth=2.4, solid_capstyle="butt")
        axis.plot(gain.difference, row, "o", color=ink_of(gain.region), markersize=7)
    axis.axvline(0, color=MUTED, linewidth=1)
    names = [f"{g.region}: {g.second} - {g.first}" if several else g.region for g in reversed(gains)]
    axis.set_yticks(range(len(gains)), names)
    axis.set_ylim(-0.6, len(gains) - 0.4)
    first = gains[0]
    what = "difference" if several else f"{first.second} - {first.first}"
    axis.set_xlabel(f"{first.metric.replace('_', ' ').capitalize()}, {what}", color=MUTED)
    _finish(axis)
    axis.grid(visible=False, axis="y")
    return figure


def scatter_figure(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> Figure:
    """Return scores against volume, one mark and colour per region, volume on a logarithmic axis.

    Parameters
    ----------
    points : mapping
        Region to (volumes, scores); pairs with a volume of 0 or an undefined score are left out.
    """
    figure = new_figure(4.2, 3.3)
    axis = figure.subplots()
    for (region, (volumes, scores)), mark in zip(points.items(), "os^Dv<>p*hX" * 3, strict=False):
        a, b = np.array(volumes, np.float64), np.array(scores, np.float64)
        known = (a > 0) & np.isfinite(a) & np.isfinite(b)
        axis.scatter(a[known], b[known], s=26, marker=mark, color=ink_of(region), alpha=0.6, linewidths=0, label=region)
    axis.set_xscale("log")
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(x, color=MUTED)
    axis.set_ylabel(y, color=MUTED)
    _finish(axis)
    return figure


def volumes_figure(cases: Sequence[tuple[str, Mapping[str, float]]]) -> Figure:
    """Return the cases' volumes as bars, largest first: the whole tumour, and within it the core and what enhances.

    Parameters
    ----------
    cases : sequence of (case id, region to ml)
        Names are written up to 40 cases; absent regions count as 0.
    """
    ordered = sorted(cases, key=lambda case: case[1].get("WT", 0.0))
    named = len(ordered) <= 40
    figure = new_figure(10, min(14.0, 1.3 + len(ordered) * (0.27 if named else 0.09)))
    axis = figure.subplots()
    rows = np.arange(len(ordered))
    for region in ("WT", "TC", "ET"):
        lengths = [case[1].get(region, 0.0) for case in ordered]
        axis.barh(rows, lengths, height=0.72, color=colour_of(region), label=region, zorder=2)
    axis.set_yticks(rows if named else [], [case[0] for case in ordered] if named else [])
    axis.set_ylim(-0.7, len(ordered) - 0.3)
    axis.set_xlabel("volume, ml (each bar lies within the one behind it)", color=MUTED)
    _finish(axis)
    axis.grid(visible=False, axis="y")
    return figure


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG (sharp at any zoom, small), without a date in it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def chart(figure: Figure) -> str:
    """Return a figure as a `data:` address for a page."""
    return data_url(svg(figure), "image/svg+xml")


def has_values(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
    """Return whether any region of any method has a finite value: an empty chart is not drawn."""
    return any(math.isfinite(v) for group in groups.values() for values in group.values() for v in values)
