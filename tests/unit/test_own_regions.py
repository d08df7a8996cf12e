"""Other regions than WT, TC and ET, and fewer sequences: from labels to a network, its segmentations and scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import load_case
from glioscope.errors import ConfigError, LabelError
from glioscope.inference import InferenceConfig, regions_from_probabilities
from glioscope.labels import GLIOMA, SCHEMES, RegionsConfig, own_labels, painted, regions_from_labels
from glioscope.prepare.preprocessing import PreprocessingConfig, load_prepared, prepare, prepared_facts, save_prepared
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_labels, write_volume
from tiny import LPS, tiny_images, write_tiny_case

CAVITY = RegionsConfig(scheme="brats2024", names=("WT", "TC", "ET", "RC"))
CHILD = RegionsConfig(scheme="brats2024-ped", names=("WT", "TC", "ET", "CC"))


def test_every_label_has_its_region_and_comes_back() -> None:
    labels = np.array([0, 1, 2, 3, 4], np.uint8).reshape(5, 1, 1)
    for learnt in (CAVITY, CHILD):
        regions = regions_from_labels(labels, SCHEMES[learnt.scheme], names=learnt.names)
        np.testing.assert_array_equal(painted(regions, learnt), labels)
    assert own_labels(SCHEMES["brats2024"], CAVITY.names) == (2, 1, 3, 4)
    assert own_labels(SCHEMES["brats2024-ped"], CHILD.names) == (4, 2, 1, 3)
    assert RegionsConfig(scheme="brats2024-men-rt", names=("GTV",)).inside == ((),)


def test_what_lies_inside_what() -> None:
    assert GLIOMA.inside == ((1, 2), (2,), ())
    assert CAVITY.inside == ((1, 2), (2,), (), ())
    assert CHILD.inside == ((1, 2, 3), (2, 3), (), ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ("WT", "RC")}, "regions.names is WT, RC, and nothing says which labels make them; name the label"),
        ({"scheme": "brats1999"}, "regions.scheme is 'brats1999'; choose one of brats2018"),
        (
            {"scheme": "brats2024", "names": ("WT", "CC")},
            "regions.names has CC; scheme 'brats2024' has WT, TC",
        ),
        ({"scheme": "brats2024", "names": ()}, "name at least one region"),
        ({"scheme": "brats2024", "names": ("RC", "RC")}, "each once"),
        (
            {"scheme": "brats2024", "names": ("TC", "WT", "ET")},
            "regions TC and WT .* share label 1; .* outer",
        ),
        (
            {"scheme": "brats2024", "names": ("WT", "RC")},
            r"region WT .* labels \[1, 2, 3\], of which .* leave it 3",
        ),
        ({"scheme": "brats2024", "names": ("WT", "TC", "NETC", "ET")}, "region TC .* leave it 0"),
    ],
)
def test_regions_that_cannot_be_learnt_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RegionsConfig(**settings)


def test_outer_regions_take_in_inner_ones_and_small_parts_go_with_what_is_inside() -> None:
    p = np.zeros((4, 6, 2, 2), np.float32)
    p[2, 0] = 0.9  # ET alone: TC and WT take it in; the cavity beside does not matter
    p[3, 4:] = 0.9
    p[0, 2] = 0.9
    et, rc, nothing = [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0] * 6
    masks = regions_from_probabilities(p, InferenceConfig(), voxel_ml=1.0, learnt=CAVITY)[:, :, 0, 0]
    assert masks.astype(int).tolist() == [[1, 0, 1, 0, 0, 0], et, et, rc]
    large = InferenceConfig(minimum_lesion_ml=(5.0, 0.0, 0.0, 0.0))
    masks = regions_from_probabilities(p, large, voxel_ml=1.0, learnt=CAVITY)[:, :, 0, 0]
    assert masks.astype(int).tolist() == [nothing, nothing, nothing, rc]
    with pytest.raises(ConfigError, match=r"inference.thresholds has 3 numbers for 4 regions; give one for each"):
        regions_from_probabilities(p, InferenceConfig(thresholds=(0.5,) * 3), voxel_ml=1.0, learnt=CAVITY)


def write_operated(folder: Path, name: str, seed: int = 0, wrong: int = 0) -> Path:
    """A tumour as in `tiny`, a dark cavity beside it, labels of 2024; T1 with contrast and FLAIR alone."""
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:10, 5:11, 4:10] = 2
    labels[5:9, 6:10, 5:9] = 1
    labels[6:8, 7:9, 6:8] = 3
    labels[11:15, 5:11, 4:10] = 4
    labels[2, 2, 2] = wrong
    images = {code: image for code, image in tiny_images(seed=seed).items() if code in ("t1c", "t2f")}
    for image in images.values():
        image[11:15, 5:11, 4:10] = 20
    place = write_tiny_case(folder, name, images=images)
    write_volume(place / f"{name}-seg.nii.gz", labels, Grid(labels.shape, LPS))
    return place


def test_a_prepared_case_keeps_its_regions(tmp_path: Path) -> None:
    loaded = load_case(write_operated(tmp_path / "data", "a"))
    config = PreprocessingConfig(sequences=("t1c", "t2f"))
    prepared = prepare(loaded, config, regions=CAVITY)
    save_prepared(tmp_path, prepared)
    again = load_prepared(tmp_path, "a")
    np.testing.assert_array_equal(again.reference, prepared.reference)
    assert (again.regions, again.known) == (CAVITY, CAVITY.names)
    facts = prepared_facts(tmp_path, "a")
    assert facts.complete
    assert facts.volumes_ml["RC"] == pytest.approx(4 * 6 * 6 / 1000)


def test_a_label_that_the_configuration_does_not_know_is_named(tmp_path: Path) -> None:
    loaded = load_case(write_operated(tmp_path, "a", wrong=5))
    with pytest.raises(LabelError, match=r"case a: label map: has label 5 \(1 voxels\); scheme 'brats2024' knows"):
        prepare(loaded, PreprocessingConfig(sequences=("t1c",)), regions=CAVITY)


@pytest.mark.slow
def test_train_segment_evaluate_and_report_with_a_fourth_region_and_two_sequences(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from glioscope.experiment.export import export_fold
    from glioscope.experiment.judge import validate_run
    from glioscope.experiment.train import TrainOptions, train
    from glioscope.report import write_run_report
    from toy_training import SMALL

    for number in range(4):
        write_operated(tmp_path / "data", f"BraTS-GLI-{number:05}-000", seed=number)
    options = (
        *SMALL,
        "training.steps=40",
        "training.learning_rate=1e-2",
        "training.ema=0.9",
        "training.validations=2",
        'regions.scheme="brats2024"',
        'regions.names=["WT", "TC", "ET", "RC"]',
        'preprocessing.sequences=["t1c", "t2f"]',
        "augment.spatial=0",
        "inference.minimum_lesion_ml=[]",
    )
    run = train(tmp_path / "data", tmp_path / "run", options=TrainOptions(overrides=options, fold=0))
    header = (run.fold(0) / "history.csv").read_text().splitlines()[0]
    assert "val_dice_WT,val_dice_TC,val_dice_ET,val_dice_RC,val_dice,val_accuracy" in header
    found = validate_run(run.folder, protocols=("whole", "brats2024-gli"))[0]
    dice = {row.region: row.scores["dice"] for row in found.rows if row.protocol == "whole"}
    assert dice["RC"] > 0.5
    assert dice["WT"] > 0.5
    case = run.folds()[0].validation[0]
    summary = json.loads((run.fold(0) / "validation" / case / "summary.json").read_text())
    assert summary["scheme"]["name"] == "brats2024"
    assert summary["measurements"]["volumes_ml"]["RC"] > 0
    labels = read_labels(run.fold(0) / "validation" / case / "segmentation.nii.gz")
    assert 4 in labels.data
    page = write_run_report(run.folder).read_text()
    assert "RC" in page
    assert export_fold(run.folder, tmp_path / "model", 0) > 0.99
