"""Losses against values worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from glioscope.training.losses import (  # noqa: E402
    LossConfig,
    build_loss,
    classes_from_regions,
    deep_loss,
    dice_focal,
    label_cross_entropy,
    region_loss,
    soft_dice,
)


def test_what_is_not_known_neither_costs_nor_teaches():
    regions = torch.zeros(2, 3, 1, 1, 4)
    regions[:, 0] = 1
    logits = torch.zeros(2, 3, 1, 1, 4, requires_grad=True)
    known = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    loss = region_loss(logits, regions, known)
    # log 2, and a Dice of WT of (2 · 8 · ½ + 1) / (8 · ½ + 8 + 1) = 9 / 13
    assert loss.item() == pytest.approx(math.log(2) + 1 - 9 / 13, abs=1e-6)
    loss.backward()
    assert logits.grad[:, 0].abs().min() > 0
    assert not logits.grad[:, 1:].any()
    other = regions.clone()
    other[:, 1:] = 1
    assert region_loss(logits, other, known).item() == loss.item()


def test_all_known_is_the_loss_of_complete_cases():
    torch.manual_seed(0)
    logits, regions = torch.randn(2, 3, 2, 2, 2), (torch.rand(2, 3, 2, 2, 2) > 0.5).float()
    torch.testing.assert_close(region_loss(logits, regions, torch.ones(2, 3)), region_loss(logits, regions))


def regions_of(classes):
    """(k,) class numbers, 1 NCR, 2 ED, 3 ET, as regions (1, 3, 1, 1, k)."""
    classes = torch.tensor(classes)
    masks = [classes > 0, (classes == 1) | (classes == 3), classes == 3]
    return torch.stack(masks).float()[None, :, None, None, :]


def test_classes_come_back_from_regions():
    assert classes_from_regions(regions_of([0, 1, 2, 3])).flatten().tolist() == [0, 1, 2, 3]


def test_soft_dice_by_hand():
    probabilities = torch.tensor([0.5, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4)
    reference = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4)
    # twice the overlap 1.5, and 1, over the sizes 1.5 and 2, and 1
    assert soft_dice(probabilities, reference).item() == pytest.approx(4 / 4.5)


def test_soft_dice_of_two_empties_is_one_and_of_a_false_alarm_falls_with_its_size():
    empty = torch.zeros(1, 1, 1, 1, 8)
    assert soft_dice(empty, empty).item() == 1
    one, two = empty.clone(), empty.clone()
    one[..., 0] = 1
    two[..., :2] = 1
    assert soft_dice(one, empty).item() == pytest.approx(1 / 2)
    assert soft_dice(two, empty).item() == pytest.approx(1 / 3)


def test_region_loss_of_undecided_logits():
    regions = regions_of([0, 0, 3, 3])
    # cross-entropy of p = 0.5 is ln 2; Dice of 0.5 everywhere against 2 of 4 voxels is (2 * 1 + 1) / (2 + 2 + 1)
    assert region_loss(torch.zeros(1, 3, 1, 1, 4), regions).item() == pytest.approx(math.log(2) + 1 - 3 / 5, abs=1e-6)


def test_label_cross_entropy_of_undecided_logits_is_ln_4():
    assert label_cross_entropy(torch.zeros(1, 4, 1, 1, 4), regions_of([0, 1, 2, 3])).item() == pytest.approx(
        math.log(4)
    )


def test_dice_focal_of_undecided_logits():
    # each class has one voxel of four and p = 1/4: Dice is (2 / 4) / (1 + 1) = 1/4;
    # focal loss is 0.25 * (3/4)^2 * ln 4 on a quarter of the entries
    expected = 1 - 0.25 + 0.25 * 0.5625 * math.log(4) / 4
    assert dice_focal(torch.zeros(1, 4, 1, 1, 4), regions_of([0, 1, 2, 3])).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["dice+cross-entropy", "cross-entropy", "dice+focal"])
def test_the_right_answer_costs_next_to_nothing(name):
    loss = build_loss(LossConfig(name=name), "labels")
    regions = regions_of([0, 1, 2, 3, 0])
    logits = torch.nn.functional.one_hot(classes_from_regions(regions), 4).movedim(-1, 1) * 40.0
    assert loss(logits, regions, None).item() < 1e-3


def test_deep_loss_weighs_and_shrinks_the_reference():
    regions = torch.zeros(1, 3, 2, 2, 2)
    regions[..., 0] = 1  # half of the coarse voxel: rounds to 1
    seen = []

    def loss(logits, reference, _known):
        seen.append(tuple(reference.shape[2:]))
        return reference.mean() + logits.mean()

    outputs = [torch.zeros(1, 3, 2, 2, 2), torch.ones(1, 3, 1, 1, 1)]
    # fine 0.5 with weight 1, coarse 1 + 1 with weight 0.5: (0.5 + 1) / 1.5
    assert deep_loss(loss, outputs, regions, 0.5).item() == pytest.approx(1.0)
    assert seen == [(2, 2, 2), (1, 1, 1)]
    seen.clear()
    deep_loss(loss, outputs, regions, 0.0)
    assert seen == [(2, 2, 2)]
