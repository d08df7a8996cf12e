"""Draw Dice against seconds from the record of `bench_peers.py`.

    python benchmarks/plot_peers.py benchmarks/results/peers.json docs/images/dice_and_seconds.svg --dice original=0.267

The Dice of `glioscope` is read from the card of the network in the package: its held-out cases, mean of WT, TC and ET.
That of other networks trained on the same cases is given by name, for every row that begins with it. A network that was
timed with random weights has no Dice here, and stands as a line at its seconds.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from glioscope.segmentation import default_model

SHOWN = (
    "glioscope, files to file, cold",
    "original, torch",
    "original, Keras",
    "MONAI SegResNet",
    "nnU-Net 3d_fullres",
    "nnU-Net 3d_fullres, mirrored",
)
BLUE, GREY = "#1f5fa8", "#6b7280"


def shipped_dice() -> float:
    """Mean Dice of WT, TC and ET on the held-out cases of the network in the package."""
    scores = json.loads((default_model() / "card.json").read_text(encoding="utf-8"))["scores"]["all"]
    return sum(scores[region]["dice"]["mean"] for region in ("WT", "TC", "ET")) / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dice", action="append", default=[], metavar="NAME=MEAN", help="of a network trained here")
    options = parser.parse_args()
    record = json.loads(options.record.read_text(encoding="utf-8"))
    known = {name: float(value) for name, value in (entry.split("=") for entry in options.dice)}
    known["glioscope"] = shipped_dice()
    mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "glioscope", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name in SHOWN:
        seconds = record["results"].get(name, {}).get("seconds")
        if not seconds:
            continue
        label = f"{name}\n{seconds:.3g} s" + (" (8 × unmirrored)" if "reckoned" in record["results"][name] else "")
        dice = next((value for start, value in known.items() if name.startswith(start)), None)
        if dice is None:
            axes.axvline(seconds, color=GREY, linestyle=":", linewidth=1.2)
            axes.text(seconds * 0.96, 0.98, label, rotation=90, ha="right", va="top", color=GREY, fontsize=9)
            continue
        ours = name.startswith("glioscope")
        axes.plot(seconds, dice, "o", color=BLUE if ours else GREY, markersize=9 if ours else 6)
        below = ours or name == "original, torch"
        axes.annotate(
            f"{label}, Dice {dice:.2f}".replace(", ", "\n", 1) if ours else f"{label}, Dice {dice:.2f}",
            (seconds, dice),
            xytext=(8, -40 if ours else -26 if below else 8),
            textcoords="offset points",
            color=BLUE if ours else GREY,
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.set(xscale="log", xlim=(1, 2000), ylim=(0, 1), ylabel="mean Dice of WT, TC, ET on held-out cases")
    axes.set_xlabel("seconds for one case, two cores")
    axes.set_xticks([1, 3, 10, 30, 100, 300, 1000], ["1", "3", "10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.picture, metadata={"Date": None} if options.picture.suffix == ".svg" else None, dpi=130)


if __name__ == "__main__":
    main()
