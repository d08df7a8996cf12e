"""Clinical files: the masks come back identical from independent readers; nothing names the patient unasked."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

pytest.importorskip("highdicom", reason="highdicom is not installed; it comes with the extra 'dicom'")

import highdicom
from pydicom import dcmread

import synthetic_dicom as made
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.scans import RawScan
from glioscope.dicom.writing import (
    CODES,
    outlines,
    write_margin,
    write_measurements,
    write_segmentation,
    write_structure_set,
)
from glioscope.errors import CaseError, DependencyError, GeometryError
from glioscope.labels import REGIONS, SCHEMES, regions_from_labels
from glioscope.measure import measure
from glioscope.space.grid import Grid

SCHEME = SCHEMES["brats2023"]
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom and highdicom warn of what synthetic headers lack
STUDY_VALIDATOR = shutil.which("dcentvfy")
VALIDATOR = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))


def labels_with_everything(shape=(24, 20, 12)) -> NDArray[np.uint8]:
    """A lesion with a hole, a second part, single voxels that touch at a corner, one at the edge of the image."""
    rng = np.random.default_rng(5)
    labels = np.zeros(shape, np.uint8)
    labels[5:16, 4:14, 2:9] = 2
    labels[7:13, 6:12, 3:8] = 3
    labels[9:11, 8:10, 4:6] = 1
    labels[8:10, 5, 5] = 0  # a hole in the oedema
    labels[20, 3, 4] = labels[21, 4, 4] = 3
    labels[0, 0, 10] = 2
    labels[:, 15:, 9] = 2 * (ndimage.gaussian_filter(rng.normal(size=(shape[0], shape[1] - 15)), 1) > 0.05)
    return labels


@pytest.fixture
def scan(tmp_path) -> RawScan:
    affine = made.grid()
    affine[:3, :3] = Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix() @ affine[:3, :3]
    made.write_series(tmp_path / "source", made.volume(), affine, made.T2)
    return read_dicom(tmp_path / "source").scans["t2w"]


def indices_of(points_lps: NDArray, grid: Grid) -> NDArray:
    """Voxel coordinates of points in DICOM's space."""
    ras = np.asarray(points_lps, float) * [-1, -1, 1]
    return (ras - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T


def read_seg_by_hand(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """Masks from the bits and positions of a SEG, by the standard (PS3.3 A.51, PS3.5 8.1.1) and nothing else."""
    data = dcmread(path)
    frames = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    size = data.Rows * data.Columns
    masks = np.zeros((3, *grid.shape), bool)
    for n, item in enumerate(data.PerFrameFunctionalGroupsSequence):
        segment = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = indices_of(item.PlanePositionSequence[0].ImagePositionPatient, grid)
        np.testing.assert_allclose(place[:2], 0, atol=1e-3)
        k = round(place[2])
        masks[segment - 1, :, :, k] = frames[n * size : (n + 1) * size].reshape(data.Rows, data.Columns).T
    return masks


def fill_by_hand(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """Masks from the contours of an RTSTRUCT: a voxel is inside where a ray from its centre crosses an odd number."""
    masks = np.zeros((3, *grid.shape), bool)
    i, j = np.indices(grid.shape[:2])
    for roi in dcmread(path).ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            points = indices_of(np.array(contour.ContourData, float).reshape(-1, 3), grid)
            k = round(points[0, 2])
            np.testing.assert_allclose(points[:, 2], k, atol=1e-3)
            inside = np.zeros(i.shape, bool)
            for (x0, y0), (x1, y1) in zip(points[:, :2], np.roll(points[:, :2], -1, axis=0), strict=True):
                if abs(y1 - y0) > 1e-9:
                    crosses = (y0 > j) != (y1 > j)
                    inside ^= crosses & (i < x0 + (j - y0) * (x1 - x0) / (y1 - y0))
            masks[roi.ReferencedROINumber - 1, :, :, k] |= inside
    return masks


# --- SEG --------------------------------------------------------------------------------------------------------------


def test_segmentation_comes_back_identical_from_its_bits_and_from_highdicom(scan, tmp_path):
    labels = labels_with_everything()
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    regions = regions_from_labels(labels, SCHEME)
    np.testing.assert_array_equal(read_seg_by_hand(tmp_path / "seg.dcm", scan.grid), regions)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    uids = [uid for uid in scan.source.instances if uid]
    pixels = seg.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(pixels.transpose(3, 2, 1, 0).astype(bool), regions)


def test_simpleitk_reads_the_frames_of_a_segmentation(scan, tmp_path):
    labels = labels_with_everything()
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "seg.dcm")))
    assert np.count_nonzero(frames) == np.count_nonzero(regions_from_labels(labels, SCHEME))


