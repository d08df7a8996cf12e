"""Evaluation of small label maps in files: matching, schemes, empty masks by each protocol's rule, bad input."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from glioscope.errors import CaseError, ConfigError, GeometryError, LabelError
from glioscope.evaluation import (
    LabelPair,
    RegionScores,
    builtin_protocols,
    evaluate,
    evaluate_pair,
    find_pairs,
    golden_profiles,
    read_protocol,
    read_rows,
    score_pair,
    summarise,
)
from glioscope.evaluation.scoring import score_missing, tissue_codes
from glioscope.evaluation.tables import bootstrap_interval, subject_weights
from glioscope.labels import SCHEMES
from glioscope.results import write_summary
from glioscope.results.summary import SchemeRecord
from glioscope.space.grid import Grid
from glioscope.space.volumes import write_volume
from summaries import tiny_summary

SHAPE = (16, 14, 12)
DIAGONAL = math.sqrt(16**2 + 14**2 + 12**2)
GRID = Grid(SHAPE, np.eye(4))


def tumour(et: int = 3, start: int = 4) -> np.ndarray:
    """Return a map: oedema 6 × 6 × 6, in it a core 4 × 4 × 4, in it ET 2 × 2 × 2."""
    labels = np.zeros(SHAPE, np.uint8)
    for edge, value in ((6, 2), (4, 1), (2, et)):
        a = (6 - edge) // 2
        labels[start + a : start + a + edge, 4 + a : 4 + a + edge, 3 + a : 3 + a + edge] = value
    return labels


def save(path: Path, labels: np.ndarray, grid: Grid = GRID) -> Path:
    write_volume(path, labels, grid)
    return path


def pair(reference: np.ndarray, prediction: np.ndarray, scheme: str = "brats2023") -> LabelPair:
    return LabelPair(
        case_id="a",
        reference=tissue_codes(reference, SCHEMES[scheme]),
        prediction=tissue_codes(prediction, SCHEMES[scheme]),
        start=(0, 0, 0),
        shape=SHAPE,
        spacing_mm=(1.0, 1.0, 1.0),
        scheme=SCHEMES[scheme],
    )


def scores(reference: np.ndarray, prediction: np.ndarray, protocol: str, region: str) -> dict[str, float]:
    name = read_protocol(protocol).scheme or "brats2023"
    rows = score_pair(pair(reference, prediction, name), [read_protocol(protocol)])
    return dict(next(r for r in rows if r.region == region).scores)


NOTHING = np.zeros(SHAPE, np.uint8)
HEAD = 'title = "t"\nsource = ["s"]\n'
GTV = (tumour() > 0).astype(np.uint8)


# --- protocols -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_protocols())
def test_every_protocol_loads_and_cites_its_source(name) -> None:
    protocol = read_protocol(name)
    assert protocol.name == name
    assert protocol.title
    assert all(protocol.source)
    assert protocol.scheme is None or dict(protocol.labels) == dict(SCHEMES[protocol.scheme].meanings)


@pytest.mark.parametrize("name", [n for n in builtin_protocols() if n.startswith("brats")])
def test_regions_are_those_of_the_label_scheme(name) -> None:
    """The region tables of protocols and of `labels` were written apart; they must agree."""
    protocol = read_protocol(name)
    scheme = SCHEMES[protocol.scheme]
    for region in set(protocol.regions) & set(scheme.regions):
        labels = {v for v, tissue in scheme.meanings.items() if tissue in protocol.regions[region]}
        assert labels == set(scheme.regions[region])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense =", "not valid TOML"),
        ('title = "a"\nsource = ["b"]', "regions: "),
        ('title = "a"\nsource = ["b"]\nspeed = 3\n[regions]\nWT = ["ED"]', "speed: "),
        (
            'title = "a"\nsource = ["b"]\nscheme = "brats2023"\n[labels]\n1 = "ET"\n[regions]\nWT = ["ED"]',
            "are not those of",
        ),
        ('title = "a"\nsource = ["b"]\nunscored = ["TC"]\n[regions]\nWT = ["ED"]', r"names region \['TC'\]"),
    ],
)
def test_damaged_protocols_are_refused(tmp_path, text, message) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_protocol(str(path))


def test_unknown_protocol_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean brats2023-gli"):
        read_protocol("brats2023-gi")


def test_own_protocol_from_a_file(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + '[regions]\nall = ["NCR", "ED", "ET"]\n[whole_region]\nmetrics = ["dice", "nsd_3mm"]')
    reference, prediction = save(tmp_path / "r.nii.gz", tumour()), save(tmp_path / "p.nii.gz", tumour())
    (row,) = evaluate_pair(prediction, reference, [str(path)])
    assert (row.protocol, row.region, dict(row.scores)) == ("mine", "all", {"dice": 1, "nsd_3mm": 1})


def test_unknown_metric_is_named(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + '[regions]\nWT = ["NCR", "ED", "ET"]\n[whole_region]\nmetrics = ["dize"]')
    with pytest.raises(ConfigError, match="metric 'dize' is not known"):
        score_pair(pair(tumour(), tumour()), [read_protocol(str(path))])


# --- empty masks, by each protocol's rule --------------------------------------------------------------------------

WHOLE_EMPTIES = {  # penalty distance where exactly one mask is empty
    **{f"brats{y}": DIAGONAL for y in range(2018, 2023)},
    **{f"brats2023-{t}": 374 for t in ("gli", "ssa", "men", "met", "ped")},
    "brats2024-gli": 337,
    "brats2024-met": DIAGONAL,
    "brats2024-men-rt": DIAGONAL,
    **{f"brats2024-{t}": 374 for t in ("ssa", "men", "ped")},
}


def region_and_map(protocol: str) -> tuple[str, np.ndarray]:
    return ("GTV", GTV) if protocol == "brats2024-men-rt" else ("WT", tumour(et=1 if "ped" in protocol else 3))


@pytest.mark.parametrize(("protocol", "penalty"), WHOLE_EMPTIES.items())
def test_whole_region_empties(protocol, penalty) -> None:
    region, full = region_and_map(protocol)
    if read_protocol(protocol).scheme == "brats2018":
        full = np.where(full == 3, 4, full).astype(np.uint8)
    both = scores(NOTHING, NOTHING, protocol, region)
    assert (both["dice"], both["hd95"], both["sensitivity"], both["specificity"]) == (1, 0, 1, 1)
    invented = scores(NOTHING, full, protocol, region)
    assert (invented["dice"], invented["hd95"], invented["sensitivity"]) == (0, pytest.approx(penalty), 0)
    assert 0 < invented["specificity"] < 1
    missed = scores(full, NOTHING, protocol, region)
    assert (missed["dice"], missed["hd95"], missed["sensitivity"], missed["specificity"]) == (
        0,
        pytest.approx(penalty),
        0,
        1,
    )


@pytest.mark.parametrize(("protocol", "penalty"), [(p, d) for p, d in WHOLE_EMPTIES.items() if "-" in p])
def test_lesion_wise_empties(protocol, penalty) -> None:
    region, full = region_and_map(protocol)
    both = scores(NOTHING, NOTHING, protocol, region)
    assert (both["lesion_dice"], both["lesion_hd95"], both["tp"], both["fp"], both["fn"]) == (1, 0, 0, 0, 0)
    missed = scores(full, NOTHING, protocol, region)
    assert (missed["lesion_dice"], missed["lesion_hd95"]) == (0, pytest.approx(penalty))
    assert (missed["tp"], missed["fp"], missed["fn"]) == (0, 0, 1)
    invented = scores(NOTHING, full, protocol, region)
    assert (invented["tp"], invented["fp"], invented["fn"]) == (0, 1, 0)
    if protocol == "brats2024-men-rt":  # false positives are not in the denominator there
        assert (invented["lesion_dice"], invented["lesion_hd95"]) == (1, 0)
    else:
        assert (invented["lesion_dice"], invented["lesion_hd95"]) == (0, pytest.approx(penalty))


def test_one_to_one_empties() -> None:
    both = scores(NOTHING, NOTHING, "brats2026", "WT")
    assert all(math.isnan(both[m]) for m in ("rq", "sq_dsc", "sq_hd95", "sq_nsd"))
    for one in (scores(NOTHING, tumour(), "brats2026", "WT"), scores(tumour(), NOTHING, "brats2026", "WT")):
        assert (one["tp"], one["rq"], one["sq_dsc"], one["sq_hd95"], one["sq_nsd"]) == (0, 0, 0, math.inf, 0)


def test_plain_definitions_stay_undefined() -> None:
    both = scores(NOTHING, NOTHING, "whole", "WT")
    assert all(math.isnan(v) for m, v in both.items() if m != "specificity")
    invented = scores(NOTHING, tumour(), "whole", "WT")
    assert (invented["dice"], invented["hd95"], invented["nsd_1mm"], invented["precision"]) == (0, math.inf, 0, 0)
    assert math.isnan(invented["sensitivity"])


def test_voxel_accuracy_of_finding_nothing() -> None:
    found = scores(tumour(), NOTHING, "voxel-accuracy", "volume")
    assert found["accuracy"] == found["accuracy_all_background"] == pytest.approx(1 - 216 / math.prod(SHAPE))
    assert found["accuracy_foreground"] == 0
    assert scores(tumour(), NOTHING, "voxel-accuracy", "WT") == {"dice": 0}
    assert scores(tumour(), tumour(), "voxel-accuracy", "centre")["accuracy"] == 1
    assert math.isnan(scores(tumour(), tumour(), "voxel-accuracy", "notebook")["accuracy"])  # outside so small a volume


@pytest.mark.parametrize(("protocol", "distance"), [("brats2021", 374), ("brats2024-gli", 337), ("brats2026", 373)])
def test_missing_prediction_is_the_worst_score_even_where_there_was_nothing_to_find(protocol, distance) -> None:
    (row, *_) = score_missing(
        pair(NOTHING, tumour(), read_protocol(protocol).scheme if protocol != "brats2021" else "brats2023"),
        [read_protocol(protocol)],
        status="missing",
        reason="r",
    )
    assert row.status == "missing"
    assert {m: v for m, v in row.scores.items() if "hd95" in m} == dict.fromkeys(
        (m for m in row.scores if "hd95" in m), distance
    )
    assert all(v == 0 for m, v in row.scores.items() if "hd95" not in m)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Three cases: a perfect prediction as `segment` writes it, a shifted flat one, and a missing one."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for name in ("case1", "case2", "case3"):
        save(references / name / f"{name}-seg.nii.gz", tumour())
        save(references / name / f"{name}-t1c.nii.gz", tumour())
    save(predictions / "case1" / "segmentation.nii.gz", tumour())
    save(predictions / "case2.nii.gz", tumour(start=5))
    return predictions, references


def test_evaluate_writes_a_row_for_every_case(folders, tmp_path) -> None:
    told = []
    found = evaluate(
        *folders, tmp_path / "out", ["whole", "brats2023-gli"], workers=1, progress=lambda *a: told.append(a)
    )
    assert found.exit_code == 3
    assert found.missing == ("case3",)
    assert told[-1] == (3, 3, "scoring")
    with (tmp_path / "out/cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [
        (r["case_id"], r["status"], r["dice"]) for r in rows if r["protocol"] == "whole" and r["region"] == "WT"
    ] == [
        ("case1", "scored", "1"),
        ("case2", "scored", repr(5 / 6)),
        ("case3", "missing", "0"),
    ]
    assert {r["lesion_hd95"] for r in rows if r["case_id"] == "case3" and r["protocol"] == "brats2023-gli"} == {"374"}
    assert {r["lesion_dice"] for r in rows if r["protocol"] == "whole"} == {""}
    record = json.loads((tmp_path / "out/summary.json").read_text())
    whole = record["results"]["whole"]["WT"]["dice"]
    assert whole["n"] == 3
    assert whole["mean"] == pytest.approx((1 + 5 / 6) / 3)
    assert whole["by_rule"] == {"prediction missing": 1}
    assert record["results"]["whole"]["WT"]["hd95"]["infinite"] == 1
    assert record["results"]["whole"]["WT"]["hd95"]["median"] == 1  # of 0, 1 and infinity
    assert record["missing"] == ["case3"]
    assert read_rows(tmp_path / "out")[0].scores == found.rows[0].scores


def test_rows_survive_the_file(folders, tmp_path) -> None:
    found = evaluate(*folders, tmp_path / "out", builtin_protocols(), workers=1, scheme="brats2023")
    back = read_rows(tmp_path / "out")
    assert [(r.case_id, r.protocol, r.region, r.status, r.empty) for r in back] == [
        (r.case_id, r.protocol, r.region, r.status, r.empty) for r in found.rows
    ]
    assert [{m: repr(float(v)) for m, v in r.scores.items()} for r in back] == [
        {m: repr(float(v)) for m, v in r.scores.items()} for r in found.rows
    ]


def test_cases_may_be_chosen(folders) -> None:
    found = evaluate(*folders, None, ["whole"], cases=["case2"], workers=1)
    assert {r.case_id for r in found.rows} == {"case2"}
    assert found.exit_code == 0
    assert found.unmatched == ("case1",)
    with pytest.raises(CaseError, match="case9: has no reference"):
        evaluate(*folders, None, ["whole"], cases=["case9"], workers=1)


def test_two_single_files_are_a_pair_whatever_their_names(tmp_path) -> None:
    reference, prediction = save(tmp_path / "truth.nii.gz", tumour()), save(tmp_path / "guess.nii", tumour())
    (pairs, unmatched) = find_pairs(prediction, reference)
    assert [p.case_id for p in pairs] == ["truth"]
    assert unmatched == ()
    assert evaluate_pair(prediction, reference, ["whole"])[0].scores["dice"] == 1


@pytest.mark.slow
def test_several_processes_give_the_same(folders) -> None:
    one, two = (evaluate(*folders, None, ["brats2023-gli"], workers=n) for n in (1, 2))
    assert repr(one.rows) == repr(two.rows)  # nan differs from itself


def test_no_pair_at_all(tmp_path) -> None:
    save(tmp_path / "p/a.nii.gz", tumour())
    save(tmp_path / "r/b.nii.gz", tumour())
    with pytest.raises(CaseError, match="predictions are named a, references b"):
        evaluate(tmp_path / "p", tmp_path / "r", None)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CaseError, match="holds no label map"):
        evaluate(tmp_path / "nothing", tmp_path / "r", None)
    with pytest.raises(CaseError, match="no such file or folder"):
        evaluate(tmp_path / "absent", tmp_path / "r", None)
    with pytest.raises(CaseError, match="no such file"):
        evaluate_pair(tmp_path / "absent.nii.gz", tmp_path / "r/b.nii.gz")


def test_two_predictions_for_one_case(tmp_path) -> None:
    save(tmp_path / "p/a.nii.gz", tumour())
    save(tmp_path / "p/a/segmentation.nii.gz", tumour())
    save(tmp_path / "r/a.nii.gz", tumour())
    with pytest.raises(CaseError, match="one file is needed"):
        evaluate(tmp_path / "p", tmp_path / "r", None)


@pytest.mark.parametrize(
    ("grid", "shape"),
    [(Grid((16, 14, 12), np.diag([1.0, 1, 2, 1])), SHAPE), (Grid((17, 14, 12), np.eye(4)), (17, 14, 12))],
)
def test_other_grid_is_refused_and_both_are_named(tmp_path, grid, shape) -> None:
    reference = save(tmp_path / "r.nii.gz", tumour())
    prediction = save(tmp_path / "p.nii.gz", np.zeros(shape, np.uint8), grid)
    with pytest.raises(GeometryError, match=r"prediction has shape .* but the reference has shape .*--resample"):
        evaluate_pair(prediction, reference)


def test_resampling_is_the_way_out_and_recorded(tmp_path) -> None:
    """A prediction with half the voxel size along k, shifted by two voxels, comes back exactly."""
    fine = Grid((16, 14, 20), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.75], [0, 0, 0, 1]]))
    k = np.clip(np.rint(np.arange(20) * 0.5 + 0.75).astype(int), 0, 11)
    save(tmp_path / "r/a.nii.gz", tumour())
    save(tmp_path / "p/a.nii.gz", tumour()[:, :, k], fine)
    found = evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out", ["whole"], resample=True, workers=1)
    assert found.resampled == ("a",)
    assert found.rows[0].scores["dice"] == 1
    assert json.loads((tmp_path / "out/summary.json").read_text())["resampled"] == ["a"]


def test_one_bad_prediction_among_good_ones_is_a_penalty_row(folders) -> None:
    save(folders[0] / "case3.nii.gz", np.full(SHAPE, 7, np.uint8))
    found = evaluate(*folders, None, ["whole"], workers=1)
    assert found.exit_code == 3
    assert "label 7 (2688 voxels); scheme 'brats2023' knows [0, 1, 2, 3]" in found.refused["case3"]
    row = next(r for r in found.rows if r.case_id == "case3" and r.region == "WT")
    assert (row.status, row.scores["dice"]) == ("refused", 0)


def test_unknown_labels_alone_are_an_error(tmp_path) -> None:
    good, bad = save(tmp_path / "a.nii.gz", tumour()), save(tmp_path / "b.nii.gz", tumour(et=9))
    with pytest.raises(LabelError, match=r"the prediction has label 9 \(8 voxels\); scheme 'brats2023'"):
        evaluate_pair(bad, good)
    with pytest.raises(LabelError, match=r"the reference has label 9 \(8 voxels\)"):
        evaluate_pair(good, bad)


def test_whole_numbers_in_float_files_are_labels_and_others_are_not(tmp_path) -> None:
    good = save(tmp_path / "a.nii.gz", tumour())
    assert evaluate_pair(save(tmp_path / "b.nii.gz", tumour().astype(np.float32)), good)[0].scores["dice"] == 1
    with pytest.raises(LabelError, match="whole numbers"):
        evaluate_pair(save(tmp_path / "c.nii.gz", tumour() * np.float32(0.5)), good)


# --- label schemes ---------------------------------------------------------------------------------------------------


def test_each_side_is_read_in_its_own_scheme(tmp_path) -> None:
    """A network that writes ET as 3 against a reference that writes 4."""
    reference, prediction = save(tmp_path / "a.nii.gz", tumour(et=4)), save(tmp_path / "b.nii.gz", tumour(et=3))
    found = evaluate(prediction, reference, None, ["brats2021"], workers=1)
    assert found.schemes == ("brats2018", "brats2023")
    assert [r.scores["dice"] for r in found.rows] == [1, 1, 1]


def test_data_set_of_mixed_years(tmp_path) -> None:
    for name, et, t1c in (("old", 4, "t1ce"), ("new", 3, "t1c")):
        save(tmp_path / f"r/{name}/{name}_{t1c}.nii.gz", tumour())
        save(tmp_path / f"r/{name}/{name}_seg.nii.gz", tumour(et=et))
        save(tmp_path / f"p/{name}.nii.gz", tumour(et=et))
    found = evaluate(tmp_path / "p", tmp_path / "r", None, ["whole"], workers=1)
    assert found.case_schemes == {"old": ("brats2018", "brats2018"), "new": ("brats2023", "brats2023")}
    assert found.schemes == ("brats2018+brats2023",) * 2
    assert {r.scores["dice"] for r in found.rows} == {1}


def test_recorded_scheme_beats_the_values(tmp_path) -> None:
    """Decathlon numbers swap 1 and 2; only the record beside the segmentation can tell."""
    swapped = np.array([0, 2, 1, 3], np.uint8)[tumour()]
    save(tmp_path / "r/a.nii.gz", tumour())
    save(tmp_path / "p/a/segmentation.nii.gz", swapped)
    write_summary(tmp_path / "p/a/summary.json", tiny_summary(scheme=SchemeRecord(name="msd", labels={})))
    with pytest.raises(LabelError, match="--scheme brats2023 or --scheme msd"):
        evaluate(tmp_path / "p", tmp_path / "r", None, ["whole"], workers=1)
    found = evaluate(tmp_path / "p", tmp_path / "r", None, ["whole"], workers=1, scheme="brats2023")
    assert found.schemes == ("brats2023", "msd")
    assert {r.scores["dice"] for r in found.rows} == {1}


def test_four_that_may_be_tumour_or_cavity_must_be_named(tmp_path) -> None:
    reference, prediction = save(tmp_path / "a.nii.gz", tumour(et=4)), save(tmp_path / "b.nii.gz", tumour(et=4))
    with pytest.raises(LabelError, match="--scheme brats2018 or --scheme brats2024"):
        evaluate_pair(prediction, reference, ["brats2024-gli"])
    rows = evaluate_pair(prediction, reference, ["brats2024-gli"], scheme="brats2024")
    assert {r.region: r.reference_ml for r in rows}["RC"] == pytest.approx(0.008)


def test_paediatric_labels_follow_from_the_protocol(tmp_path) -> None:
    reference = save(tmp_path / "a.nii.gz", tumour(et=4))
    rows = evaluate_pair(reference, reference, ["brats2024-ped"])
    assert {r.region: round(r.reference_ml * 1000) for r in rows} == {
        "WT": 216, "TC": 208, "ET": 56, "NETC": 152, "CC": 0, "ED": 8,
    }  # fmt: skip


def test_tissue_that_a_protocol_does_not_know(tmp_path) -> None:
    reference = save(tmp_path / "a.nii.gz", tumour())
    with pytest.raises(LabelError, match="reference holds tissue CC, which protocol 'brats2023-gli' does not know"):
        evaluate_pair(reference, reference, ["brats2023-gli"], scheme="brats2024-ped")


def test_cavity_is_in_neither_core_nor_whole_tumour() -> None:
    labels = tumour()
    labels[0:2, 0:2, 0:2] = 4
    rows = {r.region: r for r in score_pair(pair(labels, labels, "brats2024"), [read_protocol("brats2024-gli")])}
    assert rows["WT"].reference_ml == pytest.approx(0.216)
    assert rows["RC"].reference_ml == pytest.approx(0.008)


def test_golden_profiles_are_json(tmp_path) -> None:
    reference, prediction = save(tmp_path / "a.nii.gz", tumour()), save(tmp_path / "b.nii.gz", NOTHING)
    profiles = golden_profiles(prediction, reference)
    assert json.loads(json.dumps(profiles, allow_nan=False)) == profiles
    assert profiles["whole"]["WT"]["hd95"] == "inf"
    assert profiles["legacy2023"]["WT"] == {"dice": 0, "hd95": 374, "sensitivity": 0, "specificity": 1}
    assert profiles["bipartite"]["RC"]["sq_dsc"] == "nan"


# --- statistics ------------------------------------------------------------------------------------------------------


def row(case: str, **values: float) -> RegionScores:
    return RegionScores(case_id=case, protocol="p", region="WT", scores=values)


def test_summary_counts_what_it_leaves_out() -> None:
    found = summarise([row("a", hd95=2.0), row("b", hd95=4.0), row("c", hd95=math.inf), row("d", hd95=math.nan)])
    hd95 = found["p"]["WT"]["hd95"]
    assert (hd95.n, hd95.mean, hd95.median, hd95.sd) == (2, 3, 4, pytest.approx(math.sqrt(2)))
    assert (hd95.undefined, hd95.infinite) == (1, 1)
    assert 2 <= hd95.interval_95[0] <= 3 <= hd95.interval_95[1] <= 4


def test_summary_of_one_case_has_no_spread() -> None:
    dice = summarise([row("a", dice=0.5)])["p"]["WT"]["dice"]
    assert (dice.n, dice.mean) == (1, 0.5)
    assert math.isnan(dice.sd)
    assert math.isnan(dice.interval_95[0])


def test_bootstrap_draws_subjects_together() -> None:
    cases = ["BraTS-GLI-00001-000", "BraTS-GLI-00001-100", "BraTS-GLI-00002-000"]
    weights = subject_weights(cases, resamples=50)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert set((weights[:, 0] + weights[:, 2]).tolist()) == {2.0}


def test_bootstrap_interval_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0.8, 0.1, 100)
    low, high = bootstrap_interval(values, subject_weights([str(n) for n in range(100)]))
    half = 1.96 * values.std(ddof=1) / 10
    assert low == pytest.approx(values.mean() - half, abs=0.004)
    assert high == pytest.approx(values.mean() + half, abs=0.004)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,region\na,WT\n", "lacks column protocol"),
        (
            "case_id,protocol,region,status,empty,reference_ml,prediction_ml,dice,reason\na,p,WT,scored,,1,1,x,\n",
            "line 2",
        ),
    ],
)
def test_damaged_tables_are_refused(tmp_path, text, message) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(CaseError, match=message):
        read_rows(tmp_path)
    with pytest.raises(CaseError, match="no such file"):
        read_rows(tmp_path / "absent.csv")
