"""DICOM in: series sorted, geometry kept, bad input named and survived, nothing written outside."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed; it comes with the extra 'dicom'")

from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from scipy.spatial.transform import Rotation

import synthetic_dicom as made
from glioscope.dicom import archive
from glioscope.dicom.identity import identity_of, identity_words, patient_code
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.scans import read_nifti_scans
from glioscope.dicom.slices import Tags
from glioscope.errors import CaseError
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume

VOLUME = made.volume()
REAL = Path(__file__).parents[3] / "shared" / "data" / "dicom" / "patient-1.zip"
IDENTIFIERS = ("Doe", "Jane", "HOSPITAL", "12345", "19500101", "20200102")


def only(folder: Path, code: str = "t1n"):
    patient = read_dicom(folder)
    assert list(patient.scans) == [code]
    return patient.scans[code]


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_voxels_and_affine_of_an_axial_series(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid())
    scan = only(tmp_path)
    np.testing.assert_array_equal(scan.image, VOLUME)
    np.testing.assert_allclose(scan.grid.affine, made.grid(), atol=1e-5)
    assert scan.grid.orientation == "LPS"
    assert scan.problems == ()


@pytest.mark.parametrize("angles", [(20, 0, 0), (15, -30, 40), (90, 0, 0), (0, 90, 90)])
def test_oblique_sagittal_and_coronal_series_keep_their_place(tmp_path, angles):
    affine = made.grid()
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ affine[:3, :3]
    made.write_series(tmp_path, VOLUME, affine)
    scan = only(tmp_path)
    # The reader lets k grow along rows × columns; the affine here is right-handed, so the order is the same.
    np.testing.assert_allclose(scan.grid.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(scan.image, VOLUME)


def test_slices_numbered_downwards_are_the_same_volume(tmp_path):
    affine = made.grid()
    affine[:3, 3] += 11 * affine[:3, 2]
    affine[:3, 2] *= -1
    made.write_series(tmp_path, VOLUME[:, :, ::-1], affine)
    scan = only(tmp_path)
    np.testing.assert_array_equal(scan.image, VOLUME)
    np.testing.assert_allclose(scan.grid.affine, made.grid(), atol=1e-5)


def test_tilted_gantry_keeps_a_sheared_affine_and_says_so(tmp_path):
    affine = made.grid()
    affine[1, 2] = 8 * np.tan(np.radians(12))
    made.write_series(tmp_path, VOLUME, affine)
    scan = only(tmp_path)
    np.testing.assert_allclose(scan.grid.affine, affine, atol=1e-5)
    assert "12.0 degrees" in scan.problems[0]


def test_missing_slices_are_interpolated_and_reported(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), skip=(4, 7, 8))
    scan = only(tmp_path)
    assert scan.grid.shape == VOLUME.shape
    np.testing.assert_allclose(scan.grid.affine, made.grid(), atol=1e-5)
    assert "3 of 12 slices are missing (counted from below: 5, 8, 9)" in scan.problems[0]
    np.testing.assert_allclose(scan.image[..., 4], (VOLUME[..., 3] / 2.0 + VOLUME[..., 5] / 2.0))
    np.testing.assert_allclose(scan.image[..., 7], VOLUME[..., 6] * (2 / 3) + VOLUME[..., 9] * (1 / 3), rtol=1e-5)
    np.testing.assert_array_equal(scan.image[..., 9:], VOLUME[..., 9:])
    assert [n for n, uid in enumerate(scan.source.instances) if not uid] == [4, 7, 8]
    assert len(scan.source.headers) == 9


def test_a_series_with_too_many_holes_is_no_volume(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), skip=(2, 3, 5, 6, 7, 8, 9))
    with pytest.raises(CaseError, match="7 of 12 slices are missing"):
        read_dicom(tmp_path)


def test_unevenly_spaced_slices_are_no_volume(tmp_path):
    paths = made.write_series(tmp_path, VOLUME, made.grid())
    data = dcmread(paths[5])
    data.ImagePositionPatient[2] += 3
    data.save_as(paths[5])
    with pytest.raises(CaseError, match=r"slices lie 5\.00 to 11\.00 mm apart"):
        read_dicom(tmp_path)


def test_copied_files_count_once_and_doubled_slices_are_reported(tmp_path):
    paths = made.write_series(tmp_path, VOLUME, made.grid())
    shutil.copy(paths[0], tmp_path / "copy.dcm")
    assert only(tmp_path).problems == ()
    data = dcmread(paths[3])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.InstanceNumber = 99
    made.set_pixels(data, np.zeros_like(VOLUME[:, :, 3].T))
    data.save_as(tmp_path / "again.dcm")
    scan = only(tmp_path)
    assert scan.problems == ("1 slice(s) are there twice with different content; the first of each is used",)
    np.testing.assert_array_equal(scan.image, VOLUME)


def test_two_echoes_of_one_series_are_two_volumes(tmp_path):
    uid = generate_uid()
    first = {"SeriesInstanceUID": uid, "SeriesDescription": "", "RepetitionTime": 3000, "ScanningSequence": "SE"}
    made.write_series(tmp_path / "a", VOLUME, made.grid(), {**first, "EchoTime": 20}, number=4)
    made.write_series(tmp_path / "b", made.volume(seed=1), made.grid(), {**first, "EchoTime": 100}, number=4)
    patient = read_dicom(tmp_path)
    np.testing.assert_array_equal(patient.scans["t2w"].image, made.volume(seed=1))
    assert patient.left_out == {"series 4-1": "proton density, not one of the four sequences"}


def test_time_points_of_one_series_are_separate_volumes(tmp_path):
    uid = generate_uid()
    for point in (1, 2):
        tags = {**made.T1, "SeriesInstanceUID": uid, "AcquisitionNumber": point}
        made.write_series(tmp_path / str(point), made.volume(seed=point), made.grid(), tags, number=4)
    patient = read_dicom(tmp_path, overrides={"t1n": "4-2"})
    np.testing.assert_array_equal(patient.scans["t1n"].image, made.volume(seed=2))


def test_multi_frame_file_with_shuffled_frames(tmp_path):
    made.write_enhanced(tmp_path / "one.dcm", VOLUME, made.grid())
    scan = only(tmp_path, "t2w")
    np.testing.assert_array_equal(scan.image, VOLUME)
    np.testing.assert_allclose(scan.grid.affine, made.grid(), atol=1e-5)
    assert len(scan.source.headers) == 1
    assert len(scan.source.instances) == 12


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]
)
def test_compressed_transfer_syntaxes_give_the_same_voxels(tmp_path, syntax):
    made.write_series(tmp_path, VOLUME, made.grid(), syntax=syntax)
    np.testing.assert_array_equal(only(tmp_path).image, VOLUME)


def test_rescale_slope_and_intercept_are_applied(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T1, "RescaleSlope": 2, "RescaleIntercept": -5})
    np.testing.assert_array_equal(only(tmp_path).image, 2.0 * VOLUME - 5)


def test_same_place_as_an_independent_converter(tmp_path):
    """Every voxel of dcm2niix lies where it lies here, with the same value: an oblique volume."""
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed; it comes with the extra 'dev'")
    import subprocess

    import nibabel as nib

    affine = made.grid()
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ affine[:3, :3]
    made.write_series(tmp_path / "in", VOLUME, affine)
    (tmp_path / "out").mkdir()
    command = [dcm2niix.bin, "-z", "n", "-f", "scan", "-o", str(tmp_path / "out"), str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True)
    other = nib.load(tmp_path / "out" / "scan.nii")
    scan = only(tmp_path / "in")
    indices = np.indices(VOLUME.shape).reshape(3, -1)
    to_other = np.linalg.inv(other.affine) @ scan.grid.affine
    places = to_other[:3, :3] @ indices + to_other[:3, 3:]
    assert abs(places - places.round()).max() < 1e-3
    np.testing.assert_array_equal(np.asarray(other.dataobj)[tuple(places.round().astype(int))], scan.image.ravel())


# --- mixed and bad input ----------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Four sequences among everything that may lie beside them."""
    folder = tmp_path / "mixed"
    for number, tags in enumerate((made.T1, made.T1C, made.T2, made.FLAIR), 1):
        made.write_series(folder, made.volume(seed=number), made.grid(), tags, number=number)
    localiser = {**made.T2, "SeriesDescription": "Doe survey", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    made.write_series(folder, VOLUME, made.grid(), localiser, number=10)
    made.write_series(folder, VOLUME[:, :, :1], made.grid(), number=11)
    made.write_series(folder, VOLUME, made.grid(), {**made.T2, "SeriesDescription": "ep2d_diff_ADC"}, number=12)
    made.write_series(folder, VOLUME, made.grid(), {**made.T1, "Modality": "CT"}, number=13)
    made.write_colour(folder / "colour.dcm")
    made.write_document(folder / "letter.dcm")
    made.write_document(folder / "capture.dcm", made.SECONDARY_CAPTURE, number=92)
    (folder / "Jane Doe.txt").write_text("not DICOM")
    (folder / "cut.dcm").write_bytes((folder / "001-001.dcm").read_bytes()[:180])
    return folder


def test_everything_else_is_named_and_the_four_sequences_are_read(mixed):
    patient = read_dicom(mixed)
    assert list(patient.scans) == ["t1n", "t1c", "t2w", "t2f"]
    for number, scan in enumerate(patient.scans.values(), 1):
        np.testing.assert_array_equal(scan.image, made.volume(seed=number))
    reasons = dict(patient.left_out)
    assert reasons["series 10 (SURVEY)"] == "localiser, not one of the four sequences"
    assert reasons["series 11 (T1 SE AX)"] == "1 slice; a volume needs at least 5"
    assert reasons["series 12 (EP2D DIFF ADC)"] == "diffusion, not one of the four sequences"
    assert reasons["series 13 (T1 SE AX)"] == "modality CT; MR is needed"
    assert reasons["series 90"] == "colour images; a grey-scale scan is needed"
    assert reasons["series 91"] == "a document (PDF), not a scan"
    assert reasons["series 92"] == "a screen capture, not a scan"
    assert reasons["1 file (.txt), not DICOM"] == "not DICOM"
    assert reasons["1 damaged file"] == "header cannot be read as DICOM"


def test_no_identifier_leaves_the_reader(mixed):
    patient = read_dicom(mixed)
    texts = [repr(patient.choices), repr(dict(patient.left_out)), patient.patient, repr(patient)]
    texts += [f"{scan.description} {scan.problems}" for scan in patient.scans.values()]
    for word in IDENTIFIERS:
        assert not any(word.casefold() in text.casefold() for text in texts)


def test_a_zip_gives_what_its_folder_gives_and_leaves_nothing_behind(mixed, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    packed = Path(shutil.make_archive(str(tmp_path / "all"), "zip", mixed))
    a, b = read_dicom(mixed), read_dicom(packed)
    assert a.choices == b.choices
    assert dict(a.left_out) == dict(b.left_out)
    for code in a.scans:
        np.testing.assert_array_equal(a.scans[code].image, b.scans[code].image)
    assert not list(work.iterdir())


def test_two_patients_are_refused_by_code_not_by_name(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), number=1)
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T2, "PatientID": "OTHER-9"}, number=2)
    with pytest.raises(CaseError, match=r"holds 2 patients, P-[0-9a-f]{4} \(12 files\), P-") as caught:
        read_dicom(tmp_path)
    for identity in ("hospital-12345", "other-9"):
        assert patient_code(identity) in str(caught.value)
        assert identity not in str(caught.value).casefold()


