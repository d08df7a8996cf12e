"""Evaluate predictions against references: files in, `cases.csv` and `summary.json` out."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from glioscope.errors import CaseError, ConfigError, GlioscopeError, RunError
from glioscope.evaluation.pairs import (
    PackedPair,
    PairFiles,
    find_pairs,
    load_pair,
    unknown_labels,
    unpack,
)
from glioscope.evaluation.protocols import Protocol, read_protocol
from glioscope.evaluation.schemes import Schemes, choose_schemes
from glioscope.evaluation.scoring import RegionScores, score_missing, score_pair
from glioscope.evaluation.summary import (
    BootstrapRecord,
    EvaluationSummary,
    PairRecord,
    PairSchemes,
    ProtocolRecord,
    SchemesRecord,
    write_summary,
)
from glioscope.evaluation.tables import (
    RESAMPLES,
    SEED,
    MetricSummary,
    plain,
    rows_as_csv,
    summarise,
)
from glioscope.files import write_text
from glioscope.labels import scheme_named
from glioscope.machine import cores
from glioscope.machine.progress import OnProgress, silent

DEFAULT_PROTOCOLS = ("whole", "brats2023-gli")
"""Called with what is being done, how many cases are done, and how many there are."""

A = TypeVar("A")
B = TypeVar("B")

_COUNTED = (
    "Values that a protocol sets for empty masks and for missing predictions are in the mean (see by_rule); undefined "
    "values (nan) are left out and counted; infinite distances are left out of mean, sd and interval, and are the "
    "largest values for the median."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of a set of predictions, and how they came about."""

    rows: tuple[RegionScores, ...]
    """A row per case, protocol and region, cases in order of id; also those without a usable prediction."""
    summary: Mapping[str, Mapping[str, Mapping[str, MetricSummary]]]
    """Protocol to region to metric."""
    pairs: tuple[PairFiles, ...]
    protocols: tuple[Protocol, ...]
    case_schemes: Mapping[str, tuple[str, str]]
    """Case id to the label schemes that its reference and its prediction were read in."""
    resampled: tuple[str, ...]
    """Cases whose prediction was moved onto the reference's grid."""
    unmatched: tuple[str, ...]
    """Predictions without a reference; they were not scored."""
    seconds: float

    @property
    def schemes(self) -> tuple[str, str]:
        """Label schemes of the references and of the predictions, joined by + where cases differ."""
        sides = zip(*self.case_schemes.values(), strict=True)
        own, other = ("+".join(sorted(set(side))) for side in sides)
        return own, other

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(dict.fromkeys(r.case_id for r in self.rows if r.status == "missing"))

    @property
    def refused(self) -> Mapping[str, str]:
        """Cases whose prediction cannot be scored, and why."""
        return {r.case_id: r.reason for r in self.rows if r.status == "refused"}

    @property
    def exit_code(self) -> int:
        """0, or 3 if some predictions were missing or refused."""
        return 3 if self.missing or self.refused else 0


