"""Tags that mean less than they seem to, and words that mean the opposite: relatives of faults that users met."""

import copy

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed; it comes with the extra 'dicom'")

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, RLELossless

import synthetic_dicom as made
from glioscope.dicom.choosing import choose
from glioscope.dicom.exam import settled, shown_elsewhere
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.sequences import Series, SeriesFacts, type_series
from glioscope.dicom.words import about_scan, of_contrast, plain

T1 = {"repetition_ms": 600.0, "echo_ms": 12.0}
T2 = {"repetition_ms": 5000.0, "echo_ms": 100.0}
FLAIR = {"repetition_ms": 9000.0, "echo_ms": 120.0, "inversion_ms": 2500.0}
PD = {"repetition_ms": 3000.0, "echo_ms": 20.0}


def facts(number=1, description="", **tags) -> SeriesFacts:
    return SeriesFacts(label=f"series {number}", uid=f"1.2.{number}", number=number, description=description, **tags)


def no_pixels(series):
    raise AssertionError("tags decide here; no pixel may be read")


def pick(*all_facts: SeriesFacts) -> dict[str, int]:
    chosen, _, _ = choose([Series(one) for one in settled(all_facts)], {}, no_pixels)
    return {code: one.facts.number for code, (one, _) in chosen.items()}


# --- words and their opposites ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "given"),
    [
        ("T1 before contrast", False),
        ("T1 prior to gadolinium", False),
        ("T1 vor Gabe von KM", False),
        ("T1 prima della somministrazione di mdc", False),
        ("T1 antes de la inyección de contraste", False),
        ("T1 antes do contraste", False),
        ("T1 vóór contrast", False),
        ("T1 przed podaniem kontrastu", False),
        ("T1 до введения контраста", False),
        ("T1增强前", False),
        ("T1 AVANT", False),
        ("T1 non-enhanced", False),
        ("T1 PRE GAD POST OP", False),
        ("T1 dopo mdc", True),
        ("T1 después de contraste", True),
        ("T1 depois do contraste", True),
        ("T1 na contrast", True),
        ("T1 po kontraście", True),
        ("T1 после введения контраста", True),
        ("T1加权增强", True),
        ("pre-op T1 +C", True),
        ("T1 post-op with Gd", True),
        ("T1 mit und ohne KM", None),
        ("T1 avant et après injection", None),
        ("BRAIN W/WO", None),
        ("脑平扫+增强", None),
        ("T1 post-op", None),
        ("T1 nach OP", None),
        ("T1 после операции", None),
        ("T1 post RT", None),
        ("T1 術後 术后", None),
        ("T1 Gray/White Contrast", None),
        ("T1 con saturación grasa", None),
        ("ses-post T1w", None),
        ("T1 baseline", None),
    ],
)
def test_contrast_in_its_context(description, given):
    assert of_contrast(about_scan(plain(description))) is given


@pytest.mark.parametrize(
    ("description", "times", "kind"),
    [
        ("STEALTH PLANNING AX T1 POST", T1, "t1"),
        ("AX T2 PILOT STUDY", T2, "t2w"),
        ("T2 FLAIR PHASE ENC AP", FLAIR, "t2f"),
        ("AX T1 TASK FORCE", T1, "t1"),
        ("sub-01_ses-02_T2w", T2, "t2w"),
        ("AX PD/T2 FSE", T2, "t2w"),
        ("AX PD/T2 FSE", PD, "proton density"),
        ("ASSET CALIBRATION", T1, "calibration"),
        ("3 PLANE PILOT", T1, "localiser"),
        ("Cerveau T2", T2, "t2w"),
        ("T1 POST ABDOMEN", T1, "another part of the body (abdomen)"),
        ("T2 Hals", T2, "another part of the body (hals)"),
        ("T1 head and neck", T1, "t1"),
        ("T1 neck coil", T1, "t1"),
    ],
)
def test_one_word_against_name_and_times(description, times, kind):
    assert type_series(facts(description=description, **times)).kind == kind


@pytest.mark.parametrize(
    ("part", "kind"), [("HEAD", "t1"), ("HEADNECK", "t1"), ("Schädel", "t1"), ("", "t1"), ("LIVER", "another part")]
)
def test_the_part_of_the_body_is_asked(part, kind):
    assert type_series(facts(description="T1", body_part=part, **T1)).kind.startswith(kind)


