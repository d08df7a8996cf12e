"""What a radiologist would measure: millilitres, diameters, lesions, side; and the change between two dates.

`measure` takes one label map on its own grid, in any storage order, anisotropic or oblique, and returns the record
`results.Measurements`. Nothing is resampled: lengths are taken between points in millimetres, so no orientation
needs special care. `change` takes two dates of one patient.

Inside, in order of dependence: `diameters` (lengths of one lesion), `midline` (left and right), `rano` (what sizes are
called), `one_date` (all of it for one map), `lesions` (which lesion of one date is which of the other), `visits` (what
`segment` left on disk), `alignment` (one date laid over the other), `follow_up` (files to files).
"""

from typing import TYPE_CHECKING

import lazy_loader

from glioscope.measure.one_date import measure

if TYPE_CHECKING:
    from glioscope.measure.follow_up import ChangeOptions, change

__all__ = ["ChangeOptions", "change", "measure"]

# What two dates need is loaded when it is first asked for: segmenting one needs no registration.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"follow_up": ["ChangeOptions", "change"]})
