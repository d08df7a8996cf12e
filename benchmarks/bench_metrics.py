"""Seconds and memory of evaluation: one pair and many, under all protocols, beside MONAI's and panoptica's metrics.

    python benchmarks/bench_metrics.py [--pairs 100] [--references FOLDER] [-o results.json]

Pairs are 240 × 240 × 155 at 1 mm: synthetic tumours of 20 to 200 ml with a second focus, the prediction pushed about by
a smooth random field of some two voxels and given false positives. With ``--references`` the reference maps of a BraTS
folder take their place. The other packages are timed on the same files, reading included, where they are installed:
Dice, HD95 and NSD of three regions, which is a part of what Glioscope computes meanwhile. Wall time on a machine that
does other work says little; CPU time and the load average stand beside it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (240, 240, 155)
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def _push(labels: np.ndarray, rng: np.random.Generator, voxels: float) -> np.ndarray:
    """Move voxels by a smooth random field, inside the labels' box and a margin of ten voxels."""
    box = tuple(
        slice(max(0, s.start - 10), s.stop + 10) for s in ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    )
    piece, out = labels[box], labels.copy()
    coarse = [ndimage.zoom(rng.normal(size=(6, 6, 6)), np.array(piece.shape) / 6, order=3) for _ in range(3)]
    where = [g + voxels * c / c.std() for g, c in zip(np.indices(piece.shape), coarse, strict=True)]
    out[box] = ndimage.map_coordinates(piece, where, order=0)
    return out


def _reference(rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for ml in (rng.uniform(20, 200), rng.uniform(0.5, 5)):
        centre = [rng.uniform(0.35, 0.65) * n for n in SHAPE]
        radii = (ml * 1000 * 0.75 / np.pi) ** (1 / 3) * rng.uniform(0.8, 1.2, 3)
        grid = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
        far = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True))
        for label, share in ((2, 1.0), (3, 0.4), (1, 0.2)):  # of the squared radius
            labels[far < share] = label
    return _push(labels, rng, 4.0)


def make_pairs(folder: Path, count: int, references: Path | None) -> int:
    """Write pairs below a folder; return how many."""
    from glioscope.cases import scan_cases
    from glioscope.space.volumes import read_labels

    rng = np.random.default_rng(11)
    found = [c.reference for c in scan_cases(references)[0] if c.reference] if references else []
    count = min(count, len(found)) if references else count
    for n in range(count):
        if references:
            labels = read_labels(found[n]).data
            labels = np.where(labels == 4, 3, labels).astype(np.uint8)
        else:
            labels = _reference(rng)
        prediction = _push(labels, rng, 2.0)
        for _ in range(4):
            i, j, k = (int(rng.uniform(0.3, 0.7) * s) for s in labels.shape)
            prediction[i : i + 3, j : j + 3, k : k + 2] = 2
        for side, array in (("references", labels), ("predictions", prediction)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / side / f"case{n:03d}.nii.gz")
    return count


def _usage() -> dict[str, float]:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_seconds": round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 2),
        "largest_process_mb": round(max(own.ru_maxrss, children.ru_maxrss) / 1024),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "from source"


def by_glioscope(folder: Path, cases: list[str]) -> None:
    """Evaluate under all protocols."""
    from glioscope.evaluation import builtin_protocols, evaluate

    evaluate(folder / "predictions", folder / "references", folder / "out", builtin_protocols(), cases=cases)


def _masks(folder: Path, case: str) -> list[dict[str, np.ndarray]]:
    maps = [np.asarray(nib.load(folder / s / f"{case}.nii.gz").dataobj) for s in ("references", "predictions")]
    return [{r: np.isin(m, values) for r, values in REGIONS.items()} for m in maps]


def by_monai(folder: Path, cases: list[str]) -> None:
    """Dice, HD95 and NSD (sub-voxel surface elements) of three regions."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    options: dict[str, Any] = {"include_background": True, "spacing": (1.0, 1.0, 1.0)}
    for case in cases:
        a, b = (torch.from_numpy(np.stack(list(m.values()))[None].astype(np.float32)) for m in _masks(folder, case))
        compute_dice(b, a)
        compute_hausdorff_distance(b, a, percentile=95, **options)
        compute_surface_dice(b, a, [1.0] * len(REGIONS), use_subvoxels=True, **options)


def by_panoptica(folder: Path, cases: list[str]) -> None:
    """One-to-one matching of three regions with Dice, HD95 and NSD."""
    from panoptica import ConnectedComponentsInstanceApproximator, InputType, Metric, Panoptica_Evaluator
    from panoptica.instance_matcher import MaxBipartiteMatching

    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=MaxBipartiteMatching(matching_metric=Metric.DSC, matching_threshold=1e-6),
        instance_metrics=[Metric.DSC, Metric.HD95, Metric.NSD],
        global_metrics=[],
    )
    for case in cases:
        reference, prediction = _masks(folder, case)
        for region in REGIONS:
            maps = (m[region].astype(np.uint8) for m in (prediction, reference))
            result = evaluator.evaluate(*maps, voxelspacing=(1.0, 1.0, 1.0), verbose=False)["ungrouped"]
            _ = (result.sq_dsc, result.sq_hd95, result.sq_nsd)


# Glioscope is imported where it is used: another package's Python has none.
WORK: dict[str, Callable[[Path, list[str]], None]] = {
    "glioscope": by_glioscope,
    "monai": by_monai,
    "panoptica": by_panoptica,
}


def timed(name: str, folder: Path, cases: list[str], python: str = sys.executable) -> dict[str, Any]:
    """Run one package's work in a process of its own, imports included, and return what it took."""
    command = [python, __file__, "--work", name, "--folder", str(folder), "--cases", *cases]
    load, begun = os.getloadavg()[0], time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wall = time.perf_counter() - begun
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return {
        "pairs": len(cases),
        "wall_seconds": round(wall, 2),
        **json.loads(done.stdout.splitlines()[-1]),
        "load_before": round(load, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--others", type=int, default=5, help="pairs that the other packages are timed on; 0: none")
    parser.add_argument("--references", type=Path)
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=FILE", help="another package's own Python; repeatable"
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cases", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        WORK[options.work](options.folder, options.cases)
        print(json.dumps({**_usage(), "version": _version(options.work)}))
        return
    from glioscope.evaluation import builtin_protocols
    from glioscope.machine import provenance

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        count = make_pairs(folder, options.pairs, options.references)
        cases = [f"case{n:03d}" for n in range(count)]
        record: dict[str, Any] = {
            "machine": provenance(),
            "protocols": len(builtin_protocols()),
            "pairs_of": str(options.references.name) if options.references else "synthetic",
            "one_pair": timed("glioscope", folder, cases[:1]),
            "all_pairs": timed("glioscope", folder, cases),
        }
        pythons = dict(entry.split("=", 1) for entry in options.python)
        if same := cases[: options.others]:
            record["same_pairs"] = {name: timed(name, folder, same, pythons.get(name, sys.executable)) for name in WORK}
    text = json.dumps(record, indent=1)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
