"""What holds for every synthetic patient, on any grid."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glioscope.cases import SEQUENCES
from glioscope.labels import SCHEMES, labels_from_regions, regions_from_labels
from glioscope.phantom import PhantomConfig, phantom
from glioscope.phantom.scan import grid_of
from glioscope.phantom.tumour import TUMOUR_KINDS

SIDES = st.permutations(["LR", "PA", "IS"]).flatmap(lambda pairs: st.tuples(*[st.sampled_from(p) for p in pairs]))
CONFIGS = st.builds(
    PhantomConfig,
    shape=st.tuples(*[st.integers(12, 26)] * 3),
    spacing_mm=st.tuples(*[st.sampled_from([7.0, 9.0, 14.0])] * 3),
    orientation=SIDES.map("".join),
    rotation_degrees=st.tuples(*[st.floats(-25, 25)] * 3),
    skull=st.booleans(),
    noise=st.sampled_from([0.0, 1.0, 3.0]),
    motion=st.sampled_from([0.0, 3.0]),
    tumour=st.sampled_from(TUMOUR_KINDS),
)


@settings(max_examples=10)
@given(config=CONFIGS, seed=st.integers(0, 2**32))
def test_images_labels_and_brain_agree(config: PhantomConfig, seed: int) -> None:
    made = phantom(seed, config)
    assert made.grid.shape == config.shape
    assert set(np.unique(made.labels)) <= {0, 1, 2, 3}
    assert not made.labels[~made.brain].any()
    assert tuple(made.images) == SEQUENCES
    for image in made.images.values():
        assert image.shape == config.shape
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert config.skull or not image[~made.brain].any()
    scheme = SCHEMES["brats2023"]
    np.testing.assert_array_equal(labels_from_regions(regions_from_labels(made.labels, scheme), scheme), made.labels)


@given(config=CONFIGS)
def test_grids_keep_their_promise(config: PhantomConfig) -> None:
    grid = grid_of(config)
    np.testing.assert_allclose(grid.spacing_mm, config.spacing_mm)
    assert grid.shape == config.shape
    if config.rotation_degrees == (0.0, 0.0, 0.0):
        assert grid.orientation == config.orientation
    centre = grid.affine @ np.append((np.array(grid.shape) - 1) / 2, 1)
    expected = (0, 0, 0) if config.skull else (-119.5, 119.5, 77)
    np.testing.assert_allclose(centre[:3], expected, atol=1e-6)
