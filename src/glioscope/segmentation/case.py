"""The steps of one case: read and prepare it, predict, write what was found."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, LoadedCase, load_case, naming_scheme
from glioscope.engines import Engine
from glioscope.errors import CaseError, RunError
from glioscope.inference import InferenceConfig, predict_case, regions_from_probabilities
from glioscope.labels import REGIONS, LabelScheme, labels_from_regions, scheme_named
from glioscope.measure import measure
from glioscope.preprocessing import PreparedCase, prepare, restore
from glioscope.quality import Flag, check_input, check_output, uncertainty
from glioscope.runs import ModelSpec, processor, sha256_of, versions, write_json
from glioscope.segmentation.records import CaseOutcome, SegmentOptions, reason
from glioscope.volumes import write_volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
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
class Ready:
    """A case on its way to the network."""

    loaded: LoadedCase
    prepared: PreparedCase
    scheme: LabelScheme
    inputs: dict[str, Any]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """A case on its way back."""

    ready: Ready
    probabilities: NDArray[np.float32]
    """(3, i, j, k) on the prepared grid."""
    labels: NDArray[np.uint8]
    """(i, j, k) on the prepared grid."""
    seconds: dict[str, float]


def read(work: Work, case: Case) -> Ready | CaseOutcome:
    """Read a case and bring it onto the network's grid; an outcome if an earlier run did it."""
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
    return Ready(loaded=loaded, prepared=prepared, scheme=scheme, inputs=inputs, seconds=seconds)


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CaseError(
            f"{path}: cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error


def _recipe(work: Work, scheme: LabelScheme) -> dict[str, Any]:
    """Return the settings that decide the result, as JSON gives them back."""
    recipe: dict[str, Any] = json.loads(json.dumps(asdict(work.inference)))
    return {"scheme": scheme.name, **recipe}


def _earlier(work: Work, case: Case, scheme: LabelScheme, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
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


def predict(work: Work, engine: Engine, ready: Ready) -> Predicted:
    """Run the network."""
    start = time.perf_counter()
    probabilities = predict_case(engine, ready.prepared, work.spec.outputs, work.inference)
    voxel_ml = ready.prepared.grid.voxel_volume_ml
    regions = regions_from_probabilities(probabilities, work.inference, voxel_ml=voxel_ml, outputs=work.spec.outputs)
    labels = labels_from_regions(regions, ready.scheme)
    seconds = {**ready.seconds, "predict": time.perf_counter() - start}
    return Predicted(ready=ready, probabilities=probabilities, labels=labels, seconds=seconds)


def finish(work: Work, engine: Engine, predicted: Predicted) -> CaseOutcome:
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


def _check_result(predicted: Predicted) -> tuple[Flag, ...]:
    ready = predicted.ready
    return check_output(
        predicted.labels,
        ready.prepared.grid,
        scheme=ready.scheme,
        probabilities=predicted.probabilities,
        brain=ready.prepared.brain,
    )


def _report(path: Path, predicted: Predicted, native: NDArray[np.uint8], summary: Mapping[str, Any]) -> Flag | None:
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
