"""Secondary captures: the right slices, the outlines where the regions end, the words, nobody's name."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("highdicom", reason="highdicom is not installed; it comes with the extra 'dicom'")

from pydicom import dcmread

import synthetic_dicom as made
from glioscope.dicom.captures import draw, key_slices
from glioscope.dicom.headers import CODES
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.scans import RawScan
from glioscope.dicom.writing import write_captures
from glioscope.labels import SCHEMES

SCHEME = SCHEMES["brats2023"]
VALIDATOR = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom and highdicom warn of what synthetic headers lack


@pytest.fixture
def scan(tmp_path: Path) -> RawScan:
    affine = made.grid()
    affine[:3, :3] = Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix() @ affine[:3, :3]
    made.write_series(tmp_path / "source", made.volume(), affine, made.T2)
    return read_dicom(tmp_path / "source").scans["t2w"]


def test_slices_are_spread_and_the_largest_is_among_them() -> None:
    regions = np.zeros((3, 10, 10, 40), bool)
    regions[0, 4:6, 4:6, 10:31] = True
    regions[0, 2:8, 2:8, 13] = True
    regions[2, 4, 4, 22] = True
    assert key_slices(regions) == (10, 13, 15, 20, 22, 25, 30)
    assert key_slices(np.zeros((3, 10, 10, 41), bool)) == (20,)
    regions = np.zeros((3, 10, 10, 40), bool)
    regions[0, 1, 1, [3, 39]] = True  # nothing between: no slice without tumour is shown
    assert key_slices(regions) == (3, 39)


def test_the_outline_runs_where_the_region_ends() -> None:
    regions = np.zeros((3, 64, 64), bool)
    regions[0, 16:48, 24:40] = True
    picture = draw(np.full((64, 64), 90, np.uint8), regions, (1.0, 1.0), "")
    assert picture.shape == (534, 512, 3)
    rows, columns = np.nonzero((picture[:512] == CODES["WT"].colour).all(axis=2))
    assert (columns.min() / 8, columns.max() / 8) == pytest.approx((16, 48), abs=0.4)  # i runs along a row
    assert (rows.min() / 8, rows.max() / 8) == pytest.approx((24, 40), abs=0.4)
    assert (picture[256, 256] == 90).all()


def test_pixels_of_the_picture_are_square() -> None:
    picture = draw(np.zeros((40, 20), np.uint8), np.zeros((3, 40, 20), bool), (1.0, 3.0), "")
    assert picture.shape == (512 * 60 // 60 + 22, round(512 * 40 / 60) + 1, 3)


def test_a_series_of_plain_pictures(scan: RawScan, tmp_path: Path) -> None:
    labels = np.zeros(scan.grid.shape, np.uint8)
    labels[5:16, 4:14, 2:9] = 2
    labels[7:13, 6:12, 4] = 3
    (tmp_path / "capture-9.dcm").write_bytes(b"of an earlier run")
    written = write_captures(tmp_path, labels, scan, SCHEME, identity=True)
    assert sorted(tmp_path.glob("capture-*.dcm")) == sorted(written)
    objects = [dcmread(path) for path in written]
    assert len(objects) == 5  # 2, 4, 5, 7 (6.5 is rounded to even: 6) and 8
    assert {one.SOPClassUID for one in objects} == {made.SECONDARY_CAPTURE}
    assert len({one.SeriesInstanceUID for one in objects}) == 1
    assert [one.InstanceNumber for one in objects] == [1, 2, 3, 4, 5]
    assert {one.PatientID for one in objects} == {"HOSPITAL-12345"}
    assert objects[0].SourceImageSequence[0].ReferencedSOPInstanceUID == scan.source.instances[2]
    assert objects[0].PatientOrientation[0][0] == "L"
    assert objects[0].PatientOrientation[1][0] == "P"
    assert "research use only" in objects[0].SeriesDescription


def test_without_identity_no_name_is_written(scan: RawScan, tmp_path: Path) -> None:
    (path,) = write_captures(tmp_path, np.zeros(scan.grid.shape, np.uint8), scan, SCHEME)
    assert b"Doe" not in path.read_bytes()
    assert b"HOSPITAL" not in path.read_bytes()


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy is not installed (dicom3tools, or dcm2niix's wheel)")
def test_an_independent_validator_finds_no_error(scan: RawScan, tmp_path: Path) -> None:
    for path in write_captures(tmp_path, np.ones(scan.grid.shape, np.uint8), scan, SCHEME, identity=True):
        said = subprocess.run([str(VALIDATOR), str(path)], capture_output=True, text=True, check=False).stderr
        assert "Error" not in said, said
