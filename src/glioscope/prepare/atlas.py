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
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from glioscope.errors import DependencyError
from glioscope.files import write_text
from glioscope.prepare.patient import PreparedRaw
from glioscope.space.grid import FLIP, Grid
from glioscope.space.resampling import Matrix, resample, shrink, to_itk, write_transform
from glioscope.space.volumes import Volume, write_volume

LEVELS_MM = (8.0, 4.0, 2.0)
"""Voxel edges of the search, coarse to fine."""
SAMPLES = 120_000
"""Voxels that a step looks at, as in `registration`; drawn with a seed, so the same case gives the same matrix."""
MINIMUM_OVERLAP = 0.85
"""Dice of brain and template below which the fit is called doubtful; good ones have 0.93 and more."""
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
    matrix = _by_moments(goal, mask)
    for spacing_mm in LEVELS_MM:
        matrix = _refine(shrink(template.volume, spacing_mm), shrink(moving, spacing_mm), matrix, spacing_mm)
    carried = resample(mask, goal.grid, matrix) > 0.5
    both = float((carried & (goal.data > 0)).sum())
    overlap = 2 * both / max(float(carried.sum() + goal.data.sum()), 1.0)
    problems = []
    if overlap < MINIMUM_OVERLAP:
        problems.append(
            f"atlas: the brain covers the template with a Dice of {overlap:.2f}, {MINIMUM_OVERLAP} and more is usual; "
            "look at the images"
        )
    return Atlas(template=template, matrix=matrix, sequence=sequence, overlap=overlap, problems=tuple(problems))


def _by_moments(fixed: Volume, moving: Volume) -> Matrix:
    """Return the first guess: one brain's centre on the other's, each axis stretched to the other's spread."""
    (here, spread), (there, other) = _moments(fixed), _moments(moving)
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(other / spread)
    matrix[:3, 3] = there - matrix[:3, :3] @ here
    return matrix


def _moments(mask: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.argwhere(mask.data > 0.5)[::17] @ mask.grid.affine[:3, :3].T + mask.grid.affine[:3, 3]
    return points.mean(axis=0), points.std(axis=0)


def _refine(fixed: Volume, moving: Volume, matrix: Matrix, step_mm: float) -> Matrix:
    """Go uphill in Mattes' mutual information over all twelve numbers."""
    lps = FLIP @ matrix @ FLIP
    centre = fixed.grid.affine @ [*(np.array(fixed.grid.shape) - 1) / 2, 1]
    transform = sitk.AffineTransform(3)
    transform.SetCenter((FLIP @ centre)[:3].tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    moved = lps @ (FLIP @ centre)
    transform.SetTranslation((moved - FLIP @ centre)[:3].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    if fixed.data.size > SAMPLES:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(SAMPLES / fixed.data.size, seed=20240817)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=step_mm / 200,
        numberOfIterations=150,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(to_itk(fixed), to_itk(moving))
    except RuntimeError:  # the two do not meet
        return matrix
    found = np.eye(4)
    found[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    found[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return FLIP @ found @ FLIP


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


def _record(atlas: Atlas, case_id: str) -> dict[str, Any]:
    return {
        "case_id": case_id,
        "template": {"name": atlas.template.name, "sha256": atlas.template.sha256},
        "aligned_by": atlas.sequence,
        "template_to_case_ras_mm": atlas.matrix.tolist(),
        "overlap": round(atlas.overlap, 4),
        "volume_factor": round(atlas.volume_factor, 4),
        "problems": list(atlas.problems),
    }
