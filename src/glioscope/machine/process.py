"""One command of this program in a process of its own: with limits of time and memory, ended with all it started.

A crash, a loop or a swelling memory costs one case, not the server or the node that asked for it. The program that asks
may itself be killed at any moment: what it left running is found by its number and its time of birth, and ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

GIB = 1024**3
_PAUSE = 0.1
"""Seconds between two looks at a process."""
_CLOCK_SECONDS = 2.0
"""By so much the system may have set its clock right since a process began; numbers do not come round again so soon."""
_LOG_BYTES = 64 * 1024
"""Read from the end of a log to find its last word."""


class ProcessFailedError(Exception):
    """A process that failed or was ended at a limit, with one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process may take, with all it starts."""

    seconds: float = 1800.0
    resident_bytes: int = 8 * GIB


def run_process(
    arguments: Sequence[str],
    folder: Path,
    limits: Limits,
    *,
    deadline: float | None = None,
    interrupted: Callable[[], Exception | None] = lambda: None,
) -> None:
    """Run this interpreter with `arguments` to its end, or end it.

    Parameters
    ----------
    arguments : sequence of str
        After the name of the interpreter: ``("-m", "glioscope", "segment", …)``.
    folder : Path
        Where it runs; `job.log` there takes what it says, `job.pid` says that it runs.
    limits : Limits
        Reaching one ends it.
    deadline : float, optional
        Of `time.monotonic`, where several processes share one limit of time; None gives this one all of it.
    interrupted : callable
        Asked several times a second; an exception that it returns ends the process and is raised.

    Raises
    ------
    ProcessFailedError
        It ended with another code than 0, or met a limit.
    """
    deadline = time.monotonic() + limits.seconds if deadline is None else deadline
    journal, mark = folder / "job.log", folder / "job.pid"
    end_orphan(mark)
    with journal.open("ab") as output:
        output.write(f"\n$ {' '.join(arguments)}\n".encode())
        output.flush()
        start = output.tell()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        try:
            mark.write_text(f"{process.pid} {_born(process.pid)}", "ascii")
            _watch(process, limits, deadline, interrupted)
        finally:
            _end(process)
            mark.unlink(missing_ok=True)
    if process.returncode != 0:
        raise ProcessFailedError(_last_word(journal, start, process.returncode))


def _watch(
    process: "subprocess.Popen[bytes]", limits: Limits, deadline: float, interrupted: Callable[[], Exception | None]
) -> None:
    looked = 0
    while process.poll() is None:
        if reason := interrupted():
            raise reason
        if time.monotonic() > deadline:
            raise ProcessFailedError(f"took longer than {limits.seconds / 60:.0f} minutes and was ended")
        looked += 1
        if looked % 3 == 0 and resident_bytes(process.pid) > limits.resident_bytes:
            raise ProcessFailedError(f"needed more than {limits.resident_bytes / GIB:.3g} GB of memory and was ended")
        try:
            process.wait(_PAUSE)
        except subprocess.TimeoutExpired:
            continue


def resident_bytes(leader: int) -> int:
    """Return the resident memory of a process and all of its session (its descendants where there are no sessions)."""
    total = 0
    for process in _session(leader):
        with contextlib.suppress(psutil.Error):  # it may end between two looks
            total += process.memory_info().rss
    return total


def _session(leader: int) -> list[psutil.Process]:
    """Return the processes of a session; a job's first process leads its own."""
    if not hasattr(os, "getsid"):
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(leader)
            return [first, *first.children(recursive=True)]
        return []
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == leader:
                found.append(psutil.Process(pid))
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started: asked first, then made to."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, sent)
                process.wait(3.0)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _born(pid: int) -> float | None:
    """Return when a process began, in seconds since 1970; None if there is none of that number."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def end_orphan(mark: Path) -> None:
    """End what a program that was killed left running, by the mark it left, if it is that very process."""
    try:
        pid, born = mark.read_text("ascii").split()
        now = _born(int(pid))
        same = now is not None and abs(now - float(born)) < _CLOCK_SECONDS
    except (OSError, ValueError):
        return
    if same:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid), signal.SIGKILL)


def _last_word(journal: Path, start: int, code: int) -> str:
    """Return why a process failed: what the program said last, or how it ended."""
    with journal.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _LOG_BYTES))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line.removeprefix("glioscope: ") for line in lines if line.startswith("glioscope: ")]
    if said and code == 2:
        return said[-1]
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps the machine ran out of memory" if -code == signal.SIGKILL else ""
        return f"the program was ended by {name}{hint}"
    return f"defect, please report: {lines[-1] if lines else f'the program ended with code {code}'}"
