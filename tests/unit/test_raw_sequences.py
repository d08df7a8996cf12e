"""Which scan is which: by words in many languages, by times, by contrast tags, by time of day, by the images."""

import numpy as np
import pytest
from scipy import ndimage

from glioscope.dicom import looks
from glioscope.dicom.choosing import choose
from glioscope.dicom.scans import RawScan
from glioscope.dicom.sequences import Series, SeriesFacts, type_series
from glioscope.dicom.words import known_words, plain
from glioscope.errors import CaseError
from glioscope.phantom import PhantomConfig, phantom
from glioscope.space.grid import Grid

SPIN_T1 = {"repetition_ms": 600.0, "echo_ms": 12.0}
SPIN_T2 = {"repetition_ms": 5000.0, "echo_ms": 100.0}
SPIN_FLAIR = {"repetition_ms": 9000.0, "echo_ms": 120.0, "inversion_ms": 2500.0}


def facts(number=1, description="", **tags) -> SeriesFacts:
    return SeriesFacts(label=f"series {number}", uid=f"1.2.{number}", number=number, description=description, **tags)


def no_pixels(series: Series) -> RawScan:
    raise AssertionError("tags decide here; no pixel may be read")


def pick(*all_facts: SeriesFacts, read=no_pixels, **overrides: str):
    chosen, choices, left_out = choose([Series(f) for f in all_facts], overrides, read)
    reasons = {choice.sequence: choice.reason for choice in choices}
    return {code: one.facts.number for code, (one, _) in chosen.items()}, reasons, left_out


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "kind", "contrast"),
    [
        ("T1W_SE-TRA_FS", "t1", None),
        ("t1_mprage_sag_p2_iso", "t1", None),
        ("MP-RAGE", "t1", None),
        ("t1_mpr_tra_KM", "t1", True),
        ("T1 SE tra nach KM", "t1", True),
        ("T1 nativ tra", "t1", False),
        ("T1 ohne KM", "t1", False),
        ("T1 SE Ax Gadolinium", "t1", True),
        ("AX T1 +C", "t1", True),
        ("Ax T1 C+ FS", "t1", True),
        ("Ax T1 -C", "t1", False),
        ("SAG 3D BRAVO POST", "t1", True),
        ("AX T1 POST GAD", "t1", True),
        ("T1 PRE GAD", "t1", False),
        ("AX T1 W/O CONTRAST", "t1", False),
        ("AX T1 W CONTRAST", "t1", True),
        ("3D T1 GADO", "t1", True),
        ("T1 SE AXIAL SANS INJECTION", "t1", False),
        ("T1 après injection", "t1", True),
        ("T1 con contraste", "t1", True),
        ("T1 sin contraste", "t1", False),
        ("T1 SE ASSIALE CON MDC", "t1", True),
        ("T1 senza mdc", "t1", False),
        ("T1 pós contraste", "t1", True),
        ("T1 met contrast", "t1", True),
        ("T1 z kontrastem", "t1", True),
        ("T1 bez kontrastu", "t1", False),
        ("T1 tra с контрастом", "t1", True),
        ("T1 без контраста", "t1", False),
        ("T1 增强", "t1", True),
        ("T1 平扫", "t1", False),
        ("t1_fl3d_vibe_ce", "t1", True),
        ("T1 FLAIR AX", "t1", None),
        ("T2W_TSE_TRA", "t2w", None),
        ("AX T2 FRFSE", "t2w", None),
        ("t2_tse_tra_512", "t2w", None),
        ("T2 POST", "t2w", None),
        ("T2W_FLAIR_TRA", "t2f", None),
        ("t2_tirm_tra_dark-fluid", "t2f", None),
        ("3D_Brain_VIEW_FLAIR", "t2f", None),
        ("Sag CUBE T2 FLAIR", "t2f", None),
        ("survey", "localiser", None),
        ("AAHead_Scout", "localiser", None),
        ("Übersicht T1", "localiser", None),
        ("Repérage", "localiser", None),
        ("ep2d_diff_3scan_trace_ADC", "diffusion", None),
        ("DWI b1000", "diffusion", None),
        ("Difusión T2", "diffusion", None),
        ("ep2d_perf T2*", "perfusion", None),
        ("AX T2* GRE", "susceptibility", None),
        ("SWI mIP", "susceptibility", None),
        ("TOF 3D", "angiography", None),
        ("PD T2 TSE", "proton density", None),
        ("T2 STIR", "fat image", None),
        ("T1 SUB POST-PRE", "subtraction", None),
        ("T1 map", "map", None),
        ("T2 CISS IAC", "inner ear, orbit or spine", None),
        ("Doe^Jane 42", "unknown", None),
        ("", "unknown", None),
    ],
)
def test_description_alone(description, kind, contrast):
    typing = type_series(facts(description=description))
    assert (typing.kind, typing.contrast) == (kind, contrast)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        (SPIN_T1, "t1"),
        (SPIN_T2, "t2w"),
        (SPIN_FLAIR, "t2f"),
        ({"repetition_ms": 2300.0, "echo_ms": 2.3, "inversion_ms": 900.0, "pulse": "GR IR"}, "t1"),
        ({"repetition_ms": 4800.0, "echo_ms": 340.0, "inversion_ms": 1650.0}, "t2f"),
        ({"repetition_ms": 2500.0, "echo_ms": 20.0}, "proton density"),
        ({"repetition_ms": 4000.0, "echo_ms": 50.0, "inversion_ms": 160.0}, "fat image"),
        ({"repetition_ms": 600.0, "echo_ms": 20.0, "pulse": "GR"}, "susceptibility"),
        ({"repetition_ms": 3000.0, "echo_ms": 90.0, "b_value": 1000.0}, "diffusion"),
        ({**SPIN_T1, "image_type": ("DERIVED", "SECONDARY", "MIP")}, "derived image"),
        ({**SPIN_T1, "image_type": ("ORIGINAL", "PRIMARY", "P")}, "phase image"),
        ({**SPIN_T1, "body_part": "CSPINE"}, "spine"),
        ({"repetition_ms": 1500.0}, "unknown"),
    ],
)
def test_times_and_image_type_alone(tags, kind):
    assert type_series(facts(**tags)).kind == kind


