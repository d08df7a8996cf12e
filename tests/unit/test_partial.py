"""Data sets whose references know only some regions: what says so, what is refused, and what is learnt of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import check_dataset, scan_cases
from glioscope.errors import CaseError, ConfigError
from glioscope.evaluation import evaluate
from glioscope.prepare.preprocessing import PreparedFacts, load_prepared, save_prepared
from glioscope.runs import Run
from glioscope.space.grid import Box, Grid
from glioscope.space.volumes import write_volume
from tiny import LPS, write_tiny_case

torch = pytest.importorskip("torch")

from glioscope.experiment.train import TrainOptions, train  # noqa: E402
from glioscope.training import FoldFiles, Stage, TrainingConfig, train_fold  # noqa: E402
from glioscope.training.augment import AugmentConfig  # noqa: E402
from glioscope.training.choosing import donors, draw_weights, drawn_order, is_hard, usable  # noqa: E402
from glioscope.training.samples import Samples  # noqa: E402
from glioscope.training.team import ALONE  # noqa: E402
from toy_training import SETTINGS, SMALL, save_toys, toy_case  # noqa: E402


def write_labelled(folder: Path, name: str, value: int = 2) -> None:
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:10, 5:11, 4:10] = value
    labels[6:8, 6:8, 6:8] = 3 if value == 2 else value
    write_tiny_case(folder, name)
    write_volume(folder / name / f"{name}-seg.nii.gz", labels, Grid(labels.shape, LPS))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two complete cases; three with the whole tumour alone, one of them of the first one's subject."""
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
        write_labelled(tmp_path / "data" / "complete", name)
    for name in ("BraTS-GLI-00001-001", "lower-1", "lower-2"):
        write_labelled(tmp_path / "data" / "lower", name, 1)
    (tmp_path / "data" / "lower" / "dataset.toml").write_text('known_regions = ["WT"]\n')
    return tmp_path / "data"


def test_a_file_says_which_regions_are_known(dataset: Path) -> None:
    cases, _ = scan_cases(dataset)
    assert {c.case_id: c.known for c in cases} == {
        "BraTS-GLI-00001-000": None,
        "BraTS-GLI-00001-001": ("WT",),
        "BraTS-GLI-00002-000": None,
        "lower-1": ("WT",),
        "lower-2": ("WT",),
    }
    (alone,), _ = scan_cases(dataset / "lower" / "lower-1")  # its folder was asked for, not the one above
    assert alone.known is None


def test_a_file_farther_down_speaks_for_its_cases(dataset: Path) -> None:
    (dataset / "lower" / "lower-2" / "dataset.toml").write_text('known_regions = ["WT", "TC"]\n')
    known = {c.case_id: c.known for c in scan_cases(dataset)[0]}
    assert known["lower-2"] == ("WT", "TC")
    assert known["lower-1"] == ("WT",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("known_regions = WT", "is not valid TOML"),
        ("", "has nothing; it must have known_regions alone"),
        ('known_regions = ["WT"]\nscheme = "msd"', "has known_regions, scheme; it must have known_regions alone"),
        ('known_regions = "WT"', "has known_regions = 'WT'; write a list of names"),
        ("known_regions = []", "write a list of names"),
        ('known_regions = ["WT", "WT"]', "names a region of known_regions twice"),
    ],
)
def test_a_file_that_says_something_else(dataset: Path, text: str, message: str) -> None:
    (dataset / "lower" / "dataset.toml").write_text(text)
    with pytest.raises(CaseError, match=message):
        scan_cases(dataset)


def test_check_names_what_is_known(dataset: Path) -> None:
    found = check_dataset(dataset)
    assert found.summary()["reference_knows"] == {"WT": 3, "all": 2}
    assert [r.known for r in found.records] == [(), ("WT",), (), ("WT",), ("WT",)]
    assert found.as_csv().splitlines()[2].split(",")[7] == "WT"


def test_regions_that_a_reference_does_not_know_are_not_scored(dataset: Path, tmp_path: Path, caplog) -> None:
    for name in ("BraTS-GLI-00001-000", "lower-1"):
        place = next(dataset.rglob(f"{name}-seg.nii.gz"))
        (tmp_path / "out").mkdir(exist_ok=True)
        shutil.copyfile(place, tmp_path / "out" / f"{name}.nii.gz")
    found = evaluate(tmp_path / "out", dataset, None, ["whole"], scheme="brats2023", workers=1)
    regions: dict[str, set[str]] = {}
    for row in found.rows:
        regions.setdefault(row.case_id, set()).add(row.region)
    assert regions["lower-1"] == {"WT"}
    assert {"WT", "TC", "ET"} <= regions["BraTS-GLI-00001-000"]
    assert "3 of 5 references know WT alone; other regions are not scored" in caplog.text


