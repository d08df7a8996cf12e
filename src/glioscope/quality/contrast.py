"""What the sequences of a case show of each other: which is which, one image twice, whether contrast was given.

Benchmarks hold the script that makes the table again: `benchmarks/fit_contrast.py`.
"""

import functools
import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from glioscope.results import Flag

Images = Mapping[str, NDArray[np.float32]]

SAME_CORRELATION = 0.998
"""T1 and T1 with contrast of one patient reach 0.94; beyond this two slots hold one image."""
ENHANCEMENT = 4.5
"""In robust standard deviations: how far the brightest 0.1 % of T1 with contrast lies above what T1 predicts. Vessels
and choroid plexus alone give 4.9 and more; noise would give 3.1."""
SWAP_EVIDENCE = 10.0
"""Log-likelihood that another order of the sequences must gain over the given one."""
CONTRAST: dict[tuple[str, ...], tuple[float, float]] = {
    ("t1n", "skew"): (-0.777, 0.576),
    ("t1c", "skew"): (0.591, 1.527),
    ("t2w", "skew"): (1.381, 0.627),
    ("t2f", "skew"): (0.168, 1.056),
    ("t1n", "t1c", "dark"): (0.174, 0.089),
    ("t1n", "t1c", "bright"): (0.797, 0.114),
    ("t1n", "t1c", "excess"): (2.632, 0.423),
    ("t1n", "t2w", "dark"): (0.561, 0.237),
    ("t1n", "t2w", "bright"): (0.329, 0.138),
    ("t1n", "t2w", "excess"): (1.924, 0.301),
    ("t1n", "t2f", "dark"): (0.171, 0.114),
    ("t1n", "t2f", "bright"): (0.52, 0.147),
    ("t1n", "t2f", "excess"): (1.712, 0.415),
    ("t1c", "t1n", "dark"): (0.119, 0.075),
    ("t1c", "t1n", "bright"): (0.653, 0.128),
    ("t1c", "t1n", "excess"): (1.254, 0.545),
    ("t1c", "t2w", "dark"): (0.602, 0.224),
    ("t1c", "t2w", "bright"): (0.443, 0.125),
    ("t1c", "t2w", "excess"): (1.996, 0.278),
    ("t1c", "t2f", "dark"): (0.239, 0.148),
    ("t1c", "t2f", "bright"): (0.512, 0.143),
    ("t1c", "t2f", "excess"): (1.75, 0.401),
    ("t2w", "t1n", "dark"): (0.455, 0.227),
    ("t2w", "t1n", "bright"): (0.223, 0.117),
    ("t2w", "t1n", "excess"): (1.227, 0.443),
    ("t2w", "t1c", "dark"): (0.487, 0.211),
    ("t2w", "t1c", "bright"): (0.271, 0.122),
    ("t2w", "t1c", "excess"): (2.162, 0.447),
    ("t2w", "t2f", "dark"): (0.213, 0.103),
    ("t2w", "t2f", "bright"): (0.452, 0.189),
    ("t2w", "t2f", "excess"): (1.66, 0.439),
    ("t2f", "t1n", "dark"): (0.157, 0.099),
    ("t2f", "t1n", "bright"): (0.501, 0.143),
    ("t2f", "t1n", "excess"): (1.104, 0.443),
    ("t2f", "t1c", "dark"): (0.26, 0.137),
    ("t2f", "t1c", "bright"): (0.505, 0.157),
    ("t2f", "t1c", "excess"): (2.107, 0.396),
    ("t2f", "t2w", "dark"): (0.494, 0.193),
    ("t2f", "t2w", "bright"): (0.767, 0.107),
    ("t2f", "t2w", "excess"): (2.144, 0.432),
}
"""Mean and spread of each feature of `contrast_features`, from the 110 cases."""


