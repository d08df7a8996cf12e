"""Scores of the made pairs by other people's programs, written to `expected.json` in a folder.

    python tests/golden/expect.py tests/golden/data surface-distance
    python tests/golden/expect.py tests/golden/data panoptica          # panoptica
    python tests/golden/expect.py tests/golden/data monai              # monai, torch

Each call fills in its own part and notes the versions. Nothing here imports Glioscope. The lesion-wise part is the
published definition read off word by word with scipy, its HD95 by surface-distance.
"""

import json
import math
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from make_pairs import digests, pairs
from scipy import ndimage

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "NETC": (1,), "SNFH": (2,), "RC": (4,)}
S18, FULL = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
LESION_WISE = {"brats2023-gli": (3, 50), "brats2023-men": (1, 50), "brats2023-met": (1, 2)}


def _surface_distance(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    vars(np)["Inf"] = np.inf  # surface-distance 0.1 uses the name that numpy 2 dropped
    import surface_distance as sd

    both, size = int((a & b).sum()), int(a.sum()) + int(b.sum())
    found = {"dice": 2 * both / size if size else math.nan}
    if not size:
        return found
    d = sd.compute_surface_distances(a, b, spacing)
    found["hd95"] = float(sd.compute_robust_hausdorff(d, 95))
    for tolerance in ("0.5", "1", "2"):
        found[f"nsd_{tolerance}mm"] = float(sd.compute_surface_dice_at_tolerance(d, float(tolerance)))
    return found


def _lesion_wise(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...], k: int, limit: float) -> dict[str, float]:
    grown, n = ndimage.label(ndimage.binary_dilation(a, S18, k), FULL)
    predicted, m = ndimage.label(b, FULL)
    used: set[int] = set()
    dices, distances, found = [], [], 0
    for number in range(1, n + 1):
        lesion = a & (grown == number)
        answers = set(np.unique(predicted[ndimage.binary_dilation(lesion, S18, k)]).tolist()) - {0}
        used |= answers
        if lesion.sum() * math.prod(spacing) <= limit:
            continue
        found += bool(answers)
        scores = _surface_distance(lesion, np.isin(predicted, list(answers)), spacing)
        dices.append(scores["dice"])
        distances.append(scores["hd95"] if answers else 374.0)
    wrong = m - len(used)
    count = len(dices) + wrong
    return {
        "lesion_dice": sum(dices) / count if count else 1.0,
        "lesion_hd95": (sum(distances) + 374.0 * wrong) / count if count else 0.0,
        "tp": found,
        "fp": wrong,
        "fn": len(dices) - found,
    }


def by_surface_distance(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """Return the whole-region scores, and the lesion-wise ones of 2023."""
    lesions = {name: _lesion_wise(a, b, spacing, *rule) for name, rule in LESION_WISE.items()}
    return {"whole": _surface_distance(a, b, spacing), **lesions}


def by_panoptica(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """Return the one-to-one scores of 2026; counts alone where nothing overlaps, which panoptica does not score."""
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        Metric,
        Panoptica_Evaluator,
        instance_matcher,
    )

    if not (a & b).any():
        return {"brats2026": {"tp": 0, "fp": ndimage.label(b, FULL)[1], "fn": ndimage.label(a, FULL)[1]}}
    matcher = instance_matcher.MaxBipartiteMatching(matching_metric=Metric.DSC, matching_threshold=1e-6)
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=matcher,
        instance_metrics=[Metric.DSC, Metric.HD95, Metric.NSD],
        global_metrics=[],
    )
    found = evaluator.evaluate(b.astype(np.uint8), a.astype(np.uint8), voxelspacing=spacing, verbose=False)["ungrouped"]
    names = ("tp", "fp", "fn", "rq", "sq_dsc", "sq_hd95", "sq_nsd")
    return {"brats2026": {name: float(getattr(found, name)) for name in names}}


def by_monai(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """Return MONAI's scores: Dice, IoU, the confusion matrix's three, NSD by sub-voxel surface elements."""
    import torch
    from monai.metrics import compute_iou, compute_surface_dice, get_confusion_matrix

    if not (a.any() and b.any()):
        return {}
    first, second = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b))
    tp, fp, tn, fn = get_confusion_matrix(second, first)[0, 0].tolist()
    nsd = compute_surface_dice(second, first, [1.0], include_background=True, spacing=spacing, use_subvoxels=True)
    return {
        "monai": {
            "iou": float(compute_iou(second, first)),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "nsd_1mm": float(nsd),
        }
    }


PROGRAMS: dict[str, tuple[Callable[..., dict[str, dict[str, float]]], tuple[str, ...]]] = {
    "surface-distance": (by_surface_distance, ("surface-distance", "scipy", "numpy")),
    "panoptica": (by_panoptica, ("panoptica", "connected-components-3d", "numpy")),
    "monai": (by_monai, ("monai", "torch", "numpy")),
}


def main(folder: Path, program: str) -> None:
    """Add one program's scores of every pair to `expected.json`."""
    score, packages = PROGRAMS[program]
    path = folder / "expected.json"
    record = json.loads(path.read_text()) if path.is_file() else {"versions": {}, "scores": {}}
    record["versions"][program] = {p: metadata.version(p) for p in packages}
    record["maps"] = digests()
    for name, (*maps, spacing) in pairs().items():
        for region, values in REGIONS.items():
            masks = [np.isin(m, values) for m in maps]
            for part, scores in score(*masks, spacing).items():
                if part in LESION_WISE and region not in ("WT", "TC", "ET"):
                    continue  # the regions of 2023
                plain = {k: v if math.isfinite(v) else str(v) for k, v in scores.items()}
                record["scores"].setdefault(name, {}).setdefault(part, {})[region] = plain
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
