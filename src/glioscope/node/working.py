"""Studies that are complete, made into results: the program's own `segment`, each study in a process of its own.

    version ──rules, one patient──▶ links to its objects ──segment──▶ SEG, SR, RTSTRUCT, capture ──▶ outbox

What was under way when the node was killed is begun again; `segment` leaves alone what it had finished, so a result
keeps its UIDs. Nothing is returned of a study that fails, that a rule leaves alone, or whose result is
flagged as an error.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from glioscope.errors import CaseError, GlioscopeError
from glioscope.files import link_or_copy
from glioscope.machine.process import ProcessFailedError, end_orphan, run_process
from glioscope.node.outbox import Outbox
from glioscope.node.records import Parcel, VersionRow
from glioscope.node.rules import KINDS, About, Rule, rule_for
from glioscope.node.settings import NodeConfig
from glioscope.node.store import Store
from glioscope.results import Flag, read_summary
from glioscope.segmentation.records import ClinicalFile, clinical_files_in

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The node is stopping; the version is to be made at its next start."""


class IgnoredError(Exception):
    """The rules leave a study alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of a version's process."""

    folder: Path
    """Of the case, in the version's."""
    sequences: tuple[str, ...]
    flags: tuple[Flag, ...]
    files: dict[ClinicalFile, tuple[Path, ...]]
    """Kind of a result to its files."""


