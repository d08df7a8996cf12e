import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glioscope.inference import (
    InferenceConfig,
    predict_logits,
    probabilities_from_logits,
    regions_from_probabilities,
    tile_weights,
    tiles,
)

edges = st.integers(1, 21)
shapes = st.tuples(edges, edges, edges)
configs = st.builds(
    InferenceConfig,
    patch=st.tuples(*[st.sampled_from([4, 8, 12])] * 3),
    divisor=st.just(4),
    fixed=st.booleans(),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    mirror_axes=st.sampled_from([(), (0,), (0, 1), (0, 1, 2)]),
)
seeds = st.integers(0, 2**32 - 1)


@given(shapes, configs)
def test_tiles_cover_every_voxel_and_have_one_size(shape, config) -> None:
    boxes = tiles(shape, config)
    covered = np.zeros(shape, bool)
    for box in boxes:
        covered[tuple(slice(max(a, 0), b) for a, b in zip(box.start, box.stop, strict=True))] = True
    assert covered.all()
    assert len({box.shape for box in boxes}) == 1
    assert all(n <= most and n % config.divisor == 0 for n, most in zip(boxes[0].shape, config.patch, strict=True))


@given(shapes, configs)
def test_blending_weights_sum_to_one(shape, config) -> None:
    """A model that says 1 everywhere comes out as 1 everywhere."""
    image = np.zeros((1, *shape), np.float32)
    ones = predict_logits(lambda x, _: np.ones((3, *x.shape[1:]), np.float32), image, np.ones(1, bool), config)
    np.testing.assert_allclose(ones, 1, rtol=1e-5)


@given(shapes, configs, seeds)
def test_the_identity_model_returns_its_input(shape, config, seed) -> None:
    image = np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)
    out = predict_logits(lambda x, _: x.copy(), image, np.ones(3, bool), config)
    np.testing.assert_allclose(out, image, rtol=1e-4, atol=1e-5)


@given(shapes)
def test_weights_are_positive_and_at_most_one(shape) -> None:
    weights = tile_weights(shape)
    assert weights.min() > 0
    assert weights.max() <= 1


@given(seeds, st.sampled_from(["regions", "labels"]), st.floats(0.2, 5))
def test_probabilities_and_regions_are_sound(seed, outputs, temperature) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=30, size=(3 if outputs == "regions" else 4, 4, 3, 5)).astype(np.float32)
    probabilities = probabilities_from_logits(logits, outputs, (temperature,) * 3)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1 + 1e-6
    whole, core, enhancing = regions_from_probabilities(
        probabilities, InferenceConfig(), voxel_ml=0.001, outputs=outputs
    )
    assert not (core & ~whole).any()
    assert not (enhancing & ~core).any()
    if outputs == "labels":
        winner = logits.argmax(axis=0)
        sure = np.sort(logits, axis=0)[-1] - np.sort(logits, axis=0)[-2] > 0.01 * temperature
        assert ((winner > 0) == whole)[sure].all()
        assert ((winner == 3) == enhancing)[sure].all()
