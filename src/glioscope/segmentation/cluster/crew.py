"""Who works on what: chunks of cases to workers that may die, outcomes back, each case exactly once.

A worker that dies takes no case with it. Those it may have been busy with are done again, each alone, so that a case
that kills its workers is told from one that stood beside; after the second death alone it is listed as failed. A case
that fails is tried on one other worker, since the fault may be a machine's (a disk that is not mounted there).
"""

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from glioscope.cases import Case
from glioscope.dicom.find import DicomCase
from glioscope.errors import GlioscopeError, RunError
from glioscope.results.stored import Stored, as_json, optional
from glioscope.segmentation import CaseOutcome

log = logging.getLogger(__name__)

AnyCase = Case | DicomCase

CHUNK = 8
"""Cases handed to a worker at once, at most: within a chunk reading, computing and writing overlap."""
AHEAD = 3
"""Cases of a chunk that a worker may be busy with: one is read, one computed, one written."""
DEATHS = 3
"""Workers that a case may kill, alone, before it is listed as failed."""
STARTS = 3
"""Times a worker is started anew without an outcome in between."""
PATIENCE = 600.0
"""Seconds to wait for a first worker where none is ready: a cluster may be busy with other work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became known of a worker."""

    worker: int
    kind: Literal["ready", "outcome", "idle", "refused", "died"]
    """`idle`: its chunk is finished; `refused`: it cannot work (no model, no space) and will not be asked again."""
    outcome: CaseOutcome | None = None
    where: str = ""
    """Of `ready`: machine and process."""
    error: GlioscopeError | None = None
    """Of `refused`."""
    reason: str = ""
    """Of `died`."""


class WorkerPool(Protocol):
    """Workers somewhere, by number."""

    count: int
    """How many there can be at once."""

    def start(self, worker: int) -> None:
        """Begin to start a worker, or start it anew; `ready` follows when it can work."""

    def give(self, worker: int, cases: Sequence[AnyCase]) -> None:
        """Hand cases to an idle worker; an `outcome` for each and `idle` follow."""

    def events(self, timeout: float) -> list[Event]:
        """Return what happened, waiting so many seconds for the first of it."""

    def stop(self) -> None:
        """End all workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry(Stored):
    """A line of the manifest: who did what, when, and why not."""

    time: str
    """UTC, ISO 8601, milliseconds."""
    event: str
    """`ready` or `refused` of a worker, `died` of one; `given`, `retried`, `done`, `skipped` or `failed` of a case."""
    case: str = optional(str)
    """Case id."""
    worker: str | None = optional()
    """Machine and process."""
    attempt: int | None = optional()
    """How often the case was given to a worker, this time included."""
    reason: str = optional(str)
    """Why it failed, died or refused, one line."""
    cases: tuple[str, ...] = optional(tuple)
    """Cases that a worker that died may have been busy with."""


class Manifest:
    """An append-only table of events, a JSON object per line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        entries = read_manifest(path)
        self.attempts = Counter(entry.case for entry in entries if entry.event == "given")
        self.done_before = frozenset(entry.case for entry in entries if entry.event == "done")
        """Cases that an earlier run finished."""

    def add(self, event: str, **values: Any) -> None:
        """Append a line; whole lines only, so that a run cut short leaves a table that can be read.

        Raises
        ------
        RunError
            It cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = ManifestEntry(time=now, event=event, **values)
        line = json.dumps(as_json(entry), ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                if file.tell() and self._torn():
                    line = "\n" + line
                file.write(line.encode())
        except OSError as error:
            raise RunError(f"{self._path}: cannot be written ({error.strerror}); free space and run again") from error

    def _torn(self) -> bool:
        """Return whether the last line lacks its end: a machine went down as it was written."""
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"


def read_manifest(path: Path) -> list[ManifestEntry]:
    """Return the events of a manifest; none if there is none. A torn line is passed over."""
    check = TypeAdapter(ManifestEntry)
    events = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(check.validate_json(line))
            except ValidationError:
                continue
    return events


@dataclass(slots=True, eq=False)
class _WorkerState:
    """What is known of one worker."""

    where: str = ""
    ready: bool = False
    held: deque[AnyCase] | None = None
    """Cases it has and has not answered for; None when it is idle."""
    alone: bool = False
    """Whether its chunk is one case that is suspected."""
    starts: int = 0
    """Since its last outcome."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Suspect:
    """A case to be done again, alone."""

    case: AnyCase
    not_on: int | None = None
    """The worker it failed on, if there is another."""


