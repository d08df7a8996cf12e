"""What the server does with cases, told apart from how it is asked: take an upload, start, correct, compare, delete."""

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from glioscope.cases import SEQUENCES
from glioscope.errors import CaseError, GlioscopeError
from glioscope.files import NIFTI_SUFFIXES, link_or_copy, nifti_suffix, read_json
from glioscope.machine.process import Limits, ProcessFailedError, run_process
from glioscope.report.style import SEQUENCE_NAMES
from glioscope.segmentation.clicks import Click
from glioscope.segmentation.correcting import marked
from glioscope.segmentation.records import CLINICAL
from glioscope.space.volumes import VolumeFile, read_labels, read_volume, write_volume
from glioscope.web import earlier, results
from glioscope.web.doubt import Runs, Scenes, refined
from glioscope.web.jobs import Runner, Step
from glioscope.web.recognise import Proposal, case_id_of, dicom_source, recognise, scheme_of
from glioscope.web.settings import ServerConfig
from glioscope.web.store import CaseRow, Found, JobRow, Scan, Store, VersionRow
from glioscope.web.uploads import UploadError, readable, receive


class NotNowError(Exception):
    """A request that does not fit the state of a case."""


class Service:
    """The server's work, on one folder.

    Parameters
    ----------
    config : ServerConfig
        Folder, model and limits.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.store = Store(config.data)
        self.runner = Runner(self.store, config, self._plan, self._failed)
        self._uploads = asyncio.Semaphore(4)
        self.guessing = asyncio.Lock()
        self._scenes = Scenes(self.store)
        self._making = threading.Lock()

    def start(self) -> None:
        """Begin to work through the queue."""
        self.runner.start()

    def stop(self) -> None:
        """Stop working; what is under way is done at the next start."""
        self.runner.stop()
        self.store.close()

    # uploads

    async def upload(self, request: Request) -> list[CaseRow]:
        """Take an upload and return the cases it became.

        Raises
        ------
        UploadError
            Nothing was kept; the message says why.
        """
        if self.store.waiting() >= self.config.max_queue:
            raise UploadError(503, f"{self.config.max_queue} cases are waiting already; try again later")
        async with self._uploads:
            folder = self.store.data / "incoming" / secrets.token_hex(8)
            try:
                folder.mkdir(parents=True, mode=0o700)
            except OSError as error:
                raise UploadError(507, f"the upload cannot be written ({error.strerror}); nothing was kept") from error
            try:
                received = await receive(request, folder, self.config)
                proposals = await run_in_threadpool(recognise, received)
                start = received.fields.get("start", "") in ("1", "true", "yes", "on")
                return await run_in_threadpool(self._keep, folder, proposals, start)
            except CaseError as error:
                raise UploadError(
                    422, str(error).replace(f"{folder}/", "").replace(str(folder), "the upload")
                ) from error
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, folder: Path, proposals: Sequence[Proposal], start: bool) -> list[CaseRow]:
        """Enter each patient as a case of its own, all or none."""
        rows: list[CaseRow] = []
        try:
            for proposal in proposals:
                row = self._row(proposal)
                rows.append(row)
                home = self.store.folder(row.key)
                home.mkdir(mode=0o700)
                if len(proposals) == 1:
                    folder.rename(home / "input")
                else:
                    _move(folder, home / "input", [scan.file for scan in proposal.scans])
                self.store.add(row)
        except OSError as error:
            self._drop(rows)
            raise UploadError(507, f"the upload cannot be kept ({error.strerror}); nothing was kept") from error
        except GlioscopeError:
            self._drop(rows)
            raise
        for row, proposal in zip(rows, proposals, strict=True):
            if proposal.kind == "dicom":
                self.store.queue(row.key, "read")
            elif start and not proposal.doubtful:
                self.begin(row.key, row.choice, raw=row.raw)
        self.runner.wake()
        return [self.case(row.key) for row in rows]

    def _drop(self, rows: Sequence[CaseRow]) -> None:
        for row in rows:
            shutil.rmtree(self.store.folder(row.key), ignore_errors=True)
            with contextlib.suppress(GlioscopeError):
                self.store.remove(row.key)

    def _row(self, proposal: Proposal) -> CaseRow:
        return CaseRow(
            key=secrets.token_hex(8),
            title=proposal.title,
            case_id=case_id_of(proposal.title),
            kind=proposal.kind,
            state="reading" if proposal.kind == "dicom" else "review",
            message=proposal.remark,
            scans=proposal.scans,
            choice=proposal.choice,
            raw=proposal.raw,
            result=Found(),
            version=0,
            created=time.time(),
        )

    # cases

    def case(self, key: str) -> CaseRow:
        """Return a case.

        Raises
        ------
        KeyError
            There is none of that key.
        """
        row = self.store.case(key)
        if row is None:
            raise KeyError(key)
        return row

    def begin(self, key: str, choice: Mapping[str, int], *, raw: bool, title: str | None = None) -> CaseRow:
        """Queue a case for segmentation with the sequences as the user chose them.

        Raises
        ------
        NotNowError
            It is waiting or under way already.
        CaseError
            The choice is not usable.
        """
        row = self.case(key)
        if row.state in ("queued", "running", "reading"):
            raise NotNowError("this case is waiting or under way already")
        _check_choice(row, choice)
        if row.kind == "dicom":
            raw = True
        shown = readable(title) if title else row.title
        earlier.put_by(self.store, row)
        self.store.queue(
            key,
            "segment",
            state="queued",
            message="",
            choice=dict(choice),
            raw=raw,
            title=shown or row.title,
            case_id=case_id_of(shown or row.title),
        )
        self.runner.wake()
        return self.case(key)

    def restore(self, key: str) -> CaseRow:
        """Bring back the result that a case had before it was segmented anew; what it has now is put by instead.

        Raises
        ------
        NotNowError
            It is waiting or under way, or there is nothing to bring back.
        """
        row = self.case(key)
        if row.state in ("queued", "running", "reading"):
            raise NotNowError("this case is waiting or under way; wait until it is done")
        if not earlier.bring_back(self.store, row):
            raise NotNowError("this case has no earlier result")
        return self.case(key)

    def remove(self, key: str) -> None:
        """Delete a case with all its files."""
        row = self.case(key)
        self.runner.cancel(row.key)
        self.store.remove(row.key)

    def save(self, key: str, sent: results.Correction) -> VersionRow:
        """Save a corrected segmentation as the next version.

        Raises
        ------
        NotNowError
            There is no segmentation yet.
        ConflictError
            A newer version exists, or what was corrected is not here any more.
        """
        row = self.case(key)
        if row.state in ("queued", "running"):
            raise results.ConflictError(
                "this case is being segmented again, and what you corrected is not its newest result any more. Nothing "
                "was overwritten: download your drawing, then load the case anew."
            )
        if row.state != "done":
            raise NotNowError("this case has no segmentation yet")
        return results.save_version(self.store, row, replace(sent, note=readable(sent.note, length=300)))[0]

    def refine(self, key: str, content: str, changes: Sequence[int], clicks: Sequence[Click]) -> Runs:
        """Answer clicks on a version with unsaved changes; return the voxels that change, on the part that is shown.

        Raises
        ------
        NotNowError
            There is no segmentation at present.
        ConflictError
            It is not the one that was clicked on.
        CaseError
            A click cannot be answered.
        """
        row = self.case(key)
        if row.state != "done":
            raise NotNowError("this case is not segmented at present; wait until it is done, then load it anew")
        number = next((n for n in range(row.version, 0, -1) if self.content(key, n) == content), None)
        if number is None:
            raise results.ConflictError(
                "this case was segmented again since you opened it; download your drawing, then load the case anew"
            )
        before = read_labels(results.view_labels(self.store, key, number)).data
        scheme = results.read_summary(self.store, key, number).scheme.name
        return refined(self._scenes.of(key, self.content(key, 1)), before, changes, clicks, scheme)

    def content(self, key: str, version: int) -> str:
        """Return the mark of what a version is: see `results.content_of`."""
        return results.content_of(results.read_summary(self.store, key, version), version)

    def clinical_file(self, key: str, version: int, name: str) -> Path:
        """Return a DICOM file of a version; those of a corrected one are made at the first call.

        Raises
        ------
        KeyError
            The version has no such file.
        CaseError
            It cannot be made.
        """
        folder = results.result_folder(self.store, key)
        summary = results.read_summary(self.store, key, version)
        if name in summary.outputs:
            return folder / name
        kinds = {marked(kind, version) for kind in CLINICAL.values()}
        if name not in kinds or summary.raw is None or "dicom" not in summary.raw.inputs:
            raise KeyError(name)
        with self._making:
            if not (folder / name).is_file():
                source = dicom_source(self.store.folder(key) / "input")
                arguments = ("-m", "glioscope.web.clinical", str(folder), str(source), str(version))
                limits = Limits(seconds=self.config.job_seconds, resident_bytes=self.config.job_bytes)
                try:
                    run_process(arguments, folder, limits)
                except ProcessFailedError as error:
                    raise CaseError(f"the DICOM files of version {version} cannot be made: {error}") from error
        return folder / name

    def compare(self, key: str, earlier: str) -> None:
        """Queue a comparison of a case with an earlier scan of the same patient.

        Raises
        ------
        NotNowError
            One of them is not segmented, or this installation cannot compare.
        """
        row, other = self.case(key), self.case(earlier)
        if not self.can_compare:
            raise NotNowError("this installation has no command 'glioscope change'")
        if row.key == other.key or row.state != "done" or other.state != "done":
            raise NotNowError("two different cases are needed, both segmented")
        last = self.store.last_job(key, "change", other=earlier)
        if last is None or last.state in ("done", "failed"):
            self.store.queue(key, "change", other=earlier)
            self.runner.wake()

    def change_page(self, key: str, earlier: str) -> Path:
        """Return the page of a comparison (it may not exist yet)."""
        return self.store.folder(key) / f"change-{earlier}" / "change.html"

    @cached_property
    def can_compare(self) -> bool:
        """Whether this installation has the command that compares two scans."""
        return _runs("change", "--help")

    # jobs

    def _plan(self, job: JobRow) -> tuple[Sequence[Step], Callable[[], None]]:
        row, home = self.case(job.key), self.store.folder(job.key)
        if job.task == "read":
            source, result = dicom_source(home / "input"), home / "series.json"
            step = Step(what="reading DICOM", arguments=("-m", "glioscope.web.recognise", str(source), str(result)))
            return [step], lambda: self._read(job, result)
        if job.task == "change":
            out = self.change_page(job.key, job.other).parent
            arguments = ("-m", "glioscope", "change", *self._dates(job.other, job.key), "-o", str(out))
            return [Step(what="comparing", arguments=arguments)], lambda: self.store.finish(job)
        return self._segment_steps(row, home), lambda: self._segmented(job)

    def _segment_steps(self, row: CaseRow, home: Path) -> list[Step]:
        scans = {code: row.scans[place] for code, place in row.choice.items()}
        target = home / "case"
        shutil.rmtree(target, ignore_errors=True)
        options: list[str] = []
        if row.kind == "dicom":
            place = _lay_out_dicom(dicom_source(home / "input"), target, row.case_id)
            for code in SEQUENCES:
                options += [f"--{code}", _series(scans[code]) if code in scans else "none"]
            options += ["--dicom", "seg,rtstruct,sr"]
        else:
            place = target / row.case_id
            options += ["--scheme", _lay_out(row, scans, home / "input", place)]
            options += ["--raw"] if row.raw else []
        if self.config.model:
            options += ["--model", str(self.config.model.resolve())]
        arguments = ("-m", "glioscope", "segment", str(place), "-o", str(home / "output"), "--logits", *options)
        return [Step(what="segmenting", arguments=arguments)]

    def _dates(self, earlier: str, later: str) -> list[str]:
        """Return what `change` takes for the newest versions of two cases: folders as `segment` writes them."""
        return [str(self._as_segmented(key, self.case(key).version)) for key in (earlier, later)]

    def _as_segmented(self, key: str, version: int) -> Path:
        """Return a folder that holds a version as if `segment` had written it; for the first it has."""
        folder = results.result_folder(self.store, key)
        if version == 1:
            return folder
        made = self.store.folder(key) / "versions" / str(version) / folder.name
        segmentation, summary, _ = results.names(version)
        link_or_copy(folder / segmentation, made / "segmentation.nii.gz")
        link_or_copy(folder / summary, made / "summary.json")
        return made

    def _read(self, job: JobRow, result: Path) -> None:
        found = read_json(result, what="list of series")
        scans = tuple(Scan(**scan) for scan in found["scans"])
        self.store.finish(job, state="review", message=found["remark"], scans=scans, choice=found["choice"])

    def _segmented(self, job: JobRow) -> None:
        summary = results.read_summary(self.store, job.key, 1)
        now = time.time()
        version = VersionRow(number=1, based_on=0, note="", changed=0, created=now)
        self.store.add_version(job.key, version, results.result_of(summary))
        self.store.finish(job, state="done", message="", finished=now)

    def _failed(self, job: JobRow, reason: str) -> None:
        if job.task == "change":
            self.store.finish(job, failure=reason)
        else:
            reason = self._in_the_users_words(job.key, reason)
            self.store.finish(job, failure=reason, state="failed", message=reason)

    def _in_the_users_words(self, key: str, reason: str) -> str:
        """Return why a job failed, with the names that the files came with."""
        row = self.case(key)
        for code, place in row.choice.items():
            if place < len(row.scans):
                for suffix in NIFTI_SUFFIXES:
                    reason = reason.replace(f"case/{row.case_id}/{row.case_id}-{code}{suffix}", row.scans[place].name)
        return reason


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


Desk = Annotated[Service, Depends(_service)]
"""The service, as a route asks for it."""


def _move(source: Path, target: Path, files: Sequence[str]) -> None:
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).rename(target / name)


def _check_choice(row: CaseRow, choice: Mapping[str, int]) -> None:
    unknown = sorted(set(choice) - set(SEQUENCES))
    if unknown:
        raise CaseError(f"sequence {unknown} is not known; name them {', '.join(SEQUENCES)}")
    if not choice:
        raise CaseError("no sequence is chosen; at least one of T1, T1 with contrast, T2 and FLAIR is needed")
    for code, place in choice.items():
        if not 0 <= place < len(row.scans):
            raise CaseError(f"{SEQUENCE_NAMES[code]}: the upload has no scan number {place}")
        if row.scans[place].problem:
            raise CaseError(f"{row.scans[place].name}: {row.scans[place].problem}")
    if len(set(choice.values())) < len(choice):
        place = max(choice.values(), key=list(choice.values()).count)
        codes = " and ".join(SEQUENCE_NAMES[code] for code, n in choice.items() if n == place)
        raise CaseError(f"{row.scans[place].name}: is chosen for {codes}; each sequence needs a scan of its own")


def _series(scan: Scan) -> str:
    """Return what `prepare` knows a DICOM series by: the number at the front of its label."""
    return scan.name.removeprefix("series ").split(" ")[0]


def _lay_out(row: CaseRow, scans: Mapping[str, Scan], source: Path, target: Path) -> str:
    """Give the chosen files the names of a case, without copying them, and return their label scheme."""
    for code, scan in scans.items():
        path = source / scan.file
        if row.kind == "channels":
            volume = read_volume(VolumeFile(path, row.scans.index(scan)))
            write_volume(target / f"{row.case_id}-{code}.nii.gz", volume.data, volume.grid)
        else:
            link_or_copy(path, target / f"{row.case_id}-{code}{nifti_suffix(path)}")
    return "msd" if row.kind == "channels" else scheme_of(source, scans)


def _lay_out_dicom(source: Path, target: Path, case_id: str) -> Path:
    """Give a DICOM source the name of its case, without copying it, and return its place."""
    if source.is_file():
        link_or_copy(source, target / f"{case_id}.zip")
        return target / f"{case_id}.zip"
    for path in source.rglob("*"):
        if path.is_file():
            link_or_copy(path, target / case_id / path.relative_to(source))
    return target / case_id


def _runs(*arguments: str) -> bool:
    command = [sys.executable, "-m", "glioscope", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
