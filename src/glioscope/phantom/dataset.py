"""Synthetic patients as a data set on disk, in the layouts of the challenges."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Literal, get_args

import nibabel as nib
import numpy as np

from glioscope.cases import SEQUENCES
from glioscope.errors import ConfigError, RunError
from glioscope.files import atomic_path, write_text
from glioscope.labels import convert_labels, scheme_named
from glioscope.phantom.patient import Phantom, phantom
from glioscope.phantom.scan import PhantomConfig
from glioscope.space.volumes import write_volume

Layout = Literal["brats2018", "brats2021", "brats2023", "msd"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

_OLD_NAMES = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
_DECATHLON_ORDER = ("t2f", "t1n", "t1c", "t2w")


def write_phantoms(
    folder: Path | str,
    count: int,
    *,
    layout: Layout = "brats2023",
    seed: int = 0,
    config: PhantomConfig | None = None,
) -> list[Path]:
    """Write synthetic patients as a data set; patient n of it is ``phantom(seed + n, config)``.

    Each case appears complete or not at all; cases already there are replaced.

    Parameters
    ----------
    folder : Path
        Made if need be.
    count : int >= 1
    layout : {"brats2018", "brats2021", "brats2023", "msd"}
        File names, label values and, for the Decathlon, 4-D images with ``dataset.json``.
    config : PhantomConfig, optional
        None stands for the layout's own grid: 240×240×155 at 1 mm, LPS until 2021, RAS after.

    Returns
    -------
    list of Path
        The case folders, or for the Decathlon the image files, in order.

    Raises
    ------
    ConfigError
        The layout is not known or the count is below 1.
    RunError
        The folder cannot be written.
    """
    folder = Path(folder)
    if layout not in LAYOUTS:
        raise ConfigError(f"layout '{layout}' is not known; choose one of {', '.join(LAYOUTS)}")
    if count < 1:
        raise ConfigError(f"{count} phantoms asked for; ask for at least 1")
    if config is None:
        config = PhantomConfig(orientation="LPS" if layout in ("brats2018", "brats2021") else "RAS")
    written = []
    for index in range(count):
        made = phantom(seed + index, config)
        if layout == "msd":
            written.append(_write_decathlon(folder, made, index))
        else:
            written.append(_write_case(folder, made, layout, index))
    if layout == "msd":
        write_text(folder / "dataset.json", json.dumps(_decathlon_index(written), indent=2) + "\n")
    return written


def _case_id(layout: str, index: int) -> str:
    if layout == "brats2023":
        return f"BraTS-GLI-{index:05d}-000"
    return f"BraTS2021_{index:05d}" if layout == "brats2021" else f"Brats18_PHM_{index:03d}_1"


def _whole(image: np.ndarray) -> np.ndarray:
    """Return an image as the challenges store it: int16."""
    return np.clip(np.rint(image), 0, 32767).astype(np.int16)


def _write_case(folder: Path, made: Phantom, layout: str, index: int) -> Path:
    case_id = _case_id(layout, index)
    target = folder / case_id
    labels = made.labels
    names = {s: f"{case_id}-{s}.nii.gz" for s in SEQUENCES} | {"seg": f"{case_id}-seg.nii.gz"}
    if layout != "brats2023":
        labels = convert_labels(labels, scheme_named("brats2023"), scheme_named("brats2018"))
        names = {s: f"{case_id}_{_OLD_NAMES[s]}.nii.gz" for s in SEQUENCES} | {"seg": f"{case_id}_seg.nii.gz"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{case_id}.", dir=folder))
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error
    try:
        for sequence in SEQUENCES:
            write_volume(scratch / names[sequence], _whole(made.images[sequence]), made.grid)
        write_volume(scratch / names["seg"], labels, made.grid)
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.replace(target)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _write_decathlon(folder: Path, made: Phantom, index: int) -> Path:
    name = f"BRATS_{index + 1:03d}.nii.gz"
    labels = convert_labels(made.labels, scheme_named("brats2023"), scheme_named("msd"))
    write_volume(folder / "labelsTr" / name, labels, made.grid)
    stacked = np.stack([_whole(made.images[s]) for s in _DECATHLON_ORDER], axis=-1)
    image = nib.Nifti1Image(stacked, made.grid.affine)
    image.header.set_xyzt_units("mm")
    path = folder / "imagesTr" / name
    with atomic_path(path) as scratch:
        nib.save(image, scratch)
    return path


def _decathlon_index(images: list[Path]) -> dict[str, object]:
    return {
        "name": "BRATS",
        "description": "Synthetic patients in the layout of task 01 of the Medical Segmentation Decathlon",
        "tensorImageSize": "4D",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "numTraining": len(images),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{p.name}", "label": f"./labelsTr/{p.name}"} for p in images],
        "test": [],
    }
