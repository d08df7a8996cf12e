"""Pages that are complete in themselves, show the right side, escape names, and survive what is missing."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glioscope.cases import Case, LoadedCase, load_case
from glioscope.errors import CaseError, GeometryError, RunError
from glioscope.evaluation import RegionScores, as_markdown, compare_methods, read_rows
from glioscope.evaluation.tables import rows_as_csv
from glioscope.labels import regions_from_labels, scheme_named
from glioscope.measure import measure
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare, save_prepared
from glioscope.report import (
    draw_curves,
    write_case_report,
    write_cohort_report,
    write_comparison_report,
    write_evaluation_report,
    write_run_report,
)
from glioscope.report import images as im
from glioscope.report.figures import box_figure, read_history, running_mean, svg
from glioscope.report.page import flatten, json_data, number
from glioscope.report.viewer import mosaic, viewer_data
from glioscope.results import CaseSummary, Flag, write_summary
from glioscope.results.summary import ModelRecord
from glioscope.runs import Glimpse
from glioscope.space.grid import Grid, reorient
from glioscope.space.volumes import VolumeFile, write_volume
from summaries import tiny_summary

SCHEME = scheme_named("brats2023")
SHAPE = (40, 48, 36)
STORED = Path(__file__).parents[1] / "golden" / "data"
GRID = Grid(SHAPE, np.array([[1.0, 0, 0, -20], [0, 1, 0, -24], [0, 0, 1, -18], [0, 0, 0, 1]]))  # RAS
HISTORY = (
    "step,epoch,seconds,stage,learning_rate,train_loss,train_dice,train_accuracy,"
    "val_loss,val_dice_WT,val_dice_TC,val_dice_ET,val_dice,val_accuracy\n"
    "10,0.1,20,0,0.001,1.1,0.2,0.95,,,,,,\n"
    "20,0.2,40,0,0.001,0.9,0.3,0.96,0.95,0.6,0.4,0.3,0.4333,0.97\n"
)


def tumour() -> NDArray[np.uint8]:
    """Oedema, ring and core on the patient's right (large i in RAS)."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[24:36, 16:32, 10:26] = 2
    labels[26:34, 18:28, 12:22] = 3
    labels[28:32, 20:26, 14:20] = 1
    return labels


def loaded_case(case_id: str = "BraTS-GLI-00001-000", *, reference: NDArray[np.uint8] | None = None) -> LoadedCase:
    rng = np.random.default_rng(0)
    brain = np.zeros(SHAPE, bool)
    brain[3:-3, 3:-3, 3:-3] = True
    images = {
        name: np.where(brain, rng.normal(100, 10, SHAPE) + 60 * (tumour() > 0), 0).astype(np.float32)
        for name in ("t1n", "t1c", "t2f")
    }
    files = {name: VolumeFile(Path(f"{case_id}-{name}.nii.gz")) for name in images}
    case = Case(case_id=case_id, subject_id=case_id, sequences=files)
    return LoadedCase(case=case, grid=GRID, images=images, reference=reference)


def told(case_id: str = "BraTS-GLI-00001-000", **changes: Any) -> CaseSummary:
    model = ModelRecord(name="starter", folder="starter", sha256="1" * 64)
    return tiny_summary(case_id, labels=tumour(), grid=GRID, **({"model": model} | changes))


