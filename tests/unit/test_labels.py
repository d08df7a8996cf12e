import numpy as np
import pytest

from glioscope.errors import LabelError
from glioscope.labels import (
    GLIOMA_SCHEMES,
    SCHEMES,
    check_labels,
    choose_scheme,
    convert_labels,
    labels_from_regions,
    regions_from_labels,
    scheme_named,
)


def line(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def test_scheme_is_found_by_name() -> None:
    assert scheme_named("brats2018").values == (0, 1, 2, 4)
    with pytest.raises(LabelError, match="'brats1999' is not known; choose one of brats2018"):
        scheme_named("brats1999")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([(0, 1, 2, 4)] * 10, "brats2018"),  # nobody of ten without enhancing tumour
        ([(0, 1, 2, 3)], "brats2023"),
        ([(0, 1, 2, 3), (1, 2, 3, 4), (2, 4)], "brats2024"),
        ([(3, 4)], "brats2024"),
        ([(0, 1), (2,)], "brats2023"),
        ([(0,)], "brats2023"),
        ([], "brats2023"),
    ],
)
def test_scheme_is_told_by_the_values_of_all_maps(values, name) -> None:
    assert choose_scheme(values).name == name


@pytest.mark.parametrize(
    ("values", "candidates", "named"),
    [
        ([(1, 2, 4)], GLIOMA_SCHEMES, ("brats2018", "brats2024")),
        ([(2, 4), (1, 2, 4)], GLIOMA_SCHEMES, ("brats2018", "brats2024")),
        ([(1, 2, 3), (2, 4)], GLIOMA_SCHEMES, ("brats2018", "brats2024")),
        ([(1, 2, 3)], ("brats2024-ped", "brats2023"), ("brats2024-ped", "brats2023")),
        ([(1, 2, 3)], ("brats2023", "msd"), ("brats2023", "msd")),
        ([(1, 2, 3)], ("brats2018",), ("brats2023", "brats2024", "msd")),
    ],
)
def test_what_stays_open_is_asked(values, candidates, named) -> None:
    with pytest.raises(LabelError) as error:
        choose_scheme(values, candidates)
    assert all(f"--scheme {name}" in str(error.value) or name in str(error.value) for name in named)


@pytest.mark.parametrize(
    ("values", "candidates", "name"),
    [
        ([(2, 4)], ("brats2023", "brats2024"), "brats2024"),
        ([(1, 2, 4)], ("brats2018", "brats2023"), "brats2018"),
        ([(1, 2, 3, 4)], ("brats2024-ped", "brats2023"), "brats2024-ped"),
        ([(1, 2)], ("brats2018", "brats2023"), "brats2018"),
    ],
)
def test_names_leave_one_scheme(values, candidates, name) -> None:
    assert choose_scheme(values, candidates).name == name


def test_foreign_values_are_refused() -> None:
    with pytest.raises(LabelError, match=r"map 7: has label values \[5, 9\]"):
        choose_scheme([(0, 5, 9)], subject="map 7")
    with pytest.raises(LabelError, match=r"has label 4 \(2 voxels\); scheme 'brats2023' knows \[0, 1, 2, 3\]"):
        check_labels(line(0, 4, 4), scheme_named("brats2023"))


def test_regions_by_hand_in_two_years() -> None:
    expected = [[False, True, True, True], [False, True, False, True], [False, False, False, True]]
    assert regions_from_labels(line(0, 1, 2, 4), scheme_named("brats2018"))[..., 0, 0].tolist() == expected
    assert regions_from_labels(line(0, 1, 2, 3), scheme_named("brats2023"))[..., 0, 0].tolist() == expected


def test_cavity_is_in_no_tumour_region() -> None:
    assert not regions_from_labels(line(4), scheme_named("brats2024")).any()


def test_a_region_that_the_scheme_lacks_is_named() -> None:
    with pytest.raises(LabelError, match=r"'brats2024-men-rt' has no region \['WT', 'TC', 'ET'\]; it has \['GTV'\]"):
        regions_from_labels(line(0), scheme_named("brats2024-men-rt"))


def test_labels_from_regions_nest_inwards() -> None:
    regions = np.zeros((3, 4, 1, 1), bool)
    regions[0, 0] = regions[1, 1] = regions[2, 2] = True  # core and enhancing stand alone
    assert labels_from_regions(regions, scheme_named("brats2018")).ravel().tolist() == [2, 1, 4, 0]
    assert labels_from_regions(regions, scheme_named("msd")).ravel().tolist() == [1, 2, 3, 0]
    with pytest.raises(LabelError, match="no labels for WT, TC and ET"):
        labels_from_regions(regions, scheme_named("brats2024-men-rt"))


def test_conversion_between_years() -> None:
    old = line(0, 1, 2, 4)
    assert convert_labels(old, SCHEMES["brats2018"], SCHEMES["brats2023"]).ravel().tolist() == [0, 1, 2, 3]
    assert convert_labels(old, SCHEMES["brats2018"], SCHEMES["msd"]).ravel().tolist() == [0, 2, 1, 3]
    assert convert_labels(old, SCHEMES["brats2018"], SCHEMES["brats2018"]).ravel().tolist() == [0, 1, 2, 4]
    with pytest.raises(LabelError, match=r"label \[4\] of 'brats2024' has no counterpart in 'brats2023'"):
        convert_labels(line(3, 4), SCHEMES["brats2024"], SCHEMES["brats2023"])