def test_words_against_times_are_reported():
    typing = type_series(facts(description="T1 AX", **SPIN_T2))
    assert typing.kind == "t1"
    assert typing.problems == ("the description says T1 but the times are those of T2; check the choice",)


def test_plain_words_and_the_words_that_may_be_shown():
    assert plain("T2*_Übersicht (+C)") == "t2star ubersicht plus c"
    assert known_words("DOE^JANE T1W_SE-TRA_FS 19500101") == "T1W SE TRA FS"


# --- the choice -------------------------------------------------------------------------------------------------------


def test_four_sequences_and_the_reason_for_each():
    chosen, reasons, left_out = pick(
        facts(4, "FLAIR", **SPIN_FLAIR),
        facts(2, "T1 Gd", **SPIN_T1),
        facts(1, "T1", **SPIN_T1),
        facts(3, "T2", **SPIN_T2),
    )
    assert chosen == {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4}
    assert reasons["t1c"].startswith(
        "its description says T1; its times are those of T1; its description says contrast"
    )
    assert left_out == {}


def test_contrast_tag_on_some_series_tells_them_apart():
    assert pick(facts(1, "T1", contrast=True), facts(2, "T1"))[0] == {"t1n": 2, "t1c": 1}


def test_contrast_tag_on_a_single_t1_is_believed():
    assert pick(facts(1, "T1", contrast=True))[0] == {"t1c": 1}


def test_a_t1_after_a_known_contrast_scan_has_contrast_too():
    chosen, reasons, left_out = pick(
        facts(1, "T1 sag", time_s=100.0),
        facts(2, "T1 Gd", time_s=900.0, spacing_mm=(1, 1, 5)),
        facts(3, "MPRAGE", time_s=1200.0),
    )
    assert chosen == {"t1n": 1, "t1c": 3}
    assert "acquired after a scan known to have contrast" in reasons["t1c"]
    assert "series 2 (score" in reasons["t1c"]
    assert "series 3 was taken" in left_out["series 2"]


