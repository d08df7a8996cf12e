"""Rigid co-registration: how one scan of a head lies relative to another scan of the same head.

    reference, scan ──register──▶ Registration: a matrix from the reference's millimetres to the scan's, and its quality

Scans of one session rarely lie on one grid, and patients move between them. The search maximises Mattes' mutual
information (Mattes et al. 2003, doi 10.1109/TMI.2003.809072), coarse to fine, with SimpleITK. It does not trust the
header alone: starts from the scanner's coordinates, the fields' centres and the heads' centres, each in several
turns, compete by the metric, so a patient who was taken out and put back is found too.

Beside `resampling`, which moves the voxels once the matrix is known.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from glioscope.space.grid import FLIP
from glioscope.space.resampling import Matrix, resample, shrink, to_itk
from glioscope.space.volumes import Volume

Vector = Sequence[float] | NDArray[np.float64]
_SEED = 20240817
"""Of the voxels that a step looks at: the same scans give the same result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationConfig:
    """How hard the search tries, and what counts as success."""

    start_mm: float = 8.0
    """Voxel edge at which the starts compete."""
    levels_mm: tuple[float, ...] = (4.0, 2.0)
    """Voxel edges of the refinement, coarse to fine."""
    start_degrees: float = 20.0
    """Every start is also tried turned this far about each axis, both ways; 0 for no turns."""
    finalists: int = 3
    """Starts that are refined on the coarsest level before the best goes on."""
    bins: int = 32
    """Of the joint histogram."""
    samples: int = 120_000
    """Voxels that a step looks at, drawn from the field of view; fewer voxels than that are all looked at."""
    minimum_information: float = 0.1
    """Nats; two sequences of one head share 0.4 and more, a head and noise less than 0.05."""
    minimum_contrast: float = 0.1
    """A metric peak lower than this above its surroundings is called doubtful; see `Quality`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a registration is, measured after it was found."""

    mutual_information: float
    """Of the two scans in nats, at the result."""
    contrast: float
    """1 − (mean mutual information 8 mm and 8° away) / (that at the result): 0 no peak, near 1 a sharp one."""
    coverage: float
    """Share of the reference's head that lies in the scan's field of view."""
    shift_mm: float
    """How far the centre of the reference's head moved away from the scanner's coordinates."""
    turn_degrees: float
    """How far the head turned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """Where a scan lies relative to the reference."""

    matrix: Matrix
    """(4, 4), rigid: a point of the reference in RAS+ mm to the same tissue in the scan's RAS+ mm."""
    quality: Quality | None = None
    """None where nothing was searched: a scan on its own, or with itself."""
    problems: tuple[str, ...] = ()
    """What is doubtful, one sentence each."""


def head_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the voxels brighter than air: Otsu's threshold on the image with its brightest 1 % clipped, halved.

    A constant image has no head.
    """
    top = float(np.percentile(image, 99))
    clipped = np.clip(image, None, top)
    low = float(clipped.min())
    if not top > low:
        return np.zeros(image.shape, bool)
    counts, edges = np.histogram(clipped, 128, (low, top))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    threshold = middles[int(np.nanargmax(between[:-1]))]
    return image > low + (threshold - low) / 2


def register(
    reference: Volume,
    scan: Volume,
    config: RegistrationConfig | None = None,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> Registration:
    """Find how a scan lies relative to the reference.

    Parameters
    ----------
    reference, scan : Volume
        (i, j, k) float32 of one head, skull on or both without; any grids, any two sequences.
    mask : (i, j, k) bool, optional
        On the reference's grid: what the fine levels look at (the brain, which is rigid; the jaw is not). Without it,
        or where it is empty, the whole field of view.

    Returns
    -------
    Registration
        With `problems` where the result is doubtful; never an exception for a poor match.
    """
    config = config or RegistrationConfig()
    fixed = [shrink(reference, mm) for mm in (config.start_mm, *config.levels_mm)]
    moving = [shrink(scan, mm) for mm in (config.start_mm, *config.levels_mm)]
    if any(np.ptp(v.data) == 0 for v in (fixed[-1], moving[-1])):
        return Registration(
            matrix=np.eye(4), problems=("one of the two images is constant, so nothing can be aligned",)
        )
    centre = _centre(fixed[0])
    search = _Search(fixed[0], moving[0], centre, config)
    starts = sorted(_starts(fixed[0], moving[0], config), key=search.value)[: config.finalists]
    matrix = min((search.refine(start) for start in starts), key=search.value)
    for still, other in zip(fixed[1:], moving[1:], strict=True):
        where = None
        if mask is not None and mask.any():
            where = resample(Volume(mask, reference.grid), still.grid, interpolation="nearest")
        matrix = _Search(still, other, centre, config, where).refine(matrix)
    quality = measure_quality(fixed[1], moving[1], matrix, config)
    return Registration(matrix=matrix, quality=quality, problems=tuple(_doubts(quality, config)))


def _centre(volume: Volume) -> NDArray[np.float64]:
    """Return the centre of the head in RAS mm; of the field where there is no head."""
    mask = head_mask(volume.data)
    points = np.argwhere(mask) if mask.any() else np.argwhere(np.ones(volume.grid.shape, bool))
    return (volume.grid.affine @ [*points.mean(axis=0), 1])[:3]


def _starts(fixed: Volume, moving: Volume, config: RegistrationConfig) -> Iterable[Matrix]:
    """Yield first guesses: scanner coordinates, heads' centres, fields' centres; each straight and turned."""
    centre = _centre(fixed)
    field, other_field = (v.grid.affine @ [*(np.array(v.grid.shape) - 1) / 2, 1] for v in (fixed, moving))
    shifts: list[NDArray[np.float64]] = []
    for shift in (np.zeros(3), _centre(moving) - centre, (other_field - field)[:3]):
        if all(np.linalg.norm(shift - known) > config.start_mm / 2 for known in shifts):  # else two finalists are one
            shifts.append(shift)
    steps = (0.0,) if config.start_degrees == 0 else (-config.start_degrees, 0.0, config.start_degrees)
    for shift, angles in itertools.product(shifts, itertools.product(steps, repeat=3)):
        yield turn_about(centre, angles, shift)


def turn_about(centre: Vector, degrees: Vector, shift_mm: Vector) -> Matrix:
    """Return the rigid matrix that turns about x, y, z (in that order) round `centre`, then shifts; RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = np.asarray(centre) + shift_mm - matrix[:3, :3] @ np.asarray(centre)
    return matrix


