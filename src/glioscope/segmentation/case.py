"""The steps of one case: read and prepare it, predict, write what was found."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, LoadedCase, load_scans, naming_scheme
from glioscope.dicom.find import DicomCase
from glioscope.errors import CaseError, ConfigError, RunError
from glioscope.files import remove_scratch, sha256_of
from glioscope.inference import Engine, InferenceConfig, predict_case, regions_from_probabilities
from glioscope.labels import LabelScheme, labels_from_regions, painted, scheme_named
from glioscope.machine import processor, versions
from glioscope.model import ModelSpec
from glioscope.prepare.preprocessing import PreparedCase, prepare, restore
from glioscope.prepare.skull import skull_on
from glioscope.quality import check_input, check_output, uncertainty
from glioscope.quality.inputs import Card, not_measurable
from glioscope.results import CaseSummary, DicomFiles, Flag, InputFile, Measurements, usable_summary, write_summary
from glioscope.results.preparation import RawOrigin
from glioscope.results.summary import SUMMARY, EngineRecord, GridRecord, ModelRecord, ProcessorRecord, SchemeRecord
from glioscope.segmentation.asked import Asked, Segmented, answer
from glioscope.segmentation.logits import FILE as LOGITS
from glioscope.segmentation.logits import write_logits
from glioscope.segmentation.records import CLINICAL, CaseOutcome, SegmentOptions, reason
from glioscope.space.orientation import Doubt, doubts_in_words
from glioscope.space.volumes import read_grid, write_volume

if TYPE_CHECKING:
    from glioscope.segmentation.raw import RawRoute


Inputs = Mapping[str, InputFile | DicomFiles]
"""Sequence to its file; of DICOM `dicom` to all files."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """The model, its settings and where results go: the same for every case of a run."""

    output: Path
    spec: ModelSpec
    inference: InferenceConfig
    options: SegmentOptions
    model: ModelRecord
    """Name, folder and checksum, as summaries tell them."""
    card: Card | None
    """What the model's card.json says, if it has one: what a missing sequence costs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A case on its way to the network."""

    loaded: LoadedCase
    prepared: PreparedCase
    scheme: LabelScheme
    inputs: Inputs
    """What was given, with checksums."""
    seconds: dict[str, float]
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Series named by the user."""
    doubts: tuple[tuple[Doubt, str], ...] = ()
    """What the files' headers leave unsure, each with its sentence."""
    route: "RawRoute | None" = None
    """Of raw scans: how they became a case, and the way back."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """A case on its way back."""

    ready: Ready
    probabilities: NDArray[np.float32]
    """(3, i, j, k) on the prepared grid."""
    labels: NDArray[np.uint8]
    """(i, j, k) on the prepared grid."""
    seconds: dict[str, float]


def read(work: Work, case: Case | DicomCase) -> Ready | CaseOutcome:
    """Read a case and bring it onto the network's grid; an outcome if an earlier run did it."""
    start = time.perf_counter()
    naming = "brats2023" if isinstance(case, DicomCase) else naming_scheme(case)
    scheme = scheme_named(_scheme_of(work) or naming)
    overrides = case.overrides if isinstance(case, DicomCase) else {}
    inputs = _inputs(case)
    earlier = None if work.options.overwrite else _earlier(work, case.case_id, _recipe(work, scheme, overrides), inputs)
    if earlier is not None:
        return CaseOutcome.of(earlier, "skipped")
    loaded, route = _load(work, case)
    read = time.perf_counter()
    prepared = prepare(replace(loaded, reference=None), work.spec.preprocessing)
    seconds = {"read": read - start, "prepare": time.perf_counter() - read}
    if route is not None:
        seconds["read"] -= sum(route.prepared.seconds.values())
        seconds |= route.prepared.seconds
    return Ready(
        loaded=loaded,
        prepared=prepared,
        scheme=scheme,
        inputs=inputs,
        seconds=seconds,
        overrides=dict(overrides),
        doubts=_doubts(case),
        route=route,
    )