def test_a_part_of_the_body_that_words_and_tags_hide_is_told_by_its_place():
    head = {"frame_of_reference": "1", "box_mm": ((-100, -120, -60), (100, 100, 100))}
    chest = {"frame_of_reference": "1", "box_mm": ((-200, -120, -500), (200, 100, -200))}
    series = [facts(1, "T1", **T1, **head), facts(2, "T2", **T2, **head), facts(3, "T1", **T1, **chest)]
    reasons = shown_elsewhere(series, ["t1", "t2w", "t1"])
    assert list(reasons) == [2]
    assert "lies 370 mm from the others" in reasons[2]  # centres at (0, -10, 20) and (0, -10, -350)
    slab = {"frame_of_reference": "1", "box_mm": ((-90, -100, 0), (90, 90, 20))}
    assert shown_elsewhere([*series[:2], facts(4, "T1", **T1, **slab)], ["t1", "t2w", "t1"]) == {}


# --- tags of the whole examination ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HEAD W AND WO CONTRAST", "MRI SPINE", "SCHAEDEL MIT KM", "DIFFUSION TUMOR"])
def test_a_protocol_of_the_exam_says_nothing_of_its_series(name):
    tags = {"protocol": name}
    series = (
        facts(1, "T1", time_s=10.0, **T1, **tags),
        facts(2, "T1 Gd", time_s=90.0, **T1, **tags),
        facts(3, "T2", time_s=20.0, **T2, **tags),
        facts(4, "FLAIR", time_s=30.0, **FLAIR, **tags),
    )
    assert pick(*series) == {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4}


def test_one_description_for_all_series_says_nothing_either():
    name = "MR perfusion and diffusion of the brain"
    assert pick(facts(1, name, **T1), facts(2, name, **T2), facts(3, name, **FLAIR)) == {"t1n": 1, "t2w": 2, "t2f": 3}


def test_a_protocol_of_its_own_is_believed():
    assert pick(facts(1, protocol="T1 +C", **T1), facts(2, protocol="T2", **T2)) == {"t1c": 1, "t2w": 2}


def test_a_word_for_the_neck_counts_where_all_series_are_tagged_head():
    head = {"body_part": "HEAD"}
    assert pick(facts(1, "T1", **T1, **head), facts(2, "T1 NECK", spacing_mm=(1, 1, 1), **T1, **head)) == {"t1n": 1}


@pytest.mark.parametrize("dated", [True, False])
def test_midnight_is_no_jump_back(tmp_path, dated):
    """Days in AcquisitionDate; or an anonymiser gave all of them one day, and only half a day's gap tells."""
    kinds = {1: made.T1, 2: {**made.T1C, "SeriesDescription": "T1 SE AX"}, 3: made.T1}
    for number, time, day in ((1, "231000", "20200102"), (2, "003000.5", "20200103"), (3, "004500", "20200103")):
        tags = {**kinds[number], "AcquisitionTime": time, "AcquisitionDate": day if dated else "20200102"}
        made.write_series(tmp_path / str(number), made.volume(seed=number), made.grid(), tags, number=number)
    patient = read_dicom(tmp_path)
    assert patient.scans["t1n"].source.number == 1
    assert patient.scans["t1c"].source.number == 3  # after a scan with contrast, so enhanced too, and the later of two


# --- tags of single frames --------------------------------------------------------------------------------------------


def framed(tmp_path, **changes):
    """Rewrite an enhanced file frame by frame: `changes` maps a functional group to tags for frame n."""
    path = tmp_path / "t2.dcm"
    made.write_enhanced(path, made.volume(), made.grid())
    data = dcmread(path)
    for n, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        for group, tags in changes.items():
            item = Dataset()
            for keyword, value in tags(n).items():
                setattr(item, keyword, value)
            setattr(frame, group, Sequence([item]))
    return path, data


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_each_frame_has_its_own_slope_and_intercept(tmp_path, syntax):
    def tags(n):
        return {"RescaleSlope": str(0.5 + n), "RescaleIntercept": str(-n), "RescaleType": "US"}

    path, data = framed(tmp_path, PixelValueTransformationSequence=tags)
    if syntax:
        data.compress(syntax, generate_instance_uid=False)
    data.save_as(path)
    order = np.random.default_rng(3).permutation(12)  # as write_enhanced shuffles its frames
    expected = made.volume().astype(float)
    for n, k in enumerate(order):
        expected[:, :, k] = expected[:, :, k] * (0.5 + n) - n
    np.testing.assert_allclose(read_dicom(tmp_path).scans["t2w"].image, expected, rtol=1e-6)


