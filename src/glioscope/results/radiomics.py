"""What was counted of texture and shape: `radiomics.json`. `glioscope.measure.radiomics` fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass

from glioscope.results.stored import Stored

RADIOMICS = "radiomics.json"
"""Its name in a case's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFeatures(Stored):
    """The features of one region in one sequence."""

    sequence: str
    """Code of the sequence."""
    region: str
    """WT, TC or ET."""
    features: Mapping[str, float]
    """Feature, as mirp names it, to its value; millimetres for lengths, the scanner's arbitrary units for intensity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiomics(Stored):
    """Features by the definitions of the Image Biomarker Standardisation Initiative (IBSI)."""

    library: str
    """Name and version of what computed them."""
    settings: Mapping[str, float | int | str | None]
    """How: voxel edge, bins, families, as `measure.radiomics.RadiomicsConfig` has them."""
    regions: tuple[RegionFeatures, ...]
    """One for each sequence and region that is large enough."""
    left_out: Mapping[str, str]
    """Sequence and region, as in ``t1c ET``, to why it has none."""
