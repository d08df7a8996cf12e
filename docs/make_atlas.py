"""Draw `docs/images/phantom_atlas.png`: twelve synthetic patients, four sequences each, the truth outlined.

Run from the root of the repository: ``python docs/make_atlas.py``. The same picture comes out each time.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from glioscope.phantom import Phantom, PhantomConfig, phantom
from glioscope.space.grid import bounding_box

TARGET = Path(__file__).parent / "images" / "phantom_atlas.png"
PATIENTS = (
    ("typical", 1),
    ("typical", 5),
    ("typical", 8),
    ("typical", 15),
    ("typical", 13),
    ("typical", 17),
    ("typical", 23),
    ("typical", 26),
    ("multifocal", 11),
    ("multifocal", 4),
    ("no-enhancement", 6),
    ("small", 2),
)
SEQUENCES = {"t1n": "T1", "t1c": "T1 + contrast", "t2w": "T2", "t2f": "FLAIR"}
OUTLINES = {2: ("oedema", "#4cc9f0"), 1: ("necrotic / non-enhancing", "#f72585"), 3: ("enhancing", "#ffd60a")}
BACKGROUND, TEXT = "#0b0d10", "#e6e8eb"
COLUMNS = 3


def draw_slice(axes: Axes, made: Phantom, sequence: str, level: int) -> None:
    """Draw one axial slice as radiologists read it: anterior up, the patient's right on the left."""
    box = bounding_box(made.brain, margin=3)
    window = tuple(slice(a, b) for a, b in zip(box.start[:2], box.stop[:2], strict=True))
    image = made.images[sequence][*window, level].T
    ceiling = np.percentile(made.images[sequence][made.brain], 99.6)
    axes.imshow(image, cmap="gray", vmin=0, vmax=ceiling, interpolation="lanczos")
    if sequence in ("t1c", "t2f"):
        labels = made.labels[*window, level].T
        for value, (_, colour) in OUTLINES.items():
            if (labels == value).any():
                axes.contour(labels == value, [0.5], colors=colour, linewidths=0.7)
    axes.set_axis_off()


def main() -> None:
    """Draw the atlas."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": TEXT})
    rows = -(-len(PATIENTS) // COLUMNS)
    figure = plt.figure(figsize=(19.2, 1.0 + 2.15 * rows), facecolor=BACKGROUND)
    outer = figure.add_gridspec(
        rows, COLUMNS, left=0.006, right=0.994, top=0.90, bottom=0.045, wspace=0.025, hspace=0.13
    )
    for index, (kind, seed) in enumerate(PATIENTS):
        made = phantom(seed, PhantomConfig(tumour=kind))
        core = np.isin(made.labels, (1, 3)).sum(axis=(0, 1))
        level = int(np.argmax(core))
        inner = outer[index // COLUMNS, index % COLUMNS].subgridspec(1, 4, wspace=0.0)
        for column, sequence in enumerate(SEQUENCES):
            axes = figure.add_subplot(inner[column])
            draw_slice(axes, made, sequence, level)
            if index < COLUMNS:
                axes.set_title(SEQUENCES[sequence], fontsize=10, pad=18, color=TEXT, alpha=0.75)
            if column == 0:
                told = made.description
                total = sum(told["volumes_ml"].values())
                caption = f"{kind} · seed {seed} · {told['field_tesla']:g} T · tumour {total:.0f} ml"
                axes.text(0.02, 1.02, caption, transform=axes.transAxes, fontsize=9, va="bottom")
    handles = [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in OUTLINES.values()]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, labelcolor=TEXT, fontsize=10)
    figure.suptitle("Synthetic patients", fontsize=17, y=0.985, weight="bold")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET, dpi=100, facecolor=BACKGROUND, metadata={"Software": None})


if __name__ == "__main__":
    main()
