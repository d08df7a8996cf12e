"""Sizes, parameters and what presence does."""

import pytest

torch = pytest.importorskip("torch")

from glioscope.errors import ConfigError  # noqa: E402
from glioscope.model.network import NetworkConfig, OriginalUNet, build  # noqa: E402

SMALL = NetworkConfig(widths=(4, 8, 8), blocks=(1, 1, 1))


def test_original_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in OriginalUNet().parameters()) == 5_645_828


def test_original_starts_he_uniform():
    torch.manual_seed(0)
    weight = OriginalUNet().encoder[1][0].weight  # 16 to 32 channels: fan in 16 * 27
    limit = (6 / (16 * 27)) ** 0.5
    assert limit * 0.99 < weight.abs().max() <= limit


def test_original_on_a_cube():
    network = build(
        NetworkConfig(name="original", sequences=3, outputs="labels", widths=(16, 32, 64, 128, 256), blocks=(1,) * 5)
    )
    assert network(torch.zeros(1, 3, 16, 16, 32), torch.ones(1, 3)).shape == (1, 4, 16, 16, 32)


def test_standard_logits_lie_on_the_image_grid():
    network = build(SMALL)
    size = SMALL.divisor
    assert size == 8
    assert network(torch.randn(2, 4, 8, 16, 24), torch.ones(2, 4)).shape == (2, 3, 8, 16, 24)


def test_deep_outputs_halve_from_fine_to_coarse():
    outputs = build(SMALL).forward_deep(torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4))
    assert [tuple(o.shape[2:]) for o in outputs] == [(16,) * 3, (8,) * 3]


def test_untrained_network_says_no_tumour():
    network = build(SMALL).eval()
    assert (network(torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4)) < 0).float().mean() > 0.95


def test_presence_changes_the_answer_once_learnt():
    network = build(SMALL).eval()
    image = torch.randn(1, 4, 16, 16, 16)
    torch.nn.init.normal_(network.stem_presence.weight)
    network.stem_presence.weight.data[:, 0] += 1
    some, all_there = torch.tensor([[0.0, 1, 1, 1]]), torch.ones(1, 4)
    assert not torch.allclose(network(image, some), network(image, all_there))


def test_levels_must_agree():
    with pytest.raises(ConfigError, match=r"2 levels but network\.blocks 3"):
        NetworkConfig(widths=(4, 8), blocks=(1, 1, 1))
