"""Drawing is chance and nothing else; applying is geometry that can be checked by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioscope.training.augment import OFF, AugmentConfig, AugmentParameters, ChannelChange, apply, draw  # noqa: E402

ALL = np.ones(4, bool)


def sample(shape=(8, 10, 12)):
    torch.manual_seed(0)
    image = torch.rand(4, *shape) + 1
    image[:, :2] = 0
    regions = torch.zeros(3, *shape)
    regions[:, 3:6, 4:8, 5:9] = 1
    return image, regions


def nothing(**changes):
    return AugmentParameters(**({"channels": (ChannelChange(),) * 4, "presence": (True,) * 4} | changes))


def test_no_change_is_the_identity():
    image, regions = sample()
    got, masks, presence = apply(image, regions, nothing(), shape=(8, 10, 12))
    assert torch.equal(got, image)
    assert torch.equal(masks, regions)
    assert presence.tolist() == [1, 1, 1, 1]


def test_off_draws_no_change():
    assert draw(OFF, np.random.default_rng(0), presence=ALL).channels == (ChannelChange(),) * 4


def test_flip_mirrors_left_and_right_of_image_and_mask_alike():
    image, regions = sample()
    got, masks, _ = apply(image, regions, nothing(flip=True), shape=(8, 10, 12))
    assert torch.equal(got, image.flip(1))
    assert torch.equal(masks, regions.flip(1))


@pytest.mark.slow
def test_identity_matrix_resamples_to_the_same_voxels():
    image, regions = sample()
    matrix = tuple(map(tuple, np.eye(3)))
    got, masks, _ = apply(image, regions, nothing(matrix=matrix), shape=(8, 10, 12))
    torch.testing.assert_close(got, image, atol=1e-4, rtol=0)
    assert torch.equal(masks, regions)


def test_quarter_turn_about_k_moves_a_voxel_where_it_belongs():
    image = torch.zeros(4, 7, 7, 7)
    image[:, 5, 3, 2] = 1  # +2 along i from the centre
    matrix = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # output offset (a, b) looks at input offset (-b, a)
    got, _, _ = apply(image, torch.zeros(3, 7, 7, 7), nothing(matrix=matrix), shape=(7, 7, 7))
    # input offset (2, 0) = (-b, a) gives a = 0, b = -2
    assert np.argwhere(got[0].numpy() > 0.5).tolist() == [[3, 1, 2]]


def test_zoom_by_two_doubles_lengths():
    regions = torch.zeros(3, 16, 16, 16)
    regions[:, 6:10, 6:10, 6:10] = 1
    matrix = tuple(map(tuple, np.eye(3) / 2))
    _, masks, _ = apply(torch.ones(4, 16, 16, 16), regions, nothing(matrix=matrix), shape=(16, 16, 16))
    assert masks[0].sum() == 8**3 - 8  # of a corner voxel only 0.75³ = 0.42 lies inside


def test_window_pads_evenly_and_cuts_where_drawn():
    image, regions = sample((4, 4, 4))
    padded, _, _ = apply(image, regions[:, :4, :4, :4], nothing(), shape=(8, 4, 4))
    assert torch.equal(padded[:, 2:6], image)
    cut, _, _ = apply(image, regions[:, :4, :4, :4], nothing(shift=(1.0, 0.5, 0.5)), shape=(2, 4, 4))
    assert torch.equal(cut, image[:, 2:])


def test_background_stays_zero_and_dropped_sequences_are_zero():
    image, regions = sample()
    change = ChannelChange(
        gamma=1.3, contrast=(1.2, 0.3), bias=(0.2,) * 27, noise=(0.2, 1), blur=0.7, low_resolution=(2, 3)
    )
    parameters = nothing(channels=(change,) * 4, presence=(True, False, True, True))
    got, _, presence = apply(image, regions, parameters, shape=(8, 10, 12))
    assert not got[0, :2].any()
    assert not got[1].any()
    assert presence.tolist() == [1, 0, 1, 1]
    assert not torch.equal(got[0], image[0])


def test_same_parameters_give_the_same_bytes():
    image, regions = sample()
    parameters = draw(AugmentConfig(elastic=1.0), np.random.default_rng(3), presence=ALL)
    first = apply(image, regions, parameters, shape=(8, 8, 8))
    second = apply(image, regions, parameters, shape=(8, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_at_least_one_sequence_stays_and_none_appears():
    have = np.array([True, False, True, False])
    rng = np.random.default_rng(0)
    shown = [draw(AugmentConfig(drop_sequences=1.0), rng, presence=have).presence for _ in range(50)]
    assert {(True, False, False, False), (False, False, True, False)} == set(shown)  # the two proper subsets


def test_the_only_sequence_is_never_dropped():
    have = np.array([False, False, False, True])
    got = draw(AugmentConfig(drop_sequences=1.0), np.random.default_rng(0), presence=have)
    assert got.presence == (False, False, False, True)
