"""Print the contrast table of `glioscope.quality.contrast` and how well it tells swapped sequences.

    python benchmarks/fit_contrast.py DATASET

Half of the cases give the table that judges the other half, and the reverse; the table printed is of all.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from glioscope.cases import SEQUENCES, find_cases, load_case
from glioscope.quality import contrast


def features_of(folder: Path) -> list[dict[tuple[str, ...], float]]:
    """Return the contrast features of every case with four sequences."""
    found = []
    for case in find_cases(folder):
        if not case.missing:
            images = load_case(case).images
            inside = np.flatnonzero(np.logical_and.reduce([image != 0 for image in images.values()]))
            chosen = inside[:: max(1, inside.size // 40_000)]
            found.append(
                contrast.contrast_features({n: x.ravel()[chosen].astype(np.float64) for n, x in images.items()})
            )
    return found


def table_of(found: list[dict[tuple[str, ...], float]]) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return mean and spread of each feature; the spread is widened a little for scanners not seen."""
    stacked = {key: np.array([f[key] for f in found]) for key in found[0]}
    return {key: (round(float(v.mean()), 3), round(float(v.std()) + 0.02, 3)) for key, v in stacked.items()}


def swapped(features: dict[tuple[str, ...], float], order: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    """Return the features as they would be if slot n held sequence `order[n]`."""
    slot = dict(zip(order, SEQUENCES, strict=True))
    return {(*(slot[n] for n in key[:-1]), key[-1]): value for key, value in features.items()}


def main() -> None:
    """Fit, judge, print."""
    found = features_of(Path(sys.argv[1]))
    detected: dict[tuple[str, ...], list[bool]] = {order: [] for order in itertools.permutations(SEQUENCES)}
    for half in range(2):
        contrast.CONTRAST = table_of(found[half::2])  # type: ignore[misc]
        for features, order in itertools.product(found[1 - half :: 2], detected):
            guess = contrast.likely_order(swapped(features, order), SEQUENCES)
            detected[order].append(guess != SEQUENCES)
    for key, (mean, spread) in table_of(found).items():
        print(f"    {key!r}: ({mean}, {spread}),".replace("'", '"'))
    for order, hits in detected.items():
        print(f"# held {order}: flagged {np.mean(hits):.3f}")


main()