def test_finer_voxels_win_then_the_later_series():
    assert pick(facts(1, "T2", spacing_mm=(1, 1, 1)), facts(2, "T2", spacing_mm=(0.5, 0.5, 6)))[0] == {"t2w": 1}
    assert pick(facts(1, "T2", time_s=10.0), facts(2, "T2", time_s=20.0))[0] == {"t2w": 2}


def test_a_flair_before_contrast_is_preferred_to_one_after():
    chosen, reasons, _ = pick(
        facts(1, "FLAIR", time_s=10.0), facts(2, "T1 Gd", time_s=20.0), facts(3, "FLAIR", time_s=30.0)
    )
    assert chosen["t2f"] == 1
    assert "before the contrast" in reasons["t2f"]


def test_derived_and_partial_volumes_come_last():
    assert pick(facts(1, "T2"), facts(2, "T2", image_type=("DERIVED",), spacing_mm=(0.5,) * 3))[0] == {"t2w": 1}
    assert pick(facts(1, "T2", spacing_mm=(1, 1, 6)), facts(2, "T2", extent_mm=40))[0] == {"t2w": 1}


@pytest.mark.parametrize("name", ["2", "1.2.2", "T2 tse second", "SECOND"])
def test_override_by_number_uid_or_description(name):
    chosen, reasons, _ = pick(facts(1, "T2 tse first"), facts(2, "T2 tse second"), facts(3, "T1"), t2w=name)
    assert chosen == {"t2w": 2, "t1n": 3}
    assert reasons["t2w"] == "named by the user"


def test_override_takes_even_what_tags_say_is_something_else():
    chosen, _, _ = choose([Series(facts(1, "T2")), Series(facts(2, "localizer"))], {"t1c": "2"}, no_pixels)
    assert chosen["t1c"][1] == ("named as T1 with contrast by the user, though its tags say localiser",)


def test_override_none_goes_without():
    chosen, _, left_out = pick(facts(1, "T1"), facts(2, "T2"), t2w="none")
    assert chosen == {"t1n": 1}
    assert left_out == {"series 2": "T2 is not wanted"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"t2w": "9"}, "fits no series; name one by its number: series 1, series 2"),
        ({"t2w": "tse"}, "fits 2 series; name one by its number: series 1, series 2"),
        ({"t9": "1"}, "'t9' is no sequence"),
        ({"t1n": "1", "t1c": "1"}, "is named for two sequences"),
        ({"t2w": ""}, "fits no series"),
    ],
)
def test_overrides_that_cannot_be(overrides, message):
    with pytest.raises(CaseError, match=message):
        pick(facts(1, "T2 tse a"), facts(2, "T2 tse b"), **overrides)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans() -> dict[str, RawScan]:
    """A small head; `again` is its T1 repeated with another gain and noise, `lit` the same with vessels lit up."""
    made = phantom(3, PhantomConfig(shape=(52, 64, 36), spacing_mm=(4, 4, 5), skull=True))
    images = {code: RawScan(image=image, grid=made.grid) for code, image in made.images.items()}
    rng = np.random.default_rng(0)
    again = made.images["t1n"] * 1.3 + rng.normal(0, 8, made.grid.shape).astype(np.float32)
    vessels = ndimage.gaussian_filter(rng.normal(size=made.grid.shape), 1.2)
    lit = again + 400 * (made.brain & (vessels > np.quantile(vessels, 0.98)))
    images["again"] = RawScan(image=again, grid=made.grid)
    images["lit"] = RawScan(image=lit.astype(np.float32), grid=made.grid)
    return images


def test_enhancement_has_a_sign_and_is_nothing_for_a_repetition(scans):
    assert looks.enhancement(scans["t1n"], scans["lit"]) > looks.ENHANCED
    assert looks.enhancement(scans["lit"], scans["t1n"]) < -looks.ENHANCED
    assert abs(looks.enhancement(scans["t1n"], scans["again"])) < looks.ENHANCED / 2