def _scheme_of(work: Work) -> str:
    """Return the label scheme that results have to be in, or nothing if the input's year decides."""
    own, asked = work.spec.regions.scheme, work.options.scheme or ""
    if own and asked and own != asked:
        raise ConfigError(f"model '{work.spec.name}' writes labels of '{own}', not of '{asked}'; leave --scheme away")
    return own or asked


def _inputs(case: Case | DicomCase) -> Inputs:
    """Return what was given, with checksums. DICOM has one for all its files: a path may name the patient."""
    if isinstance(case, DicomCase):
        files = case.files()
        digest = hashlib.sha256("".join(map(_checksum, files)).encode()).hexdigest()
        return {"dicom": DicomFiles(files=len(files), sha256=digest)}
    return {
        name: InputFile(file=str(file.path.resolve()), channel=file.channel, sha256=_checksum(file.path))
        for name, file in case.sequences.items()
    }


def _doubts(case: Case | DicomCase) -> tuple[tuple[Doubt, str], ...]:
    if isinstance(case, DicomCase):
        return ()
    return doubts_in_words((name, file.path) for name, file in case.sequences.items())


def _load(work: Work, case: Case | DicomCase) -> "tuple[LoadedCase, RawRoute | None]":
    """Read a case; one that came raw is brought onto one grid, skull off."""
    asked = work.options.raw
    loaded = None
    if isinstance(case, DicomCase):
        why = "it is DICOM"
    else:
        why = "" if asked is False else "it was said to be raw" if asked else different_grids(case)
        if not why:
            loaded = load_scans(case, with_reference=work.options.report)
            why = "" if asked is False else skull_on(loaded.images, loaded.grid)
        if not why and loaded is not None:
            return loaded, None
    from glioscope.segmentation import raw

    return raw.begin(case, why, loaded, work.output, pictures="capture" in work.options.dicom)


