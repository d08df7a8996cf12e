"""What a radiologist would measure: millilitres, diameters, lesions, side.

`measure` takes one label map on its own grid, in any storage order, anisotropic or oblique, and returns one plain
dictionary, ready for JSON. Nothing is resampled: lengths are taken between points in millimetres, so no orientation
needs special care.

Inside, in order of dependence: `diameters` (lengths of one lesion), `midline` (left and right), `rano` (what sizes are
called), `one_date` (all of it for one map).
"""

from glioscope.measure.one_date import measure

__all__ = ["measure"]
