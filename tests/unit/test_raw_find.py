"""Which patients lie in a folder of DICOM, and what they are called."""

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed; it comes with the extra 'dicom'")

import synthetic_dicom as made
from glioscope.dicom.find import DicomCase, find_dicom, without_path
from glioscope.dicom.identity import patient_code
from glioscope.errors import CaseError

IMAGE = made.volume((4, 5, 3))


def series(folder: Path, study: str = "1.2.3", number: int = 1, **tags: object) -> None:
    made.write_series(folder, IMAGE, made.grid(), {**made.T1, "StudyInstanceUID": study, **tags}, number=number)


def pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.dcm")):
            archive.write(file, file.relative_to(folder))


def found(folder: Path) -> dict[str, str]:
    return {case.case_id: case.source.relative_to(folder).as_posix() for case in find_dicom(folder)}


def test_series_side_by_side_are_one_patient(tmp_path: Path) -> None:
    series(tmp_path / "a", number=1)
    series(tmp_path / "a", number=2)
    assert found(tmp_path) == {tmp_path.name: "."}


def test_subfolders_of_one_study_are_the_series_of_one_patient(tmp_path: Path) -> None:
    for number in (1, 2):
        series(tmp_path / "p" / "DICOM" / f"S{number}", number=number)
    (tmp_path / "p" / "notes.txt").write_text("x")
    assert found(tmp_path / "p") == {"p": "."}


def test_subfolders_of_different_studies_are_a_patient_each(tmp_path: Path) -> None:
    for study in ("1.2.3", "1.2.4"):
        for number in (1, 2):
            series(tmp_path / "all" / f"p{study[-1]}" / f"S{number}", study, number)
    assert found(tmp_path / "all") == {"p3": "p3", "p4": "p4"}
    assert found(tmp_path) == {"p3": "all/p3", "p4": "all/p4"}


def test_files_beside_the_subfolders_make_it_one(tmp_path: Path) -> None:
    series(tmp_path / "p", "1.2.3")
    series(tmp_path / "p" / "more", "1.2.4")
    assert found(tmp_path / "p") == {"p": "."}


def test_each_zip_is_a_patient(tmp_path: Path) -> None:
    series(tmp_path / "source", "1.2.3")
    (tmp_path / "cohort" / "deep").mkdir(parents=True)
    pack(tmp_path / "source", tmp_path / "cohort" / "a.zip")
    pack(tmp_path / "source", tmp_path / "cohort" / "deep" / "b.zip")
    series(tmp_path / "cohort" / "c", "1.2.5")
    (tmp_path / "cohort" / "broken.zip").write_bytes(b"PK no more")
    with zipfile.ZipFile(tmp_path / "cohort" / "nifti.zip", "w") as archive:
        archive.writestr("a.nii.gz", b"x")
        archive.writestr("readme", b"x" * 200)
    assert sorted(found(tmp_path / "cohort")) == ["a", "b", "broken", "cohort"]
    assert found(tmp_path / "cohort" / "a.zip") == {"a": "."}


def test_dicom_beside_nifti_patients_keeps_its_own_name(tmp_path: Path) -> None:
    series(tmp_path / "b", "1.2.3")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a-t1c.nii.gz").touch()
    assert found(tmp_path) == {"b": "b"}


def test_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "odd").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    assert find_dicom(tmp_path) == ()


def test_a_folder_named_for_the_patient_is_called_by_a_code(tmp_path: Path) -> None:
    for n, name in enumerate(("Doe_Jane", "scan hospital-12345", "jane-t1", "march")):
        series(tmp_path / name, f"1.2.{n}")
    code = patient_code("hospital-12345")
    names = {case.source.name: case.case_id for case in find_dicom(tmp_path)}
    assert names["march"] == "march"
    assert sorted(names.values()) == sorted(["march", code, f"{code}-2", f"{code}-2-2"])
    series(tmp_path / "zip", "1.2.9")
    pack(tmp_path / "zip", tmp_path / "Jane.zip")
    assert find_dicom(tmp_path / "Jane.zip")[0].case_id == code


@pytest.mark.parametrize(
    "tags", [{"PatientID": "sub-7", "PatientName": "SUB_7"}, {"PatientIdentityRemoved": "YES"}], ids=["same", "tag"]
)
def test_a_pseudonym_may_name_the_case(tmp_path: Path, tags: dict[str, str]) -> None:
    name = "sub-7" if "PatientID" in tags else "Doe"
    series(tmp_path / name, **tags)
    assert [case.case_id for case in find_dicom(tmp_path / name)] == [name]


def test_errors_name_the_case_not_its_folder(tmp_path: Path) -> None:
    case = DicomCase(case_id="P-1234", source=tmp_path / "Doe")
    error = without_path(CaseError(f"{tmp_path / 'Doe'}: holds no T1"), case)
    assert (type(error), str(error)) == (CaseError, "case P-1234: holds no T1")
    with pytest.raises(CaseError, match="cannot name a folder"):
        DicomCase(case_id="a/b", source=tmp_path)
