"""DICOM files of a corrected version, made at their first download, in a process of their own: images are large.

python -m glioscope.web.clinical FOLDER SOURCE VERSION
"""

import sys
from pathlib import Path

from glioscope.errors import GlioscopeError
from glioscope.results import read_summary
from glioscope.segmentation.correcting import write_clinical
from glioscope.web.results import names


def main(folder: str, source: str, version: str) -> int:
    """Write the files; return the exit code."""
    place, number = Path(folder), int(version)
    segmentation, summary, _ = names(number)
    try:
        write_clinical(place, read_summary(place / summary), place / segmentation, Path(source), number)
    except GlioscopeError as error:
        sys.stderr.write(f"glioscope: {' '.join(str(error).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