def test_a_training_holds_out_complete_cases_alone_and_says_so(dataset: Path, tmp_path: Path, caplog) -> None:
    run = train(dataset, tmp_path / "run", options=TrainOptions(overrides=SMALL, fold=0))
    assert "3 of 5 cases know WT alone: trained on, never held out" in caplog.text
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["known_regions"] == {n: ["WT"] for n in ("BraTS-GLI-00001-001", "lower-1", "lower-2")}
    for part in run.folds():
        (held,) = part.validation
        assert held in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000")
        assert {"lower-1", "lower-2"} <= set(part.train)
        # The second session of subject 00001 is trained on only where the first is not held out.
        assert ("BraTS-GLI-00001-001" in part.train) == (held != "BraTS-GLI-00001-000")
    assert load_prepared(Run(tmp_path / "run").prepared, "lower-1").known == ("WT",)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            'known_regions = ["ET"]',
            (),
            "case BraTS-GLI-00001-001 knows WT alone and case lower-2 ET alone",
        ),
        ('known_regions = ["WX"]', (), "dataset.toml: names region WX; those learnt are WT, TC, ET"),
        (
            'known_regions = ["WT"]',
            ("network.outputs=labels",),
            "case BraTS-GLI-00001-001: its reference knows WT alone, and a label needs every region",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_said_before_it_starts(
    dataset: Path, tmp_path: Path, text: str, overrides: tuple[str, ...], message: str
) -> None:
    (dataset / "lower" / "lower-2" / "dataset.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        train(dataset, tmp_path / "run", options=TrainOptions(overrides=(*SMALL, *overrides), fold=0))
    assert not (tmp_path / "run").exists()


def test_partial_cases_alone_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all 3 cases know WT alone; add cases that know WT, TC, ET"):
        train(dataset / "lower", tmp_path / "run", options=TrainOptions(overrides=SMALL, fold=0))


def test_what_a_partial_reference_holds_of_other_regions_changes_nothing(tmp_path: Path) -> None:
    """Two trainings that differ in the unknown regions of one case alone give the same bytes."""
    weights = []
    for name in ("one", "two"):
        prepared = save_toys(tmp_path / name)
        case = replace(toy_case(0), known=("WT",))
        assert case.reference is not None
        if name == "two":
            case = replace(case, reference=np.stack([case.reference[0]] * 3))
        save_prepared(prepared, case)
        files = FoldFiles(folder=tmp_path / f"{name}-fold", prepared=prepared, train=("case0", "case1"))
        settings = replace(SETTINGS, training=replace(SETTINGS.training, steps=3, partial_cases=1.0))
        weights.append(train_fold(files, settings).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def facts(*, wt: float = 30, tc: float = 20, et: float = 10, known=("WT", "TC", "ET"), shape=(140, 170, 140), size=50):
    volumes = {"WT": wt, "TC": tc, "ET": et}
    box = Box((10, 10, 10), (10 + size,) * 3)
    return PreparedFacts(
        names=("WT", "TC", "ET"), known=known, volumes_ml={n: volumes[n] for n in known}, tumour=box, shape=shape
    )


def test_hard_cases_have_a_small_or_faint_core() -> None:
    assert not is_hard(facts())
    assert is_hard(facts(tc=7, et=6))
    assert is_hard(facts(tc=20, et=5))
    assert not is_hard(facts(tc=7, known=("WT",)))


def test_hard_cases_are_drawn_more_often_and_partial_ones_less() -> None:
    settings = TrainingConfig(hard_cases=2.0, partial_cases=0.5)
    weights = draw_weights([facts(), facts(et=1), facts(known=("WT",)), facts()], settings)
    assert weights.tolist() == [1, 2, 0.5, 1]
    drawn = np.concatenate([drawn_order(weights, np.random.default_rng(n)) for n in range(900)])
    shares = np.bincount(drawn) / len(drawn)
    np.testing.assert_allclose(shares, weights / 4.5, atol=0.01)


def test_with_equal_weights_each_case_is_drawn_once_in_a_round() -> None:
    for n in range(50):
        assert sorted(drawn_order(np.ones(7), np.random.default_rng(n))) == list(range(7))


def test_donors_are_complete_large_enough_and_fit(caplog) -> None:
    cases = {
        "a": facts(),
        "b": facts(known=("WT",)),
        "c": facts(wt=0.5),
        "d": facts(size=90),
        "e": facts(shape=(140, 80, 140)),
    }
    assert donors(cases, AugmentConfig()) == ["a", "e"]
    assert "case d: its lesion (90 × 90 × 90) does not fit the smallest brain (140 × 80 × 140)" in caplog.text
    assert donors(cases, AugmentConfig(paste=0)) == []
    assert donors({"c": cases["c"]}, AugmentConfig()) == []
    assert "augment.paste has no effect" in caplog.text


def test_a_region_that_is_empty_everywhere_is_named(tmp_path: Path, caplog) -> None:
    case = toy_case(0)
    assert case.reference is not None
    case.reference[2] = False
    save_prepared(tmp_path, case)
    usable(FoldFiles(folder=tmp_path, prepared=tmp_path, train=("case0",)), TrainingConfig())
    assert "region ET is empty in all 1 training cases; the network cannot learn it" in caplog.text


def test_samples_paste_lesions_of_other_complete_cases(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("glioscope.training.choosing.DONOR_ML", 0.01)
    files = FoldFiles(folder=tmp_path, prepared=save_toys(tmp_path, 4), train=tuple(f"case{n}" for n in range(4)))
    plain = AugmentConfig(flip=0, spatial=0, unenhance=0, drop_sequences=0)
    volumes = []
    for chance in (0.0, 1.0):
        settings = replace(SETTINGS, augment=replace(plain, paste=chance))
        samples = Samples(usable(files, settings.training), files, settings, ALONE, torch.device("cpu"))
        volumes.append([samples.take(step, Stage())[0].regions[0].sum().item() for step in range(4)])
        samples.close()
    assert volumes[0] != volumes[1]