def test_segments_are_coded_and_refer_to_the_source(scan, tmp_path):
    write_segmentation(tmp_path / "seg.dcm", labels_with_everything(), scan, SCHEME)
    data = dcmread(tmp_path / "seg.dcm")
    for segment, name in zip(data.SegmentSequence, REGIONS, strict=True):
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == CODES[name].code
        assert name in segment.SegmentLabel
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == scan.source.series_uid
    assert data.FrameOfReferenceUID == "1.2.826.0.1.3680043.8.498.2"
    assert data.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.1"


def test_an_empty_map_is_a_valid_segmentation(scan, tmp_path):
    write_segmentation(tmp_path / "seg.dcm", np.zeros(scan.grid.shape, np.uint8), scan, SCHEME)
    assert not read_seg_by_hand(tmp_path / "seg.dcm", scan.grid).any()
    assert len(dcmread(tmp_path / "seg.dcm").SegmentSequence) == 3


def test_slices_that_were_missing_keep_their_labels(tmp_path):
    made.write_series(tmp_path / "source", made.volume(), made.grid(), made.T2, skip=(5, 6))
    scan = read_dicom(tmp_path / "source").scans["t2w"]
    labels = labels_with_everything()
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    write_structure_set(tmp_path / "rt.dcm", labels, scan, SCHEME)
    regions = regions_from_labels(labels, SCHEME)
    np.testing.assert_array_equal(read_seg_by_hand(tmp_path / "seg.dcm", scan.grid), regions)
    np.testing.assert_array_equal(fill_by_hand(tmp_path / "rt.dcm", scan.grid), regions)


def test_a_tilted_stack_and_a_multi_frame_source(tmp_path):
    affine = made.grid()
    affine[1, 2] = 2
    made.write_series(tmp_path / "tilted", made.volume(), affine, made.T2)
    (tmp_path / "enhanced").mkdir()
    made.write_enhanced(tmp_path / "enhanced" / "one.dcm", made.volume(), made.grid())
    labels = labels_with_everything()
    for name in ("tilted", "enhanced"):
        scan = read_dicom(tmp_path / name).scans["t2w"]
        write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
        write_structure_set(tmp_path / "rt.dcm", labels, scan, SCHEME)
        regions = regions_from_labels(labels, SCHEME)
        np.testing.assert_array_equal(read_seg_by_hand(tmp_path / "seg.dcm", scan.grid), regions)
        np.testing.assert_array_equal(fill_by_hand(tmp_path / "rt.dcm", scan.grid), regions)


# --- RTSTRUCT ---------------------------------------------------------------------------------------------------------


def test_contours_filled_give_the_masks_back(scan, tmp_path):
    labels = labels_with_everything()
    write_structure_set(tmp_path / "rt.dcm", labels, scan, SCHEME)
    np.testing.assert_array_equal(fill_by_hand(tmp_path / "rt.dcm", scan.grid), regions_from_labels(labels, SCHEME))


def test_contours_refer_to_their_slice(scan, tmp_path):
    write_structure_set(tmp_path / "rt.dcm", labels_with_everything(), scan, SCHEME)
    data = dcmread(tmp_path / "rt.dcm")
    for contour in data.ROIContourSequence[0].ContourSequence:
        k = round(indices_of(np.array(contour.ContourData[:3], float), scan.grid)[2])
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == scan.source.instances[k]
    assert [roi.ROIName for roi in data.StructureSetROISequence] == [CODES[name].label for name in REGIONS]