class Workers:
    """Threads that take versions from the list.

    Parameters
    ----------
    store, outbox : Store, Outbox
        The list.
    config : NodeConfig
        Rules, model, limits, archives.
    archives : iterable of str
        Where results go, as `str` of a peer.
    made : callable
        Called when there is something to send.
    """

    def __init__(
        self, store: Store, outbox: Outbox, config: NodeConfig, archives: Iterable[str], made: Callable[[], None]
    ) -> None:
        self._store, self._outbox, self._config = store, outbox, config
        self._archives, self._made = tuple(archives), made
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._threads = [threading.Thread(target=self._work, name=f"work-{n}") for n in range(config.workers)]

    def start(self) -> None:
        """Put back what a kill cut off, and begin."""
        for version in self._store.requeue():
            _tell("study failed", version, reason="was under way at too many stops")
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End what is under way, put it back, and wait."""
        self._stop.set()
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def wake(self) -> None:
        """Say that there is work."""
        with self._wake:
            self._wake.notify_all()

    @property
    def alive(self) -> bool:
        """Whether all threads work."""
        return all(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                version = self._store.take()
            except GlioscopeError as error:  # a full disk: try again later
                log.warning("the list cannot be written", extra={"reason": str(error)})
                version = None
            if version is None:
                with self._wake:
                    self._wake.wait(1.0)
            else:
                self._do(version)

    def _do(self, version: VersionRow) -> None:
        try:
            self._make(version)
        except StoppedError:
            self._store.put_back(version)
        except IgnoredError as error:
            self._end(version, "ignored", str(error))
        except (ProcessFailedError, GlioscopeError) as error:
            self._end(version, "failed", str(error))
        except Exception as error:
            log.exception("defect", extra={"study": version.key})
            self._end(version, "failed", f"defect, please report: {type(error).__name__}: {error}")

    def _end(self, version: VersionRow, state: Any, reason: str) -> None:
        folder = self._store.version_folder(version.key, version.number)
        reason = " ".join(reason.replace(f"{folder}/", "").replace(str(folder), "the study").split())
        _tell(f"study {state}", version, reason=reason)
        try:
            self._store.end(version, state, reason, remark=self._remark(version))
        except GlioscopeError as error:
            log.warning("the list cannot be written", extra={"study": version.key, "reason": str(error)})

    def _remark(self, version: VersionRow) -> str:
        twins = self._store.twins(version.key)
        return f"{twins} instances came twice with different content; the first of each was used" if twins else ""

    def _make(self, version: VersionRow) -> None:
        rule = self._rule(version)
        if (patients := self._store.patients(version.key)) > 1:
            raise CaseError(f"holds {patients} patients under one StudyInstanceUID; nothing is returned")
        began = time.monotonic()
        kinds = {archive: rule.kinds_for(archive.partition("@")[0]) for archive in self._archives}
        wanted = [kind for kind in KINDS if any(kind in some for some in kinds.values())] if kinds else list(KINDS)
        done = self._segment(version, wanted)
        if lacking := rule.lacks(done.sequences):
            raise CaseError(lacking)
        errors = [flag.message for flag in done.flags if flag.severity == "error"]
        if errors and rule.hold_errors:
            raise CaseError(f"the result is held back: {'; '.join(errors)}")
        missing = [kind for kind in wanted if not done.files[kind]]
        if missing:
            said = [flag.message for flag in done.flags if flag.code == "no-dicom"]
            raise CaseError(f"{', '.join(missing)} could not be made: {'; '.join(said) or 'no reason was given'}")
        home = self._store.version_folder(version.key, version.number)
        parcels = [
            _parcel(archive, file, home)
            for archive, some in kinds.items()
            for kind in KINDS
            if kind in some
            for file in done.files[kind]
        ]
        sent = self._outbox.made(version, parcels, remark=self._remark(version))
        _tell("study made" if sent else "study superseded", version, seconds=round(time.monotonic() - began, 1))
        shutil.rmtree(home / "input", ignore_errors=True)
        self._made()

    def _rule(self, version: VersionRow) -> Rule:
        study = self._store.study(version.key)
        assert study is not None, "a version is of a study"
        about = About(calling=study.calling, station=study.station, description=study.description)
        rule = rule_for(self._config.rules, about)
        if rule is None:
            raise IgnoredError("fits no rule")
        if not rule.take:
            raise IgnoredError(f"rule '{rule.name}' leaves it alone")
        return rule

    def _segment(self, version: VersionRow, kinds: Iterable[str]) -> Made:
        """Run `segment` on links to the version's objects."""
        home = self._store.version_folder(version.key, version.number)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_orphan(home / "job.pid")
        place = home / "input" / version.key
        shutil.rmtree(place, ignore_errors=True)
        for n, name in enumerate(self._store.used_files(version)):
            link_or_copy(self._store.objects_folder(version.key) / name, place / f"{n:06}.dcm")
        arguments = [*self._config.program, str(place), "-o", str(home / "output"), "--no-report"]
        arguments += ["--dicom", ",".join(kinds), "--keep-identity"]
        arguments += ["--model", str(self._config.model.resolve())] if self._config.model else []
        run_process(arguments, home, self._config.limits, interrupted=self._interrupted)
        return _read(home / "output")

    def _interrupted(self) -> Exception | None:
        return StoppedError() if self._stop.is_set() else None


def _tell(what: str, version: VersionRow, **values: Any) -> None:
    log.info(what, extra={"study": version.key, "version": version.number, **values})


def _read(output: Path) -> Made:
    """Return what `segment` wrote for its only case."""
    found = sorted(output.glob("*/summary.json"))
    if len(found) != 1:
        raise CaseError(f"segment made {len(found)} cases of one study; its objects do not belong together")
    summary = read_summary(found[0])
    folder = found[0].parent
    files = {kind: tuple(folder / name for name in clinical_files_in(summary.outputs, kind)) for kind in KINDS}
    return Made(
        folder=folder,
        sequences=tuple(summary.raw.series if summary.raw else summary.inputs),
        flags=summary.flags,
        files=files,
    )


def _parcel(archive: str, file: Path, home: Path) -> Parcel:
    """Return a result as the outbox takes it, on disk for good."""
    with file.open("rb") as opened:
        header = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        os.fsync(opened.fileno())
    return Parcel(
        peer=archive,
        file=file.relative_to(home).as_posix(),
        sop_class=str(header.SOPClassUID),
        sop_uid=str(header.SOPInstanceUID),
    )
