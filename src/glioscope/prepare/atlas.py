"""A prepared brain laid over an atlas: twelve numbers that turn, shift, stretch and shear it to the template.

    PreparedRaw, Template ──align_to_atlas──▶ Atlas: matrix, quality ──write_atlas──▶ BraTS files on the template's grid

For comparing places over patients. Stretching changes sizes: volumes and diameters are to be measured before it.
The template is MNI152 (ICBM 2009a, 1 mm, without skull; Fonov et al. 2009, doi 10.1016/S1053-8119(09)70884-5), which
comes inside the package nilearn, so nothing is fetched.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from glioscope.errors import DependencyError
from glioscope.files import write_text
from glioscope.prepare.patient import PreparedRaw
from glioscope.space.affine import MINIMUM_OVERLAP, first_guess, overlap_of, stretch
from glioscope.space.grid import Grid
from glioscope.space.resampling import Matrix, resample, shrink, write_transform
from glioscope.space.volumes import Volume, write_volume

LEVELS_MM = (8.0, 4.0, 2.0)
"""Voxel edges of the search, coarse to fine."""
_ALIGNED_BY = ("t1n", "t1c", "t2w", "t2f")
"""The template is a T1: the first of these that was scanned is laid over it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """A brain that stands for all brains."""

    name: str
    volume: Volume
    """(i, j, k) float32, 0 outside the brain."""

    @property
    def sha256(self) -> str:
        """Checksum of voxels and affine, so that another release of the template shows."""
        content = np.ascontiguousarray(self.volume.data).tobytes() + self.volume.grid.affine.tobytes()
        return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas:
    """Where a prepared brain lies in a template's space."""

    template: Template
    matrix: Matrix
    """(4, 4): a point of the template in RAS mm to the same place in the prepared case's RAS mm."""
    sequence: str
    """That was laid over the template."""
    overlap: float
    """Dice of the patient's brain, carried over, and the template's."""
    problems: tuple[str, ...]

    @property
    def volume_factor(self) -> float:
        """How much larger a volume is on the template than in the patient."""
        return float(1 / np.linalg.det(self.matrix[:3, :3]))


def mni152() -> Template:
    """Return nilearn's MNI152 template at 1 mm.

    Raises
    ------
    DependencyError
        nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError as error:
        raise DependencyError("nilearn is not installed; install it with: pip install 'glioscope[atlas]'") from error
    image = load_mni152_template(resolution=1)
    data = np.asarray(image.dataobj, np.float32)
    volume = Volume(data, Grid(data.shape, np.asarray(image.affine, np.float64)))
    return Template(name=f"MNI152, nilearn {metadata.version('nilearn')}", volume=volume)


def align_to_atlas(prepared: PreparedRaw, template: Template) -> Atlas:
    """Lay a prepared brain over a template.

    Parameters
    ----------
    prepared : PreparedRaw
        With a brain mask: a skull would be stretched over the template's brain.

    Returns
    -------
    Atlas
        With `problems` where the fit is doubtful; never an exception for a poor one.
    """
    sequence = next(code for code in _ALIGNED_BY if code in prepared.images)
    moving = Volume(prepared.images[sequence], prepared.grid)
    mask = Volume(prepared.brain.astype(np.float32), prepared.grid)
    goal = Volume((template.volume.data > 0).astype(np.float32), template.volume.grid)
    levels = [shrink(template.volume, spacing_mm) for spacing_mm in LEVELS_MM]
    matrix = stretch(levels, moving, first_guess(goal, mask))
    overlap = overlap_of(goal, mask, matrix)
    problems = []
    if overlap < MINIMUM_OVERLAP:
        problems.append(
            f"atlas: the brain covers the template with a Dice of {overlap:.2f}, {MINIMUM_OVERLAP} and more is usual; "
            "look at the images"
        )
    return Atlas(template=template, matrix=matrix, sequence=sequence, overlap=overlap, problems=tuple(problems))


def write_atlas(prepared: PreparedRaw, atlas: Atlas, folder: Path, case_id: str) -> None:
    """Write the case on the template's grid as BraTS 2023 names it, with the mask, the matrix and a record.

    ``<case_id>-<code>.nii.gz``, ``<case_id>-brain.nii.gz``, ``<case_id>-atlas.tfm`` (ITK; template to patient) and
    ``atlas.json``.

    Raises
    ------
    RunError
        A file cannot be written.
    """
    grid = atlas.template.volume.grid
    for code, image in prepared.images.items():
        moved = resample(Volume(image, prepared.grid), grid, atlas.matrix)
        write_volume(folder / f"{case_id}-{code}.nii.gz", moved, grid)
    brain = resample(Volume(prepared.brain, prepared.grid), grid, atlas.matrix, interpolation="nearest")
    write_volume(folder / f"{case_id}-brain.nii.gz", brain, grid)
    write_transform(folder / f"{case_id}-atlas.tfm", atlas.matrix)
    write_text(folder / "atlas.json", json.dumps(_record(atlas, case_id), indent=2) + "\n")


def _record(atlas: Atlas, case_id: str) -> dict[str, object]:
    return {
        "case_id": case_id,
        "template": {"name": atlas.template.name, "sha256": atlas.template.sha256},
        "aligned_by": atlas.sequence,
        "template_to_case_ras_mm": atlas.matrix.tolist(),
        "overlap": round(atlas.overlap, 4),
        "volume_factor": round(atlas.volume_factor, 4),
        "problems": list(atlas.problems),
    }
