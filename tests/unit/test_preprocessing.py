"""The way to the network's grid and back, on arrays small enough to check by eye."""

from pathlib import Path

import numpy as np
import pytest

from glioscope.cases import Case, LoadedCase
from glioscope.errors import CaseError, ConfigError, LabelError
from glioscope.prepare.preprocessing import (
    PreprocessingConfig,
    load_prepared,
    prepare,
    prepared_facts,
    restore,
    save_prepared,
)
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def loaded(images, *, affine=None, reference=None, scheme=None):
    first = next(iter(images.values()))
    case = Case(
        case_id="a",
        subject_id="a",
        sequences={name: VolumeFile(Path(f"{name}.nii.gz")) for name in images},
        scheme=scheme,
    )
    return LoadedCase(
        case=case,
        grid=Grid(first.shape, np.eye(4) if affine is None else affine),
        images={n: np.asarray(x, np.float32) for n, x in images.items()},
        reference=reference,
    )


def cube(values=(2.0, 4.0)):
    """A 6×6×6 volume with a 2×1×1 "brain" at (1, 2, 3) holding two values."""
    image = np.zeros((6, 6, 6), np.float32)
    image[1:3, 2, 3] = values
    return image


def test_z_score_inside_the_brain_and_zero_outside():
    prepared = prepare(loaded({"t1n": cube()}), PreprocessingConfig(sequences=("t1n",)))
    assert prepared.image.shape == (1, 2, 1, 1)
    np.testing.assert_allclose(prepared.image.ravel(), [-1, 1])  # mean 3, standard deviation 1


def test_min_max_takes_the_range_of_the_volume():
    image = cube((2.0, 8.0))
    prepared = prepare(loaded({"t1n": image}), PreprocessingConfig(sequences=("t1n",), normalisation="min-max"))
    np.testing.assert_allclose(prepared.image.ravel(), [0.0, 1.0])  # the crop holds no background


def test_absent_sequences_are_zero_and_said_to_be_absent():
    prepared = prepare(loaded({"t2f": cube()}), PreprocessingConfig())
    assert prepared.presence.tolist() == [False, False, False, True]
    assert not prepared.image[:3].any()


def test_none_of_the_configured_sequences():
    with pytest.raises(CaseError, match=r"case a: has t1n; the network needs at least one of t2f, t1c"):
        prepare(loaded({"t1n": cube()}), PreprocessingConfig(sequences=("t2f", "t1c")))


def test_constant_image_is_refused_by_name():
    with pytest.raises(CaseError, match=r"case a: t2w is constant \(7\)"):
        prepare(loaded({"t2w": np.full((4, 4, 4), 7.0)}), PreprocessingConfig())


def test_nan_counts_as_background():
    image = cube()
    image[5, 5, 5] = np.nan
    prepared = prepare(loaded({"t1n": image}), PreprocessingConfig(sequences=("t1n",)))
    assert np.isfinite(prepared.image).all()
    assert prepared.image.shape == (1, 2, 1, 1)


def test_stored_order_is_turned_to_ras_and_back():
    image = cube((1.0, 3.0))
    prepared = prepare(loaded({"t1n": image}, affine=LPS), PreprocessingConfig(sequences=("t1n",)))
    np.testing.assert_allclose(prepared.image.ravel(), [1, -1])  # i runs the other way now
    mask = prepared.image[0] > 0
    back = restore(mask, prepared)
    assert np.argwhere(back).tolist() == [[2, 2, 3]]  # where 3.0 was stored


def test_regions_are_restored_one_by_one():
    prepared = prepare(loaded({"t1n": cube()}, affine=LPS), PreprocessingConfig(sequences=("t1n",)))
    regions = np.stack([prepared.image[0] > 0, prepared.image[0] < 0])
    assert restore(regions, prepared).shape == (2, 6, 6, 6)


def test_reference_of_2021_and_of_the_decathlon_mean_the_same_regions():
    labels_2021 = np.zeros((6, 6, 6), np.uint8)
    labels_2021[1, 2, 3], labels_2021[2, 2, 3] = 4, 1
    decathlon = np.zeros((6, 6, 6), np.uint8)
    decathlon[1, 2, 3], decathlon[2, 2, 3] = 3, 2
    config = PreprocessingConfig(sequences=("t1n",))
    one = prepare(loaded({"t1n": cube()}, reference=labels_2021, scheme="brats2018"), config).reference
    two = prepare(loaded({"t1n": cube()}, reference=decathlon, scheme="msd"), config).reference
    assert one[:, :, 0, 0].tolist() == [[True, True], [True, True], [True, False]]
    np.testing.assert_array_equal(one, two)


def test_unknown_label_names_the_case():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[0, 0, 0] = 9
    with pytest.raises(LabelError, match=r"case a: .*\[9\]"):
        prepare(loaded({"t1n": cube()}, reference=labels), PreprocessingConfig())


def test_other_spacing_is_resampled_to_the_network_and_back_to_the_native_grid():
    image = np.zeros((10, 10, 5), np.float32)
    image[2:8, 2:8, 1:4] = np.linspace(1, 2, 6)[:, None, None]
    case = loaded({"t1n": image}, affine=np.diag([1.0, 1.0, 2.0, 1.0]))
    prepared = prepare(case, PreprocessingConfig(sequences=("t1n",)))
    assert prepared.whole.shape == (10, 10, 10)
    np.testing.assert_allclose(prepared.whole.spacing_mm, (1, 1, 1))
    # The outer face of the first slice stays at z = -1 mm: its centre was 0, its edge -1, so the new centre is -0.5.
    assert prepared.whole.affine[2, 3] == pytest.approx(-0.5)
    back = restore(np.ones(prepared.grid.shape, bool), prepared)
    assert back.shape == (10, 10, 5)
    assert back[4, 4, 2]
    assert not back[0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sequences": ("t1n", "pd")}, r"has \['pd'\]"),
        ({"sequences": ()}, "has no entry"),
        ({"spacing_mm": 0}, "spacing_mm is 0"),
    ],
)
def test_wrong_settings(values, message):
    with pytest.raises(ConfigError, match=message):
        PreprocessingConfig(**values)


def test_saved_case_comes_back(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1, 2, 3] = 4
    prepared = prepare(
        loaded({"t1n": cube(), "t2f": cube((5, 1))}, affine=LPS, reference=labels, scheme="brats2018"),
        PreprocessingConfig(),
    )
    save_prepared(tmp_path, prepared)
    again = load_prepared(tmp_path, "a")
    np.testing.assert_allclose(again.image, prepared.image, atol=1e-3)
    np.testing.assert_array_equal(again.reference, prepared.reference)
    np.testing.assert_array_equal(again.presence, prepared.presence)
    assert again.grid.matches(prepared.grid)
    assert again.native.matches(prepared.native)
    assert again.box == prepared.box
    (tmp_path / "a.npy").unlink()
    facts = prepared_facts(tmp_path, "a")  # the image is not needed
    assert facts.volumes_ml["WT"] == pytest.approx(0.001)  # one voxel
    assert facts.complete
    assert facts.tumour.shape == (1, 1, 1)
