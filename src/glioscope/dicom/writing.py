"""Results as clinical files: DICOM SEG, RTSTRUCT and a structured report, bound to the series they were made from.

- `write_segmentation`: DICOM SEG by highdicom, binary, one segment each for WT, TC and ET (segments may overlap).
- `write_structure_set`: RTSTRUCT, one closed contour for each part of a region on a slice, by pydicom.
- `write_margin`: RTSTRUCT of a margin around the tumour, GTV and CTV.
- `write_measurements`: Comprehensive 3D SR by highdicom, template TID 1500, measurements on the segments of a SEG.
- `write_captures`: secondary captures by highdicom, key slices with outlines drawn in, for viewers that show no SEG.

The label map must lie on the grid of a scan that was read from DICOM. Patient's name, number and birth date are left
empty unless `identity` is asked for; the UIDs of study, series and instances stay, since a file without them refers to
nothing.

Codes. Types are of CID 7159 "Lesion Segmentation Type" (DICOM PS3.16, 2025): SNOMED CT for the whole tumour with its
oedema (108369006 Neoplasm) and the core (372087000 Neoplasm, Primary), NCI Thesaurus for what takes up contrast
(C113842 Enhancing Lesion). No code system has words for WT and TC, so each segment's label carries BraTS' own name.
"""

from glioscope.dicom.captures import write_captures
from glioscope.dicom.contours import outlines, write_margin, write_structure_set
from glioscope.dicom.headers import CODES, RegionCode
from glioscope.dicom.segments import write_segmentation
from glioscope.dicom.structured import write_measurements

__all__ = [
    "CODES",
    "RegionCode",
    "outlines",
    "write_captures",
    "write_margin",
    "write_measurements",
    "write_segmentation",
    "write_structure_set",
]