def different_grids(case: Case) -> str:
    """Return how the grids of a case's scans differ, from their headers; nothing if they do not."""
    grids = {name: read_grid(file) for name, file in case.sequences.items()}
    first = next(iter(grids))
    for name, grid in grids.items():
        if not grid.matches(grids[first]):
            return f"{name} has {grid.describe()} but {first} has {grids[first].describe()}"
    return ""


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CaseError(
            f"{path}: cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error


def _recipe(work: Work, scheme: LabelScheme, overrides: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that decide the result, as JSON gives them back."""
    recipe: dict[str, object] = json.loads(json.dumps(asdict(work.inference)))
    recipe |= {"scheme": scheme.name, "raw": work.options.raw, "series": dict(overrides)}
    recipe |= work.options.requests
    return recipe | ({"identity": work.options.identity} if work.options.dicom else {})


def _earlier(work: Work, case_id: str, recipe: Mapping[str, object], inputs: Inputs) -> CaseSummary | None:
    """Return the summary of an earlier run if it is of these inputs, model and settings, and its files are there."""
    folder = work.output / case_id
    try:
        summary = usable_summary(folder / SUMMARY)
    except RunError as error:  # of a later version: this case alone cannot be done
        raise CaseError(str(error)) from error
    if summary is None:
        return None
    given = summary.raw.inputs if summary.raw else summary.inputs
    same = (
        {name: entry.sha256 for name, entry in given.items()} == {name: entry.sha256 for name, entry in inputs.items()}
        and summary.model.sha256 == work.model.sha256
        and {"identity": False, **summary.settings} == {"identity": False, **recipe}
    )
    wanted = ["segmentation.nii.gz", *(["report.html"] if work.options.report else [])]
    names = work.spec.regions.names
    wanted += [f"probability-{name}.nii.gz" for name in names] if work.options.save_probabilities else []
    wanted += [LOGITS] if work.options.save_logits else []
    if summary.raw:
        wanted += [entry.file for entry in summary.raw.native.values()]
        wanted += [CLINICAL[kind] for kind in work.options.dicom] if "dicom" in inputs else []
    return summary if same and all((folder / name).is_file() for name in wanted) else None


def predict(work: Work, engine: Engine, ready: Ready) -> Predicted:
    """Run the network."""
    start = time.perf_counter()
    learnt, outputs, grid = work.spec.regions, work.spec.outputs, ready.prepared.grid
    probabilities = predict_case(engine, ready.prepared, outputs, work.inference, regions=len(learnt.names))
    regions = regions_from_probabilities(
        probabilities, work.inference, voxel_ml=grid.voxel_volume_ml, outputs=outputs, learnt=learnt
    )
    labels = painted(regions, learnt) if learnt.scheme else labels_from_regions(regions, ready.scheme)
    seconds = {**ready.seconds, "predict": time.perf_counter() - start}
    return Predicted(ready=ready, probabilities=probabilities, labels=labels, seconds=seconds)


def finish(work: Work, engine: Engine, checker: Executor, predicted: Predicted) -> CaseOutcome:
    """Write all files of a case, the segmentation first and the summary last.

    The case is looked at for flags in the `checker`, on another core, beside what is written and measured here.
    """
    ready, lap = predicted.ready, _Laps(predicted.seconds)
    prepared, loaded, scheme = ready.prepared, ready.loaded, ready.scheme
    folder = work.output / loaded.case.case_id
    remove_scratch(folder)
    checked = checker.submit(
        lambda: [*check_input(loaded, card=work.card), *_check_result(predicted, work.spec.regions.names)]
    )
    labels = restore(predicted.labels, prepared)  # decided before it is carried over, so nothing is interpolated
    like = None if ready.route is not None else next(iter(loaded.case.sequences.values())).path
    write_volume(folder / "segmentation.nii.gz", labels, loaded.grid, like=like)
    if work.options.save_probabilities:
        for name, probability in zip(work.spec.regions.names, predicted.probabilities, strict=True):
            write_volume(folder / f"probability-{name}.nii.gz", restore(probability, prepared), loaded.grid, like=like)
    if work.options.save_logits:
        write_logits(folder / LOGITS, predicted.probabilities, prepared)
    outputs = {"segmentation.nii.gz": sha256_of(folder / "segmentation.nii.gz")}
    lap("write")
    from glioscope.measure import measure  # loaded by now, see `Worker.segment`

    brain = restore(prepared.brain, prepared)
    measurements = measure(labels, loaded.grid, scheme, brain=brain)
    lap("measure")
    if any(not doubt.side_known for doubt, _ in ready.doubts):
        measurements = replace(measurements, side=None)
    flags = [*_reading_flags(ready), *checked.result()]
    lap("check")
    asked = _asked(work, predicted, labels, brain, measurements, flags, outputs)
    if asked is not None:
        lap("asked")
    inputs = {name: entry for name, entry in ready.inputs.items() if isinstance(entry, InputFile)}
    origin = None
    if ready.route is not None:
        inputs, origin, more_flags = _way_back(work, folder, predicted, labels, measurements, outputs, asked)
        flags += more_flags
        lap("native")
    summary = replace(
        _summary(work, engine, ready, inputs, origin, measurements),
        flags=(*flags, *(asked.flags if asked else ())),
        anatomy=asked.anatomy if asked else None,
        outputs=outputs,
        seconds=lap.rounded(),
    )
    if work.options.report:
        failure = _report(folder / "report.html", predicted, labels, summary)
        lap("report")
        more = (failure,) if failure else ()
        summary = replace(summary, flags=(*summary.flags, *more), seconds=lap.rounded())
    write_summary(folder / SUMMARY, summary)
    return CaseOutcome.of(summary, "done")


def _reading_flags(ready: Ready) -> list[Flag]:
    """Return what was doubtful about the files as they were read."""
    flags = [
        Flag("header", "warning", text if doubt.side_known else f"{text}; no side is claimed")
        for doubt, text in ready.doubts
    ]
    if problem := ready.loaded.reference_problem:
        flags.append(Flag("reference-unused", "warning", f"the reference was not used: {problem}"))
    return flags


class _Laps:
    """Seconds of each stage."""

    def __init__(self, before: Mapping[str, float]) -> None:
        self._seconds = dict(before)
        self._clock = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage], self._clock = now - self._clock, now

    def rounded(self) -> dict[str, float]:
        return {stage: round(s, 3) for stage, s in self._seconds.items()}


def _summary(
    work: Work,
    engine: Engine,
    ready: Ready,
    inputs: Mapping[str, InputFile],
    origin: RawOrigin | None,
    measurements: Measurements,
) -> CaseSummary:
    """Return the summary of a case but for flags, outputs and seconds."""
    grid, scheme = ready.loaded.grid, ready.scheme
    return CaseSummary(
        case_id=ready.loaded.case.case_id,
        subject_id=ready.loaded.case.subject_id,
        inputs=inputs,
        raw=origin,
        missing_sequences=tuple(ready.loaded.case.missing),
        not_measurable=not_measurable(ready.loaded.images, work.card),
        grid=GridRecord(shape=grid.shape, spacing_mm=grid.spacing_mm, orientation=grid.orientation),
        scheme=SchemeRecord(name=scheme.name, labels={str(v): tissue for v, tissue in scheme.meanings.items()}),
        model=work.model,
        settings=_recipe(work, scheme, ready.overrides),
        engine=EngineRecord(name=engine.name, precision=engine.precision, description=engine.description),
        processor=ProcessorRecord(**asdict(processor())),
        versions=versions(),
        measurements=measurements,
        flags=(),
    )


def _asked(
    work: Work,
    predicted: Predicted,
    labels: NDArray[np.uint8],
    brain: NDArray[np.bool_],
    measurements: Measurements,
    flags: Sequence[Flag],
    outputs: dict[str, str],
) -> Asked | None:
    """Return what was asked for beside the segmentation; None, and nothing loaded, if nothing was."""
    if not work.options.requests:
        return None
    ready = predicted.ready
    case = Segmented(
        loaded=ready.loaded,
        labels=labels,
        brain=brain.astype(bool),
        scheme=ready.scheme,
        measurements=measurements,
        flags=tuple(flags),
        own_space=ready.route is not None,
    )
    return answer(work.output / ready.loaded.case.case_id, case, work.options, outputs)


def _way_back(
    work: Work,
    folder: Path,
    predicted: Predicted,
    labels: NDArray[np.uint8],
    measurements: Measurements,
    outputs: dict[str, str],
    asked: Asked | None,
) -> tuple[dict[str, InputFile], RawOrigin, list[Flag]]:
    """Write what raw scans get besides, and add it to `outputs`; return inputs and origin of the summary, and flags."""
    from glioscope.segmentation import raw

    ready, route = predicted.ready, predicted.ready.route
    assert route is not None
    inputs, written = raw.write_scans(folder, route, ready.loaded.case.case_id)
    outputs.update(written)
    native, maps = raw.write_native(folder, route, labels, ready.scheme)
    outputs.update({entry.file: entry.sha256 for entry in native.values()})
    written, flags = raw.write_clinical(folder, route, maps, ready.scheme, measurements, work.options, asked)
    outputs.update(written)
    return inputs, raw.record_of(route, ready.inputs, native), [*raw.flags_of(route), *flags]


def _check_result(predicted: Predicted, names: tuple[str, ...]) -> tuple[Flag, ...]:
    ready = predicted.ready
    return check_output(
        predicted.labels,
        ready.prepared.grid,
        scheme=ready.scheme,
        probabilities=predicted.probabilities,
        names=names,
        brain=ready.prepared.brain,
    )


def _report(path: Path, predicted: Predicted, native: NDArray[np.uint8], summary: CaseSummary) -> Flag | None:
    """Write the page; a page that fails must not cost the segmentation, so it becomes a flag."""
    from glioscope.report import write_case_report

    ready = predicted.ready
    try:
        unsure = restore(uncertainty(predicted.probabilities), ready.prepared)
        write_case_report(path, ready.loaded, native, ready.scheme, summary, uncertainty=unsure)
    except RunError:  # no space: the summary could not be written either
        raise
    except Exception as error:  # noqa: BLE001
        return Flag("report-failed", "warning", f"report.html could not be made: {reason(error)}")
    return None
