"""The page of a training: its curves, what the network saw, what it drew, how well it did."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import SEQUENCES
from glioscope.errors import RunError
from glioscope.evaluation import read_rows
from glioscope.evaluation.pairs import recorded_scheme
from glioscope.files import nifti_stem
from glioscope.labels import REGIONS, regions_from_labels, scheme_named
from glioscope.prepare.preprocessing import CACHE_SCHEME, PreparedCase, load_prepared
from glioscope.report import images as im
from glioscope.report.figures import beside_figure, box_figure, chart, curves_figure, has_values, read_history
from glioscope.report.page import (
    StillRow,
    comparison_stills,
    flatten,
    read_record,
    sequence_stills,
    still,
    write_page,
)
from glioscope.report.scores import main_protocol, score_charts
from glioscope.report.style import SEQUENCE_NAMES
from glioscope.runs import Glimpse
from glioscope.space.grid import Grid, cut, reorient
from glioscope.space.volumes import VolumeFile, read_labels

SHOWN_CASES = 3
"""Cases whose preprocessed images, and whose predictions, are shown."""
SHOWN_MOMENTS = 10
"""Predictions of a case as training went on that are shown, evenly chosen."""


def write_run_report(run_folder: Path, *, beside: Path | None = None) -> Path:
    """Write `report.html` of a training run, and return its path.

    Parameters
    ----------
    run_folder : Path
        As `train` writes it: `fold_*/history.csv`; used where there: `config.json`, `record.json`, `prepared/`,
        `fold_*/samples/` (slices of validated cases), `fold_*/validation/` (segmentations of held-out cases) and any
        `cases.csv` of an evaluation.
    beside : Path, optional
        Another run, whose validation curve and scores are drawn next to this one's.

    Raises
    ------
    RunError
        There is no history, or the page cannot be written.
    """
    folds = sorted(path.parent for path in run_folder.glob("fold_*/history.csv"))
    if not folds:
        raise RunError(f"{run_folder}: has no fold_*/history.csv; 'glioscope train' writes it")
    other = None if beside is None else _beside(run_folder, beside)
    config = read_record(run_folder / "config.json")
    sequences, names = _sequences(config), _region_names(config)
    page = run_folder / "report.html"
    write_page(
        page,
        "run.html",
        {
            "title": f"{run_folder.resolve().name}: training",
            "name": run_folder.resolve().name,
            "folds": [_fold(fold, sequences, names) for fold in folds],
            "prepared": _prepared_rows(run_folder / "prepared", sequences),
            "predictions": _prediction_rows(run_folder, folds, sequences),
            "scores": [score_charts(path) for path in sorted(run_folder.rglob("cases.csv"))[:6]],
            "beside": other,
            "names": names,
            "config": flatten(config),
            "record": flatten({k: v for k, v in read_record(run_folder / "record.json").items() if k != "cases"}),
        },
    )
    return page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """Charts of two runs."""

    names: tuple[str, ...]
    curves: str
    boxes: str | None
    """None where neither has scored a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fold:
    """What the page shows of one fold."""

    name: str
    curves: str
    best: Mapping[str, float] | None
    """Columns of the history at the best validation; None before the first one."""
    minutes: float | None
    """Of training."""
    steps: int
    moments: Sequence[StillRow]
    """A row per validated case, its predictions over the steps."""


