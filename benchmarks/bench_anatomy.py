"""Where tumours lie, measured: against phantoms whose anatomy is known, against itself, against the clock.

    python benchmarks/bench_anatomy.py phantoms --count 200        # every answer against independent code
    python benchmarks/bench_anatomy.py themselves CASES            # mirrored, turned by 10°, shifted by 2 mm
    python benchmarks/bench_anatomy.py sides CASES --results OUT   # the side that was told and the reference's
    python benchmarks/bench_anatomy.py cost CASES                  # seconds a case

Prints one table each, and writes it as JSON with --output.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.labels import SCHEMES
from glioscope.measure.anatomy.case import place_case
from glioscope.measure.anatomy.describe import describe, given
from glioscope.measure.anatomy.parts import AREAS, ELOQUENT_STRUCTURES, LOBES, map_from
from glioscope.phantom import PhantomConfig, phantom
from glioscope.phantom.parts import PhantomParts, phantom_parts
from glioscope.results import read_summary
from glioscope.results.anatomy import Anatomy, Location
from glioscope.space.grid import Grid
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume, read_labels, read_volume

CONFIG = PhantomConfig(shape=(84, 100, 84), spacing_mm=(2.0, 2.0, 2.0))
LACKING = ("ventral diencephalon", "hippocampus and amygdala")
ALL = np.ones((3, 3, 3), bool)


def truth_of(mask: NDArray[np.bool_], parts: PhantomParts, grid: Grid) -> dict[str, Any]:
    """Every answer about one mask by other code: dilations and distance transforms of whole volumes."""
    touching = ndimage.binary_dilation(mask, ALL)
    ml = grid.voxel_volume_ml
    named = {**parts.structures, **parts.areas}
    cross = [piece for piece in pieces(mask) if crosses(parts.midline_mm[piece])]
    callosum = parts.structures["corpus callosum"] & (np.abs(parts.midline_mm) <= 8)
    away = parts.midline_mm[mask]
    answers = {
        "touches_ventricles": bool((touching & parts.structures["ventricles"]).any()),
        "reaches_cortex": bool((touching & parts.structures["cortex"]).any()),
        "crosses_midline": bool(cross),
        "in_callosum": bool((mask & parts.structures["corpus callosum"]).sum() * ml >= 0.05),
        "crosses_callosum": any((piece & callosum).sum() * ml >= 0.05 for piece in cross),
        **{
            f"deep {n}": bool((touching & named[n]).any()) for n in ("internal capsule", "corpus callosum", "brainstem")
        },
        **{
            f"eloquent {n}": bool((touching & named[n]).any())
            for n in (*AREAS[1:], *ELOQUENT_STRUCTURES)
            if n not in LACKING
        },
    }
    shares = {n: float(m[mask].mean()) for n, m in {**parts.structures, **parts.lobes}.items()}
    distances = {
        n: float(ndimage.distance_transform_edt(~parts.structures[n], grid.spacing_mm)[mask].min())
        for n in ("ventricles", "cortex")
    }
    sides = {"left": float((away < 0).mean()), "lone": not cross and (away.max() < 0 or away.min() > 0)}
    return {"answers": answers, "shares": shares, "distances": distances, **sides}


def pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    numbers, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    return [numbers == n for n in range(1, count + 1)]


def crosses(away: NDArray[np.floating]) -> bool:
    lesser = min(float((away > 0).mean()), float((away < 0).mean()))
    return bool(lesser >= 0.05 and away.max() >= 5 and away.min() <= -5)


def said(place: Location) -> dict[str, Any]:
    """What Glioscope says about the same mask."""
    answers = {
        n: getattr(place, n)
        for n in ("touches_ventricles", "reaches_cortex", "crosses_midline", "in_callosum", "crosses_callosum")
    }
    answers |= {f"deep {n}": "yes" if n in place.deep_white_matter else "no" for n in DEEP}
    answers |= {f"eloquent {e.name}": e.involved for e in place.eloquent}
    return answers


DEEP = ("internal capsule", "corpus callosum", "brainstem")


def phantoms(count: int) -> dict[str, Any]:
    """Answers, shares and distances on phantoms whose own parts are the map."""
    wrong: Counter[str] = Counter()
    asked, share_error, distance_error, told, sided = 0, 0.0, 0.0, 0, 0
    for seed in range(count):
        made, parts = phantom(seed, CONFIG), phantom_parts(seed, CONFIG)
        masks = {"structures": parts.structures, "lobes": parts.lobes, "areas": parts.areas}
        brain_map = map_from(masks, made.grid, "phantom", lacks=LACKING)
        found = describe(made.labels, SCHEMES["brats2023"], given(brain_map), made.brain)
        for place in found.regions:
            values = SCHEMES["brats2023"].regions[place.region]
            truth = truth_of(np.isin(made.labels, values), parts, made.grid)
            answers = said(place)
            asked += len(truth["answers"])
            wrong.update(n for n, yes in truth["answers"].items() if answers[n] != ("yes" if yes else "no"))
            listed = {s.name: s.share for s in (*place.lobes, *place.structures)}
            errors = [abs(listed.get(n, 0.0) - s) for n, s in truth["shares"].items()]
            share_error = max(share_error, *errors)
            for n, mm in truth["distances"].items():
                distance_error = max(distance_error, abs(getattr(place.distances, f"{n}_mm") - mm))
            if truth["lone"]:
                told += 1
                sided += place.side == ("left" if truth["left"] > 0.5 else "right")
    return {
        "phantoms": count,
        "answers": asked,
        "wrong": dict(wrong),
        "largest_share_error": round(share_error, 4),
        "largest_distance_error_mm": round(distance_error, 3),
        "sides_told": told,
        "sides_right": sided,
    }


def read_case(folder: Path) -> tuple[Volume, NDArray, Any]:
    """The T1 of a BraTS case, its reference and scheme."""
    files = {p.name[len(folder.name) :]: p for p in folder.iterdir()}
    t1 = next(p for end, p in files.items() if end in ("_t1.nii.gz", "-t1n.nii.gz"))
    labels = read_labels(next(p for end, p in files.items() if "seg" in end)).data
    scheme = SCHEMES["brats2018" if (labels == 4).any() else "brats2023"]  # 1 and 2 mean the same in both
    return read_volume(t1), labels, scheme


def moved(image: Volume, labels: NDArray, how: str) -> tuple[NDArray, NDArray]:
    """A case mirrored, or resampled after a turn or a shift of the head."""
    if how == "mirrored":
        axis = int(np.argmax(np.abs(image.grid.affine[0, :3])))
        return np.flip(image.data, axis), np.flip(labels, axis)
    matrix = np.eye(4)
    middle = image.grid.affine @ [*((np.array(image.grid.shape) - 1) / 2), 1]
    if how == "shifted by 2 mm":
        matrix[:3, 3] = (2, 0, 0)
    else:
        turn = np.radians(10)
        matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        matrix[:3, 3] = middle[:3] - matrix[:3, :3] @ middle[:3]
    turned = resample(image, image.grid, matrix)
    return turned, resample(Volume(labels, image.grid), image.grid, matrix, interpolation="nearest")


def statements(found: Anatomy, *, mirrored: bool = False) -> dict[str, Any]:
    """What is said of a case, by a key each: answers, sides, main lobes, focality."""
    other = {"left": "right", "right": "left"}
    rows: dict[str, Any] = {"focality": found.focality}
    for place in found.regions:
        rows |= {f"{place.region} {n}": answer for n, answer in said(place).items() if "speech" not in n}
        rows[f"{place.region} side"] = other.get(place.side, place.side) if mirrored else place.side
        rows[f"{place.region} lobe"] = place.lobes[0].name if place.lobes else None
        rows |= {f"{place.region} in {n}": False for n in LOBES[1:]}
        rows |= {f"{place.region} in {s.name}": s.share >= 0.05 for s in place.lobes}
    return rows


def themselves(folder: Path, step: int) -> dict[str, Any]:
    """How many statements stay as they are when the case is mirrored, turned or shifted."""
    ways = ("mirrored", "turned by 10°", "shifted by 2 mm")
    same, asked = Counter[str](), Counter[str]()
    changed: Counter[str] = Counter()
    unusable = 0
    for path in sorted(p for p in folder.iterdir() if p.is_dir())[::step]:
        image, labels, scheme = read_case(path)
        base = place_case({"t1n": image.data}, image.data > 0, labels, image.grid, scheme).anatomy()
        unusable += not base.fit.usable
        for how in ways:
            data, numbers = moved(image, labels, how)
            found = place_case({"t1n": data}, data > 0.5, numbers, image.grid, scheme).anatomy()
            before, after = statements(base), statements(found, mirrored=how == "mirrored")
            for key in before.keys() | after.keys():
                asked[how] += 1
                equal = before.get(key) == after.get(key)
                same[how] += equal
                changed.update([f"{how}: {key}"] if not equal else [])
    rows = {how: {"statements": asked[how], "same": round(same[how] / asked[how], 4)} for how in ways}
    return {**rows, "not_usable": unusable, "changed_most": dict(changed.most_common(15))}


def cost(folder: Path, step: int) -> dict[str, Any]:
    """Seconds a case, after the map was loaded once: wall clock and processor time."""
    rows: dict[str, list[tuple[float, float]]] = {"affine": [], "deformable": []}
    first = None
    for path in sorted(p for p in folder.iterdir() if p.is_dir())[::step]:
        image, labels, scheme = read_case(path)
        for name, times in rows.items():
            wall, used = time.perf_counter(), time.process_time()
            place_case(
                {"t1n": image.data}, image.data > 0, labels, image.grid, scheme, deformable=name != "affine"
            ).anatomy()
            times.append((time.perf_counter() - wall, time.process_time() - used))
            first = first or times[0]
    middle = {
        name: {
            "wall_median": round(float(np.median([a for a, _ in times[1:]])), 2),
            "processor_median": round(float(np.median([b for _, b in times[1:]])), 2),
            "processor_highest": round(max(b for _, b in times[1:]), 2),
        }
        for name, times in rows.items()
    }
    return {"first_with_loading": [round(v, 2) for v in first or ()], **middle}


def sides(folder: Path, results: Path) -> dict[str, Any]:
    """Whether `segment --anatomy` told the side of the reference, told apart by the middle of the brain's extent."""
    told = {"patients": 0, "side_right": 0, "crossing_and_heavier_side_right": 0, "below_5_ml": 0}
    for path in sorted(results.glob("*/summary.json")):
        reference = read_labels(next((folder / path.parent.name).glob("*-seg.nii.gz")))
        image = read_volume(next((folder / path.parent.name).glob("*-t[12]*.nii.gz")))
        mask = reference.data > 0
        if mask.sum() * reference.grid.voxel_volume_ml < 5:
            told["below_5_ml"] += 1
            continue
        x = [(np.argwhere(m) @ reference.grid.affine[:3, :3].T)[:, 0] for m in (mask, image.data > 0)]
        truth = "left" if (x[0] < (x[1].min() + x[1].max()) / 2).mean() > 0.5 else "right"
        anatomy = read_summary(path).anatomy
        place = anatomy.region("WT") if anatomy else None
        heavier = place and place.left_share is not None and ("left" if place.left_share > 0.5 else "right")
        told["patients"] += 1
        told["side_right"] += bool(place and place.side == truth)
        told["crossing_and_heavier_side_right"] += bool(place and place.side == "crossing" and heavier == truth)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("phantoms", "themselves", "sides", "cost"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--step", type=int, default=1, help="take every n-th case")
    parser.add_argument("--results", type=Path, help="what `segment --anatomy` wrote of the cases")
    parser.add_argument("--output", type=Path)
    given_ = parser.parse_args()
    table: Mapping[str, Any]
    if given_.what == "phantoms":
        table = phantoms(given_.count)
    elif given_.what == "sides":
        table = sides(given_.folder, given_.results)
    else:
        table = {"themselves": themselves, "cost": cost}[given_.what](given_.folder, given_.step)
    text = json.dumps(table, indent=2, ensure_ascii=False)
    print(text)
    if given_.output:
        given_.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
