"""DICOM files made by code, for tests: nothing in them is of a patient.

Written straight from the standard's attributes (PS3.3 C.7.6.2, C.8.3), independently of the code that reads them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

MR = UID("1.2.840.10008.5.1.4.1.1.4")
ENHANCED_MR = UID("1.2.840.10008.5.1.4.1.1.4.1")
SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")
PDF = UID("1.2.840.10008.5.1.4.1.1.104.1")

T1 = {"RepetitionTime": 600, "EchoTime": 12, "ScanningSequence": "SE", "SeriesDescription": "T1 SE AX"}
T2 = {"RepetitionTime": 5000, "EchoTime": 100, "ScanningSequence": "SE", "SeriesDescription": "T2 TSE AX"}
FLAIR = {
    "RepetitionTime": 9000,
    "EchoTime": 120,
    "InversionTime": 2500,
    "ScanningSequence": "IR",
    "SeriesDescription": "T2 FLAIR AX",
}
T1C = {**T1, "SeriesDescription": "T1 SE AX + GD", "ContrastBolusAgent": "GADOVIST"}


def grid(shape: tuple[int, int, int] = (24, 20, 12), spacing: tuple[float, float, float] = (4, 5, 8)) -> NDArray:
    """An axial LPS affine in RAS+ millimetres, as a scanner stores it: columns to the left, rows to the back."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [spacing[0] * shape[0] / 2, spacing[1] * shape[1] / 2, -spacing[2] * shape[2] / 2]
    return affine


def volume(shape: tuple[int, int, int] = (24, 20, 12), seed: int = 0) -> NDArray[np.uint16]:
    """Voxels that are all told apart by their place."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def header(sop_class: UID, uid: str, **tags: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    common = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": uid,
        "PatientName": "Doe^Jane",
        "PatientID": "HOSPITAL-12345",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "StudyID": "1",
        "StudyDate": "20200102",
        "StudyTime": "100000",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.2",
        "PositionReferenceIndicator": "",
        "Manufacturer": "Phantom",
        "Modality": "MR",
    }
    for keyword, value in {**common, **tags}.items():
        setattr(data, keyword, value)
    return data


def set_pixels(data: Dataset, pixels: NDArray[np.uint16]) -> None:
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 0
    data.PixelData = np.ascontiguousarray(pixels).tobytes()


def geometry(affine: NDArray, k: float) -> dict[str, list[float]]:
    """Position and orientation of slice k, LPS."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :2] / edges[:2]
    return {
        "ImagePositionPatient": [round(float(v), 6) for v in lps[:3, 3] + k * lps[:3, 2]],
        "ImageOrientationPatient": [round(float(v), 8) for v in axes.T.ravel()],
        "PixelSpacing": [float(edges[1]), float(edges[0])],
        "SliceThickness": float(edges[2]),
    }