def _beside(run_folder: Path, other: Path) -> _Beside:
    """Return charts of two runs: validation Dice over time, and Dice per region of the cases each has scored."""
    runs = {run_folder.resolve().name: run_folder, other.resolve().name: other}
    if len(runs) < 2:
        runs = {str(run_folder): run_folder, str(other): other}
    first = {name: next(iter(sorted(run.glob("fold_*/history.csv"))), None) for name, run in runs.items()}
    if lacking := [name for name, history in first.items() if history is None]:
        raise RunError(f"{lacking[0]}: has no fold_*/history.csv; 'glioscope train' writes it")
    scores: dict[str, dict[str, list[float]]] = {region: {} for region in REGIONS}
    for name, run in runs.items():
        rows = [row for table in sorted(run.glob("fold_*/evaluation/cases.csv")) for row in read_rows(table)]
        protocol = main_protocol(rows)
        for region in REGIONS:
            own = [row for row in rows if row.protocol == protocol and row.region == region]
            scores[region][name] = [row.scores.get("dice", math.nan) for row in own]
    return _Beside(
        names=tuple(runs),
        curves=chart(beside_figure({name: read_history(path) for name, path in first.items() if path})),
        boxes=chart(box_figure(scores, label="Dice")) if has_values(scores) else None,
    )


def _reference_first(scene: im.Scene) -> im.Scene:
    """Return the scene with the reference's slices chosen, so that pictures over epochs show one place."""
    if scene.reference is None:
        return scene
    return im.Scene(grid=scene.grid, images=scene.images, names=scene.names, codes=scene.reference)


def _sequences(config: Mapping[str, Any]) -> tuple[str, ...]:
    for table in (config, config.get("config", {}), config.get("settings", {})):
        chosen = table.get("preprocessing", {}).get("sequences") if isinstance(table, dict) else None
        if chosen:
            return tuple(chosen)
    return SEQUENCES


def _region_names(config: Mapping[str, object]) -> tuple[str, ...]:
    table = config.get("settings")
    regions = table.get("regions") if isinstance(table, dict) else None
    return tuple(regions.get("names", REGIONS)) if isinstance(regions, dict) else REGIONS


def _fold(folder: Path, sequences: Sequence[str], regions: Sequence[str]) -> _Fold:
    """Return curves, the best validation and samples over epochs of one fold."""
    history = read_history(folder / "history.csv")
    best = None
    dice = history.get("val_dice")
    if dice is not None and np.isfinite(dice).any():
        row = int(np.nanargmax(dice))
        names = ("step", "val_dice", *(f"val_dice_{name}" for name in regions), "val_accuracy", "val_loss")
        best = {name: float(history[name][row]) for name in names if name in history}
    seconds = history.get("seconds")
    return _Fold(
        name=folder.name.replace("_", " "),
        curves=chart(curves_figure(history)),
        best=best,
        minutes=float(np.nanmax(seconds)) / 60 if seconds is not None and np.isfinite(seconds).any() else None,
        steps=int(np.nanmax(history["step"])) if "step" in history and history["step"].size else 0,
        moments=[_moments(case, sequences, regions) for case in sorted((folder / "samples").glob("*/"))],
    )


def _moments(folder: Path, sequences: Sequence[str], regions: Sequence[str]) -> StillRow:
    """Return one slice of a validated case: the image, the reference, and what the network drew step after step."""
    found: dict[int, Glimpse] = {}
    for file in folder.glob("*.npz"):
        with suppress(RunError, ValueError):  # a damaged one, or a name that is no number
            found[int(file.stem)] = Glimpse.read(file)
    steps = sorted(found)
    if len(steps) > SHOWN_MOMENTS:
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, SHOWN_MOMENTS).round().astype(int)]
    scenes = {step: _scene_of_glimpse(found[step], sequences, regions) for step in steps}
    stills = []
    for step, scene in scenes.items():
        name = "t1c" if "t1c" in scene.images else next(iter(scene.images))
        grey = im.grey_picture(scene, name, "axial", (0, 0, 0))
        drawn = im.overlay(grey, im.take(scene.codes, "axial", (0, 0, 0)), scene.names)
        stills.append(still(drawn, f"{folder.name}: prediction at step {step}", f"Step {step:,}"))
    if scenes:  # the last is at the finest spacing
        assert scene.reference is not None
        truth = im.overlay(grey, im.take(scene.reference, "axial", (0, 0, 0)), scene.names)
        stills.append(still(truth, f"{folder.name}: reference", "Reference", im.SIDES["axial"]))
        stills.insert(0, still(grey, f"{folder.name}: image", SEQUENCE_NAMES.get(name, name), im.SIDES["axial"]))
    return StillRow(name=folder.name, stills=stills)


