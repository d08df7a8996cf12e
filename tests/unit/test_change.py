"""Two dates of one patient: phantoms whose growth and displacement are known, and label files made by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import glioscope
from glioscope.cli import app
from glioscope.errors import CaseError, ConfigError, GeometryError, LabelError, RunError
from glioscope.labels import SCHEMES
from glioscope.measure import ChangeOptions, change
from glioscope.measure.alignment import align
from glioscope.measure.visits import Visit, load_visit
from glioscope.phantom import Phantom, PhantomConfig, phantom, tumour
from glioscope.report.change import Ruler, ruler, write_change_report
from glioscope.results import Flag, InputFile, read_summary, write_summary
from glioscope.results.change import AlignedOn, AlignmentRecord, Both, Category, Change, Counts
from glioscope.results.stored import as_json
from glioscope.results.summary import ModelRecord
from glioscope.space.grid import Grid
from glioscope.space.registration import Quality, Registration, RegistrationConfig
from glioscope.space.volumes import Volume, VolumeFile, read_labels, write_volume
from summaries import tiny_summary

COARSE = PhantomConfig(shape=(96, 112, 96), spacing_mm=(2.0, 2.0, 2.0), tumour="multifocal")
POSE: dict[str, Any] = {"pose_mm": (7.0, -4.0, 5.0), "pose_degrees": (4.0, -5.0, 8.0)}
QUICK = ChangeOptions(registration=RegistrationConfig(levels_mm=(4.0,), start_degrees=0, samples=60_000))
ALIGNED = ChangeOptions(aligned=True)
ONE_MM = Grid((40, 40, 24), np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 1, -12], [0, 0, 0, 1]]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    folder: Path
    truth: Phantom


def grown(factor: float) -> Callable[..., list[tumour.Plan]]:
    """Plans of the same foci, each `factor` times as large."""
    drawn = tumour.draw_plans
    return lambda rng, kind: [replace(plan, wt_ml=plan.wt_ml * factor) for plan in drawn(rng, kind)]


def write_case(folder: Path, made: Phantom, **summary: Any) -> Path:
    """A folder as `segment` leaves it, the truth for a segmentation."""
    inputs = {}
    for code, image in made.images.items():
        write_volume(folder / f"{code}.nii.gz", image.astype(np.int16), made.grid)
        inputs[code] = InputFile(file=str(folder / f"{code}.nii.gz"), channel=None, sha256="")
    write_volume(folder / "segmentation.nii.gz", made.labels, made.grid)
    told = tiny_summary(folder.name, **({"subject_id": "one", "inputs": inputs} | summary))
    write_summary(folder / "summary.json", told)
    return folder


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """One person on two dates, the tumours 1.6 times as large and the head elsewhere on the second."""
    folder = tmp_path_factory.mktemp("dates")
    made = {"earlier": phantom(4, COARSE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tumour, "draw_plans", grown(1.6))
        made["later"] = phantom(4, replace(COARSE, **POSE))
    return {name: Made(folder=write_case(folder / name, p), truth=p) for name, p in made.items()}


@pytest.fixture(scope="module")
def compared(dates: dict[str, Made], tmp_path_factory: pytest.TempPathFactory) -> tuple[Change, Path]:
    output = tmp_path_factory.mktemp("change")
    return change(dates["earlier"].folder, dates["later"].folder, output, options=QUICK), output


def millilitres(made: Phantom, values: tuple[int, ...]) -> float:
    return float(np.isin(made.labels, values).sum() * made.grid.voxel_volume_ml)


REGION_VALUES = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@pytest.mark.parametrize("region", ["WT", "TC", "ET"])
def test_volumes_and_percent_are_those_of_each_date(
    dates: dict[str, Made], compared: tuple[Change, Path], region: str
) -> None:
    was, now = (millilitres(dates[d].truth, REGION_VALUES[region]) for d in ("earlier", "later"))
    row = compared[0].regions[region]
    assert row.earlier_ml == pytest.approx(was, abs=1e-3)
    assert row.later_ml == pytest.approx(now, abs=1e-3)
    assert row.percent == pytest.approx(100 * (now - was) / was, abs=0.1)
    assert row.percent > 40


def test_growth_is_that_of_the_tumour_planned(compared: tuple[Change, Path]) -> None:
    """The foci were planned 60 % larger; where they lack room they stay a little smaller."""
    assert compared[0].regions["WT"].percent == pytest.approx(60, abs=8)


def test_the_displacement_is_found(dates: dict[str, Made], compared: tuple[Change, Path]) -> None:
    """The head turned about the field's centre, then moved: a point of the later date, moved back, is the truth."""
    from scipy.spatial.transform import Rotation

    field = np.array((-119.5, 119.5, 77.0))
    turn = Rotation.from_euler("xyz", POSE["pose_degrees"], degrees=True).as_matrix()
    later = dates["later"].truth
    points = np.argwhere(later.brain)[::200] @ later.grid.affine[:3, :3].T + later.grid.affine[:3, 3]
    truth = (points - field - np.array(POSE["pose_mm"])) @ turn + field
    matrix = np.array(compared[0].alignment.matrix_ras_mm)
    found = points @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.linalg.norm(found - truth, axis=1).mean() < 1.0
    assert compared[0].alignment.brain_overlap > 0.97
    assert compared[0].flags == ()


