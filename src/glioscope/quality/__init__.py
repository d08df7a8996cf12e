"""What is wrong with this input, or with this result, and how sure the network is of each voxel.

In: a case as read from disk, or a label map with what is known about it. Out: flags, each one line that a person
understands. A flag never stops anything: it is carried into `summary.json` and the report, and the reader decides.

`inputs` and `outputs` check a case and a result, `contrast` what the sequences show of each other, `confidence` turns
probabilities into doubt. Their limits were set on 110 labelled cases of BraTS 2017-2021 and BraTS-Africa 2023, so that
fewer than one good case in twenty gets a warning that it does not deserve.
"""

from glioscope.quality.confidence import expected_dice, margin, uncertainty
from glioscope.quality.contrast import contrast_features, likely_order
from glioscope.quality.inputs import check_input
from glioscope.quality.outputs import check_output

__all__ = [
    "check_input",
    "check_output",
    "contrast_features",
    "expected_dice",
    "likely_order",
    "margin",
    "uncertainty",
]