def check_contrast(images: Images, masks: Mapping[str, NDArray[np.bool_]], *, judge_order: bool) -> list[Flag]:
    """Return flags on what the images show of each other: the same image twice, a wrong slot, no enhancement."""
    if len(images) < 2:
        return []
    step = max(1, round((next(iter(images.values())).size / 300_000) ** (1 / 3)))  # enough voxels, evenly spread
    sparse = np.s_[::step, ::step, ::step]
    inside = functools.reduce(np.logical_and, (mask[sparse] for mask in masks.values()))
    if np.count_nonzero(inside) < 1000:
        return []
    values = {name: image[sparse][inside].astype(np.float64) for name, image in images.items()}
    flags = []
    for a, b in itertools.combinations(values, 2):
        if np.ptp(values[a]) and np.ptp(values[b]) and np.corrcoef(values[a], values[b])[0, 1] > SAME_CORRELATION:
            flags.append(
                Flag(f"same-{a}-{b}", "error", f"{a} and {b} are the same image; one of them is in the wrong slot")
            )
    if flags or not judge_order:
        return flags
    features = contrast_features(values)
    order = likely_order(features, tuple(images))
    if order != tuple(images):
        pairs = [f"{slot} looks like {seen}" for slot, seen in zip(images, order, strict=True) if slot != seen]
        text = f"{' and '.join(pairs)}; check which file is which sequence"
        flags.append(Flag("wrong-slot", "warning", text))
    elif "t1n" in values and "t1c" in values and features["t1n", "t1c", "excess"] < np.log(ENHANCEMENT):
        text = (
            "t1c is nowhere brighter than t1n predicts, not even in vessels: was contrast given? Is it the right file?"
        )
        flags.append(Flag("no-contrast", "warning", text))
    return flags


def contrast_features(values: Mapping[str, NDArray[np.float64]]) -> dict[tuple[str, ...], float]:
    """Return numbers that tell sequences apart by how tissues rank in them, whatever their intensity scale.

    Parameters
    ----------
    values : mapping
        Slot to the intensities of the same voxels of the brain, (n,) each.

    Returns
    -------
    dict
        For two slots a, b: ``(a, b, "dark")`` and ``(a, b, "bright")``, mean rank in b, 0 to 1, of the tenth of voxels
        darkest and brightest in a; ``(a, b, "excess")``, the logarithm of how far the brightest 0.1 % of b lie above
        what a straight line from a predicts, in robust standard deviations. For one: ``(a, "skew")``.
    """
    ranks = {name: np.argsort(np.argsort(x)) / max(1, x.size - 1) for name, x in values.items()}
    features: dict[tuple[str, ...], float] = {}
    for name, x in values.items():
        z = (x - x.mean()) / max(float(x.std()), 1e-12)
        features[name, "skew"] = float((z**3).mean())
    for a, b in itertools.permutations(values, 2):
        features[a, b, "dark"] = float(ranks[b][ranks[a] < 0.1].mean())
        features[a, b, "bright"] = float(ranks[b][ranks[a] > 0.9].mean())
        slope = np.cov(values[a], values[b])[0, 1] / max(float(values[a].var()), 1e-12)
        left = values[b] - slope * values[a]
        left -= np.median(left)
        spread = max(1.4826 * float(np.median(np.abs(left))), 1e-12)
        features[a, b, "excess"] = float(np.log(max(np.percentile(left, 99.9) / spread, 1e-3)))
    return features


def likely_order(features: Mapping[tuple[str, ...], float], slots: tuple[str, ...]) -> tuple[str, ...]:
    """Return which sequence each slot seems to hold: the given order unless another fits far better.

    Each feature is a normal variable with mean and spread from `CONTRAST`; the features are taken as independent,
    which they are not, hence the wide margin `SWAP_EVIDENCE`.
    """

    def fit(order: tuple[str, ...]) -> float:
        total = 0.0
        for key, value in features.items():
            *names, kind = key
            mean, spread = CONTRAST[*(order[slots.index(name)] for name in names), kind]
            total -= 0.5 * ((value - mean) / spread) ** 2 + np.log(spread)
        return total

    best = max(itertools.permutations(slots), key=fit)
    return best if fit(best) - fit(slots) > SWAP_EVIDENCE else slots
