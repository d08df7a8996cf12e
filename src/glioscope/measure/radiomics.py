"""Radiomics on request: first-order, shape and texture of each region, by the definitions of IBSI.

    images, labels ──radiomics──▶ Radiomics

The library mirp computes them (Zwanenburg et al. 2024, doi 10.21105/joss.06413), one of those that took part in the
Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, doi 10.1148/radiol.2020191145). MR intensities have
no unit, so grey levels are made by a fixed number of bins within each region, as IBSI advises. The numbers compare
regions prepared in one way; they are no diagnosis.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import ConfigError, DependencyError
from glioscope.labels import LabelScheme, regions_from_labels
from glioscope.results.radiomics import Radiomics, RegionFeatures
from glioscope.space.grid import Grid, bounding_box, cut
from glioscope.space.volumes import write_volume

REGIONS = ("WT", "TC", "ET")
LEAST_VOXELS = 50
"""Smaller regions have no texture to speak of: they are left out, and named."""
MARGIN = 6
"""Voxels around a region that resampling may look at."""
FAMILIES = ("morphology", "statistics", "cm", "rlm", "szm")
"""Shape, first order, and the matrices of co-occurrence, run lengths and size zones, in three dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiomicsConfig:
    """How features are counted."""

    spacing_mm: float | None = 1.0
    """Voxel edge that image and region are brought to; None leaves them."""
    bins: int | None = 32
    """Grey levels within a region; None takes the intensities as they are, which must be whole numbers."""

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not 0.2 <= self.spacing_mm <= 10:
            raise ConfigError(f"radiomics spacing_mm is {self.spacing_mm:g}; it must be 0.2 to 10")
        if self.bins is not None and not 4 <= self.bins <= 256:
            raise ConfigError(f"radiomics bins is {self.bins}; it must be 4 to 256")


def radiomics(
    images: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.integer],
    grid: Grid,
    scheme: LabelScheme,
    config: RadiomicsConfig | None = None,
) -> Radiomics:
    """Return the features of each region in each sequence.

    Parameters
    ----------
    images : mapping of sequence code to (i, j, k) float32
        On `grid`.
    labels : (i, j, k) integer
        In `scheme`. Regions below `LEAST_VOXELS`, all of them in an empty map, are named in `left_out`.

    Raises
    ------
    DependencyError
        mirp is not installed.
    """
    config = config or RadiomicsConfig()
    extract = _library()
    names = tuple(name for name in REGIONS if name in scheme.regions) or tuple(scheme.regions)
    masks = dict(zip(names, regions_from_labels(labels, scheme, names=names), strict=True))
    found, left_out = [], {}
    for code, image in images.items():
        for name, mask in masks.items():
            voxels = int(np.count_nonzero(mask))
            if voxels < LEAST_VOXELS:
                left_out[f"{code} {name}"] = f"{voxels} voxels; {LEAST_VOXELS} are needed"
                continue
            box = bounding_box(mask, margin=MARGIN)
            features = _features(extract, cut(image, box), cut(mask, box), grid.crop(box), config)
            found.append(RegionFeatures(sequence=code, region=name, features=features))
    return Radiomics(
        library=f"mirp {metadata.version('mirp')}",
        settings={**asdict(config), "families": " ".join(FAMILIES), "dimensions": "3D, merged over directions"},
        regions=tuple(found),
        left_out=left_out,
    )


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own imports
            from mirp import extract_features
    except ImportError as error:
        raise DependencyError("mirp is not installed; install it with: pip install 'glioscope[radiomics]'") from error
    return extract_features


def _features(
    extract: Any, image: NDArray[np.float32], mask: NDArray[np.bool_], grid: Grid, config: RadiomicsConfig
) -> dict[str, float]:
    """Return the features of one region; the library reads files, so that voxel edges are known to it."""
    how: dict[str, object] = {"base_discretisation_method": "none"}
    if config.bins is not None:
        how = {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": config.bins}
    if config.spacing_mm is not None:
        how["new_spacing"] = config.spacing_mm
    level = logging.getLogger().level
    with tempfile.TemporaryDirectory(prefix="glioscope-radiomics-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about its own arithmetic
        paths = Path(folder, "image.nii.gz"), Path(folder, "mask.nii.gz")
        write_volume(paths[0], image, grid)
        write_volume(paths[1], mask.astype(np.uint8), grid)
        logging.disable(logging.INFO)
        try:
            table = extract(
                image=str(paths[0]),
                mask=str(paths[1]),
                base_feature_families=list(FAMILIES),
                num_cpus=1,
                write_features=False,
                export_features=True,
                **how,
            )[0]
        finally:
            logging.disable(logging.NOTSET)
            logging.getLogger().setLevel(level)
    row = table.iloc[0]
    kinds = ("morph_", "stat_", "cm_", "rlm_", "szm_")
    named = {str(name): row[name] for name in table.columns if str(name).startswith(kinds)}
    return {name: float(value) for name, value in named.items() if math.isfinite(float(value))}