class _Search:
    """Mutual information of two images under a rigid matrix: its value, and the way uphill."""

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        centre: NDArray[np.float64],
        config: RegistrationConfig,
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        self._fixed, self._moving = to_itk(fixed), to_itk(moving)
        self._centre = (FLIP[:3, :3] @ centre).tolist()
        self._step = min(fixed.grid.spacing_mm)
        self._method = sitk.ImageRegistrationMethod()
        self._method.SetMetricAsMattesMutualInformation(config.bins)
        self._method.SetInterpolator(sitk.sitkLinear)
        share = config.samples / fixed.data.size
        if share < 1:
            self._method.SetMetricSamplingStrategy(self._method.RANDOM)
            self._method.SetMetricSamplingPercentage(share, seed=_SEED)
        if mask is not None and mask.any():
            self._method.SetMetricFixedMask(to_itk(Volume(mask.astype(np.uint8), fixed.grid)))

    def _transform(self, matrix: Matrix) -> sitk.Euler3DTransform:
        lps = FLIP @ matrix @ FLIP
        transform = sitk.Euler3DTransform()
        transform.SetCenter(self._centre)
        transform.SetMatrix(lps[:3, :3].ravel().tolist(), tolerance=1e-6)
        moved = lps[:3, :3] @ self._centre + lps[:3, 3]
        transform.SetTranslation((moved - self._centre).tolist())
        return transform

    def value(self, matrix: Matrix) -> float:
        """Return minus the mutual information; 0, the worst, where the images do not meet."""
        self._method.SetInitialTransform(self._transform(matrix))
        try:
            return float(self._method.MetricEvaluate(self._fixed, self._moving))
        except RuntimeError:
            return 0.0

    def refine(self, matrix: Matrix) -> Matrix:
        """Return the matrix of the nearest peak, or the one given where the images do not meet."""
        transform = self._transform(matrix)
        method = self._method
        method.SetInitialTransform(transform, inPlace=True)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=self._step,
            minStep=self._step / 200,
            numberOfIterations=150,
            relaxationFactor=0.8,  # halving stops short: ends of one search lay 0.5 mm apart, with 0.8 they lie 0.01
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        try:
            method.Execute(self._fixed, self._moving)
        except RuntimeError:
            return matrix
        lps = np.eye(4)
        lps[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
        lps[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        return FLIP @ lps @ FLIP


def measure_quality(fixed: Volume, moving: Volume, matrix: Matrix, config: RegistrationConfig | None = None) -> Quality:
    """Measure a registration.

    Parameters
    ----------
    fixed, moving : Volume
        The scans, best at 2 to 4 mm (`shrink`).
    matrix : (4, 4)
        Of `fixed` to `moving`.
    """
    config = config or RegistrationConfig()
    centre = _centre(fixed)
    search = _Search(fixed, moving, centre, config)
    peak = -search.value(matrix)
    away = [sign * 8.0 * axis for axis in np.eye(3) for sign in (-1, 1)]
    none = np.zeros(3)
    steps = [turn_about(centre, none, step) for step in away] + [turn_about(centre, step, none) for step in away]
    sides = [-search.value(matrix @ step) for step in steps]
    head = head_mask(fixed.data)
    seen = resample(
        Volume(np.ones(moving.grid.shape, np.uint8), moving.grid), fixed.grid, matrix, interpolation="nearest"
    )
    moved = matrix @ [*centre, 1]
    return Quality(
        mutual_information=max(peak, 0.0),
        contrast=float(1 - np.mean(sides) / peak) if peak > 0 else 0.0,
        coverage=float((seen[head] > 0).mean()) if head.any() else 0.0,
        shift_mm=float(np.linalg.norm(moved[:3] - centre)),
        turn_degrees=float(np.degrees(Rotation.from_matrix(matrix[:3, :3]).magnitude())),
    )


def _doubts(quality: Quality, config: RegistrationConfig) -> Iterable[str]:
    if quality.mutual_information < config.minimum_information:
        yield (
            f"the alignment is doubtful: the scans share {quality.mutual_information:.2f} nats of information, "
            f"{config.minimum_information:.2f} and more is usual; are both of one head?"
        )
    elif quality.contrast < config.minimum_contrast:
        yield (
            f"the alignment is doubtful: mutual information peaks by {quality.contrast:.0%}, "
            f"{config.minimum_contrast:.0%} and more is usual; look at the images"
        )
