"""Raw scans through `segment`: the result on every scan's grid, clinical files, nothing that names the patient."""

import csv
import gzip
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

pytest.importorskip("highdicom", reason="highdicom is not installed; it comes with the extra 'dicom'")

import highdicom
from pydicom import dcmread

import synthetic_dicom as made
from glioscope.cases import load_case
from glioscope.dicom.find import DicomCase
from glioscope.dicom.scans import RawScan
from glioscope.errors import CaseError
from glioscope.labels import SCHEMES, regions_from_labels
from glioscope.prepare.skull import skull_on
from glioscope.results import read_summary
from glioscope.segmentation import SegmentOptions, correcting, find_inputs, rewrite_reports, segment
from glioscope.space.grid import Grid
from glioscope.space.registration import Registration
from glioscope.space.volumes import Volume, read_labels, read_volume, write_volume
from tiny import tiny_images, write_tiny_case, write_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom and highdicom warn of what synthetic headers lack

PLAIN = SegmentOptions(report=False, precision="fp32", threads=1)
ALL: tuple[str, ...] = ("seg", "rtstruct", "sr", "capture")
SPACING = (3.0, 3.0, 3.0)
NUMBERS = {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4}
BRIGHT = np.s_[4:10, 5:11, 4:10]
"""Where the tiny images have their tumour."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def _still_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scans lie still and the brain is what shines: how both are found has tests of its own."""

    def share(scan: Volume, _method: str) -> NDArray[np.float32]:
        return (scan.data > 50).astype(np.float32)

    monkeypatch.setattr("glioscope.prepare.patient.brain_share", share)
    monkeypatch.setattr("glioscope.prepare.patient.register", lambda *_: Registration(matrix=np.eye(4)))


def oblique() -> NDArray[np.float64]:
    affine = made.grid((20, 24, 16), SPACING)
    affine[:3, :3] = Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix() @ affine[:3, :3]
    return affine


def write_patient(folder: Path, *, seed: int = 0, codes: Iterable[str] = NUMBERS, **tags: str) -> Path:
    """A patient with the four series on one oblique grid; `tags` go into every header."""
    kinds = {"t1n": made.T1, "t1c": made.T1C, "t2w": made.T2, "t2f": made.FLAIR}
    images = tiny_images(seed=seed)
    for code in codes:
        image = images[code].astype(np.uint16)
        made.write_series(folder, image, oblique(), {**kinds[code], **tags}, number=NUMBERS[code])
    return folder


def rows(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8") as file:
        return {row["case_id"]: row["reason"] for row in csv.DictReader(file)}


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text("utf-8"))


