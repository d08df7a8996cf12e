"""A crew loses no case and does none twice, whatever its workers do; told by workers that follow a script."""

import json
import os
import pickle
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from glioscope.cases import Case, scan_cases
from glioscope.cli import main
from glioscope.dicom.find import DicomCase
from glioscope.errors import DependencyError, ModelError, RunError
from glioscope.results.verifying import verify
from glioscope.segmentation import CaseOutcome, SegmentOptions, segment
from glioscope.segmentation.cluster import Crew, crew, crew_at, on_ray
from glioscope.segmentation.cluster.crew import AnyCase, Event, Manifest, absolute, read_manifest
from glioscope.space.volumes import VolumeFile
from tiny import write_tiny_case, write_tiny_model

Answer = Callable[[int, str, int], str]
"""Worker, case id and attempt to: done, skipped, failed, dies, refuses."""


def case(name: str) -> Case:
    return Case(case_id=name, subject_id=name, sequences={"t1c": VolumeFile(Path(f"{name}.nii.gz"))})


class Scripted:
    """A pool that does as the script says, one event at a time."""

    def __init__(self, count: int, answer: Answer, *, never: Sequence[int] = ()) -> None:
        self.count = count
        self.answer = answer
        self.never = never
        self.queue: deque[Event] = deque()
        self.given: list[tuple[int, list[str]]] = []
        self.attempts: Counter[str] = Counter()
        self.stopped = 0

    def start(self, worker: int) -> None:
        self.queue = deque(event for event in self.queue if event.worker != worker)
        if worker not in self.never:
            self.queue.append(Event(worker=worker, kind="ready", where=f"host:{worker}"))

    def give(self, worker: int, cases: Sequence[AnyCase]) -> None:
        self.given.append((worker, [c.case_id for c in cases]))
        for c in cases:
            self.attempts[c.case_id] += 1
            answer = self.answer(worker, c.case_id, self.attempts[c.case_id])
            if answer == "dies":
                self.queue.append(Event(worker=worker, kind="died", reason="SIGKILL"))
                return
            if answer == "refuses":
                self.queue.append(Event(worker=worker, kind="refused", error=ModelError("no model here")))
                return
            reason = f"bad on {worker}" if answer == "failed" else ""
            outcome = CaseOutcome(case_id=c.case_id, status=answer, reason=reason)  # type: ignore[arg-type]
            self.queue.append(Event(worker=worker, kind="outcome", outcome=outcome))
        self.queue.append(Event(worker=worker, kind="idle"))

    def events(self, timeout: float) -> list[Event]:
        return [self.queue.popleft()] if self.queue else []

    def stop(self) -> None:
        self.stopped += 1


def work(tmp_path: Path, count: int, names: Sequence[str], answer: Answer, **more: object) -> tuple[dict, Scripted]:
    pool = Scripted(count, answer, **more)  # type: ignore[arg-type]
    outcomes = list(Crew(pool, tmp_path / "manifest.jsonl").segment([case(name) for name in names]))
    assert pool.stopped == 1
    assert len(outcomes) == len({o.case_id for o in outcomes}), "a case was answered twice"
    return {o.case_id: o for o in outcomes}, pool


NAMES = [f"p{n:02d}" for n in range(40)]


def test_all_cases_are_done_once_in_chunks_that_grow_small_at_the_end(tmp_path: Path) -> None:
    outcomes, pool = work(tmp_path, 2, NAMES, lambda *_: "done")
    assert sorted(outcomes) == NAMES
    assert all(count == 1 for count in pool.attempts.values())
    sizes = [len(names) for _, names in pool.given]
    assert max(sizes) == crew.CHUNK
    assert sizes[-1] == 1


def test_the_cases_of_a_dead_worker_are_done_by_others(tmp_path: Path) -> None:
    outcomes, pool = work(tmp_path, 2, NAMES, lambda _w, name, n: "dies" if name == "p05" and n == 1 else "done")
    assert {o.status for o in outcomes.values()} == {"done"}
    again = [name for name, count in pool.attempts.items() if count > 1]
    assert again == ["p05"]
    events = Counter(entry.event for entry in read_manifest(tmp_path / "manifest.jsonl"))
    assert events["died"] == 1
    assert events["done"] == 40
    assert ["p05"] in [names for _, names in pool.given], "a suspect is done alone"


