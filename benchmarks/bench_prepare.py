"""How well and how fast raw scans are prepared: brain masks, known displacements, the way back, seconds.

    python benchmarks/bench_prepare.py [--phantoms 20] [--real FOLDER] [-o benchmarks/results/prepare.json]

FOLDER holds the four raw scans of TCGA-FG-6692 with HD-BET's masks; without it the record says that real scans were
left out, and should go elsewhere with -o. Phantoms need nothing.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from glioscope.dicom.scans import RawPatient, read_nifti_scans
from glioscope.phantom import PhantomConfig, phantom
from glioscope.prepare.brain import brain_mask, brain_share
from glioscope.prepare.patient import PreparedRaw, prepare_raw, to_native
from glioscope.space.grid import Grid
from glioscope.space.registration import register, turn_about
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume, read_volume

SEQUENCES = ("t1n", "t1c", "t2w", "t2f")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return round(float(2 * (a & b).sum() / max(1, a.sum() + b.sum())), 4)


def machine() -> dict[str, Any]:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": [round(v, 2) for v in os.getloadavg()],
        "python": platform.python_version(),
        "simpleitk": sitk.Version_VersionString(),
        "date": time.strftime("%Y-%m-%d"),
    }


def world_points(mask: np.ndarray, grid: Grid) -> np.ndarray:
    points = np.argwhere(mask)[::301]
    return np.c_[points, np.ones(len(points))] @ grid.affine.T


def distance_mm(points: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    return round(float(np.linalg.norm((points @ (one - other).T)[:, :3], axis=1).mean()), 3)


def real_patient(folder: Path) -> dict[str, Any]:
    patient = read_nifti_scans({code: folder / f"{code}.nii.gz" for code in SEQUENCES})
    started, processor = time.perf_counter(), time.process_time()
    prepared = prepare_raw(patient)
    seconds = {"wall": round(time.perf_counter() - started, 1), "processor": round(time.process_time() - processor, 1)}
    carried, alone = {}, {}
    for code, scan in patient.scans.items():
        reference = read_volume(folder / f"brainmask_{code}.nii.gz").data > 0
        inverse = np.linalg.inv(prepared.registrations[code].matrix)
        carried[code] = dice(resample(Volume(prepared.brain, prepared.grid), scan.grid, inverse) > 0.5, reference)
        alone[code] = dice(brain_mask(brain_share(Volume(scan.image, scan.grid))), reference)
    return {
        "brain_dice_of_prepared_mask_on_native_grids": carried,
        "brain_dice_of_each_scan_alone": alone,
        "seconds": seconds | {"steps_wall": dict(prepared.seconds)},
        "problems": list(prepared.problems),
        "registration": {code: r.record()["quality"] for code, r in prepared.registrations.items()},
        "displacements": real_displacements(patient, prepared),
        "way_back": way_back(patient, prepared),
    }


def real_displacements(patient: RawPatient, prepared: PreparedRaw) -> list[dict[str, Any]]:
    """Displace each sequence by its header; what is found then must differ by just that."""
    rng = np.random.default_rng(6692)
    points = world_points(prepared.brain, prepared.grid)
    reference = patient.scans[prepared.reference]
    results = []
    for code in SEQUENCES:
        scan = patient.scans[code]
        if code == prepared.reference:
            continue
        for _ in range(3):
            moved = turn_about(points.mean(axis=0)[:3], rng.uniform(-20, 20, 3), rng.uniform(-20, 20, 3))
            grid = Grid(scan.grid.shape, moved @ scan.grid.affine)
            found = register(Volume(reference.image, reference.grid), Volume(scan.image, grid))
            known = moved @ prepared.registrations[code].matrix
            results.append({"sequence": code, "error_mm": distance_mm(points, found.matrix, known)})
    return results


def way_back(patient: RawPatient, prepared: PreparedRaw) -> dict[str, Any]:
    """Volumes in ml of a made-up tumour, with a thin rim, on the common grid and on each native grid."""
    away = np.indices(prepared.grid.shape) - (np.array(prepared.grid.shape) / 2 + [25, -15, 10])[:, None, None, None]
    radius = np.linalg.norm(away, axis=0)
    labels = np.select([radius < 10, radius < 12, radius < 22], [1, 3, 2], 0).astype(np.uint8)

    def volumes(array: np.ndarray, grid: Grid) -> list[float]:
        return [round(float((array == v).sum() * grid.voxel_volume_ml), 3) for v in (1, 2, 3)]

    natives = {code: volumes(to_native(labels, prepared, code), scan.grid) for code, scan in patient.scans.items()}
    return {"labels": ["NCR", "ED", "ET"], "common": volumes(labels, prepared.grid)} | natives


def phantom_brain(seed: int) -> dict[str, Any]:
    """Return how well the built-in networks find the brain of a phantom with a tumour, and how fast."""
    scan = phantom(seed, PhantomConfig(shape=(240, 256, 180), orientation="RAS", skull=True))
    started, processor = time.perf_counter(), time.process_time()
    shares = [brain_share(Volume(scan.images[code], scan.grid)) for code in ("t1n", "t1c")]
    mask = brain_mask(np.mean(shares, axis=0))
    row = {
        "seed": seed,
        "dice": dice(mask, scan.brain),
        "tumour_kept": round(float(mask[scan.labels > 0].mean()), 4) if scan.labels.any() else None,
        "seconds": {
            "wall": round(time.perf_counter() - started, 1),
            "processor": round(time.process_time() - processor, 1),
        },
    }
    print(row, flush=True)
    return row


def phantom_displacements(seed: int) -> list[dict[str, Any]]:
    """One head scanned twice: T1 with contrast, and the others after the patient moved, in thick slices."""
    rng = np.random.default_rng(seed)
    pose, turn = tuple(rng.uniform(-20, 20, 3)), tuple(rng.uniform(-20, 20, 3))
    config = PhantomConfig(shape=(192, 208, 160), spacing_mm=(1.2, 1.2, 1.2), orientation="RAS", skull=True)
    still = phantom(seed, config)
    config = PhantomConfig(
        shape=(240, 240, 40), spacing_mm=(1.0, 1.0, 5.0), orientation="LPS", skull=True, pose_mm=pose, pose_degrees=turn
    )
    moved = phantom(seed, config)
    points = world_points(still.brain, still.grid)
    rows = []
    for code in ("t1n", "t2w", "t2f"):
        processor = time.process_time()
        found = register(Volume(still.images["t1c"], still.grid), Volume(moved.images[code], moved.grid))
        rows.append(
            {
                "seed": seed,
                "sequence": code,
                "error_mm": distance_mm(points, found.matrix, turn_about(np.zeros(3), turn, pose)),
                "contrast": round(found.quality.contrast, 3) if found.quality else None,
                "seconds_processor": round(time.process_time() - processor, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=20)
    parser.add_argument("--real", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "prepare.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "tcga_fg_6692": None}
    if arguments.real:
        result["tcga_fg_6692"] = real_patient(arguments.real)
    else:
        print("no --real: real scans are left out", file=sys.stderr)
    save(arguments.output, result)
    result["phantom_brains"] = []
    result["phantom_displacements"] = []
    for seed in range(arguments.phantoms):  # written as it goes: a stopped run keeps what it measured
        result["phantom_brains"].append(phantom_brain(seed))
        if seed % 3 == 0:
            result["phantom_displacements"] += phantom_displacements(seed)
        save(arguments.output, result)


def save(path: Path, result: dict[str, Any]) -> None:
    result["machine"]["load_average_at_end"] = [round(v, 2) for v in os.getloadavg()]
    for name, key in (("phantom_brains", "dice"), ("phantom_displacements", "error_mm")):
        values = [row[key] for row in result.get(name, [])]
        if values:
            summary = {"count": len(values), "mean": round(float(np.mean(values)), 4), "least": min(values)}
            result[f"{name}_summary"] = summary | {"greatest": max(values)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