def _scene_of_glimpse(glimpse: Glimpse, sequences: Sequence[str], names: Sequence[str]) -> im.Scene:
    """Return a slice as a scene of one slice, so that it is drawn as every other."""

    def turned(part: NDArray[Any]) -> NDArray[Any]:  # RAS to LPS
        return np.ascontiguousarray(part[..., ::-1, ::-1, None])

    def coded(regions: NDArray[np.bool_]) -> NDArray[np.uint8]:
        bits = np.array([1 << bit for bit in range(len(names))], np.uint8)
        return turned((regions * bits[:, None, None]).sum(0, dtype=np.uint8))

    return im.Scene(
        grid=Grid((*glimpse.image.shape[1:], 1), np.diag([-glimpse.spacing_mm, -glimpse.spacing_mm, 1, 1])),
        images={
            name: im.to_grey(turned(channel.astype(np.float32)))
            for name, channel in zip(sequences, glimpse.image, strict=False)
            if channel.any()
        },
        names=tuple(names),
        codes=coded(glimpse.prediction),
        reference=coded(glimpse.reference),
    )


def _prepared_rows(folder: Path, sequences: Sequence[str]) -> list[StillRow]:
    """Return the preprocessed images of a few cases: every channel as the network gets it, and the reference."""
    files = sorted(folder.glob("*.json"))
    rows = []
    chosen = np.unique(np.linspace(0, max(0, len(files) - 1), SHOWN_CASES).round().astype(int))
    for file in [files[i] for i in chosen if files]:
        scene = im.scene_of_prepared(load_prepared(folder, file.stem), sequences)
        at = im.largest_slices(scene)
        stills = sequence_stills(scene, at, f"{file.stem}, preprocessed")
        if scene.reference is not None and stills:
            base = im.grey_picture(scene, list(scene.images)[-1], "axial", at)
            picture = im.overlay(base, im.take(scene.reference, "axial", at), scene.names)
            stills.append(still(picture, f"Reference of {file.stem}", "Reference", im.SIDES["axial"]))
        rows.append(StillRow(name=file.stem, stills=stills))
    return rows


def _prediction_rows(run_folder: Path, folds: Sequence[Path], sequences: Sequence[str]) -> list[StillRow]:
    """Return predictions of a few held-out cases beside their references."""
    rows: list[StillRow] = []
    for fold in folds:
        for file in sorted((fold / "validation").rglob("*.nii.gz")):
            case_id = file.parent.name if file.name == "segmentation.nii.gz" else nifti_stem(file)
            if len(rows) >= SHOWN_CASES or not (run_folder / "prepared" / f"{case_id}.json").is_file():
                continue
            prepared = load_prepared(run_folder / "prepared", case_id)
            prediction = _on_prepared_grid(file, prepared)
            if prediction is None:
                continue
            scene = im.scene_of_prepared(prepared, sequences, prediction=prediction)
            at = im.largest_slices(_reference_first(scene))
            name = f"{case_id}, {fold.name.replace('_', ' ')}"
            rows.append(StillRow(name=name, stills=comparison_stills(scene, at, case_id)))
    return rows


def _on_prepared_grid(file: Path, prepared: PreparedCase) -> NDArray[np.bool_] | None:
    """Return a native segmentation's regions on the prepared grid, where that takes no resampling."""
    volume = read_labels(file)
    turned, grid = reorient(volume.data, volume.grid, "RAS")
    if not grid.matches(Grid(prepared.whole.shape, prepared.whole.affine)):
        return None
    labels = cut(turned, prepared.box)
    learnt = prepared.regions
    scheme = scheme_named(recorded_scheme(VolumeFile(file)) or learnt.scheme or CACHE_SCHEME)
    return regions_from_labels(np.where(np.isin(labels, scheme.values), labels, 0), scheme, names=learnt.names)