def test_enhancement_of_scans_that_do_not_overlap_is_unknown(scans):
    affine = scans["t1n"].grid.affine.copy()
    affine[0, 3] += 1000
    away = RawScan(image=scans["t1n"].image, grid=Grid(scans["t1n"].grid.shape, affine))
    assert looks.enhancement(scans["t1n"], away) is None
    assert looks.likeness_to_t2(scans["t1n"], [away]) is None


def reader(scans, codes):
    return lambda one: scans[codes[one.facts.number]]


def test_without_contrast_tags_the_later_and_brighter_t1_is_enhanced(scans):
    codes = {1: "t1n", 2: "lit"}
    chosen, reasons, _ = pick(facts(1, "T1", time_s=0.0), facts(2, "T1", time_s=720.0), read=reader(scans, codes))
    assert chosen == {"t1n": 1, "t1c": 2}
    assert "made 12 min after series 1, it is brighter in vessels and tissue" in reasons["t1c"]


def test_a_later_t1_that_is_no_brighter_is_a_repetition(scans):
    codes = {1: "t1n", 2: "again"}
    chosen, _, left_out = pick(facts(1, "T1", time_s=0.0), facts(2, "T1", time_s=720.0), read=reader(scans, codes))
    assert chosen == {"t1n": 2}
    assert "series 1" in left_out


def test_an_earlier_t1_is_never_the_enhanced_one(scans):
    codes = {1: "lit", 2: "t1n"}
    chosen, _, _ = pick(facts(1, "T1", time_s=0.0), facts(2, "T1", time_s=720.0), read=reader(scans, codes))
    assert list(chosen) == ["t1n"]


def test_without_times_the_image_alone_tells(scans):
    codes = {1: "lit", 2: "t1n"}
    assert pick(facts(1, "T1"), facts(2, "T1"), read=reader(scans, codes))[0] == {"t1n": 2, "t1c": 1}


def test_a_contrast_tag_on_all_series_says_nothing(scans):
    codes = {1: "t1n", 2: "lit"}
    both = [facts(n, "T1", contrast=True, time_s=100.0 * n) for n in (1, 2)]
    assert pick(*both, read=reader(scans, codes))[0] == {"t1n": 1, "t1c": 2}


def test_four_series_without_any_tags_are_told_by_their_images(scans):
    codes = {1: "t2f", 2: "t1n", 3: "t2w", 4: "lit"}
    series = [Series(facts(n, time_s=100.0 * n)) for n in codes]
    chosen, _, left_out = choose(series, {}, reader(scans, codes))
    assert {code: one.facts.number for code, (one, _) in chosen.items()} == {"t1n": 2, "t1c": 4, "t2w": 3, "t2f": 1}
    assert all("typed by its image alone" in problems[0] for _, problems in chosen.values())
    assert left_out == {}


def test_a_second_flair_without_tags_is_a_flair(scans):
    codes = {1: "t2f", 2: "t1n", 3: "t2w", 4: "t2f"}
    series = [Series(facts(n, time_s=100.0 * n)) for n in codes]
    chosen, _, left_out = choose(series, {}, reader(scans, codes))
    assert {code: one.facts.number for code, (one, _) in chosen.items()} == {"t1n": 2, "t2w": 3, "t2f": 4}
    assert "series 4 was taken" in left_out["series 1"]


def test_an_untagged_series_is_told_beside_tagged_ones(scans):
    codes = {1: "t2w", 2: "t1n", 3: "t2f"}
    chosen, _, _ = pick(facts(1, "T2"), facts(2, "T1"), facts(3), read=reader(scans, codes))
    assert chosen == {"t1n": 2, "t2w": 1, "t2f": 3}


def test_a_lone_untagged_series_stays_unknown():
    chosen, _, left_out = pick(facts(1))
    assert chosen == {}
    assert "name it by an override" in left_out["series 1"]