def write_series(
    folder: Path,
    image: NDArray[np.uint16],
    affine: NDArray,
    tags: Mapping[str, Any] | None = None,
    *,
    number: int = 1,
    skip: Iterable[int] = (),
    syntax: UID = ExplicitVRLittleEndian,
) -> list[Path]:
    """Write a classic MR series, one file a slice; `skip` leaves slices out. Files are named against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    tags = dict(tags or T1)
    series_uid = tags.pop("SeriesInstanceUID", generate_uid())
    for k in sorted(set(range(image.shape[2])) - set(skip)):
        values = {
            "SeriesInstanceUID": series_uid,
            "SeriesNumber": number,
            "InstanceNumber": k + 1,
            "ImageType": ["ORIGINAL", "PRIMARY", "M"],
            "SequenceVariant": "SK",
            "ScanOptions": "",
            "MRAcquisitionType": "2D",
            "EchoTrainLength": 1,
            "AcquisitionTime": f"10{number % 60:02}00",
            **geometry(affine, k),
            **tags,
        }
        data = header(MR, generate_uid(), **values)
        set_pixels(data, image[:, :, k].T)
        if syntax != ExplicitVRLittleEndian:
            compress(data, syntax, folder / "scratch.dcm")
        path = folder / f"{number:03}-{image.shape[2] - k:03}.dcm"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_patient(folder: Path, images: Mapping[str, NDArray[np.uint16]], affine: NDArray) -> None:
    """Write the four sequences as series 1 to 4, told by their tags."""
    kinds = {"t1n": T1, "t1c": T1C, "t2w": T2, "t2f": FLAIR}
    for number, (code, tags) in enumerate(kinds.items(), 1):
        if code in images:
            write_series(folder, images[code], affine, tags, number=number)


def write_enhanced(path: Path, image: NDArray[np.uint16], affine: NDArray) -> None:
    """Write a T2 series as one multi-frame file, its frames in a shuffled order."""
    data = header(ENHANCED_MR, generate_uid(), SeriesInstanceUID=generate_uid(), SeriesNumber=7, InstanceNumber=1)
    data.SeriesDescription = "T2 TSE AX"
    data.ImageType = ["ORIGINAL", "PRIMARY", "T2", "NONE"]
    data.NumberOfFrames = image.shape[2]
    order = np.random.default_rng(3).permutation(image.shape[2])
    set_pixels(data, np.stack([image[:, :, k].T for k in order]))
    shared, frames = Dataset(), []
    place = geometry(affine, 0)
    shared.PixelMeasuresSequence = Sequence([_item(PixelSpacing=place["PixelSpacing"])])
    shared.MRTimingAndRelatedParametersSequence = Sequence([_item(RepetitionTime=5000.0)])
    shared.MREchoSequence = Sequence([_item(EffectiveEchoTime=100.0)])
    for k in order:
        place, frame = geometry(affine, int(k)), Dataset()
        frame.PlanePositionSequence = Sequence([_item(ImagePositionPatient=place["ImagePositionPatient"])])
        frame.PlaneOrientationSequence = Sequence([_item(ImageOrientationPatient=place["ImageOrientationPatient"])])
        frames.append(frame)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.save_as(path, enforce_file_format=True)


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def write_colour(path: Path) -> None:
    """A screen capture in colour that calls itself MR."""
    data = header(MR, generate_uid(), SeriesInstanceUID=generate_uid(), SeriesNumber=90, InstanceNumber=1)
    data.Rows = data.Columns = 8
    data.SamplesPerPixel, data.PlanarConfiguration, data.PhotometricInterpretation = 3, 0, "RGB"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = bytes(8 * 8 * 3)
    data.save_as(path, enforce_file_format=True)


def write_document(path: Path, sop_class: UID = PDF, number: int = 91) -> None:
    """An encapsulated PDF, or another object without slices."""
    data = header(sop_class, generate_uid(), SeriesInstanceUID=generate_uid(), SeriesNumber=number, Modality="DOC")
    if sop_class == PDF:
        data.EncapsulatedDocument = b"%PDF-1.4 "
        data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.save_as(path, enforce_file_format=True)


def compress(data: FileDataset, syntax: UID, scratch: Path) -> None:
    """Compress the pixels: by pydicom where it has an encoder, else by GDCM."""
    if syntax in (RLELossless, JPEGLSLossless):
        data.compress(syntax, generate_instance_uid=False)
        return
    data.save_as(scratch, enforce_file_format=True)
    writer = sitk.ImageFileWriter()
    writer.UseCompressionOn()
    writer.SetCompressor({JPEGLosslessSV1: "JPEG", JPEG2000Lossless: "JPEG2000"}[syntax])
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(scratch))
    writer.Execute(sitk.ReadImage(str(scratch)))
    encoded = dcmread(scratch)
    assert encoded.file_meta.TransferSyntaxUID == syntax
    data.PixelData, data["PixelData"].is_undefined_length = encoded.PixelData, True
    data.file_meta.TransferSyntaxUID = syntax
    scratch.unlink()