def report(folder: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {"summary": told()} | changes
    loaded = arguments.pop("loaded", loaded_case())
    labels = arguments.pop("labels", tumour())
    write_case_report(folder / "report.html", loaded, labels, SCHEME, arguments.pop("summary"), **arguments)
    return (folder / "report.html").read_text(encoding="utf-8")


def viewer_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return dict(json.loads(match[1]))


def picture_of(url: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture)


def assert_complete(page: str) -> None:
    """No address of a network, no reference to another file, the notice, a language, alternative texts."""
    assert "Research use only" in page
    assert '<html lang="en-GB">' in page
    assert "default-src 'none'" in page
    addresses = re.findall(
        r'(?:src|href|url)\s*[=(]\s*["\']?([^"\'\s)>]+)', re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )
    assert not [a for a in addresses if not a.startswith(("data:", "#")) and not a.endswith("report.html")]
    for tag in re.findall(r"<img [^>]*>", page):
        assert 'alt="' in tag
        assert 'alt=""' not in tag


def test_case_report_is_complete(tmp_path: Path) -> None:
    page = report(tmp_path, reference=np.roll(tumour(), 1, axis=0), uncertainty=np.full(SHAPE, 0.3, np.float32))
    assert_complete(page)
    assert len(page) < 8_000_000
    for words in ("whole tumour", "Difference", "Uncertainty", "predict", "1.25", "starter", "t2w missing"):
        assert words in page, words
    assert (tmp_path / "thumbnail.jpg").is_file()
    assert not list(tmp_path.glob(".*"))


def test_case_report_shows_the_measurements(tmp_path: Path) -> None:
    measurements = measure(tumour(), GRID, SCHEME)
    assert measurements.diameters is not None
    page = report(tmp_path, summary=told(measurements=measurements))
    assert f"{measurements.volumes_ml['WT']:.2f}" in page
    assert f"{measurements.diameters.longest_mm:.1f} mm" in page
    assert "right" in page


def test_names_and_messages_are_escaped(tmp_path: Path) -> None:
    flags = (Flag("x", "info", "<script>alert(1)</script>"), Flag("y", "error", "a & b"))
    loaded = loaded_case("<img src=x onerror=alert(1)>")
    page = report(tmp_path, loaded=loaded, summary=told(flags=flags, settings={"note": "</script><b>"}))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.index("a &amp; b") < page.index("&lt;script&gt;alert(1)")  # the error stands first
    assert "</script><b>" not in page


def test_reference_of_the_case_in_another_scheme(tmp_path: Path) -> None:
    old = np.where(tumour() == 3, 4, tumour()).astype(np.uint8)
    page = report(tmp_path, loaded=loaded_case("Brats18_PHM_1_1", reference=old))
    data = viewer_of(page)
    assert data["reference"] is not None
    assert (picture_of(data["reference"]) == picture_of(data["segmentation"])).all()


def test_no_tumour_no_uncertainty(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    page = report(tmp_path, labels=nothing, summary=tiny_summary(labels=nothing, grid=GRID))
    assert "No tumour was found" in page
    assert "Uncertainty" not in page.split("<script")[0]
    assert viewer_of(page)["lesions"] == []


def test_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="uncertainty: has shape"):
        report(tmp_path, uncertainty=np.zeros((2, 2, 2), np.float32))


def test_patient_right_is_on_the_left_of_the_picture() -> None:
    scene = im.make_scene(loaded_case(), tumour(), SCHEME)
    for plane in ("axial", "coronal"):
        codes = im.take(scene.codes, plane, im.largest_slices(scene))
        columns = np.flatnonzero(codes.any(axis=0))
        assert columns.max() < codes.shape[1] / 2
    sagittal = im.take(scene.images["t1n"], "sagittal", im.largest_slices(scene))
    assert sagittal.shape == (scene.codes.shape[2], scene.codes.shape[1])


def test_up_is_up_and_front_is_left() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[20, 40:44, 30:32] = 3  # in front, above
    scene = im.make_scene(loaded_case(), labels, SCHEME)
    rows, columns = np.nonzero(im.take(scene.codes, "sagittal", im.largest_slices(scene)))
    assert rows.max() < scene.codes.shape[2] / 2
    assert columns.max() < scene.codes.shape[1] / 2
    rows, _ = np.nonzero(im.take(scene.codes, "axial", im.largest_slices(scene)))
    assert rows.max() < scene.codes.shape[1] / 2


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SRA"])
def test_storage_order_changes_no_picture(codes: str) -> None:
    loaded = loaded_case()
    turned = {name: np.ascontiguousarray(reorient(image, GRID, codes)[0]) for name, image in loaded.images.items()}
    labels, grid = reorient(tumour(), GRID, codes)
    other = LoadedCase(case=loaded.case, grid=grid, images=turned)
    one, two = im.make_scene(loaded, tumour(), SCHEME), im.make_scene(other, labels, SCHEME)
    assert (one.codes == two.codes).all()
    np.testing.assert_allclose(one.grid.affine, two.grid.affine)
    assert (one.images["t1c"].astype(int) - two.images["t1c"] <= 1).all()


def test_viewer_codes_are_exact() -> None:
    scene = im.make_scene(loaded_case(), tumour(), SCHEME)
    data = viewer_data(scene, (1, 2, 3), measure(tumour(), GRID, SCHEME).lesions["ET"], "ET")
    ni, nj, nk = data.shape
    columns, rows = data.tiles
    sheet = picture_of(data.segmentation)
    assert sheet.shape == (rows * nj, columns * ni)
    k = nk // 2
    tile = sheet[(k // columns) * nj :, (k % columns) * ni :][:nj, :ni]
    assert (tile == 16 * scene.codes[:, :, k].T).all()
    assert data.start == (1, 2, 3)
    voxel = data.lesions[0].voxel
    mm = np.array(data.affine) @ [*voxel, 1]
    assert mm == pytest.approx([9.5, -1.5, -1.5], abs=1.1)  # the middle of the ring


def test_mosaic_by_hand() -> None:
    volume = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    sheet = mosaic(volume, (3, 2))
    assert sheet.shape == (6, 6)
    assert (sheet[:3, 2:4] == volume[:, :, 1].T).all()
    assert (sheet[3:, :2] == volume[:, :, 3].T).all()
    assert not sheet[3:, 2:].any()


def test_fine_volumes_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glioscope.report.viewer.MAX_VOXELS", 10_000)
    scene = im.make_scene(loaded_case(), tumour(), SCHEME)
    data = viewer_data(scene, (10, 10, 10), ())
    assert np.prod(data.shape) <= 10_000
    assert min(data.spacing) >= 2


def test_images_that_would_make_a_page_too_large_are_packed_tighter(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = im.make_scene(loaded_case(), tumour(), SCHEME)
    sizes = []
    for most in (4_000_000, 1):  # all the room there is, and none: the coarsest is taken then
        monkeypatch.setattr("glioscope.report.viewer.MOST_IMAGE_BYTES", most)
        sizes.append(sum(len(s.url) for s in viewer_data(scene, (1, 2, 3), ()).sequences))
    monkeypatch.setattr("glioscope.report.viewer.MOST_IMAGE_BYTES", (sizes[0] + sizes[1]) // 2 * 3 // 4)
    sizes.append(sum(len(s.url) for s in viewer_data(scene, (1, 2, 3), ()).sequences))
    assert sizes[1] < sizes[2] < sizes[0]


def test_grey_levels() -> None:
    image = np.array([0, 10, 20, np.nan, 1000], np.float32).reshape(5, 1, 1)
    grey = im.to_grey(image).ravel()
    assert grey[0] == 0
    assert 0 < grey[1] < grey[2] < grey[4]
    assert not im.to_grey(np.zeros((2, 2, 2), np.float32)).any()


def test_json_cannot_end_its_script() -> None:
    text = json_data({"a": "</script><!--&"})
    assert "<" not in text
    assert json.loads(str(text)) == {"a": "</script><!--&"}


def test_numbers_and_records() -> None:
    assert number(1234.56) == "1,234.6"
    assert [number(v) for v in (None, "", float("nan"), float("inf"), "x")] == ["–"] * 5
    assert flatten({"a_b": {"c": True}, "d": [1, 2.5], "e": None}) == [("a b · c", "yes"), ("d", "1, 2.5"), ("e", "–")]


# --- cohort -----------------------------------------------------------------------------------------------------------


def cohort(folder: Path) -> Path:
    for case_id, severity in (("calm", "info"), ("odd", "error")):
        flag = Flag("some-flag", severity, "why")  # type: ignore[arg-type]
        summary = told(case_id, flags=(flag,), seconds={"read": 1.0, "predict": 2.0})
        write_case_report(folder / case_id / "report.html", loaded_case(case_id), tumour(), SCHEME, summary)
        write_summary(folder / case_id / "summary.json", summary)
    return folder


def test_cohort_puts_failed_and_flagged_first(tmp_path: Path) -> None:
    cohort(tmp_path)
    (tmp_path / "failures.csv").write_text("case_id,reason\nbroken,t2f is <damaged>\n", encoding="utf-8")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "summary.json").write_text("{", encoding="utf-8")
    page = write_cohort_report(tmp_path).read_text(encoding="utf-8")
    assert_complete(page)
    order = [page.index(f'data-value="{name}"') for name in ("broken", "torn", "odd", "calm")]
    assert order == sorted(order)
    assert "t2f is &lt;damaged&gt;" in page
    assert 'href="odd/report.html"' in page
    assert "4 cases, 1 to check, 2 failed" in page


def test_cohort_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no case"):
        write_cohort_report(tmp_path)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_curves(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY, encoding="utf-8")
    draw_curves(tmp_path / "history.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 600
    history = read_history(tmp_path / "history.csv")
    assert history["train_loss"].tolist() == [1.1, 0.9]
    assert np.isnan(history["val_dice"][0])


def test_curves_of_a_header_alone_and_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(HISTORY.splitlines()[0] + "\n", encoding="utf-8")
    draw_curves(path, tmp_path / "curves.png")
    path.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="is empty"):
        draw_curves(path, tmp_path / "curves.png")
    with pytest.raises(RunError, match="no readable history"):
        draw_curves(tmp_path / "absent.csv", tmp_path / "curves.png")


def test_running_mean_by_hand() -> None:
    assert running_mean(np.array([2.0, 4, 6, 8]), 2).tolist() == [2, 3, 5, 7]


def test_run_report(tmp_path: Path) -> None:
    fold = tmp_path / "fold_0"
    fold.mkdir()
    (fold / "history.csv").write_text(HISTORY, encoding="utf-8")
    names = ("t1n", "t1c", "t2f")
    (tmp_path / "config.json").write_text(json.dumps({"preprocessing": {"sequences": names}}), encoding="utf-8")
    prepared = prepare(loaded_case(reference=tumour()), PreprocessingConfig(sequences=names))
    save_prepared(tmp_path / "prepared", prepared)
    guess = regions_from_labels(np.roll(tumour(), 1, axis=1), SCHEME)
    box = tuple(slice(a, b) for a, b in zip(prepared.box.start, prepared.box.stop, strict=True))
    k = int(np.count_nonzero(prepared.reference, axis=(0, 1, 2)).argmax())
    image, truth = prepared.image[..., k].astype(np.float16), prepared.reference[..., k]
    for step, drawn in ((20, np.zeros_like(truth)), (1040, guess[(slice(None), *box)][..., k])):
        seen = Glimpse(image=image, prediction=drawn, reference=truth, spacing_mm=1.0)
        seen.write(fold / "samples" / prepared.case_id / f"{step:06}.npz")
    (fold / "samples" / prepared.case_id / "001060.npz").write_bytes(b"cut off")
    write_volume(fold / "validation" / prepared.case_id / "segmentation.nii.gz", np.roll(tumour(), 1, axis=1), GRID)
    page = write_run_report(tmp_path).read_text(encoding="utf-8")
    assert_complete(page)
    for words in ("0.433", "Step 20<", "Step 1,040<", "Sample preprocessed images", "Sample predictions", "Reference"):
        assert words in page, words
    assert "1,060" not in page
    strip = page[page.index("Predictions as training went on") : page.index("Sample preprocessed images")]
    pictures = [np.asarray(picture_of(url), int) for url in re.findall(r'src="([^"]+)"', strip)]
    plain, nothing, shifted, reference = pictures
    assert (plain == nothing).all()  # an empty prediction leaves the image as it is
    drawn, truth = (np.ptp(p, axis=2) > 60 for p in (shifted, reference))
    assert np.nonzero(truth)[1].max() < truth.shape[1] / 2  # the patient's right is on the left
    assert (np.roll(drawn, 2, axis=0) == truth).mean() > 0.99  # one voxel to the front is two pixels up
    assert (drawn == truth).mean() < 0.99


def test_run_beside_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fold = tmp_path / name / "fold_0"
        fold.mkdir(parents=True)
        (fold / "history.csv").write_text(HISTORY, encoding="utf-8")
    evaluation(tmp_path / "two" / "fold_0" / "evaluation")
    page = write_run_report(tmp_path / "one", beside=tmp_path / "two").read_text(encoding="utf-8")
    assert_complete(page)
    assert "one beside two" in page
    assert "Box plots of Dice for each region and run" in page
    assert "beside" not in write_run_report(tmp_path / "one").read_text(encoding="utf-8")
    with pytest.raises(RunError, match=r"empty: has no fold_\*/history.csv"):
        write_run_report(tmp_path / "one", beside=tmp_path / "empty")


def test_run_without_history(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="glioscope train"):
        write_run_report(tmp_path)


# --- scores -----------------------------------------------------------------------------------------------------------


def rows(offset: float, *, cases: int = 5) -> list[RegionScores]:
    return [
        RegionScores(
            case_id=f"case-{n}",
            protocol="whole",
            region=region,
            reference_ml=10.0 * (n + 1),
            prediction_ml=9.0,
            scores={"dice": 0.5 + 0.05 * n + offset, "hd95": float("inf") if n == 0 else 3.0},
        )
        for n in range(cases)
        for region in ("WT", "TC", "ET")
    ]


def evaluation(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "cases.csv").write_text(rows_as_csv(rows(0.0)), encoding="utf-8")
    return folder


def test_evaluation_report_draws_the_worst_cases(tmp_path: Path) -> None:
    out = evaluation(tmp_path / "out")
    case = tmp_path / "data" / "case-0"
    for name, image in loaded_case().images.items():
        write_volume(case / f"case-0-{name}.nii.gz", image, GRID)
    write_volume(case / "case-0-seg.nii.gz", tumour(), GRID)
    write_volume(tmp_path / "case-0.nii.gz", np.roll(tumour(), 2, axis=0), GRID)
    assert load_case(case).reference is not None
    summary = json.loads((STORED / "evaluation-0.1.0.json").read_text("utf-8"))
    own = {"reference": "brats2023", "prediction": "brats2023"}
    files = {"reference": str(case / "case-0-seg.nii.gz"), "prediction": str(tmp_path / "case-0.nii.gz")}
    summary |= {"cases": {"case-0": {**files, "schemes": own}}, "missing": ["case-9"]}
    summary["results"]["whole"]["ET"]["dice"] |= {"mean": 0.61, "interval_95": [0.5, "nan"]}
    (out / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    page = write_evaluation_report(out).read_text(encoding="utf-8")
    assert_complete(page)
    assert "1. case-0: mean Dice 0.500" in page
    assert "Difference of case-0" in page
    assert "0.610" in page
    assert "case-9" in page


def test_evaluation_report_without_summary_or_files(tmp_path: Path) -> None:
    page = write_evaluation_report(evaluation(tmp_path / "out")).read_text(encoding="utf-8")
    assert_complete(page)
    assert "The worst cases" in page
    with pytest.raises(CaseError, match="no such file"):
        write_evaluation_report(tmp_path)


def test_comparison_page_shows_the_numbers_of_the_tables(tmp_path: Path) -> None:
    """Both are made from one comparison: whatever stands in comparison.md stands on the page."""
    out = evaluation(tmp_path / "out")
    methods = {"original": read_rows(out), "standard": rows(0.1, cases=4)}
    comparison = compare_methods(methods, protocol="whole")
    costs = {"original": {"seconds_per_case": 6.25}, "standard": {"seconds_per_case": 1.5}}
    write_comparison_report(tmp_path / "compare.html", methods, comparison=comparison, costs=costs)
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert_complete(page)
    assert "The same 4 cases, protocol whole" in page
    assert "1 case left out" in page
    assert "6.25" in page
    cells = [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", page)]
    assert "+0.100" in cells
    for line in as_markdown(comparison).splitlines():
        words = [word.strip() for word in line.strip("|").split("|")]
        if words[0] in ("WT", "TC", "ET") and words[1] == "dice":
            assert {words[5], words[6], f"+{words[7]}", words[8], words[9], words[10]} <= set(cells), line


def test_comparison_where_methods_differ_most_comes_first(tmp_path: Path) -> None:
    other = [replace(row, scores={"dice": 0.9, "hd95": 1.0}) for row in rows(0.0)]  # case-0 gains most: 0.5 to 0.9
    methods = {"a": rows(0.0), "b": other}
    write_comparison_report(tmp_path / "c.html", methods, comparison=compare_methods(methods, protocol="whole"))
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    places = [page.index(f'<th scope="row">case-{n}</th>') for n in range(5)]
    assert places == sorted(places)


def test_charts_of_nothing_are_empty_not_broken() -> None:
    assert svg(box_figure({"WT": {"a": [float("nan")]}}, label="Dice")).startswith(b"<?xml")


def test_csv_reader_is_the_one_that_wrote(tmp_path: Path) -> None:
    with (evaluation(tmp_path / "out") / "cases.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 15