def test_the_map_shows_growth_around_and_little_shrinkage(
    dates: dict[str, Made], compared: tuple[Change, Path]
) -> None:
    """What `later` alone holds adds up to the growth, and the kept part is the earlier tumour."""
    found, output = compared
    codes = read_labels(output / "change-WT.nii.gz")
    later = dates["later"].truth
    assert codes.grid.matches(later.grid)
    np.testing.assert_array_equal(codes.data >= 2, later.labels > 0)
    row = found.regions["WT"]
    assert row.grown_ml + row.kept_ml == pytest.approx(row.later_ml, abs=1e-3)
    assert row.shrunk_ml + row.kept_ml == pytest.approx(row.earlier_ml, rel=0.02)
    assert row.shrunk_ml < 0.06 * row.earlier_ml
    assert row.grown_ml == pytest.approx(row.change_ml + row.shrunk_ml, rel=0.05)


def test_left_stays_left(dates: dict[str, Made], compared: tuple[Change, Path]) -> None:
    side = dates["earlier"].truth.description["foci"][0]["side"]
    found = compared[0]
    assert found.earlier.measurements.side.heavier == side
    assert found.later.measurements.side.heavier == side
    assert found.enhancing.lesions[0].side == side


def test_lesions_are_followed_and_the_category_is_progression(compared: tuple[Change, Path]) -> None:
    found = compared[0]
    assert found.enhancing.new == ()
    assert found.enhancing.gone == ()
    assert found.response.by_volume.code == "PD"
    assert found.response.doubtful is False
    assert "steroid" in found.response.not_known.lower()


def test_a_date_against_itself_is_stable(dates: dict[str, Made], tmp_path: Path) -> None:
    found = change(dates["earlier"].folder, dates["earlier"].folder, tmp_path, options=QUICK)
    assert [row.percent for row in found.regions.values()] == [0, 0, 0]
    assert [row.grown_ml + row.shrunk_ml for row in found.regions.values()] == [0, 0, 0]
    assert found.response.by_diameters.code == found.response.by_volume.code == "SD"
    assert found.alignment.headers_kept


def test_another_brain_is_flagged(dates: dict[str, Made], tmp_path: Path) -> None:
    model = ModelRecord(name="other", folder="", sha256="2")
    other = write_case(tmp_path / "other", phantom(9, COARSE), subject_id="two", model=model)
    found = change(dates["earlier"].folder, other, tmp_path / "out", options=QUICK)
    codes = {flag.code: flag.severity for flag in found.flags}
    assert codes["other-brain"] == "error"
    assert codes["other-name"] == codes["other-model"] == "warning"
    assert found.response.doubtful
    assert found.flags[0].severity == "error"
    for answer in (found.response.by_diameters, found.response.by_volume):
        assert (answer.code, "differ too much for one person's" in answer.reason) == ("NE", True)