def test_a_region_without_voxels_is_listed_without_contours(scan, tmp_path):
    write_structure_set(tmp_path / "rt.dcm", np.zeros(scan.grid.shape, np.uint8), scan, SCHEME)
    data = dcmread(tmp_path / "rt.dcm")
    assert len(data.StructureSetROISequence) == 3
    assert not any("ContourSequence" in roi for roi in data.ROIContourSequence)


def test_a_margin_is_two_volumes_that_nobody_approved(scan, tmp_path):
    margin = (labels_with_everything() > 0).astype(np.uint8)
    margin[5:8, 5:8, 4:6] = 2
    write_margin(tmp_path / "margin.dcm", margin, scan)
    data = dcmread(tmp_path / "margin.dcm")
    assert [item.RTROIInterpretedType for item in data.RTROIObservationsSequence] == ["GTV", "CTV"]
    assert all("not a plan" in roi.ROIName for roi in data.StructureSetROISequence)
    assert data.ApprovalStatus == "UNAPPROVED"
    filled = fill_by_hand(tmp_path / "margin.dcm", scan.grid)
    np.testing.assert_array_equal(filled[0], margin == 1)
    np.testing.assert_array_equal(filled[1], margin > 0)


def test_outline_of_one_voxel_and_of_none():
    mask = np.zeros((3, 4), bool)
    assert list(outlines(mask)) == []
    mask[1, 2] = True
    (line,) = outlines(mask)
    assert sorted(map(tuple, line)) == [(0.5, 2.0), (1.0, 1.5), (1.0, 2.5), (1.5, 2.0)]


# --- structured report ------------------------------------------------------------------------------------------------


def test_measurements_stand_in_the_report(scan, tmp_path):
    labels = labels_with_everything()
    measured = measure(labels, scan.grid, SCHEME)
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    write_measurements(tmp_path / "sr.dcm", measured, tmp_path / "seg.dcm", scan)
    groups = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    found = {group.finding_type.value: {m.name.meaning: m.value for m in group.get_measurements()} for group in groups}
    for name in REGIONS:
        assert found[CODES[name].code[0]]["Volume"] == measured.volumes_ml[name]
    enhancing = found["C113842"]
    assert enhancing["Long Axis"] == measured.diameters.longest_mm
    assert enhancing["Short Axis"] == measured.diameters.perpendicular_mm
    assert enhancing["Maximum 3D Diameter of a Mesh"] == measured.diameters.maximum_3d_mm
    segmentation = dcmread(tmp_path / "seg.dcm")
    text = str(dcmread(tmp_path / "sr.dcm"))
    assert segmentation.SOPInstanceUID in text
    assert all(segment.TrackingUID in text for segment in segmentation.SegmentSequence)


def test_a_report_in_words_stands_beside_the_measurements(scan, tmp_path):
    labels = labels_with_everything()
    measured = measure(labels, scan.grid, SCHEME)
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    words = ("There is one lesion of 3.1 ml, on the left.", "Größe und Lage ungewiß.")
    write_measurements(tmp_path / "sr.dcm", measured, tmp_path / "seg.dcm", scan, sentences=words)
    items = dcmread(tmp_path / "sr.dcm").ContentSequence
    container = next(item for item in items if "Evaluations" in item.ConceptNameCodeSequence[0].CodeMeaning)
    assert tuple(item.TextValue for item in container.ContentSequence) == words
    content = highdicom.sr.srread(tmp_path / "sr.dcm").content
    assert len(content.get_volumetric_roi_measurement_groups()) == 3


def test_report_of_no_tumour(scan, tmp_path):
    labels = np.zeros(scan.grid.shape, np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, scan, SCHEME)
    write_measurements(tmp_path / "sr.dcm", measure(labels, scan.grid, SCHEME), tmp_path / "seg.dcm", scan)
    groups = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert [[m.value for m in group.get_measurements()] for group in groups] == [[0.0]] * 3


# --- all three --------------------------------------------------------------------------------------------------------