class Crew:
    """Segments cases on workers; used once. Outcomes carry volumes, codes of flags and seconds of each summary.

    Parameters
    ----------
    pool : WorkerPool
        The workers.
    manifest : Path
        Gets a line per event.
    """

    def __init__(self, pool: WorkerPool, manifest: Path) -> None:
        self._pool = pool
        self._manifest = Manifest(manifest)
        self._workers: dict[int, _WorkerState] = {}
        self._waiting: deque[AnyCase] = deque()
        self._suspects: deque[_Suspect] = deque()
        self._deaths: Counter[str] = Counter()
        self._failed_once: set[str] = set()
        self._again: set[str] = set()
        self._refusal: GlioscopeError | None = None

    def segment(self, cases: Sequence[AnyCase]) -> Generator[CaseOutcome]:
        """Yield the outcome of each case, in the order in which they are done.

        Raises
        ------
        ModelError, RunError
            No worker can work: the model is absent, the output cannot be written, or no worker starts.
        """
        self._waiting.extend(absolute(case) for case in cases)
        open_cases = {case.case_id for case in cases}
        try:
            for worker in range(min(self._pool.count, len(cases))):
                self._start(worker)
            since = time.monotonic()
            while open_cases:
                self._hand_out()
                events = self._pool.events(1.0)
                if any(state.ready for state in self._workers.values()):
                    since = time.monotonic()
                elif time.monotonic() - since > PATIENCE:
                    raise RunError(
                        f"no worker was ready within {PATIENCE:g} s; see whether the cluster has free processors"
                    )
                for event in events:
                    for outcome in self._take(event):
                        if outcome.case_id in open_cases:  # of a worker given up too early, perhaps twice
                            open_cases.remove(outcome.case_id)
                            yield outcome
        finally:
            self._pool.stop()

    def _start(self, worker: int) -> None:
        state = self._workers.setdefault(worker, _WorkerState())
        state.ready, state.held, state.starts = False, None, state.starts + 1
        self._pool.start(worker)

    def _hand_out(self) -> None:
        """Give every idle worker a chunk, smaller ones towards the end so that all end together."""
        for number, state in self._workers.items():
            if not state.ready or state.held is not None:
                continue
            chunk: list[AnyCase] = []
            if self._waiting:
                size = min(CHUNK, max(1, len(self._waiting) // (2 * len(self._workers))))
                chunk = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
                state.alone = False
            elif (suspect := self._suspect_for(number)) is not None:
                chunk, state.alone = [suspect.case], True
            if chunk:
                state.held = deque(chunk)
                for case in chunk:
                    self._manifest.attempts[case.case_id] += 1
                    attempt = self._manifest.attempts[case.case_id]
                    self._manifest.add("given", case=case.case_id, worker=state.where, attempt=attempt)
                self._pool.give(number, chunk)

    def _suspect_for(self, worker: int) -> _Suspect | None:
        """Return a case to do again that did not fail on this worker, or any if there is no other worker."""
        for suspect in self._suspects:
            others = any(state.ready for number, state in self._workers.items() if number != worker)
            if suspect.not_on != worker or not others:
                self._suspects.remove(suspect)
                return suspect
        return None

    def _take(self, event: Event) -> Iterator[CaseOutcome]:
        state = self._workers.get(event.worker)
        if state is None:  # given up
            return
        if event.kind == "ready":
            state.ready, state.where = True, event.where
            self._manifest.add("ready", worker=state.where)
        elif event.kind == "idle":
            self._put_back(state)  # nothing is held, unless a worker forgot a case
        elif event.kind == "outcome" and event.outcome is not None:
            yield from self._answer(event.worker, state, event.outcome)
        elif event.kind == "refused" and event.error is not None:
            self._manifest.add("refused", worker=state.where, reason=str(event.error))
            self._refusal = event.error
            self._retire(event.worker, state)
        elif event.kind == "died":
            yield from self._replace_dead(event.worker, state, event.reason)

    def _answer(self, worker: int, state: _WorkerState, outcome: CaseOutcome) -> Iterator[CaseOutcome]:
        case_id, state.starts = outcome.case_id, 0
        held = state.held or deque()
        case = next((case for case in held if case.case_id == case_id), None)
        if case is not None:
            held.remove(case)
        if outcome.status == "failed" and case is not None and case_id not in self._failed_once:
            self._failed_once.add(case_id)
            if len(self._workers) > 1:
                self._manifest.add("retried", case=case_id, worker=state.where, reason=outcome.reason)
                self._suspects.append(_Suspect(case=case, not_on=worker))
                return
        earlier = case_id in self._manifest.done_before
        if outcome.status == "skipped" and case_id in self._again and not earlier:  # its worker died after it was done
            outcome = replace(outcome, status="done")
        self._manifest.add(
            outcome.status, case=case_id, worker=state.where, **({"reason": outcome.reason} if outcome.reason else {})
        )
        yield outcome

    def _replace_dead(self, worker: int, state: _WorkerState, reason: str) -> Iterator[CaseOutcome]:
        """Take the cases of a dead worker back, and start it anew."""
        held = list(state.held or ())
        self._manifest.add("died", worker=state.where, reason=reason, cases=[case.case_id for case in held[:AHEAD]])
        log.warning("worker %s died (%s); its cases are done again", state.where or worker, reason)
        self._again.update(case.case_id for case in held)
        if state.alone and held:
            case = held[0]
            self._deaths[case.case_id] += 1
            if self._deaths[case.case_id] >= DEATHS:
                state.held = None
                why = f"{DEATHS} workers died while they worked on it alone ({reason}); give it more memory"
                self._manifest.add("failed", case=case.case_id, worker=state.where, reason=why)
                yield CaseOutcome(case_id=case.case_id, status="failed", reason=why)
            state.starts = 0  # the case is to blame, not the worker
        else:
            self._waiting.extendleft(reversed(held[AHEAD:]))
            self._suspects.extend(_Suspect(case=case) for case in held[:AHEAD])
            state.held = None
        self._put_back(state)
        if state.starts >= STARTS:
            self._retire(worker, state)
        else:
            self._start(worker)

    def _put_back(self, state: _WorkerState) -> None:
        for case in state.held or ():
            self._suspects.append(_Suspect(case=case))
        state.held = None

    def _retire(self, worker: int, state: _WorkerState) -> None:
        """Do without a worker; without the last one there is no going on."""
        self._waiting.extendleft(reversed(state.held or ()))
        del self._workers[worker]
        if not self._workers:
            raise self._refusal or RunError(
                f"no worker is left: each died {STARTS} times before it finished a case; run one case without "
                "--cluster to see why"
            )


def brief(outcome: CaseOutcome) -> CaseOutcome:
    """Return an outcome without its summary: what the tables of a cohort need of it stands in the `Brief`."""
    return replace(outcome, summary=None)


def absolute(case: AnyCase) -> AnyCase:
    """Return the case with paths that hold in any working folder."""
    if isinstance(case, DicomCase):
        return replace(case, source=case.source.absolute())
    sequences = {name: replace(file, path=file.path.absolute()) for name, file in case.sequences.items()}
    reference = replace(case.reference, path=case.reference.path.absolute()) if case.reference else None
    return replace(case, sequences=sequences, reference=reference)
