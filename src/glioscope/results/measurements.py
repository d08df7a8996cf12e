"""What one segmentation measures: volumes, lesions, diameters, side. `glioscope.measure` fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from glioscope.results.stored import Stored

Point = tuple[float, float, float]
"""x, y, z in millimetres, RAS+: towards the patient's right, front and top."""
Ends = tuple[Point, Point]
"""Both ends of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion(Stored):
    """A part of a region that touches no other part, corners included."""

    volume_ml: float
    """Millilitres."""
    centroid_mm: Point
    """Mean of its voxels' centres, RAS+ millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diameters(Stored):
    """Lengths of one lesion; how they are taken is told in `glioscope.measure.diameters`."""

    region: str
    """The lesion is a part of this region: ET, else TC, else WT."""
    longest_mm: float
    """Longest diameter on the axial slice where the outline encloses the largest area, millimetres."""
    perpendicular_mm: float
    """Longest chord at right angles to it on that slice, millimetres."""
    product_mm2: float
    """Of the two, square millimetres."""
    maximum_3d_mm: float
    """Longest distance between two of its points in any direction, millimetres."""
    longest_ends_mm: Ends
    """RAS+ millimetres."""
    perpendicular_ends_mm: Ends
    """RAS+ millimetres."""
    slices: int
    """Axial slices on which the lesion is seen, a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurable(Stored):
    """Whether there is measurable disease by RANO's size rule."""

    by_size: bool
    """An enhancing lesion meets the rule."""
    lesions: int
    """Those that meet it, a count."""
    rule: str
    """In words."""
    reason: str
    """Why it is met or not, in words."""
    not_judged: str
    """What RANO also asks for and the program cannot see, in words."""
    source: str
    """Of the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MidlinePlane(Stored):
    """The plane between left and right."""

    source: str
    """What it was found from: the symmetry of the brain, or the middle of the image."""
    normal: Point
    """Of length 1, towards the patient's right; no unit."""
    point_mm: Point
    """On the plane, RAS+ millimetres."""
    tilt_degrees: float
    """Of the head against the scanner's left-right axis, degrees."""
    asymmetry_mm: float | None
    """Mean distance of the mirrored outline from the outline, millimetres; None where no brain was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side(Stored):
    """Where the tumour lies against the midline."""

    side: Literal["left", "right", "crossing", "both"]
    """`crossing`: one part reaches past the midline; `both`: separate parts on both sides."""
    heavier: Literal["left", "right"]
    """The side that holds more of it."""
    share: float
    """Of its volume on the heavier side, 0.5 to 1."""
    centre_to_midline_mm: float
    """Millimetres."""
    midline_x_mm: float
    """The plane's x at the height of the tumour's centre, RAS+ millimetres."""
    midline: MidlinePlane
    """The plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements(Stored):
    """What one label map measures. Of an empty map: zeros, empty lists and None, never NaN."""

    scheme: str
    """Label scheme that the map was read in."""
    volumes_ml: Mapping[str, float]
    """Region (WT, TC, ET and what else the scheme has) to millilitres."""
    tissues_ml: Mapping[str, float]
    """Label (NCR, ED, ET…) to millilitres."""
    lesion_count: Mapping[str, int]
    """Region to its separate parts, a count."""
    lesions: Mapping[str, tuple[Lesion, ...]]
    """Region to its separate parts, largest first."""
    diameters: Diameters | None
    """Of the lesion with the largest product; None when there is no tumour."""
    measurable: Measurable
    """RANO's size rule."""
    side: Side | None
    """Of the whole tumour; None when there is none, or the files do not tell left from right."""