def write_all(folder: Path, scan: RawScan, *, identity: bool = False) -> list[Path]:
    labels = labels_with_everything()
    paths = [folder / name for name in ("seg.dcm", "rt.dcm", "sr.dcm")]
    write_segmentation(paths[0], labels, scan, SCHEME, identity=identity)
    write_structure_set(paths[1], labels, scan, SCHEME, identity=identity)
    write_measurements(paths[2], measure(labels, scan.grid, SCHEME), paths[0], scan, identity=identity)
    return paths


def test_no_identifier_is_written_unasked(scan, tmp_path):
    people = ("PatientBirthName", "OtherPatientNames", "ResponsiblePerson", "PhysiciansOfRecord", "OperatorsName",
              "NameOfPhysiciansReadingStudy", "ConsultingPhysicianName")  # fmt: skip
    texts = ("AdmittingDiagnosesDescription", "PatientComments", "ClinicalTrialSubjectID", "InstitutionName",
             "ResponsibleOrganization", "MedicalRecordLocator", "StudyDescription", "RequestingService")  # fmt: skip
    for header in scan.source.headers:
        for keyword in (*people, *texts):
            setattr(header, keyword, "Told^Secret")
        header.add_new(0x00091001, "LO", "Told Secret")
    for path in write_all(tmp_path, scan):
        content = path.read_bytes()
        for word in (b"Doe", b"Jane", b"HOSPITAL-12345", b"19500101", b"20200102", b"Told"):
            assert word not in content
        assert dcmread(path).PatientID.startswith("P-")
    assert scan.source.headers[0].PatientName == "Doe^Jane"  # the scan in memory is untouched


def test_identity_is_written_when_asked_for(scan, tmp_path):
    for path in write_all(tmp_path, scan, identity=True):
        data = dcmread(path)
        assert (data.PatientName, data.PatientID, data.StudyDate) == ("Doe^Jane", "HOSPITAL-12345", "20200102")


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy is not installed; it comes with dicom3tools")
@pytest.mark.parametrize("identity", [False, True])
def test_a_validator_finds_no_error(scan, tmp_path, identity):
    for path in write_all(tmp_path, scan, identity=identity):
        result = subprocess.run([VALIDATOR, path], capture_output=True, text=True, check=False)
        assert "Error" not in result.stdout + result.stderr


@pytest.mark.skipif(STUDY_VALIDATOR is None, reason="dcentvfy is not installed; it comes with dicom3tools")
def test_results_belong_to_the_study_of_their_source(scan, tmp_path):
    files = [*sorted((tmp_path / "source").glob("*.dcm")), *write_all(tmp_path, scan, identity=True)]
    result = subprocess.run([STUDY_VALIDATOR, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "Error" not in result.stdout + result.stderr


def test_a_scan_from_nifti_has_nothing_to_refer_to(tmp_path):
    scan = RawScan(image=np.zeros((4, 4, 4), np.float32), grid=Grid((4, 4, 4), np.eye(4)))
    for write in (write_segmentation, write_structure_set):
        with pytest.raises(CaseError, match="not read from DICOM"):
            write(tmp_path / "a.dcm", np.zeros((4, 4, 4), np.uint8), scan, SCHEME)
    with pytest.raises(CaseError, match="not read from DICOM"):
        write_measurements(tmp_path / "a.dcm", {}, tmp_path / "seg.dcm", scan)
    assert not list(tmp_path.iterdir())


def test_a_map_of_another_shape_is_refused(scan, tmp_path):
    with pytest.raises(GeometryError, match=r"has shape \(4, 4, 4\), its scan \(24, 20, 12\)"):
        write_segmentation(tmp_path / "a.dcm", np.zeros((4, 4, 4), np.uint8), scan, SCHEME)


def test_missing_packages_are_named(scan, tmp_path, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] in ("highdicom", "pydicom"):
            raise ImportError(name)
        return whole(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match=r"pip install glioscope\[dicom\]"):
        write_segmentation(tmp_path / "a.dcm", np.zeros((24, 20, 12), np.uint8), scan, SCHEME)
    with pytest.raises(DependencyError, match=r"pip install glioscope\[dicom\]"):
        read_dicom(tmp_path / "source")
