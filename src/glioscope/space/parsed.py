"""NIfTI headers, each parsed once.

The grids of a case are compared, its headers are looked at for doubts, then its scans are read: all of them ask here.
"""

import functools
from pathlib import Path
from typing import cast

import nibabel as nib

KEPT = 64
"""Headers that are remembered; no voxels are."""


def parsed(path: Path) -> nib.Nifti1Image:
    """Return a file's header and where its voxels lie, parsed once as long as the file's time and size stay the same.

    Whatever nibabel raises for a file that it cannot read is raised; nobody may change what is returned.
    """
    stat = path.stat()
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=KEPT)
def _parsed(path: Path, time_ns: int, size: int) -> nib.Nifti1Image:
    return cast(nib.Nifti1Image, nib.load(path))