@pytest.mark.parametrize("component", ["PHASE", "REAL", "IMAGINARY"])
def test_frames_that_are_not_magnitude_are_a_series_of_their_own(tmp_path, component):
    path, data = framed(tmp_path)
    count = len(data.PerFrameFunctionalGroupsSequence)
    frames = []
    for part in (component, "MAGNITUDE"):
        for one in data.PerFrameFunctionalGroupsSequence:
            frame, item = copy.deepcopy(one), Dataset()
            item.ComplexImageComponent, item.FrameType = part, ["ORIGINAL", "PRIMARY", "T2", "NONE"]
            frame.MRImageFrameTypeSequence = Sequence([item])
            frames.append(frame)
    pixels = np.frombuffer(data.PixelData, np.uint16).reshape(count, data.Rows, data.Columns)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = 2 * count
    data.PixelData = np.concatenate([4095 - pixels, pixels]).astype(np.uint16).tobytes()
    data.save_as(path)
    patient = read_dicom(tmp_path)
    np.testing.assert_array_equal(patient.scans["t2w"].image, made.volume())
    assert any("image" in reason for reason in patient.left_out.values())


def test_the_private_tag_of_one_vendor_tells_the_phase(tmp_path):
    for number, part in ((1, 1), (2, 0)):
        for path in made.write_series(tmp_path / str(number), made.volume(seed=number), made.grid(), number=number):
            data = dcmread(path)
            data.add_new((0x0043, 0x0010), "LO", "GEMS_PARM_01")
            data.add_new((0x0043, 0x102F), "SS", part)
            data.save_as(path)
    assert read_dicom(tmp_path).scans["t1n"].source.number == 2


# --- values that are no signal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limit", "stored"), [(63536, None, -2000), (-2000, None, -2000), (-2000, -1000, -1500)]
)
def test_padding_is_background(tmp_path, value, limit, stored):
    image = made.volume()
    image[:5] = 0
    for path in made.write_series(tmp_path, image, made.grid(), {**made.T1, "RescaleSlope": 2}):
        data = dcmread(path)
        pixels = np.frombuffer(data.PixelData, np.uint16).astype(np.int16).reshape(data.Rows, data.Columns).copy()
        pixels[:, :5] = stored
        data.PixelData, data.PixelRepresentation = pixels.tobytes(), 1
        data.add_new((0x0028, 0x0120), "US" if value > 0 else "SS", value)
        if limit is not None:
            data.add_new((0x0028, 0x0121), "SS", limit)
        data.save_as(path)
    np.testing.assert_array_equal(read_dicom(tmp_path).scans["t1n"].image, 2.0 * image)


# --- messages that blame the right thing ------------------------------------------------------------------------------


def test_slices_that_share_one_uid_are_told_apart_by_their_places(tmp_path):
    for path in made.write_series(tmp_path, made.volume(), made.grid()):
        data = dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        data.save_as(path)
    scan = read_dicom(tmp_path).scans["t1n"]
    np.testing.assert_array_equal(scan.image, made.volume())
    assert "share one SOPInstanceUID" in scan.problems[0]
    assert not scan.source.told_apart


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.100", "1.2.840.113619.5.2"])
def test_a_syntax_that_is_not_decoded_is_named(tmp_path, syntax):
    made.write_series(tmp_path / "t2", made.volume(), made.grid(), made.T2, number=2)
    for path in made.write_series(tmp_path / "t1", made.volume(), made.grid()):
        data = dcmread(path)
        data.file_meta.TransferSyntaxUID = UID(syntax)
        if syntax != "1.2.840.113619.5.2":
            data.PixelData = encapsulate([bytes(100)])
            data["PixelData"].is_undefined_length = True
        data.save_as(path)
    reason = read_dicom(tmp_path).left_out["series 1 (T1 SE AX)"]
    assert f"({syntax})" in reason or f"syntax {syntax}" in reason
    assert "decompress the series first" in reason
