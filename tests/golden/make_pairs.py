"""Small pairs of label maps with every difficulty that scores stumble over, made by code.

    python tests/golden/make_pairs.py FOLDER

The maps are never stored: tests make them anew, and `data/expected.json` holds their SHA-256 beside their scores.
Labels are those of BraTS 2024 (1 NETC, 2 SNFH, 3 ET, 4 RC). The scores come from other people's programs, see
`expect.py`; nothing here imports Glioscope.
"""

import hashlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (40, 36, 32)


def _ball(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    grid = np.indices(SHAPE)
    return sum(((grid[a] - centre[a]) / radii[a]) ** 2 for a in range(3)) < 1


def _tumour(centre: tuple[float, ...], size: float) -> np.ndarray:
    """Oedema, in it enhancing rim, in it necrotic core."""
    labels = np.zeros(SHAPE, np.uint8)
    for label, share in ((2, 1.0), (3, 0.65), (1, 0.4)):
        labels[_ball(centre, (size * share, 0.9 * size * share, 0.8 * size * share))] = label
    return labels


def _rough(labels: np.ndarray, rng: np.random.Generator, moved: float = 1.5) -> np.ndarray:
    """Push voxels about by a smooth random field of about `moved` voxels."""
    field = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 3) for _ in range(3)]
    where = [g + moved * f / f.std() for g, f in zip(np.indices(SHAPE), field, strict=True)]
    return ndimage.map_coordinates(labels, where, order=0).astype(np.uint8)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray, tuple[float, float, float]]]:
    """Return name to (reference, prediction, spacing in mm)."""
    rng = np.random.default_rng(7)
    one = _tumour((18, 17, 15), 12)
    two = np.maximum(_tumour((10, 10, 10), 7), _tumour((28, 25, 22), 6))
    specks = two.copy()
    specks[34:36, 4:7, 4:6] = 3
    specks[3, 30, 28] = specks[20, 3, 3] = 2
    split = one.copy()
    split[17:19] = 0  # the prediction falls into two near halves
    cavity = one.copy()
    cavity[_ball((24, 22, 19), (5, 5, 4))] = 4
    edge = np.roll(one, (-10, -8, -6), (0, 1, 2))
    edge[-8:] = edge[:, -8:] = edge[:, :, -8:] = 0
    no_et = np.where(one == 3, 2, one).astype(np.uint8)
    invented = no_et.copy()
    invented[18:20, 17, 15] = 3
    iso, slices = (1.0, 1.0, 1.0), (0.75, 1.0, 3.0)
    return {
        "one_tumour": (one, _rough(one, rng), iso),
        "one_tumour_thick_slices": (one, _rough(one, rng), slices),
        "two_tumours_one_missed": (two, _rough(_tumour((10, 10, 10), 7), rng), iso),
        "false_positives": (two, _rough(specks, rng, 0.8), slices),
        "prediction_in_halves": (one, split, iso),
        "cavity": (cavity, _rough(cavity, rng), (1.0, 1.2, 1.1)),
        "at_the_edge": (edge, _rough(edge, rng), iso),
        "invented_enhancement": (no_et, invented, iso),
        "nothing_found": (one, np.zeros(SHAPE, np.uint8), iso),
        "nothing_at_all": (np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8), iso),
    }


def digests() -> dict[str, list[str]]:
    """Return name to SHA-256 of the voxels of reference and prediction."""
    return {
        name: [hashlib.sha256(np.ascontiguousarray(labels, np.uint8).tobytes()).hexdigest() for labels in maps[:2]]
        for name, maps in pairs().items()
    }


def write_pair(folder: Path, name: str) -> None:
    """Write `<name>-reference.nii.gz` and `<name>-prediction.nii.gz` into a folder that exists."""
    reference, prediction, spacing = pairs()[name]
    for side, labels in (("reference", reference), ("prediction", prediction)):
        nib.save(nib.Nifti1Image(labels, np.diag([*spacing, 1.0])), folder / f"{name}-{side}.nii.gz")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for pair in pairs():
        write_pair(target, pair)