def test_a_case_that_kills_every_worker_is_listed_and_costs_no_other(tmp_path: Path) -> None:
    outcomes, _ = work(tmp_path, 2, NAMES, lambda _w, name, _n: "dies" if name == "p07" else "done")
    assert [name for name, o in outcomes.items() if o.status == "failed"] == ["p07"]
    assert outcomes["p07"].reason == ("3 workers died while they worked on it alone (SIGKILL); give it more memory")
    assert len(outcomes) == 40


def test_a_failed_case_is_tried_on_another_worker(tmp_path: Path) -> None:
    def answer(worker: int, name: str, attempt: int) -> str:
        return "failed" if name == "p03" and attempt == 1 else "done"

    outcomes, pool = work(tmp_path, 2, NAMES, answer)
    assert outcomes["p03"].status == "done"
    tried = [worker for worker, names in pool.given if "p03" in names]
    assert len(set(tried)) == 2


def test_a_case_that_fails_twice_is_listed_with_the_last_reason(tmp_path: Path) -> None:
    outcomes, pool = work(tmp_path, 2, ["a", "b"], lambda _w, name, _n: "failed" if name == "a" else "done")
    assert outcomes["a"].status == "failed"
    assert outcomes["a"].reason.startswith("bad on")
    assert pool.attempts["a"] == 2


def test_with_one_worker_a_failure_stands(tmp_path: Path) -> None:
    outcomes, pool = work(tmp_path, 1, ["a", "b"], lambda _w, name, _n: "failed" if name == "a" else "done")
    assert (outcomes["a"].status, pool.attempts["a"]) == ("failed", 1)


def test_a_case_retried_does_not_wait_for_a_worker_that_never_comes(tmp_path: Path) -> None:
    outcomes, _ = work(tmp_path, 2, ["a", "b"], lambda _w, _n, attempt: "failed" if attempt == 1 else "done", never=[1])
    assert {o.status for o in outcomes.values()} == {"done"}


def test_done_before_its_worker_died_counts_as_done(tmp_path: Path) -> None:
    """The summary was written, the answer never came: the second worker finds it done."""
    outcomes, _ = work(
        tmp_path, 2, ["a", "b"], lambda _w, name, n: ("dies" if n == 1 else "skipped") if name == "a" else "skipped"
    )
    assert (outcomes["a"].status, outcomes["b"].status) == ("done", "skipped")


def test_done_by_an_earlier_run_stays_skipped_when_a_worker_dies_holding_it(tmp_path: Path) -> None:
    """Found by 20 runs with random kills: the manifest counted such a case as done a second time."""
    work(tmp_path, 2, ["a", "b"], lambda *_: "done")
    outcomes, _ = work(tmp_path, 2, ["a", "b"], lambda _w, name, n: "dies" if name == "a" and n == 1 else "skipped")
    assert {o.status for o in outcomes.values()} == {"skipped"}
    events = Counter(entry.event for entry in read_manifest(tmp_path / "manifest.jsonl"))
    assert (events["done"], events["skipped"]) == (2, 2)


def test_a_worker_that_cannot_work_leaves_its_cases_to_others(tmp_path: Path) -> None:
    outcomes, _ = work(tmp_path, 2, NAMES, lambda worker, *_: "refuses" if worker == 0 else "done")
    assert len(outcomes) == 40
    assert {o.status for o in outcomes.values()} == {"done"}


def test_when_no_worker_can_work_their_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model here"):
        work(tmp_path, 2, NAMES, lambda *_: "refuses")


def test_workers_that_never_come_are_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PATIENCE", 0.0)
    with pytest.raises(RunError, match="no worker was ready within 0 s; see whether the cluster has free processors"):
        work(tmp_path, 1, NAMES, lambda *_: "done", never=[0])


class Stillborn(Scripted):
    def start(self, worker: int) -> None:
        self.queue.append(Event(worker=worker, kind="died", reason="exit code 1"))


def test_workers_that_die_before_any_outcome_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no worker is left: each died 3 times before it finished a case"):
        list(Crew(Stillborn(2, lambda *_: "done"), tmp_path / "m.jsonl").segment([case("a"), case("b")]))


def test_the_manifest_counts_attempts_over_runs_and_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "out" / "manifest.jsonl"
    Manifest(path).add("given", case="a", worker="w", attempt=1)
    with path.open("ab") as file:
        file.write(b'{"event": "gi')  # a machine went down here
    manifest = Manifest(path)
    assert manifest.attempts["a"] == 1
    manifest.add("done", case="a", worker="w")
    assert [entry.event for entry in read_manifest(path)] == ["given", "done"]