@contextmanager
def _workers(count: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` over processes, or the plain one for a single worker.

    Processes are spawned, not forked: a fork of a process that holds threads (torch, OpenVINO) can lock up.
    """
    if count <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(max_workers=count, mp_context=get_context("spawn"))
    try:
        yield pool.map
        pool.shutdown()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process ended early: memory ran out, or a script lacks its if __name__ == '__main__'; "
            "use one worker"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _counted(results: Iterable[A], what: str, total: int, progress: OnProgress) -> list[A]:
    done = []
    for result in results:
        done.append(result)
        progress(len(done), total, what)
    return done


def evaluate(  # noqa: PLR0913 (the options of the command, each by name)
    predictions: Path | str,
    references: Path | str,
    output: Path | str | None,
    protocols: Sequence[str] = DEFAULT_PROTOCOLS,
    *,
    cases: Iterable[str] | None = None,
    resample: bool = False,
    scheme: str | None = None,
    prediction_scheme: str | None = None,
    workers: int | None = None,
    progress: OnProgress = silent,
) -> Evaluation:
    """Score predictions against references under one or more protocols.

    Parameters
    ----------
    predictions, references : Path
        Folders matched by case id, or two single files.
    output : Path or None
        Folder for ``cases.csv`` and ``summary.json``; None writes nothing.
    protocols : sequence of str
        Names (`builtin_protocols`) or TOML files.
    cases : iterable of str, optional
        Score these cases alone. Without it every reference counts, and one without a prediction gets the penalty.
    resample : bool
        Move a prediction that lies on another grid onto the reference's by nearest neighbour, and record it.
    scheme, prediction_scheme : str, optional
        Label schemes of the references and of the predictions; without them the values tell.
    workers : int, optional
        Processes; as many as there are processors and cases if left out. A script that lets this be more than one
        needs the usual ``if __name__ == "__main__"``.
    progress : callable
        Called as work proceeds.

    Returns
    -------
    Evaluation
        With `exit_code` 3 if some predictions were missing or refused.

    Raises
    ------
    CaseError
        Nothing matches, or a reference is unreadable; or the only prediction is.
    GeometryError
        The only prediction lies on another grid.
    LabelError
        A reference holds a label that its scheme does not know, or the values do not tell the scheme.
    ConfigError
        A protocol or a scheme is not known.
    """
    begun = time.monotonic()
    predictions, references = Path(predictions), Path(references)
    output = None if output is None else Path(output)
    chosen = _protocols(protocols)
    files, unmatched = find_pairs(predictions, references, cases=cases)
    count = min(len(files), workers or _processors())
    with _workers(count) as each:
        load = partial(load_pair, resample=resample, margin=_margin(chosen))
        loaded = _counted(each(load, files), "reading", len(files), progress)
        schemes = choose_schemes(files, loaded, chosen, scheme=scheme, prediction_scheme=prediction_scheme)
        jobs = [_job(*each_case) for each_case in zip(files, loaded, schemes, strict=True)]
        _raise_if_none_left(jobs)
        scored = _counted(each(partial(_score, protocols=chosen), jobs), "scoring", len(files), progress)
    rows = tuple(row for case in scored for row in case)
    evaluation = Evaluation(
        rows=rows,
        summary=summarise(rows),
        pairs=files,
        protocols=chosen,
        case_schemes={f.case_id: (a.name, b.name) for f, (a, b) in zip(files, schemes, strict=True)},
        resampled=tuple(p.case_id for p in loaded if p.resampled),
        unmatched=unmatched,
        seconds=time.monotonic() - begun,
    )
    if output is not None:
        write_evaluation(evaluation, output)
    return evaluation


def _protocols(names: Sequence[str]) -> tuple[Protocol, ...]:
    chosen = tuple(read_protocol(n) for n in dict.fromkeys(names))
    if not chosen:
        raise ConfigError("no protocol was named; give at least one, such as whole")
    return chosen


def _processors() -> int:
    """Return the processors this process may use; 1 where spawned workers could not load the main program again."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    if program is not None and not Path(program).exists():  # a script from standard input
        return 1
    return cores()


def _margin(protocols: Iterable[Protocol]) -> int:
    """Return the voxels to keep around the labels so that no dilation meets the edge of the crop."""
    return 1 + max((p.lesion_wise.largest_dilation for p in protocols if p.lesion_wise), default=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    pair: PackedPair
    schemes: tuple[str, str]
    missing: bool
    known: tuple[str, ...] | None
    refused: GlioscopeError | None


def _job(files: PairFiles, pair: PackedPair, schemes: Schemes) -> _Job:
    own, other = schemes
    error = unknown_labels(pair.reference_values, own, f"case {files.case_id}: the reference")
    if error is not None:
        raise error
    refused = pair.refused or unknown_labels(pair.prediction_values, other, f"case {files.case_id}: the prediction")
    return _Job(
        pair=pair, schemes=(own.name, other.name), missing=files.prediction is None, known=files.known, refused=refused
    )


def _raise_if_none_left(jobs: Sequence[_Job]) -> None:
    if all(job.missing or job.refused for job in jobs):
        raise next(job.refused for job in jobs if job.refused)


def _score(job: _Job, protocols: Sequence[Protocol]) -> list[RegionScores]:
    pair = unpack(job.pair, *map(scheme_named, job.schemes))
    if job.missing:
        rows = score_missing(pair, protocols, status="missing", reason="no prediction was found")
    elif job.refused is not None:
        rows = score_missing(pair, protocols, status="refused", reason=str(job.refused))
    else:
        rows = score_pair(pair, protocols)
    return rows if job.known is None else [row for row in rows if row.region in job.known]


def write_evaluation(evaluation: Evaluation, output: Path) -> None:
    """Write ``cases.csv`` (a row per case, protocol and region) and ``summary.json``, each complete or not at all."""
    write_text(output / "cases.csv", rows_as_csv(evaluation.rows))
    write_summary(output / "summary.json", summary_of(evaluation))


def summary_of(evaluation: Evaluation) -> EvaluationSummary:
    """Return what ``summary.json`` holds: results, and everything needed to judge and repeat them."""
    references, predictions = evaluation.schemes
    return EvaluationSummary(
        protocols={
            p.name: ProtocolRecord(title=p.title, source=tuple(p.source), notes=" ".join(p.notes.split()))
            for p in evaluation.protocols
        },
        schemes=SchemesRecord(references=references, predictions=predictions),
        cases={f.case_id: _pair_record(f, *evaluation.case_schemes[f.case_id]) for f in evaluation.pairs},
        missing=evaluation.missing,
        refused=evaluation.refused,
        resampled=evaluation.resampled,
        predictions_without_reference=evaluation.unmatched,
        counted=_COUNTED,
        bootstrap=BootstrapRecord(resamples=RESAMPLES, seed=SEED, unit="subject", interval="percentile, of the mean"),
        seconds=round(evaluation.seconds, 2),
        results=evaluation.summary,
    )


def _pair_record(files: PairFiles, reference: str, prediction: str) -> PairRecord:
    return PairRecord(
        reference=str(files.reference.path),
        prediction=str(files.prediction.path) if files.prediction else None,
        schemes=PairSchemes(reference=reference, prediction=prediction),
    )


def evaluate_pair(
    prediction: Path,
    reference: Path,
    protocols: Sequence[str] = DEFAULT_PROTOCOLS,
    *,
    resample: bool = False,
    scheme: str | None = None,
    prediction_scheme: str | None = None,
) -> tuple[RegionScores, ...]:
    """Score one file against another; a row per protocol and region. Errors as `evaluate`."""
    for path in (prediction, reference):
        if not path.is_file():
            raise CaseError(f"{path}: no such file")
    return evaluate(
        prediction,
        reference,
        None,
        protocols,
        resample=resample,
        scheme=scheme,
        prediction_scheme=prediction_scheme,
        workers=1,
    ).rows


ScoreTree = dict[str, dict[str, dict[str, float | str]]]
"""Protocol to region to metric to its value; nan and inf as these words."""


def pair_as_json(rows: Iterable[RegionScores]) -> ScoreTree:
    """Return rows of one case as protocol to region to metric, non-finite numbers as the strings nan and inf."""
    tree: ScoreTree = {}
    for row in rows:
        tree.setdefault(row.protocol, {})[row.region] = plain(row.scores)
    return tree


_LEGACY = ("dice", "hd95", "sensitivity", "specificity")


def golden_profiles(
    prediction: Path, reference: Path, *, resample: bool = False, scheme: str = "brats2024"
) -> ScoreTree:
    """Return the scores of one pair under every profile by which BraTS results are exchanged.

    Parameters
    ----------
    scheme : str
        Of both maps. The official programs from 2023 read 3 as enhancing tumour and 4 as resection cavity.

    Returns
    -------
    dict
        Profile to region to metric: ``whole`` (plain definitions), ``legacy2023`` (whole region, empty masks by the
        rules of 2023), ``brats2023-…`` and ``brats2024-…`` (lesion-wise), ``bipartite`` (one-to-one, 2026).
    """
    scheme_named(scheme)
    lesion_protocols = ("gli", "ssa", "men", "met", "ped")
    names = [f"brats2023-{t}" for t in lesion_protocols] + [f"brats2024-{t}" for t in ("gli", "met", "ssa", "men")]
    tree = pair_as_json(
        evaluate_pair(prediction, reference, ["whole", *names, "brats2026"], resample=resample, scheme=scheme)
    )
    legacy = {r: {m: s[m] for m in _LEGACY} for r, s in tree["brats2023-gli"].items()}
    return {"whole": tree["whole"], "legacy2023": legacy, **{n: tree[n] for n in names}, "bipartite": tree["brats2026"]}