def test_removed_numbers_fall_back_on_the_name_and_nothing_at_all_is_one_patient(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T1, "PatientID": ""}, number=1)
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T2, "PatientID": "", "PatientName": ""}, number=2)
    patient = read_dicom(tmp_path)
    assert list(patient.scans) == ["t1n", "t2w"]
    assert patient.patient == patient_code("doe jane")


def test_two_examinations_give_the_fuller_one(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T1, "StudyDate": "20210101"}, number=1)
    made.write_series(tmp_path, VOLUME, made.grid(), made.T2, number=2)
    made.write_series(tmp_path, VOLUME, made.grid(), made.FLAIR, number=3)
    patient = read_dicom(tmp_path)
    assert list(patient.scans) == ["t2w", "t2f"]
    assert "another examination" in patient.left_out["series 1 (T1 SE AX)"]
    assert list(read_dicom(tmp_path, overrides={"t1n": "1"}).scans) == ["t1n"]


def test_localisers_only_say_so(tmp_path):
    made.write_series(tmp_path, VOLUME, made.grid(), {**made.T2, "SeriesDescription": "Scout"}, number=1)
    made.write_series(tmp_path, VOLUME[:, :, :3], made.grid(), made.T2, number=2)
    with pytest.raises(CaseError, match=r"no T1, T2 or FLAIR .*series 1 \(SCOUT\): localiser.*|.*3 slices"):
        read_dicom(tmp_path)


