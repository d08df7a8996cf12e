"""Files to files: a patient or a cohort in, segmentations with their measurements, flags and pages out.

    find ──▶ read ──▶ prepare ──▶ predict ──▶ restore ──▶ write ──▶ measure, check ──▶ report ──▶ summary.json
             └──── reader's thread ────┘      └────────────────── writer's thread ──────────────────┘

While the network works on one case the next is read and the last is written, never more, so that memory stays flat
over a cohort. `summary.json` comes last and names the checksums of all that went in: a case whose summary still
matches is done, and a second run passes over it.
"""

import csv
import hashlib
import io
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, LoadedCase, case_of_files, load_case, naming_scheme, scan_cases
from glioscope.engines import Device, Engine, Precision, load_ensemble
from glioscope.errors import CaseError, GlioscopeError, ModelError, RunError
from glioscope.inference import InferenceConfig, predict_case, regions_from_probabilities
from glioscope.labels import REGIONS, LabelScheme, labels_from_regions, scheme_named
from glioscope.measure import measure
from glioscope.preprocessing import PreparedCase, prepare, restore
from glioscope.quality import Flag, check_input, check_output, uncertainty
from glioscope.runs import (
    ModelSpec,
    model_folders,
    processor,
    read_ensemble,
    read_json,
    settings,
    sha256_of,
    versions,
    write_json,
)
from glioscope.volumes import VolumeFile, read_labels, write_text, write_volume

Status = Literal["done", "skipped", "failed"]
log = logging.getLogger(__name__)

