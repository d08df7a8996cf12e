"""The queue: one crash costs one job, limits hold, and a restart goes on where the last server stopped."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: no test of the server")

from glioscope.machine.process import resident_bytes
from glioscope.web.jobs import Runner, Step
from glioscope.web.settings import ServerConfig
from glioscope.web.store import ATTEMPTS, CaseRow, Found, JobRow, Store

Start = Callable[..., Runner]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    yield found
    found.close()


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """Starts a runner whose jobs are pieces of Python; they are ended after the test."""
    runners = []

    def make(scripts: dict[str, str], **limits: Any) -> Runner:
        def plan(job: JobRow) -> tuple[Sequence[Step], Callable[[], None]]:
            step = Step(what="working", arguments=("-c", scripts[job.key]))
            return [step], lambda: store.finish(job, state="done")

        def failed(job: JobRow, reason: str) -> None:
            store.finish(job, failure=reason, state="failed", message=reason)

        runner = Runner(store, ServerConfig(data=store.data, **limits), plan, failed)
        runners.append(runner)
        runner.start()
        return runner

    yield make
    for runner in runners:
        runner.stop()


def add(store: Store, key: str) -> None:
    store.add(
        CaseRow(
            key=key,
            title=key,
            case_id=key,
            kind="nifti",
            state="review",
            message="",
            scans=(),
            choice={},
            raw=False,
            result=Found(),
            version=0,
            created=float(store.count()),
        )
    )
    store.folder(key).mkdir()
    store.queue(key, "segment", state="queued")


def state(store: Store, key: str) -> str:
    row = store.case(key)
    assert row is not None
    return row.state


def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def message(store: Store, key: str) -> str:
    wait(lambda: state(store, key) in ("done", "failed"))
    row = store.case(key)
    assert row is not None
    return row.message


def test_a_crash_costs_one_job(store: Store, start: Start) -> None:
    scripts = {
        "a": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "b": "import sys; print('glioscope: b: t1c is damaged; copy it again', file=sys.stderr); sys.exit(2)",
        "c": "raise ValueError('a defect')",
        "d": "pass",
    }
    for key in scripts:
        add(store, key)
    start(scripts)
    assert message(store, "a") == "the program was ended by SIGSEGV"
    assert message(store, "b") == "b: t1c is damaged; copy it again"
    assert message(store, "c") == "defect, please report: ValueError: a defect"
    assert message(store, "d") == ""
    assert [state(store, key) for key in scripts] == ["failed", "failed", "failed", "done"]
    assert "a defect" in (store.folder("c") / "job.log").read_text("utf-8")


def test_messages_name_no_folder_of_the_server(store: Store, start: Start) -> None:
    add(store, "a")
    start({"a": f"import sys; print('glioscope: {store.folder('a')}/input/x.nii: gone', file=sys.stderr); sys.exit(2)"})
    assert message(store, "a") == "input/x.nii: gone"


def test_a_job_that_takes_too_long_is_ended_with_its_children(store: Store, start: Start) -> None:
    child = "import time; time.sleep(60)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    add(store, "a")
    add(store, "b")
    start({"a": script, "b": "pass"}, job_seconds=1.0)
    assert message(store, "a") == "took longer than 0 minutes and was ended"
    assert message(store, "b") == ""


def test_a_job_that_eats_memory_is_ended(store: Store, start: Start) -> None:
    add(store, "a")
    start({"a": "import time; b = b'x' * 200_000_000; time.sleep(60)"}, job_bytes=100_000_000)
    assert message(store, "a") == "needed more than 0.0931 GB of memory and was ended"


def test_memory_of_nobody_is_nothing() -> None:
    assert resident_bytes(2**30) == 0


def test_a_stop_puts_the_job_back_and_the_next_server_does_it(store: Store, start: Start, tmp_path: Path) -> None:
    add(store, "a")
    mark = tmp_path / "go"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(mark)!r}).exists(): time.sleep(0.02)"
    first = start({"a": script})
    wait(lambda: state(store, "a") == "running")
    first.stop()
    assert state(store, "a") == "queued"
    mark.touch()
    start({"a": script})
    assert message(store, "a") == ""
    job = store.last_job("a")
    assert job is not None
    assert (job.state, job.attempts) == ("done", 1)


def test_a_job_under_way_at_a_crash_is_begun_again_but_not_for_ever(store: Store, start: Start) -> None:
    add(store, "a")
    for _ in range(ATTEMPTS):  # each time the server dies with it
        assert store.take() is not None
        given_up = store.requeue()
    assert [job.key for job in given_up] == ["a"]
    start({"a": "pass"})
    assert message(store, "a").startswith(f"was under way at {ATTEMPTS} stops of the server")


def test_what_a_killed_server_left_running_is_ended(store: Store, start: Start) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    began = time.time()
    for key, mark in (("a", f"{left.pid} {began}"), ("b", f"{other.pid} {began - 10}")):
        add(store, key)
        (store.folder(key) / "job.pid").write_text(mark, "ascii")
    start({"a": "pass", "b": "pass"})
    assert message(store, "b") == ""
    assert left.wait(10) == -signal.SIGKILL
    assert other.poll() is None  # another process has the number now
    other.kill()
    other.wait()


def test_jobs_come_in_order_and_tell_how_many_are_before_them(store: Store) -> None:
    for key in ("a", "b", "c"):
        add(store, key)
    last = store.last_job("c")
    assert last is not None
    assert store.ahead_of(last.number) == 2
    first = store.take()
    assert first is not None
    assert first.key == "a"
    assert store.ahead_of(last.number) == 2
    store.finish(first, state="done")
    assert store.ahead_of(last.number) == 1
    assert store.waiting() == 2


def test_deleting_a_case_ends_its_job(store: Store, start: Start) -> None:
    add(store, "a")
    add(store, "b")
    runner = start({"a": "import time; time.sleep(60)", "b": "pass"})
    wait(lambda: state(store, "a") == "running")
    runner.cancel("a")
    store.remove("a")
    assert message(store, "b") == ""
    assert store.count() == 1


def test_the_usual_time_is_the_median_of_the_last(store: Store) -> None:
    assert store.usual_seconds("segment") is None
    for key, seconds in (("a", 1.0), ("b", 5.0), ("c", 100.0)):
        add(store, key)
        job = store.take()
        assert job is not None
        store.finish(job, state="done")
        with store._db.writing() as db:
            db.execute("UPDATE jobs SET finished = started + ? WHERE number = ?", [seconds, job.number])
    assert store.usual_seconds("segment") == pytest.approx(5.0)