def test_slices_without_a_place_are_left_out(tmp_path):
    for path in made.write_series(tmp_path, VOLUME, made.grid()):
        data = dcmread(path)
        del data.ImagePositionPatient
        data.save_as(path)
    with pytest.raises(CaseError, match="do not say where they lie"):
        read_dicom(tmp_path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_pixels_cut_short_name_the_series(tmp_path, syntax):
    path = made.write_series(tmp_path, VOLUME, made.grid(), syntax=syntax)[4]
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(CaseError, match=r"series 1 .*pixels of a slice cannot be decoded"):
        read_dicom(tmp_path)
    with pytest.raises(CaseError, match=r"series 1 .*pixels of a slice cannot be decoded"):
        read_dicom(tmp_path, overrides={"t1n": "1"})
    made.write_series(tmp_path, made.volume(seed=2), made.grid(), made.T2, number=2)
    made.write_series(tmp_path, made.volume(seed=3), made.grid(spacing=(4, 5, 11)), number=3)
    patient = read_dicom(tmp_path)
    assert {code: scan.source.number for code, scan in patient.scans.items()} == {"t1n": 3, "t2w": 2}
    assert "cannot be decoded" in patient.left_out["series 1 (T1 SE AX)"]


def test_headers_that_claim_the_impossible_are_left_out(tmp_path):
    made.write_enhanced(tmp_path / "frames.dcm", VOLUME, made.grid())
    data = dcmread(tmp_path / "frames.dcm")
    data.NumberOfFrames = 2_000_000_000
    data.save_as(tmp_path / "frames.dcm")
    for path in made.write_series(tmp_path, VOLUME, made.grid()):
        data = dcmread(path)
        data.Rows = data.Columns = 65535
        data.save_as(path)
    with pytest.raises(CaseError, match=r"claims shape \(65535, 65535, 12\).*claims 2000000000 frames"):
        read_dicom(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.mkdir(), "holds no DICOM images"),
        (lambda p: p.write_bytes(b"text"), "neither a folder, a zip nor a DICOM file"),
        (lambda p: zipfile.ZipFile(p, "w").close(), "holds no DICOM images"),
        (made.write_document, r"no T1, T2 or FLAIR of a head \(series 91: a document"),
    ],
)
def test_unusable_sources(tmp_path, make, message):
    make(tmp_path / "source")
    with pytest.raises(CaseError, match=message):
        read_dicom(tmp_path / "source")


