"""What `prepare` takes as raw input, told apart by what the folder holds."""

import numpy as np
import pytest

from glioscope.cli.raw import read_raw
from glioscope.errors import CaseError
from glioscope.geometry import Grid
from glioscope.volumes import write_volume


def write(path, value, spacing=1.0):
    data = np.full((4, 5, 6), value, np.float32)
    data[0] = 0
    write_volume(path, data, Grid(data.shape, np.diag([spacing, spacing, spacing, 1.0])))


def test_a_folder_of_nifti_is_read_by_name_each_scan_on_its_own_grid(tmp_path):
    write(tmp_path / "t1c.nii.gz", 1)
    write(tmp_path / "flair.nii.gz", 2, spacing=3.0)
    patient = read_raw(tmp_path, {})
    assert {code: scan.grid.spacing_mm[0] for code, scan in patient.scans.items()} == {"t1c": 1.0, "t2f": 3.0}


def test_a_named_file_stands_in_for_the_one_in_the_folder(tmp_path):
    write(tmp_path / "case" / "t1c.nii.gz", 1)
    write(tmp_path / "better.nii.gz", 9)
    patient = read_raw(tmp_path / "case", {"t1c": str(tmp_path / "better.nii.gz")})
    assert patient.scans["t1c"].image.max() == 9


def test_files_alone_will_do(tmp_path):
    write(tmp_path / "anything.nii.gz", 1)
    assert list(read_raw(None, {"t2w": str(tmp_path / "anything.nii.gz")}).scans) == ["t2w"]


def test_several_cases_are_named(tmp_path):
    for name in ("t1c", "mask_t1c"):
        write(tmp_path / "patient" / f"{name}.nii.gz", 1)
    with pytest.raises(CaseError, match=r"holds several cases \(mask, patient\); name one patient's files"):
        read_raw(tmp_path / "patient", {})


def test_nothing_given():
    with pytest.raises(CaseError, match="no scan is given"):
        read_raw(None, {})
