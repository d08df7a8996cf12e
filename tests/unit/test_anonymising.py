"""The basic profile of PS3.15: nothing that names a person at any depth, references that meet, pixels untouched."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dicomanonymizer", reason="dicom-anonymizer is not installed; it comes with the extra 'node'")

from pydicom import dcmread
from pydicom.dataset import Dataset

import synthetic_dicom as made
from glioscope.dicom.anonymising import Anonymiser
from glioscope.errors import CaseError

PERSONAL = {
    "PatientName": "Doe^Jane",
    "PatientID": "HOSPITAL-12345",
    "PatientBirthDate": "19500101",
    "OtherPatientIDs": "HOSPITAL-999",
    "PatientAddress": "Elm Street",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Doctor^Who",
    "InstitutionName": "General",
    "InstitutionAddress": "Main Road",
    "StationName": "MR1",
    "OperatorsName": "Op^Era",
    "StudyDescription": "MR brain of Jane",
    "SeriesDescription": "T1 Doe",
    "DeviceSerialNumber": "123-456",
    "StudyDate": "20200102",
    "ContentDate": "20200102",
    "AcquisitionDateTime": "20200102100000",
    "ImageComments": "call Jane",
    "RequestingPhysician": "Doctor^Who",
    "PerformedProcedureStepDescription": "Doe step",
}
WORDS = (b"Doe", b"Jane", b"HOSPITAL", b"1950", b"2020", b"Elm", b"General", b"Main Road", b"Who", b"123-456", b"Era")


def written(folder: Path) -> list[Path]:
    paths = made.write_series(folder, made.volume((24, 20, 6)), made.grid((24, 20, 6)), {**made.T1, **PERSONAL})
    uids = [dcmread(path).SOPInstanceUID for path in paths]
    for path in paths:
        one = dcmread(path)
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = made.MR, uids[0]
        reference.add_new(0x00111001, "LO", "Jane in a private attribute")
        reference.InstitutionName = "General"
        one.SourceImageSequence = [reference]
        request = Dataset()
        request.RequestedProcedureDescription, request.ScheduledProcedureStepID = "Jane again", "HOSPITAL"
        one.RequestAttributesSequence = [request]
        one.add_new(0x00290010, "LO", "VENDOR")
        one.add_new(0x00291001, "UN", b"Doe^Jane")
        one.add_new(0x60000010, "US", 4)
        one.add_new(0x60003000, "OW", b"Doe^Jane")
        one.save_as(path)
    return paths


def test_nothing_that_names_a_person_is_left_at_any_depth(tmp_path: Path) -> None:
    anonymiser = Anonymiser()
    for path in written(tmp_path):
        pixels = dcmread(path).pixel_array
        one = dcmread(path)
        anonymiser.strip(one)
        one.save_as(path, enforce_file_format=True)
        found = path.read_bytes()
        assert not [word for word in WORDS if word in found]
        again = dcmread(path)
        np.testing.assert_array_equal(again.pixel_array, pixels)
        assert again.PatientIdentityRemoved == "YES"
        assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID
        assert not [element for element in again.iterall() if element.tag.is_private]
        assert not [element for element in again.iterall() if element.tag == 0x60003000]


def test_objects_of_one_export_still_belong_together_and_two_exports_do_not(tmp_path: Path) -> None:
    paths = written(tmp_path)
    before = [dcmread(path) for path in paths]
    after = [dcmread(path) for path in paths]
    anonymiser, other = Anonymiser(), Anonymiser()
    for one in after:
        anonymiser.strip(one)
    elsewhere = dcmread(paths[0])
    other.strip(elsewhere)
    assert len({one.StudyInstanceUID for one in after}) == len({one.SeriesInstanceUID for one in after}) == 1
    assert len({one.SOPInstanceUID for one in after}) == len(after)
    assert {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in after} == {
        after[n].SOPInstanceUID for n, one in enumerate(before) if one.SOPInstanceUID == before[0].SOPInstanceUID
    }
    assert not {one.SOPInstanceUID for one in before} & {one.SOPInstanceUID for one in after}
    assert after[0].SOPClassUID == before[0].SOPClassUID
    assert after[0].PatientID == after[0].PatientName
    assert after[0].PatientID not in ("", elsewhere.PatientID)
    assert after[0].StudyInstanceUID != elsewhere.StudyInstanceUID


def test_words_in_the_pixels_are_refused(tmp_path: Path) -> None:
    one = dcmread(written(tmp_path)[0])
    one.BurnedInAnnotation = "YES"
    with pytest.raises(CaseError, match="words in its pixels"):
        Anonymiser().strip(one)