# --- zips that mean harm ----------------------------------------------------------------------------------------------


def test_a_name_that_is_a_list_of_damaged_items_names_nobody():
    """Found by fuzzing: the kind of the element and of what is in it are any two bytes of the file."""
    item = Dataset()
    item[0x4F4C000E] = RawDataElement(Tag(0x4F4C000E), "HO", 2, b"xx", 0, False, True)
    header = Dataset()
    header.add(DataElement("PatientName", "SQ", [item]))
    assert identity_of(header) == ""
    assert identity_words(header) == set()
    assert Tags(header).text("PatientName") == ""


@pytest.fixture
def series_zip(tmp_path) -> Path:
    made.write_series(tmp_path / "series", VOLUME, made.grid())
    return Path(shutil.make_archive(str(tmp_path / "series"), "zip", tmp_path / "series"))


@pytest.mark.parametrize("name", ["../../out.dcm", "/out.dcm", "a/../../out.dcm", "C:\\out.dcm", "..\\out.dcm"])
def test_members_that_climb_out_are_named_and_written_nowhere(series_zip, tmp_path, name):
    slice_bytes = next((tmp_path / "series").iterdir()).read_bytes()
    with zipfile.ZipFile(series_zip, "a") as archived:
        archived.writestr(zipfile.ZipInfo(name), slice_bytes)
    before = sorted(tmp_path.rglob("*"))
    patient = read_dicom(series_zip)
    np.testing.assert_array_equal(patient.scans["t1n"].image, VOLUME)
    assert dict(patient.left_out) == {
        "1 file (.dcm), path that climbs out of the zip": "path that climbs out of the zip"
    }
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/out.dcm").exists()


