"""Drawing is chance and nothing else; applying is geometry that can be checked by hand."""

from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioscope.training.augment import OFF, AugmentConfig, AugmentParameters, Traits, apply, draw  # noqa: E402
from glioscope.training.intensities import ChannelChange, change_channel  # noqa: E402
from glioscope.training.lesions import Paste, cut_tightly, lesion_of, paste_lesion, take_enhancement  # noqa: E402

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
    assert draw(OFF, np.random.default_rng(0), Traits(presence=ALL)).channels == (ChannelChange(),) * 4


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
    parameters = draw(AugmentConfig(elastic=1.0), np.random.default_rng(3), Traits(presence=ALL))
    first = apply(image, regions, parameters, shape=(8, 8, 8))
    second = apply(image, regions, parameters, shape=(8, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_at_least_one_sequence_stays_and_none_appears():
    have = np.array([True, False, True, False])
    rng = np.random.default_rng(0)
    shown = [
        draw(AugmentConfig(drop_sequences=1.0, hospital_subsets=0.0), rng, Traits(presence=have)).presence
        for _ in range(50)
    ]
    assert {(True, False, False, False), (False, False, True, False)} == set(shown)  # the two proper subsets


def test_the_only_sequence_is_never_dropped():
    have = np.array([False, False, False, True])
    got = draw(AugmentConfig(drop_sequences=1.0, hospital_subsets=0.0), np.random.default_rng(0), Traits(presence=have))
    assert got.presence == (False, False, False, True)


def brain(shape=(24, 28, 24), *, tumour=None, brightness=0.0):
    """Noise of mean `brightness` inside a box one voxel in, and nested cubes of tumour, brighter by 3, 6 and 9."""
    rng = torch.Generator().manual_seed(int(sum(shape)))
    image = torch.randn(4, *shape, generator=rng) * 0.1 + brightness + 0.5
    mask = torch.zeros(shape)
    mask[1:-1, 1:-1, 1:-1] = 1
    regions = torch.zeros(3, *shape)
    for region, reach in enumerate((4, 3, 1)) if tumour else ():
        box = tuple(slice(c - reach, c + reach) for c in tumour)
        regions[(region, *box)] = 1
        image[(slice(None), *box)] += 3
    return image * mask, regions


def nested(regions):
    return bool(((regions[1] <= regions[0]) & (regions[2] <= regions[1])).all())


def test_a_pasted_lesion_lies_where_it_lay_and_its_labels_follow():
    donor = brain((28, 28, 24), tumour=(10, 14, 12), brightness=2.0)  # 4 before the middle along i
    image, regions = brain()
    lesion = lesion_of(*donor)
    got, masks = paste_lesion(image, regions, lesion, Paste(donor="d", shift=(0, 1, 0)))
    assert np.argwhere(masks[0].numpy()).min(0).tolist() == [4, 11, 8]  # 12 - 4 - 4, 14 - 4 + 1, 12 - 4
    assert [int(m.sum()) for m in masks] == [8**3, 6**3, 2**3]
    assert nested(masks)
    # Around the lesion the donor was brighter by 2, which is taken away: 0.5 + 3, and + 9 in the middle.
    assert got[0, 4, 11, 8].item() == pytest.approx(3.5, abs=0.5)
    assert got[0, 8, 15, 12].item() == pytest.approx(9.5, abs=0.5)
    assert torch.equal(got == 0, image == 0)
    assert torch.equal(got[:, 20:], image[:, 20:])
    assert not regions.any()  # what was given is not changed


def test_a_pasted_lesion_is_mirrored_about_the_middle():
    lesion = lesion_of(*brain((28, 28, 24), tumour=(10, 14, 12)))
    _, masks = paste_lesion(*brain(), lesion, Paste(donor="d", mirror=True))
    assert np.argwhere(masks[0].numpy())[:, 0].min() == 12  # voxels 8 to 15 of 24, mirrored in place, then + 4


def test_of_a_pasted_lesion_nothing_comes_to_lie_outside_the_brain():
    lesion = lesion_of(*brain(tumour=(6, 14, 12)))
    image, regions = brain()
    for shift in ((-4, 0, 0), (-40, 0, 0)):
        got, masks = paste_lesion(image, regions, lesion, Paste(donor="d", shift=shift))
        assert torch.equal(got == 0, image == 0)
        assert not (masks[0].bool() & ~(image != 0).any(0)).any()
    assert torch.equal(got, image)  # the last lay outside altogether


def test_there_is_no_lesion_where_there_is_no_tumour():
    assert lesion_of(*brain()) is None


def test_without_enhancement_contrast_looks_as_plain_t1_and_the_core_stays():
    image, regions = brain(tumour=(12, 14, 12))
    image[0] = torch.where(regions[0] > 0, image[0] * 0 + 0.2, image[0])  # T1 is dark where T1 with contrast is bright
    got, masks = take_enhancement(image, regions, plain=0, contrast=1, enhancing=2)
    assert not masks[2].any()
    assert torch.equal(masks[:2], regions[:2])
    inside = regions[2] > 0
    assert got[1][inside].max() < 1.0 < image[1][inside].min()
    assert torch.equal(got[[0, 2, 3]], image[[0, 2, 3]])
    assert torch.equal(got == 0, image == 0)


def test_a_brain_cut_tightly_loses_a_rim_on_some_sides_in_image_and_labels():
    image, regions = brain(tumour=(5, 14, 12))
    got, masks = cut_tightly(image, regions, 3, seed=1)
    lost = (image != 0) & (got == 0)
    assert 0 < lost[0].sum() < (image[0] != 0).sum() / 2
    assert not lost[:, 4:-4, 4:-4, 4:-4].any()
    assert not (masks[0].bool() & (got[0] == 0)).any()
    assert torch.equal(got[got != 0], image[got != 0])
    again, _ = cut_tightly(image, regions, 3, seed=1)
    assert torch.equal(got, again)


def test_a_sequence_off_register_moves_and_its_brain_stays():
    image, _ = brain()
    spot = image[0].clone()
    spot[12, 14, 12] = 50
    whole = change_channel(spot, ChannelChange(shift=(2.0, 0.0, -1.0)))
    assert whole[14, 14, 11].item() == 50
    assert torch.equal(whole == 0, spot == 0)
    half = change_channel(spot, ChannelChange(shift=(0.0, 0.5, 0.0)))
    assert half[12, 14, 12].item() == pytest.approx(25.25, abs=0.3)  # half of it, and half of a neighbour's 0.5
    assert half[12, 15, 12].item() == pytest.approx(25.25, abs=0.3)


def test_a_rising_curve_keeps_the_order_and_the_ends():
    image, _ = brain(tumour=(12, 14, 12))
    x = image[0]
    got = change_channel(x, ChannelChange(curve=((0.0, 0.0), (0.5, 0.25), (1.0, 1.0))))
    inside = x != 0
    order = x[inside].argsort()
    assert (got[inside][order].diff() >= -1e-5).all()
    low, high = x.min(), x.max()
    middle = (x[inside] - low) / (high - low)
    want = torch.where(middle < 0.5, middle / 2, 0.25 + (middle - 0.5) * 1.5) * (high - low) + low
    torch.testing.assert_close(got[inside], want, atol=1e-4, rtol=0)


def test_a_saturated_export_has_one_brightest_value():
    image, _ = brain(tumour=(12, 14, 12))
    inside = image[0][image[0] != 0]
    got = change_channel(image[0], ChannelChange(ceiling=2.0))
    want = float(inside.mean() + 2 * inside.std())
    assert got.max().item() == pytest.approx(want, rel=1e-4)
    assert (got == got.max()).sum() > 50


def test_thick_slices_are_those_of_all_sequences():
    drawn = draw(replace(OFF, thick_slices=1.0), np.random.default_rng(0), Traits(presence=ALL))
    assert len(set(drawn.channels)) == 1
    axis, factor = drawn.channels[0].low_resolution
    assert 3 <= factor <= 6
    image, _ = brain()
    image[:, 12:] += 5  # a step, which slices of 3 mm or more blur
    got = change_channel(image[0].movedim(0, axis), drawn.channels[0]).movedim(axis, 0)
    assert got[11, 5:-5, 5:-5].mean() - image[0, 11, 5:-5, 5:-5].mean() > 0.8


def test_hospital_subsets_are_drawn_where_the_case_has_more():
    config = AugmentConfig(drop_sequences=1.0, hospital_subsets=1.0)
    rng = np.random.default_rng(0)
    shown = {draw(config, rng, Traits(presence=ALL)).presence for _ in range(200)}
    assert len(shown) == 8
    assert (True, False, True, True) in shown  # without contrast
    two = np.array([True, True, False, False])
    assert {draw(config, rng, Traits(presence=two)).presence for _ in range(20)} == {(False, True, False, False)}


def test_tumours_are_changed_only_where_that_is_allowed():
    config = replace(OFF, paste=1.0, unenhance=1.0)
    rng = np.random.default_rng(0)
    drawn = draw(config, rng, Traits(presence=ALL, enhancing=2, donors=("b",)))
    assert (drawn.paste.donor, drawn.unenhance) == ("b", (0, 1, 2))
    drawn = draw(config, rng, Traits(presence=ALL))
    assert drawn.paste is drawn.unenhance is None
    without_t1 = np.array([False, True, True, True])
    assert draw(config, rng, Traits(presence=without_t1, enhancing=2)).unenhance is None


@pytest.mark.parametrize("seed", range(6))
def test_everything_together_replays_and_keeps_background_and_nesting(seed):
    every = AugmentConfig(
        **{f.name: 1.0 for f in fields(AugmentConfig) if isinstance(f.default, float) and f.default <= 1.0}
    )
    donor, host = brain((20, 26, 24), tumour=(8, 12, 12)), brain(tumour=(14, 10, 12))
    traits = Traits(presence=ALL, enhancing=2, donors=("a",))
    drawn = [draw(every, np.random.default_rng(seed), traits) for _ in range(2)]
    assert drawn[0] == drawn[1]
    one, two = (apply(*host, p, shape=(24, 28, 24), lesion=lesion_of(*donor)) for p in drawn)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    image, regions, presence = one
    assert nested(regions)
    assert set(regions.unique().tolist()) <= {0.0, 1.0}
    assert not image[presence == 0].any()
    brains = [channel == 0 for channel, shown in zip(image, presence, strict=True) if shown]
    assert all(torch.equal(brains[0], other) for other in brains[1:])  # one background for all
    assert not (regions.bool() & brains[0]).any()