def dice(a: NDArray, b: NDArray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_from_dicom_to_every_grid(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "patient")
    (outcome,) = segment(source, tmp_path / "out", model=model, options=PLAIN).outcomes
    folder = tmp_path / "out" / "patient"
    assert outcome.status == "done"
    labels = read_labels(folder / "segmentation.nii.gz")
    assert labels.grid.spacing_mm == pytest.approx((1, 1, 1))
    scan = read_volume(folder / "prepared" / "patient-t2f.nii.gz")
    assert scan.grid.matches(labels.grid)  # the result can be laid over what it was made from

    truth = np.zeros((20, 24, 16), bool)
    truth[BRIGHT] = True
    for code in NUMBERS:
        native = read_labels(folder / "native" / f"{code}.nii.gz")
        assert native.grid.matches(Grid((20, 24, 16), oblique()), tolerance_mm=1e-3)
        assert dice(native.data > 0, truth) > 0.85  # interpolated twice
    middle = labels.grid.affine @ [*np.argwhere(labels.data > 0).mean(axis=0), 1]
    assert middle == pytest.approx(oblique() @ [*np.argwhere(truth).mean(axis=0), 1], abs=0.01)
    summary = summary_of(folder)
    prepared = summary["measurements"]["volumes_ml"]
    for entry in summary["raw"]["native"].values():
        for region, volume in entry["volumes_ml"].items():
            assert volume == pytest.approx(prepared[region], rel=0.05, abs=0.03)
    assert not (folder / "dicom").exists()


def test_the_summary_tells_how_scans_became_a_case(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "patient")
    made.write_series(source, made.volume(), made.grid(), {**made.T2, "SeriesDescription": "LOCALIZER"}, number=9)
    (source / "notes.txt").write_text("not DICOM")
    segment(source, tmp_path / "out", model=model, options=PLAIN)
    summary = summary_of(tmp_path / "out" / "patient")
    raw = summary["raw"]
    assert raw["why"] == "it is DICOM"
    assert raw["series"]["t1c"]["series"].startswith("series 2")
    assert "contrast" in raw["series"]["t1c"]["reason"]
    assert any("localiser" in reason for reason in raw["left_out"].values())
    assert set(raw["preparation"]["sequences"]) == set(NUMBERS)
    assert raw["preparation"]["reference"] == "t1c"
    assert raw["inputs"] == {"dicom": {"files": 4 * 16 + 12 + 1, "sha256": raw["inputs"]["dicom"]["sha256"]}}
    assert {name for name in summary["outputs"] if name.startswith("native/")} == {
        f"native/{c}.nii.gz" for c in NUMBERS
    }
    assert {"registration", "brain", "resampling", "native"} <= set(summary["seconds"])
    assert set(summary["inputs"]) == set(NUMBERS)
    assert all(Path(entry["file"]).is_file() for entry in summary["inputs"].values())


def test_clinical_files_hold_the_masks_of_the_source_series(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "patient")
    segment(source, tmp_path / "out", model=model, options=replace(PLAIN, dicom=ALL))
    folder = tmp_path / "out" / "patient"
    native = read_labels(folder / "native" / "t1c.nii.gz").data
    regions = regions_from_labels(native, SCHEMES["brats2023"])
    seg = highdicom.seg.segread(folder / "dicom" / "segmentation.dcm")
    headers = [dcmread(path) for path in source.glob("002-*.dcm")]
    headers.sort(key=lambda header: header.InstanceNumber)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == headers[0].SeriesInstanceUID
    pixels = seg.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in headers],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(pixels.transpose(3, 2, 1, 0).astype(bool), regions)
    contours = dcmread(folder / "dicom" / "contours.dcm")
    assert contours.Modality == "RTSTRUCT"
    report = highdicom.sr.srread(folder / "dicom" / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    volumes = [g.get_measurements()[0].value for g in groups]
    measured = summary_of(folder)["measurements"]["volumes_ml"]
    assert volumes == [measured[name] for name in ("WT", "TC", "ET")]


def test_measurements_alone_bring_the_segmentation_they_refer_to(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "patient", codes=("t2f",))
    segment(source, tmp_path / "out", model=model, options=replace(PLAIN, dicom=("sr",)))
    folder = tmp_path / "out" / "patient" / "dicom"
    assert sorted(path.name for path in folder.iterdir()) == ["measurements.dcm", "segmentation.dcm"]


WORDS = (b"Doe^Jane", b"Jane", b"HOSPITAL", b"19500101", b"20200102")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file written, unpacked."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[str(path.relative_to(folder))] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def test_nothing_written_names_the_patient(tmp_path: Path, model: Path) -> None:
    """Not even where the folder does, where a description does, and where one of two patients fails."""
    cohort = tmp_path / "cohort"
    write_patient(cohort / "Jane Doe HOSPITAL", SeriesDescription="T1 Jane Doe", codes=("t1n",))
    other = {"PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3.4"}
    made.write_series(cohort / "Jane 2", made.volume(), made.grid(), {**made.T1, **other, "SeriesDescription": "LOC"})
    options = replace(PLAIN, dicom=ALL, report=True)
    first, second = segment(cohort, tmp_path / "out", model=model, options=options).outcomes
    assert [first.status, second.status].count("done") == 1
    assert first.case_id.startswith("P-")
    names = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")]
    text = "\n".join(names).encode()
    for name, content in {"names": text, **contents(tmp_path / "out")}.items():
        for word in WORDS:
            if name.endswith(".html") and len(word) < 8:
                continue  # pictures are letters too
            assert word not in content, (name, word)
    assert "localiser" in "".join(o.reason for o in (first, second))


def test_identity_is_kept_in_clinical_files_alone_and_when_asked(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "patient", codes=("t1c",))
    options = replace(PLAIN, dicom=ALL, identity=True)
    segment(source, tmp_path / "out", model=model, options=options)
    for name, content in contents(tmp_path / "out").items():
        assert (b"Doe^Jane" in content) == name.endswith(".dcm"), name


def test_scans_on_different_grids_are_raw(tmp_path: Path, model: Path) -> None:
    images = tiny_images()
    grids = {"t1c": Grid((20, 24, 16), np.diag([3.0, 3, 3, 1])), "t2f": Grid((20, 24, 8), np.diag([3.0, 3, 6, 1]))}
    write_volume(tmp_path / "p" / "p-t1c.nii.gz", images["t1c"], grids["t1c"])
    write_volume(tmp_path / "p" / "p-t2f.nii.gz", images["t2f"][:, :, ::2].copy(), grids["t2f"])
    segment(tmp_path / "p", tmp_path / "out", model=model, options=replace(PLAIN, dicom=("seg",)))
    summary = summary_of(tmp_path / "out" / "p")
    assert summary["raw"]["why"].startswith("t2f has shape (20, 24, 8)")
    for code, grid in grids.items():
        assert read_labels(tmp_path / "out" / "p" / "native" / f"{code}.nii.gz").grid.matches(grid)
    flags = {flag["code"]: flag["message"] for flag in summary["flags"]}
    assert "give the DICOM folder" in flags["no-dicom"]
    assert flags["thick-slices"].startswith("voxels are long: t2f 6 mm;")
    assert summary["raw"]["inputs"]["t1c"]["file"].endswith("p-t1c.nii.gz")
    single = {code: tmp_path / "p" / f"p-{code}.nii.gz" for code in grids}
    (outcome,) = segment(single, tmp_path / "out", model=model, options=PLAIN).outcomes
    assert outcome.status == "skipped"  # the same scans, however named


def test_scans_with_a_skull_are_raw_and_the_user_has_the_last_word(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model", inference={"patch": (160, 192, 128)})
    head = {code: image + 60 for code, image in tiny_images().items()}  # 8 mm voxels: 3.9 litres, none background
    rng = np.random.default_rng(0)
    head = {code: (image + rng.uniform(0, 1, image.shape)).astype(np.float32) for code, image in head.items()}
    head = {code: head[code] for code in ("t1c", "t2f")}
    case = write_tiny_case(tmp_path, "p", images=head, affine=np.diag([-8.0, -8, 8, 1]))

    def raw(option: bool | None, case: Path = case) -> dict | None:
        segment(case, tmp_path / "out", model=model, options=replace(PLAIN, raw=option, overwrite=option is None))
        return summary_of(tmp_path / "out" / case.name).get("raw")

    found = raw(None)
    assert found is not None
    assert found["why"].endswith("more than a brain: the skull is on")
    assert raw(False) is None
    stripped = write_tiny_case(tmp_path, "stripped")
    assert raw(None, stripped) is None
    found = raw(True, stripped)
    assert found is not None
    assert found["why"] == "it was said to be raw"


def test_a_series_can_be_named(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "p")
    case = DicomCase(case_id="p", source=source, overrides={"t1c": "1", "t1n": "none"})
    segment(case, tmp_path / "out", model=model, options=PLAIN)
    series = summary_of(tmp_path / "out" / "p")["raw"]["series"]
    assert series["t1c"]["series"].startswith("series 1")
    assert series["t1c"]["reason"] == "named by the user"
    assert "t1n" not in series
    (outcome,) = segment(case, tmp_path / "out", model=model, options=PLAIN).outcomes
    assert outcome.status == "skipped"
    (outcome,) = segment(source, tmp_path / "out", model=model, options=PLAIN).outcomes
    assert outcome.status == "done"
    with pytest.raises(CaseError, match="--t1c '77': fits no series"):
        segment(replace(case, overrides={"t1c": "77"}), tmp_path / "out", model=model, options=PLAIN)


def test_a_second_run_passes_over_dicom_that_is_done(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "p", codes=("t1c", "t2f"))

    def again(**options: object) -> str:
        return segment(source, tmp_path / "out", model=model, options=replace(PLAIN, **options)).outcomes[0].status

    assert [again(), again()] == ["done", "skipped"]
    assert [again(dicom=("seg",)), again(dicom=("seg",)), again()] == ["done", "skipped", "skipped"]
    assert again(dicom=("seg",), identity=True) == "done"
    (tmp_path / "out" / "p" / "native" / "t2f.nii.gz").unlink()
    assert again() == "done"
    next(source.glob("*.dcm")).unlink()
    assert again() == "done"


def test_a_cohort_of_raw_patients_with_bad_ones_goes_on(tmp_path: Path, model: Path) -> None:
    cohort = tmp_path / "cohort"
    write_patient(cohort / "good", StudyInstanceUID="1.2.1", codes=("t1c", "t2f"))
    write_patient(tmp_path / "zipped", StudyInstanceUID="1.2.2", codes=("t2f",))
    with zipfile.ZipFile(cohort / "packed.zip", "w") as archive:
        archive.writestr("../../climbs.dcm", next((tmp_path / "zipped").glob("*.dcm")).read_bytes())
        for path in (tmp_path / "zipped").glob("*.dcm"):
            archive.write(path, path.name)
    write_patient(cohort / "two", StudyInstanceUID="1.2.3", codes=("t1c",))
    write_patient(cohort / "two", StudyInstanceUID="1.2.4", codes=("t2f",), PatientID="ANOTHER-9", PatientName="Roe")
    localiser = {**made.T2, "SeriesDescription": "LOCALIZER", "StudyInstanceUID": "1.2.5"}
    made.write_series(cohort / "localiser", made.volume(), made.grid(), localiser)
    single = {**made.T1, "StudyInstanceUID": "1.2.6"}
    made.write_series(cohort / "slice", made.volume((24, 20, 1)), made.grid(), single)
    (cohort / "papers").mkdir()
    (cohort / "papers" / "report.pdf").write_bytes(b"%PDF")
    (cohort / "broken.zip").write_bytes(b"PK")
    write_tiny_case(cohort, "nifti")
    before = {path for path in tmp_path.rglob("*") if (tmp_path / "out") not in path.parents}

    result = segment(cohort, tmp_path / "out", model=model, options=PLAIN)
    status = {outcome.case_id: outcome.status for outcome in result.outcomes}
    done = {name for name, what in status.items() if what == "done"}
    assert done == {"good", "packed", "nifti"}
    reasons = rows(tmp_path / "out" / "failures.csv")
    assert sorted(reasons) == ["broken", "localiser", "papers", "slice", "two"]
    assert reasons["two"].startswith("case two: holds 2 patients, P-")
    assert "localiser" in reasons["localiser"]
    assert "slice" in reasons["slice"]
    assert "holds neither NIfTI nor DICOM" in reasons["papers"]
    assert reasons["broken"].startswith("case broken: ")
    left_out = summary_of(tmp_path / "out" / "packed")["raw"]["left_out"]
    assert any("climbs out" in name for name in (*left_out, *left_out.values()))
    after = {path for path in tmp_path.rglob("*") if (tmp_path / "out") not in path.parents}
    assert after - before == {tmp_path / "out"}
    assert not any("climbs" in path.name for path in tmp_path.parent.rglob("climbs*"))


def test_series_in_subfolders_beside_a_zip_are_not_called_unreadable(tmp_path: Path) -> None:
    for number in (1, 2):
        tags = {**made.T1, "StudyInstanceUID": "1.2.1"}
        made.write_series(tmp_path / "p" / f"series{number}", made.volume(), made.grid(), tags, number=number)
    with zipfile.ZipFile(tmp_path / "p" / "other.zip", "w") as archive:
        for path in (tmp_path / "p" / "series1").glob("*.dcm"):
            archive.write(path, path.name)
    cases, problems = find_inputs(tmp_path / "p")
    assert {case.case_id for case in cases} == {"p", "other"}
    assert problems == {}


def test_missing_slices_colour_and_documents_are_flagged_or_named(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "p", codes=("t1n", "t2f"))
    sorted(source.glob("001-*.dcm"))[7].unlink()
    made.write_colour(source / "colour.dcm")
    made.write_document(source / "letter.dcm")
    segment(source, tmp_path / "out", model=model, options=PLAIN)
    summary = summary_of(tmp_path / "out" / "p")
    flags = {flag["code"]: flag["message"] for flag in summary["flags"]}
    assert "missing" in flags["scan-t1n"]
    assert "missing-t1c" in flags
    reasons = " ".join(summary["raw"]["left_out"].values())
    assert "colour" in reasons
    assert "PDF" in reasons


def test_a_clinical_file_that_fails_does_not_cost_the_segmentation(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise CaseError("no bits today")

    monkeypatch.setattr("glioscope.dicom.writing.write_segmentation", broken)
    source = write_patient(tmp_path / "p", codes=("t2f",))
    segment(source, tmp_path / "out", model=model, options=replace(PLAIN, dicom=ALL))
    flags = [f["message"] for f in summary_of(tmp_path / "out" / "p")["flags"] if f["code"] == "no-dicom"]
    assert flags == ["dicom/segmentation.dcm could not be made: no bits today"]


def test_voxels_that_are_no_numbers_are_no_skull(tmp_path: Path) -> None:
    images = {code: np.where(image == 0, np.nan, image).astype(np.float32) for code, image in tiny_images().items()}
    grid = Grid((20, 24, 16), np.diag([-7.0, -7, 7, 1]))  # 2.6 litres in all, 1.3 of them brain
    case = write_tiny_case(tmp_path, "p", images=images, affine=grid.affine)
    assert skull_on(load_case(case).images, grid) == ""
    bright = {code: np.nan_to_num(image, nan=5) + np.indices(image.shape).sum(0) for code, image in images.items()}
    assert "t1n holds 26" in skull_on(bright, grid)


def test_pages_can_be_made_again_from_what_was_written(tmp_path: Path, model: Path) -> None:
    source = write_patient(tmp_path / "p", codes=("t1c", "t2f"))
    segment(source, tmp_path / "out", model=model, options=replace(PLAIN, report=True))
    page = tmp_path / "out" / "p" / "report.html"
    page.unlink()
    assert rewrite_reports(tmp_path / "out").pages == (page,)
    assert "it is DICOM" in page.read_text("utf-8")


def test_scans_are_let_go_of(tmp_path: Path, model: Path) -> None:
    """What a route keeps for the way back holds no voxels, so that memory stays flat over a cohort."""
    from glioscope.segmentation.raw import begin

    source = write_patient(tmp_path / "p", codes=("t2f",))
    _, route = begin(DicomCase(case_id="p", source=source), "it is DICOM", None, tmp_path)
    scan: RawScan = route.patient.scans["t2f"]
    assert scan.image.strides == (0, 0, 0)
    assert not route.prepared.heads


def test_a_corrected_version_has_its_own_grids_and_clinical_files(tmp_path: Path, model: Path) -> None:
    """Uncorrected labels give what the network's version has; corrected ones give theirs."""
    source = write_patient(tmp_path / "patient")
    options = replace(PLAIN, dicom=ALL)
    segment(source, tmp_path / "out", model=model, options=options)
    folder = tmp_path / "out" / "patient"
    summary, labels = read_summary(folder / "summary.json"), read_labels(folder / "segmentation.nii.gz")
    assert summary.raw is not None
    written = correcting.write_native(folder, summary.raw, labels, summary.scheme.name, 2)
    assert {entry.file for entry in written.values()} == {f"native/{code}.v2.nii.gz" for code in NUMBERS}
    for code, entry in written.items():
        assert entry.volumes_ml == summary.raw.native[code].volumes_ml
        assert np.array_equal(read_labels(folder / entry.file).data, read_labels(folder / f"native/{code}.nii.gz").data)
    correcting.write_clinical(folder, summary, folder / "segmentation.nii.gz", source, 2)
    first, second = (highdicom.seg.segread(folder / f"dicom/segmentation{mark}.dcm") for mark in ("", ".v2"))
    assert np.array_equal(first.pixel_array, second.pixel_array)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert dcmread(folder / "dicom/contours.v2.dcm").Modality == "RTSTRUCT"
    assert dcmread(folder / "dicom/measurements.v2.dcm").Modality == "SR"
    write_volume(tmp_path / "empty.nii.gz", np.zeros_like(labels.data), labels.grid)
    empty = correcting.write_native(folder, summary.raw, read_labels(tmp_path / "empty.nii.gz"), "brats2023", 3)
    assert set(empty["t1c"].volumes_ml.values()) == {0.0}


def test_clinical_files_need_dicom(tmp_path: Path, model: Path) -> None:
    segment(write_tiny_case(tmp_path), tmp_path / "out", model=model, options=PLAIN)
    folder = tmp_path / "out" / "BraTS-GLI-00001-000"
    summary = read_summary(folder / "summary.json")
    with pytest.raises(CaseError, match="did not come as DICOM"):
        correcting.write_clinical(folder, summary, folder / "segmentation.nii.gz", tmp_path, 2)