def test_a_member_that_swells_is_left_out(series_zip, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 100_000)
    bomb = (tmp_path / "series" / "001-001.dcm").read_bytes()[:132] + bytes(5_000_000)
    with zipfile.ZipFile(series_zip, "a", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("bomb.dcm", bomb)
    patient = read_dicom(series_zip)
    assert "zip bomb" in " ".join(patient.left_out.values())
    np.testing.assert_array_equal(patient.scans["t1n"].image, VOLUME)


def test_a_zip_that_swells_beyond_all_bounds_is_refused(series_zip, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 8000)
    with pytest.raises(CaseError, match="unpacks to more than"):
        read_dicom(series_zip)


@pytest.mark.parametrize("wide", [False, True])
def test_a_table_of_contents_that_fills_memory_is_refused(series_zip, monkeypatch, wide):
    read_dicom(series_zip)
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 500)
    if wide:  # as zip64 does: the small field says nothing, the wide one stands before it
        raw = series_zip.read_bytes()
        end = raw.rfind(b"PK\x05\x06")
        record = b"PK\x06\x06" + bytes(36) + (10**9).to_bytes(8, "little") + bytes(8)
        series_zip.write_bytes(raw[:end] + record + raw[end : end + 12] + b"\xff" * 4 + raw[end + 16 :])
    with pytest.raises(CaseError, match=r"table of contents has .* too many files for one patient"):
        read_dicom(series_zip)


def test_many_small_bombs_are_one_large_one(series_zip, tmp_path, monkeypatch):
    """Each is small enough to be let through; all together they fill a disk."""
    monkeypatch.setattr(archive, "FREE_TOTAL_BYTES", 3_000_000)
    bomb = (tmp_path / "series" / "001-001.dcm").read_bytes()[:132] + bytes(1_000_000)
    with zipfile.ZipFile(series_zip, "a", zipfile.ZIP_DEFLATED) as archived:
        for n in range(5):
            archived.writestr(f"{n}.dcm", bomb)
    with pytest.raises(CaseError, match="too much for its size"):
        read_dicom(series_zip)


@pytest.mark.parametrize("name", [".", "./", "\\", "a" * 60_000])
def test_members_of_odd_names_are_no_defect(series_zip, tmp_path, name):
    slice_bytes = next((tmp_path / "series").iterdir()).read_bytes()
    with zipfile.ZipFile(series_zip, "a") as archived:
        archived.writestr(zipfile.ZipInfo(name), slice_bytes)
    np.testing.assert_array_equal(read_dicom(series_zip).scans["t1n"].image, VOLUME)


def test_a_zip_or_folder_of_too_many_files_is_refused(series_zip, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 5)
    with pytest.raises(CaseError, match="holds 12 files"):
        read_dicom(series_zip)
    with pytest.raises(CaseError, match="more than 5 files"):
        read_dicom(tmp_path / "series")


def test_a_damaged_zip_is_refused(series_zip):
    raw = bytearray(series_zip.read_bytes())
    raw[300:900] = bytes(600)
    series_zip.write_bytes(raw)
    with pytest.raises(CaseError, match="the zip cannot be unpacked"):
        read_dicom(series_zip)


def test_a_locked_member_is_left_out(series_zip, tmp_path):
    raw = bytearray(series_zip.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 8] |= 1  # the flag of encryption, in the central directory
    series_zip.write_bytes(raw)
    patient = read_dicom(series_zip)
    assert "locked with a password: unpack the zip first" in patient.left_out.values()


# --- NIfTI, and the real patient --------------------------------------------------------------------------------------


def test_nifti_scans_keep_their_own_grids(tmp_path):
    for code, shape in (("t2f", (5, 6, 7)), ("t1n", (8, 4, 3))):
        data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        write_volume(tmp_path / f"{code}.nii.gz", data, Grid(shape, np.diag([1, 2, 3, 1])))
    patient = read_nifti_scans({code: tmp_path / f"{code}.nii.gz" for code in ("t2f", "t1n")})
    assert list(patient.scans) == ["t1n", "t2f"]
    assert patient.scans["t2f"].grid.shape == (5, 6, 7)
    assert patient.missing == ("t1c", "t2w")
    assert patient.scans["t1n"].source is None


@pytest.mark.parametrize(("files", "message"), [({}, "no scan is given"), ({"t3": Path("a")}, "name it one of")])
def test_nifti_scans_that_are_none(files, message):
    with pytest.raises(CaseError, match=message):
        read_nifti_scans(files)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"the DICOM patient is not at {REAL}")
def test_real_patient_without_contrast_tags():
    patient = read_dicom(REAL)
    numbers = {code: scan.source.number for code, scan in patient.scans.items()}
    assert numbers == {"t1n": 901, "t1c": 1201, "t2w": 401, "t2f": 701}
    assert list(patient.left_out) == ["series 1301 (T2W FLAIR TRA)"]
    swapped = read_dicom(REAL, overrides={"t2f": "1301", "t1c": "none"})
    assert {code: scan.source.number for code, scan in swapped.scans.items()} == {"t1n": 901, "t2w": 401, "t2f": 1301}