T = TypeVar("T")
Place = Path | str | Case
"""A folder of cases, a Decathlon file, or a case already found."""
OnProgress = Callable[[int, int, str], None]
"""Called with cases finished, cases in all, and one line on what happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """What to run on and what to write."""

    scheme: str | None = None
    """Label scheme of the result; None takes that of the input's year, told by its file names."""
    device: Device = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    """On the processor; None takes all cores."""
    mirror: bool = False
    """Average with the left-right mirror image: twice the time."""
    save_probabilities: bool = False
    """Write probability-WT.nii.gz, -TC and -ET as well."""
    report: bool = True
    """Write report.html."""
    overwrite: bool = False
    """Do all cases again, also those that are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOutcome:
    """What became of one case."""

    case_id: str
    status: Status
    """`skipped`: an earlier run did it."""
    summary: Mapping[str, Any] | None = None
    """What stands in summary.json; None if it failed."""
    reason: str = ""
    """Why it failed, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationResult:
    """What became of every case, in order; none is missing."""

    output: Path
    outcomes: tuple[CaseOutcome, ...]

    def with_status(self, status: Status) -> tuple[CaseOutcome, ...]:
        """Return the outcomes of one status."""
        return tuple(o for o in self.outcomes if o.status == status)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """What is the same for all cases."""

    output: Path
    spec: ModelSpec
    inference: InferenceConfig
    options: SegmentOptions
    model: dict[str, Any]
    """Name, folder and checksum, as summaries tell them."""
    card: Mapping[str, Any] | None
    """What the model's card.json says, if it has one: what a missing sequence costs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    """A case on its way to the network."""

    loaded: LoadedCase
    prepared: PreparedCase
    scheme: LabelScheme
    inputs: dict[str, Any]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Predicted:
    """A case on its way back."""

    ready: _Ready
    probabilities: NDArray[np.float32]
    """(3, i, j, k) on the prepared grid."""
    labels: NDArray[np.uint8]
    """(i, j, k) on the prepared grid."""
    seconds: dict[str, float]


def default_model() -> Path:
    """Return the folder of the network that comes with the package.

    Raises
    ------
    ModelError
        This installation has none.
    """
    folder = Path(__file__).parent / "models" / "starter"
    if not (folder / "model.json").is_file():
        raise ModelError(f"{folder}: this installation has no network; name one with --model FOLDER")
    return folder


def segment(
    inputs: Place | Sequence[Place] | Mapping[str, Path | str],
    output: Path | str,
    *,
    model: Path | str | None = None,
    options: SegmentOptions = SegmentOptions(),
    progress: OnProgress = lambda _done, _all, _line: None,
) -> SegmentationResult:
    """Segment a case or a cohort and write what was found.

    Parameters
    ----------
    inputs : path, Case, several of them, or mapping
        Folders of cases in any layout; Decathlon files; or one case as ``{"t1n": file, …}`` with any of the sequences.
    output : path
        ``<output>/<case>/`` gets segmentation.nii.gz, summary.json and report.html; several cases also cohort.csv
        and failures.csv.
    model : path, optional
        A model folder, or a run folder, whose trained folds then answer together; by default the network that comes
        with the package.

    Returns
    -------
    SegmentationResult
        A failed case among several is an outcome with its reason. The only case of a call raises instead.

    Raises
    ------
    CaseError, GeometryError
        The only case cannot be used, or there is no case at all.
    ModelError
        The model is absent, damaged or does not run.
    RunError
        The output cannot be written.
    """
    output = Path(output)
    folders = model_folders(Path(model) if model is not None else default_model())
    spec = read_ensemble(folders)
    if options.scheme is not None:
        scheme_named(options.scheme)
    work = _Work(
        output=output,
        spec=spec,
        inference=_inference(spec, options),
        options=options,
        model=_model_record(folders, spec),
        card=_card(folders[0]),
    )
    cases, problems = _find(inputs)
    alone = len(cases) + len(problems) == 1
    if alone and problems:
        raise CaseError(next(iter(problems.values())))
    outcomes = [CaseOutcome(case_id=name, status="failed", reason=reason) for name, reason in problems.items()]
    try:
        for outcome in _segment_all(work, cases, lambda: _engine(folders, options), alone=alone):
            outcomes.append(outcome)
            progress(len(outcomes), len(cases) + len(problems), _line(outcome))
    finally:  # also when interrupted: what was done is listed
        outcomes.sort(key=lambda o: o.case_id)
        if not alone and outcomes:
            _write_tables(output, outcomes)
            if options.report:
                _report_cohort(output)
    return SegmentationResult(output=output, outcomes=tuple(outcomes))


def _inference(spec: ModelSpec, options: SegmentOptions) -> InferenceConfig:
    table = {"divisor": spec.divisor, "temperature": spec.temperature, **spec.inference}
    config = settings(InferenceConfig, {"inference": table}, "inference")
    return replace(config, mirror_axes=(0,)) if options.mirror else config


def _card(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is damaged ({error}); copy the model again") from error
    return card


def _model_record(folders: Sequence[Path], spec: ModelSpec) -> dict[str, Any]:
    """Return what tells one model from another; an ensemble's checksum is that of its members' checksums in order."""
    digests = [sha256_of(folder / "model.json") for folder in folders]
    record: dict[str, Any] = {"name": spec.name, "folder": str(folders[0].resolve()), "sha256": digests[0]}
    if len(folders) > 1:
        record["sha256"] = hashlib.sha256("".join(digests).encode()).hexdigest()
        record["members"] = [str(folder.resolve()) for folder in folders]
    return record


def _engine(folders: Sequence[Path], options: SegmentOptions) -> Engine:
    return load_ensemble(folders, device=options.device, precision=options.precision, threads=options.threads)


def _find(
    inputs: Place | Sequence[Place] | Mapping[str, Path | str],
) -> tuple[tuple[Case, ...], dict[str, str]]:
    if isinstance(inputs, Mapping):
        return (case_of_files({name: Path(path) for name, path in inputs.items()}),), {}
    places = [inputs] if isinstance(inputs, Path | str | Case) else list(inputs)
    cases: dict[str, Case] = {}
    problems: dict[str, str] = {}
    for place in places:
        found, wrong = ((place,), {}) if isinstance(place, Case) else scan_cases(Path(place))
        problems.update(wrong)
        for case in found:
            if case.case_id in cases:
                raise CaseError(f"case {case.case_id}: lies in two of the inputs; case ids must differ, leave one out")
            cases[case.case_id] = case
    return tuple(cases.values()), problems


def _segment_all(
    work: _Work, cases: Sequence[Case], make_engine: Callable[[], Engine], *, alone: bool
) -> Iterator[CaseOutcome]:
    """Yield the outcome of each case in order; reads one ahead, writes one behind."""
    if not cases:
        return
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        behind: Future[CaseOutcome] | None = None
        ahead = reader.submit(_attempt, cases[0], partial(_read, work, cases[0]), alone=alone)
        try:
            engine = make_engine()  # while the first case is being read
            for index, case in enumerate(cases):
                item: _Ready | _Predicted | CaseOutcome = ahead.result()
                if index + 1 < len(cases):
                    after = cases[index + 1]
                    ahead = reader.submit(_attempt, after, partial(_read, work, after), alone=alone)
                if isinstance(item, _Ready):
                    item = _attempt(case, partial(_predict, work, engine, item), alone=alone)
                if behind is not None:
                    yield behind.result()
                    behind = None
                if isinstance(item, CaseOutcome):
                    yield item
                elif isinstance(item, _Predicted):
                    behind = writer.submit(_attempt, case, partial(_finish, work, engine, item), alone=alone)
            if behind is not None:
                yield behind.result()
        finally:
            ahead.cancel()


def _attempt(case: Case, step: Callable[[], T], *, alone: bool) -> T | CaseOutcome:
    """Take one step of one case; among several cases an error becomes that case's outcome."""
    try:
        return step()
    except (ModelError, RunError):  # no other case would fare better
        raise
    except Exception as error:
        if alone:
            raise
        return CaseOutcome(case_id=case.case_id, status="failed", reason=_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, GlioscopeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs or run the case alone"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"defect, please report: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


def _read(work: _Work, case: Case) -> _Ready | CaseOutcome:
    start = time.perf_counter()
    scheme = scheme_named(work.options.scheme or naming_scheme(case))
    inputs = {
        name: {"file": str(file.path.resolve()), "channel": file.channel, "sha256": _checksum(file.path)}
        for name, file in case.sequences.items()
    }
    earlier = None if work.options.overwrite else _earlier(work, case, scheme, inputs)
    if earlier is not None:
        return CaseOutcome(case_id=case.case_id, status="skipped", summary=earlier)
    loaded = load_case(case if work.options.report else replace(case, reference=None))
    read = time.perf_counter()
    prepared = prepare(replace(loaded, reference=None), work.spec.preprocessing)
    seconds = {"read": read - start, "prepare": time.perf_counter() - read}
    return _Ready(loaded=loaded, prepared=prepared, scheme=scheme, inputs=inputs, seconds=seconds)


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CaseError(
            f"{path}: cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error


def _recipe(work: _Work, scheme: LabelScheme) -> dict[str, Any]:
    """Return the settings that decide the result, as JSON gives them back."""
    recipe: dict[str, Any] = json.loads(json.dumps(asdict(work.inference)))
    return {"scheme": scheme.name, **recipe}


def _earlier(work: _Work, case: Case, scheme: LabelScheme, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of an earlier run if it is of these inputs, model and settings, and its files are there."""
    folder = work.output / case.case_id
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        before = {name: entry["sha256"] for name, entry in summary["inputs"].items()}
        same = (
            before == {name: entry["sha256"] for name, entry in inputs.items()}
            and summary["model"]["sha256"] == work.model["sha256"]
            and summary["settings"] == _recipe(work, scheme)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = ["segmentation.nii.gz", *(["report.html"] if work.options.report else [])]
    wanted += [f"probability-{name}.nii.gz" for name in REGIONS] if work.options.save_probabilities else []
    return summary if same and all((folder / name).is_file() for name in wanted) else None


def _predict(work: _Work, engine: Engine, ready: _Ready) -> _Predicted:
    start = time.perf_counter()
    probabilities = predict_case(engine, ready.prepared, work.spec.outputs, work.inference)
    regions = regions_from_probabilities(probabilities, work.inference, outputs=work.spec.outputs)
    labels = labels_from_regions(regions, ready.scheme)
    seconds = {**ready.seconds, "predict": time.perf_counter() - start}
    return _Predicted(ready=ready, probabilities=probabilities, labels=labels, seconds=seconds)


def _finish(work: _Work, engine: Engine, predicted: _Predicted) -> CaseOutcome:
    """Write all files of a case, the segmentation first and the summary last."""
    ready, seconds = predicted.ready, dict(predicted.seconds)
    prepared, loaded, scheme = ready.prepared, ready.loaded, ready.scheme
    folder = work.output / loaded.case.case_id
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage], clock = time.perf_counter() - clock, time.perf_counter()

    native = restore(predicted.labels, prepared)  # decided before it is carried over, so nothing is interpolated
    write_volume(folder / "segmentation.nii.gz", native, loaded.grid)
    if work.options.save_probabilities:
        for name, probability in zip(REGIONS, predicted.probabilities, strict=True):
            write_volume(folder / f"probability-{name}.nii.gz", restore(probability, prepared), loaded.grid)
    lap("write")
    measurements = measure(native, loaded.grid, scheme, brain=restore(prepared.brain, prepared))
    lap("measure")
    flags = [*check_input(loaded, card=work.card), *_check_result(predicted)]
    lap("check")
    summary: dict[str, Any] = {
        "case_id": loaded.case.case_id,
        "subject_id": loaded.case.subject_id,
        "inputs": ready.inputs,
        "missing_sequences": list(loaded.case.missing),
        "grid": {
            "shape": list(loaded.grid.shape),
            "spacing_mm": list(loaded.grid.spacing_mm),
            "orientation": loaded.grid.orientation,
        },
        "scheme": {"name": scheme.name, "labels": {str(v): tissue for v, tissue in scheme.meanings.items()}},
        "measurements": measurements,
        "flags": [flag.as_dict() for flag in flags],
        "model": work.model,
        "settings": _recipe(work, scheme),
        "engine": {"name": engine.name, "precision": engine.precision, "description": engine.description},
        "processor": processor(),
        "versions": versions(),
        "outputs": {"segmentation.nii.gz": sha256_of(folder / "segmentation.nii.gz")},
        "seconds": {stage: round(s, 3) for stage, s in seconds.items()},
    }
    if work.options.report:
        failure = _report(folder / "report.html", predicted, native, summary)
        if failure:
            summary["flags"].append(failure.as_dict())
        lap("report")
        summary["seconds"]["report"] = round(seconds["report"], 3)
    write_json(folder / "summary.json", summary)
    return CaseOutcome(case_id=loaded.case.case_id, status="done", summary=summary)


def _check_result(predicted: _Predicted) -> tuple[Flag, ...]:
    ready = predicted.ready
    return check_output(
        predicted.labels,
        ready.prepared.grid,
        scheme=ready.scheme,
        probabilities=predicted.probabilities,
        brain=ready.prepared.brain,
    )


def _report(path: Path, predicted: _Predicted, native: NDArray[np.uint8], summary: Mapping[str, Any]) -> Flag | None:
    """Write the page; a page that fails must not cost the segmentation, so it becomes a flag."""
    from glioscope.report import write_case_report

    ready = predicted.ready
    try:
        unsure = restore(uncertainty(predicted.probabilities), ready.prepared)
        write_case_report(path, ready.loaded, native, ready.scheme, summary, uncertainty=unsure)
    except RunError:  # no space: the summary could not be written either
        raise
    except Exception as error:  # noqa: BLE001
        return Flag("report-failed", "warning", f"report.html could not be made: {_reason(error)}")
    return None


def _report_cohort(output: Path) -> None:
    """Write the page over all cases; what it shows lies in cohort.csv all the same should that fail."""
    from glioscope.report import write_cohort_report

    try:
        write_cohort_report(output)
    except Exception as error:  # noqa: BLE001
        log.warning("%s: the page of the cohort could not be made: %s", output, _reason(error))


def _line(outcome: CaseOutcome) -> str:
    """Return what a person watching wants to know of one case."""
    if outcome.summary is None:
        return f"{outcome.case_id}: failed: {outcome.reason}"
    if outcome.status == "skipped":
        return f"{outcome.case_id}: was done"
    summary = outcome.summary
    volumes = summary["measurements"]["volumes_ml"]
    sizes = ", ".join(f"{name} {volumes[name]:.1f} ml" for name in REGIONS if volumes.get(name) is not None)
    total = sum(summary["seconds"].values())
    flags = ", ".join(flag["code"] for flag in summary["flags"] if flag["severity"] != "info")
    return f"{outcome.case_id}: {sizes} in {total:.1f} s" + (f" [{flags}]" if flags else "")


def _write_tables(output: Path, outcomes: Sequence[CaseOutcome]) -> None:
    """Write cohort.csv, a row per case, and failures.csv, a row per failed case (none: the file is removed)."""
    rows = []
    for outcome in outcomes:
        summary = outcome.summary or {}
        volumes = summary.get("measurements", {}).get("volumes_ml", {})
        rows.append(
            {
                "case_id": outcome.case_id,
                "status": outcome.status,
                **{f"{name}_ml": volumes.get(name, "") for name in REGIONS},
                "flags": " ".join(flag["code"] for flag in summary.get("flags", [])),
                "seconds": round(sum(summary["seconds"].values()), 3) if summary else "",
                "reason": outcome.reason,
            }
        )
    _write_csv(output / "cohort.csv", rows)
    failed = [{"case_id": o.case_id, "reason": o.reason} for o in outcomes if o.status == "failed"]
    if failed:
        _write_csv(output / "failures.csv", failed)
    else:
        (output / "failures.csv").unlink(missing_ok=True)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def rewrite_reports(output: Path, *, progress: OnProgress = lambda _done, _all, _line: None) -> tuple[Path, ...]:
    """Write report.html again for each case below a folder that `segment` wrote, from what is on disk.

    The inputs are read where `summary.json` says they lie. Without probabilities there is no uncertainty to show.

    Raises
    ------
    RunError
        There is no summary below the folder, or one is damaged.
    CaseError
        An input is gone.
    """
    from glioscope.report import write_case_report, write_cohort_report

    found = sorted(output.rglob("summary.json"))
    summaries = [(path.parent, read_json(path, what="summary")) for path in found]
    summaries = [(folder, summary) for folder, summary in summaries if "inputs" in summary]
    if not summaries:
        raise RunError(
            f"{output}: holds no summary.json of a segmented case; give the folder 'glioscope segment' wrote"
        )
    written = []
    for folder, summary in summaries:
        files = {name: VolumeFile(Path(entry["file"]), entry["channel"]) for name, entry in summary["inputs"].items()}
        case = Case(case_id=summary["case_id"], subject_id=summary["subject_id"], sequences=files)
        labels = read_labels(folder / "segmentation.nii.gz").data
        scheme = scheme_named(summary["scheme"]["name"])
        write_case_report(folder / "report.html", load_case(case), labels, scheme, summary)
        written.append(folder / "report.html")
        progress(len(written), len(summaries), f"{case.case_id}: {folder / 'report.html'}")
    if (output / "cohort.csv").is_file():
        written.insert(0, write_cohort_report(output))
    return tuple(written)