def test_a_manifest_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunError, match=r"manifest\.jsonl: cannot be written"):
        Manifest(tmp_path / "out" / "manifest.jsonl").add("given")


def test_cases_travel_to_other_processes_with_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    moved = pickle.loads(pickle.dumps(absolute(case("a"))))
    assert moved.sequences["t1c"].path == tmp_path / "a.nii.gz"
    assert moved == absolute(case("a"))
    dicom = DicomCase(case_id="d", source=Path("scan"), overrides={"t1c": "3"})
    assert pickle.loads(pickle.dumps(absolute(dicom))).source == tmp_path / "scan"


def test_a_cluster_without_ray_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(DependencyError, match=r"pip install 'glioscope\[cluster\]', or name --cluster local"):
        on_ray.RayPool("127.0.0.1:1", tmp_path, None, SegmentOptions(), None)


# --- processes of this machine ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_tiny_model(folder / "model")
    for n in range(12):
        write_tiny_case(folder / "data", f"p{n:02d}", seed=n)
    (folder / "data/p03/p03-t1c.nii.gz").write_bytes(b"not a scan")
    return folder


@pytest.mark.slow
def test_a_killed_process_costs_no_case(cohort: Path, tmp_path: Path) -> None:
    options = SegmentOptions(report=False, threads=1)
    hired = crew_at("local", tmp_path, model=cohort / "model", options=options, workers=2)
    killed: list[int] = []

    def kill(done: int, _all: int, _line: str) -> None:
        given = [entry.worker for entry in read_manifest(tmp_path / "manifest.jsonl") if entry.event == "given"]
        alive = [pid for pid in (int(worker.rsplit(":", 1)[1]) for worker in given) if pid not in killed]
        if done >= 2 and len(killed) < 2 and alive:
            killed.append(alive[-1])
            os.kill(alive[-1], signal.SIGKILL)

    result = segment(cohort / "data", tmp_path, model=cohort / "model", options=options, crew=hired, progress=kill)
    assert len(killed) == 2
    assert [o.case_id for o in result.outcomes] == [f"p{n:02d}" for n in range(12)]
    assert [o.case_id for o in result.with_status("failed")] == ["p03"]
    assert "p03-t1c.nii.gz: not a readable NIfTI file" in result.with_status("failed")[0].reason
    assert result.outcomes[0].summary is None, "a whole summary does not cross from a worker"
    assert result.outcomes[0].brief is not None
    assert set(result.outcomes[0].brief.volumes_ml) == {"WT", "TC", "ET"}
    assert verify(tmp_path).mismatches == ()
    events = Counter(entry.event for entry in read_manifest(tmp_path / "manifest.jsonl"))
    assert events["died"] == 2
    assert events["done"] == 11


@pytest.mark.slow
def test_the_command_goes_on_where_it_stopped_and_lists_what_failed(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", str(cohort / "data"), "-o", str(tmp_path), "--model", str(cohort / "model"), "--no-report"]
    assert main([*command, "--cluster", "local", "--workers", "2", "--threads", "1"]) == 3
    assert "11 segmented, 0 already done, 1 failed" in capsys.readouterr().out
    assert main([*command, "--cluster", "local", "--workers", "1"]) == 3
    assert "0 segmented, 11 already done, 1 failed" in capsys.readouterr().out
    assert (tmp_path / "failures.csv").read_text("utf-8").startswith("case_id,reason\np03,")
    attempts = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert max(entry.get("attempt", 0) for entry in attempts if entry.get("case") == "p01") == 2


@pytest.mark.slow
def test_a_model_that_is_damaged_ends_the_run_in_one_line(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each worker reads the model itself: what one finds, the crew says."""
    model = write_tiny_model(tmp_path / "model")
    hired = crew_at("local", tmp_path / "out", model=model, options=SegmentOptions(report=False), workers=1)
    (model / "network.bin").write_bytes(b"\0")
    with pytest.raises(ModelError, match=r"network\.bin: its checksum differs"):
        list(hired.segment(scan_cases(cohort / "data")[0][:1]))


def test_crews_are_iterators_that_stop_their_hands_when_left(tmp_path: Path) -> None:
    pool = Scripted(1, lambda *_: "done")
    outcomes: Iterator[CaseOutcome] = Crew(pool, tmp_path / "m.jsonl").segment([case("a"), case("b")])
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert pool.stopped == 1