def test_names_that_differ_weigh_little_where_the_brains_match(dates: dict[str, Made], tmp_path: Path) -> None:
    """Folders are often named for the date."""
    again = write_case(tmp_path / "april", dates["earlier"].truth, subject_id="april")
    found = change(dates["earlier"].folder, again, tmp_path / "out", options=QUICK)
    assert [(flag.code, flag.severity) for flag in found.flags] == [("other-name", "info")]
    assert not found.response.doubtful


def test_page_is_complete_and_says_what_it_is(compared: tuple[Change, Path]) -> None:
    page = write_change_report(compared[1]).read_text("utf-8")
    assert "Research use only" in page
    assert "Progressive disease" in page
    assert "By imaging alone" in page
    assert "an increase of 25 % or more" in page
    assert page.count("data:image/jpeg") > 12
    assert "://" not in page.split("<script", 1)[0]


def test_page_without_scans_keeps_its_numbers(compared: tuple[Change, Path], tmp_path: Path) -> None:
    for file in compared[1].glob("change*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((tmp_path / "change.json").read_text("utf-8"))
    for date in ("earlier", "later"):
        for scan in content[date]["scans"].values():
            scan["file"] = str(tmp_path / "gone.nii.gz")
    (tmp_path / "change.json").write_text(json.dumps(content), encoding="utf-8")
    page = write_change_report(tmp_path).read_text("utf-8")
    assert "no longer where they were" in page
    assert "Progressive disease" in page


# Label files by hand, in one space: what the rules say of them can be counted.

Corner = tuple[int, int, int, int, int, int]
Boxes = dict[Corner, int]
"""First voxel and size to label value."""


def box(i: int, j: int, k: int, size: tuple[int, int, int]) -> Corner:
    return (i, j, k, *size)


def labels_of(boxes: Boxes) -> NDArray[np.uint8]:
    labels = np.zeros(ONE_MM.shape, np.uint8)
    for (i, j, k, di, dj, dk), value in boxes.items():
        labels[i : i + di, j : j + dj, k : k + dk] = value
    return labels


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(earlier: Boxes, later: Boxes, options: ChangeOptions = ALIGNED) -> dict[str, Any]:
        for name, boxes in (("a", earlier), ("b", later)):
            write_volume(tmp_path / f"{name}.nii.gz", labels_of(boxes), ONE_MM)
        return change(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", options=options)

    return run


LESION = box(5, 5, 5, (12, 12, 10))
CASES = {
    "no change": ({LESION: 3}, {LESION: 3}, "SD", "SD"),
    "gone": ({LESION: 3}, {LESION: 2}, "CR", "CR"),
    "longer and flatter": ({LESION: 3}, {box(5, 5, 5, (24, 12, 6)): 3}, "PD", "SD"),  # volume +20 %
    "thicker alone": ({LESION: 3}, {box(5, 5, 5, (12, 12, 14)): 3}, "SD", "PD"),  # volume +40 %, the slice as before
    "half": ({LESION: 3}, {box(5, 5, 5, (8, 8, 5)): 3}, "PR", "PR"),
    "new and large": ({LESION: 3}, {LESION: 3, box(24, 24, 8, (12, 12, 4)): 3}, "PD", "PD"),
    "new and small": ({LESION: 3}, {LESION: 3, box(24, 24, 8, (6, 6, 3)): 3}, "SD", "SD"),
    "too small before": ({box(5, 5, 5, (6, 6, 6)): 3}, {box(5, 5, 5, (7, 7, 6)): 3}, "NE", "NE"),
    "became measurable": ({box(5, 5, 5, (6, 6, 6)): 3}, {LESION: 3}, "PD", "PD"),
    "small one gone": ({box(5, 5, 5, (6, 6, 6)): 3}, {}, "NE", "NE"),
    "nothing enhances": ({LESION: 2}, {LESION: 1}, "none", "none"),
    "both empty": ({}, {}, "none", "none"),
    "first appearance": ({}, {LESION: 3}, "PD", "PD"),
    "only a speck left": ({LESION: 3}, {box(5, 5, 5, (3, 3, 3)): 3}, "CR", "CR"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_category_by_hand(compare: Callable[..., Change], name: str) -> None:
    earlier, later, by_diameters, by_volume = CASES[name]
    response = compare(earlier, later).response
    assert response.by_diameters.code == by_diameters
    assert response.by_volume.code == by_volume
    assert response.agree is (by_diameters == by_volume)
    json.dumps(as_json(response), allow_nan=False)


def test_something_from_nothing_has_no_percentage(compare: Callable[..., Change]) -> None:
    found = compare({}, {LESION: 3})
    assert found.regions["ET"].percent is None
    assert found.regions["ET"].grown_ml == found.regions["ET"].later_ml == pytest.approx(1.44)
    assert [flag.code for flag in found.flags] == ["empty"]
    assert compare({}, {}).regions["WT"].percent == 0


def test_a_new_lesion_is_named_and_placed(compare: Callable[..., Change]) -> None:
    whole = {box(20, 20, 4, (18, 18, 14)): 2}
    found = compare({LESION: 3, **whole}, {LESION: 3, **whole, box(24, 24, 8, (12, 12, 4)): 3}).enhancing
    assert found.new == ("lesion 2",)
    row = found.lesions[1]
    assert row.status == "new"
    assert row.volume_ml == Both(earlier=0, later=0.576)
    assert row.percent_volume is None
    assert row.share_in_earlier_tumour == 1
    assert row.centre_mm == pytest.approx([9.5, 9.5, -2.5], abs=0.06)
    assert row.measurable_now
    assert not row.target


def test_a_lesion_that_splits_is_one_lesion(compare: Callable[..., Change]) -> None:
    two = {box(5, 5, 5, (12, 5, 10)): 3, box(5, 12, 5, (12, 5, 10)): 3}
    found = compare({LESION: 3}, two).enhancing
    assert len(found.lesions) == 1
    assert found.lesions[0].parts == Counts(earlier=1, later=2)
    merged = compare(two, {LESION: 3}).enhancing
    assert merged.lesions[0].parts == Counts(earlier=2, later=1)


def test_schemes_may_differ(tmp_path: Path) -> None:
    """4 was enhancing tumour until 2022, 3 is since; the earlier file is of 2018."""
    write_volume(tmp_path / "a.nii.gz", labels_of({LESION: 4}), ONE_MM)
    write_volume(tmp_path / "b.nii.gz", labels_of({LESION: 3}), ONE_MM)
    with pytest.raises(LabelError, match="some maps have label 3 and others label 4"):
        change(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", options=ALIGNED)
    named = replace(ALIGNED, scheme="brats2018,brats2023")
    found = change(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", options=named)
    assert found.regions["ET"].percent == 0
    assert found.regions["ET"].kept_ml == pytest.approx(1.44)


def test_dates_come_from_the_user(compare: Callable[..., Change]) -> None:
    found = compare({LESION: 3}, {LESION: 3}, replace(ALIGNED, dates=("2024-01-31", "2024-03-01")))
    assert found.interval_days == 30
    assert compare({LESION: 3}, {LESION: 3}).interval_days is None
    with pytest.raises(ConfigError, match="swap the dates"):
        compare({}, {}, replace(ALIGNED, dates=("2024-03-01", "2024-01-31")))
    with pytest.raises(ConfigError, match="give two as 2024-01-31"):
        compare({}, {}, replace(ALIGNED, dates=("31.1.2024", "1.3.2024")))


def test_label_files_without_scans_need_a_word(compare: Callable[..., Change]) -> None:
    with pytest.raises(CaseError, match="--aligned"):
        compare({LESION: 3}, {LESION: 3}, ChangeOptions())


def test_scans_that_do_not_overlap_are_refused(dates: dict[str, Made], tmp_path: Path) -> None:
    """Noise has nothing in common with a brain."""
    earlier = dates["earlier"]
    noise = np.random.default_rng(0).uniform(100, 200, earlier.truth.grid.shape).astype(np.float32)
    write_volume(tmp_path / "noise.nii.gz", noise, earlier.truth.grid)
    options = replace(QUICK, later_scan=tmp_path / "noise.nii.gz")
    with pytest.raises(CaseError, match="are both of one patient"):
        change(earlier.folder, earlier.folder, tmp_path / "out", options=options)
    write_volume(tmp_path / "flat.nii.gz", np.ones_like(noise), earlier.truth.grid)
    with pytest.raises(CaseError, match="constant"):
        change(
            earlier.folder,
            earlier.folder,
            tmp_path / "out",
            options=replace(QUICK, later_scan=tmp_path / "flat.nii.gz"),
        )


def test_unusable_places_are_named(dates: dict[str, Made], tmp_path: Path) -> None:
    good = dates["earlier"].folder
    with pytest.raises(CaseError, match="no such file or folder"):
        change(tmp_path / "none", good, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseError, match=r"holds no summary\.json"):
        change(tmp_path / "empty", good, tmp_path / "out")
    with pytest.raises(CaseError, match="holds several cases"):
        change(good.parent, good, tmp_path / "out")
    (tmp_path / "empty" / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="case_id is missing"):
        change(tmp_path / "empty", good, tmp_path / "out")
    write_volume(tmp_path / "scan.nii.gz", np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), np.eye(4)))
    with pytest.raises(GeometryError, match="must share one grid"):
        change(good, good, tmp_path / "out", options=ChangeOptions(earlier_scan=tmp_path / "scan.nii.gz"))
    write_volume(tmp_path / "gtv.nii.gz", labels_of({LESION: 1}), ONE_MM)
    with pytest.raises(LabelError, match="needs a glioma scheme"):
        change(tmp_path / "gtv.nii.gz", good, tmp_path / "out", options=ChangeOptions(scheme="brats2024-men-rt"))


def visit_with(tmp_path: Path, code: str) -> Visit:
    """A date with one scan of a box of a head, no tumour."""
    inside = np.zeros(ONE_MM.shape, np.float32)
    inside[4:36, 4:36, 4:20] = 100
    write_volume(tmp_path / f"{code}.nii.gz", inside, ONE_MM)
    labels = Volume(np.zeros(ONE_MM.shape, np.uint8), ONE_MM)
    return Visit(
        name=code,
        source=tmp_path / "seg.nii.gz",
        subject_id=None,
        labels=labels,
        scheme=SCHEMES["brats2023"],
        scans={code: VolumeFile(tmp_path / f"{code}.nii.gz")},
        summary=None,
    )


@pytest.mark.parametrize(
    ("quality", "problems", "flags"),
    [
        ({}, (), []),
        ({"coverage": 0.8}, (), ["coverage"]),
        ({}, ("the alignment is doubtful",), ["alignment"]),
    ],
)
def test_a_doubtful_alignment_is_flagged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quality: dict[str, float],
    problems: tuple[str, ...],
    flags: list[str],
) -> None:
    """The search is replaced by its answer; the dates have no sequence in common."""
    monkeypatch.setattr("glioscope.measure.alignment.register", answer(quality, problems))
    found = align(visit_with(tmp_path, "t2f"), visit_with(tmp_path, "t1n"))
    assert [flag.code for flag in found.flags] == flags
    assert isinstance(found.record, AlignmentRecord)
    assert found.record.sequences == AlignedOn(earlier="t2f", later="t1n")
    assert found.record.brain_overlap == 1


def test_dates_that_hardly_overlap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glioscope.measure.alignment.register", answer({"coverage": 0.3}, ()))
    with pytest.raises(CaseError, match="shows 30% of the head"):
        align(visit_with(tmp_path, "t2f"), visit_with(tmp_path, "t1n"))


def answer(quality: dict[str, float], problems: tuple[str, ...]) -> Callable[..., Registration]:
    usual = {"mutual_information": 0.6, "contrast": 0.3, "coverage": 1.0, "shift_mm": 0.0, "turn_degrees": 0.0}
    found = Registration(matrix=np.eye(4), quality=Quality(**{**usual, **quality}), problems=problems)
    return lambda *_args, **_kwargs: found


def test_scans_are_found_in_a_folder_that_moved(dates: dict[str, Made], tmp_path: Path) -> None:
    """`segment` keeps the scans that it prepared beside its result; a copy of the folder needs no others."""
    inputs = {"t1n": InputFile(file=str(tmp_path / "gone" / "p-t1n.nii.gz"), channel=None, sha256="")}
    summary = replace(read_summary(dates["earlier"].folder / "summary.json"), inputs=inputs)
    moved = tmp_path / "moved"
    (moved / "prepared" / "p").mkdir(parents=True)
    write_summary(moved / "summary.json", summary)
    write_volume(moved / "segmentation.nii.gz", dates["earlier"].truth.labels, dates["earlier"].truth.grid)
    with pytest.raises(CaseError, match=r"is no longer at .*--earlier-scan"):
        load_visit(moved).read("t1n")
    file = moved / "prepared" / "p" / "p-t1n.nii.gz"
    file.write_bytes((dates["earlier"].folder / "t1n.nii.gz").read_bytes())
    assert load_visit(moved).scans["t1n"].path == file
    assert load_visit(moved).read("t1n").grid.matches(dates["earlier"].truth.grid)


def test_missing_contrast_and_own_flags_are_said(dates: dict[str, Made], tmp_path: Path) -> None:
    folder = tmp_path / "later"
    made = dates["earlier"].truth
    flags = (Flag("unsure-ET", "warning", ""), Flag("x", "info", ""))
    write_case(folder, replace(made, images={"t2f": made.images["t2f"]}), missing_sequences=("t1c",), flags=flags)
    found = change(dates["earlier"].folder, folder, tmp_path / "out", options=ALIGNED)
    messages = {flag.code: flag.message for flag in found.flags}
    assert "so is the category" in messages["no-contrast"]
    assert messages["flagged"].endswith(": unsure-ET")
    assert "other-sequences" in messages
    assert found.response.doubtful


def test_tumour_beyond_the_later_scan_is_said(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", labels_of({box(2, 5, 5, (12, 12, 10)): 3}), ONE_MM)
    half = ONE_MM.affine.copy()
    half[0, 3] += 8
    write_volume(tmp_path / "b.nii.gz", np.zeros((32, 40, 24), np.uint8), Grid((32, 40, 24), half))
    found = change(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", options=ALIGNED)
    assert "50% of the earlier tumour" in {f.code: f.message for f in found.flags}["cut"]


@pytest.mark.parametrize(
    ("percent", "at", "beyond"), [(0.0, 50, False), (-100.0, 0, False), (25.0, 62.5, False), (400.0, 100, True)]
)
def test_ruler(percent: float, at: float, beyond: bool) -> None:
    words = {"code": "SD", "name": "", "reason": "", "earlier": 1.0, "later": 1.0, "rule": ""}
    answer = Category(**words, percent=percent, loss_percent=50, growth_percent=25)
    assert ruler(answer) == Ruler(partial=25, growth=62.5, at=at, beyond=beyond)
    assert ruler(replace(answer, percent=None)).at is None


def test_command_line(tmp_path: Path) -> None:
    for name, boxes in (("a", {LESION: 3}), ("b", {box(5, 5, 5, (24, 12, 6)): 3})):
        write_volume(tmp_path / f"{name}.nii.gz", labels_of(boxes), ONE_MM)
    arguments = ["change", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--aligned", "--dates", "2024-01-01", "2024-03-25"])
    assert result.exit_code == 0, result.output
    assert "ET\t1.44\t1.73\t+20.0 %" in result.output
    assert "by diameters, imaging alone: progressive disease" in result.output
    page = (tmp_path / "out" / "change.html").read_text("utf-8")
    assert "12 weeks apart" in page
    assert "no sequence in common" in page
    (tmp_path / "out" / "change.html").unlink()
    assert CliRunner().invoke(app, ["report", str(tmp_path / "out")]).exit_code == 0
    assert (tmp_path / "out" / "change.html").is_file()
    assert nib.load(tmp_path / "out" / "change-ET.nii.gz").get_data_dtype() == np.uint8


def test_it_is_part_of_the_interface() -> None:
    assert glioscope.change is change
