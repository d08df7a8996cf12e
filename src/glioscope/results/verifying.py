"""Whether what is on disk is still what was recorded: the checksums of inputs, models and outputs, taken again.

    RUN        settings; the cases it trained and judged itself on; every fold's model; cases segmented in it
    OUT        of each case: the inputs, the model, the outputs; and that no case of cohort.csv has vanished
    MODEL      every file that model.json names

A file is read once, however many cases name it. Nothing is written.
"""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glioscope.cases import Case, scan_cases
from glioscope.errors import CaseError, GlioscopeError, RunError
from glioscope.files import read_json, sha256_of
from glioscope.machine import versions
from glioscope.machine.progress import OnProgress, silent
from glioscope.results.summary import CaseSummary, ModelRecord, summaries
from glioscope.runs import Run

State = Literal["matches", "differs", "missing", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file, held against its record."""

    owner: str
    """A case id, or the name of a model or run."""
    what: str
    """As in `input t1c` or `output segmentation.nii.gz`."""
    path: Path
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All that was looked at."""

    place: Path
    checks: tuple[FileCheck, ...]
    notes: tuple[str, ...]
    """What is no error but should be known: results made by other versions than those installed here."""

    @property
    def mismatches(self) -> tuple[FileCheck, ...]:
        """Return what differs or is missing."""
        return tuple(check for check in self.checks if check.state != "matches")


def verify(place: Path, *, progress: OnProgress = silent) -> Verification:
    """Hold every file that a result names against the checksum that was taken when the result was made.

    Parameters
    ----------
    place : Path
        What `segment` or `train` wrote, one case of it, or a model folder.

    Raises
    ------
    RunError
        The folder holds no record to verify, or a record is damaged.
    """
    inspector = _Inspector(progress)
    try:
        _inspect(place, inspector)
    except GlioscopeError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another form than ours
        raise RunError(f"{place}: holds a record that is damaged ({error}); make the result again") from error
    if not inspector.checks:
        raise RunError(
            f"{place}: holds no summary.json, model.json or run; give a folder that segment, train or export wrote"
        )
    return Verification(place=place, checks=tuple(inspector.checks), notes=tuple(sorted(inspector.notes)))


def _inspect(place: Path, inspector: "_Inspector") -> None:
    if (place / "model.json").is_file():
        inspector.model_folder(place, place.resolve().name)
    else:
        if (place / "config.json").is_file():
            inspector.run(Run(place))
        inspector.cohort(place)


class _Inspector:
    """Takes checksums, each file's once, and keeps the list of checks."""

    def __init__(self, progress: OnProgress) -> None:
        self.checks: list[FileCheck] = []
        self.notes: set[str] = set()
        self._known: dict[Path, str | None] = {}
        self._progress = progress

    def _digest(self, path: Path) -> str | None:
        """Return the checksum of a file; None if it cannot be read."""
        key = path.absolute()
        if key not in self._known:
            try:
                self._known[key] = sha256_of(path)
            except OSError:
                self._known[key] = None
        return self._known[key]

    def _file(self, owner: str, what: str, path: Path, recorded: str) -> None:
        found = self._digest(path)
        self._add(owner, what, path, "missing" if found is None else "matches" if found == recorded else "differs")

    def _add(self, owner: str, what: str, path: Path, state: State) -> None:
        self.checks.append(FileCheck(owner=owner, what=what, path=path, state=state))

    def model_folder(self, folder: Path, owner: str) -> None:
        """Check the files that a model.json names."""
        files = _entry(read_json(folder / "model.json", what="model"), "files", folder / "model.json")
        for name, recorded in files.items():
            self._file(owner, f"model file {name}", folder / Path(name).name, str(recorded))

    def run(self, run: Run) -> None:
        """Check a run: settings, data, models. What was segmented in it is a cohort like any other."""
        owner = run.folder.resolve().name
        content = read_json(run.config_file, what="run")
        digest = hashlib.sha256(json.dumps(run.config(), sort_keys=True).encode()).hexdigest()
        self._add(owner, "settings", run.config_file, "matches" if digest == content.get("sha256") else "differs")
        record_file = run.folder / "record.json"
        record = read_json(record_file, what="run")
        self._versions(owner, _entry(record, "versions", record_file))
        self._dataset(Path(str(record.get("dataset", ""))), _entry(record, "cases", record_file))
        for fold in run.trained_folds():
            self.model_folder(run.fold(fold) / "model", f"{owner}, fold {fold}")

    def _dataset(self, dataset: Path, recorded: Mapping[str, Mapping[str, str]]) -> None:
        """Check the cases of a data set, found again by their names."""
        try:
            found: dict[str, Case] = {case.case_id: case for case in scan_cases(dataset)[0]}
        except CaseError:  # the folder is gone, or empty now
            found = {}
        for case_id, digests in recorded.items():
            case = found.get(case_id)
            for name, digest in digests.items():
                file = None
                if case is not None:
                    file = case.reference if name == "seg" else case.sequences.get(name)
                if file is None:
                    self._add(case_id, f"training data {name}", dataset / case_id, "missing")
                else:
                    self._file(case_id, f"training data {name}", file.path, digest)

    def cohort(self, place: Path) -> None:
        """Check every case below a folder, and that each case of a cohort's table is there."""
        found = list(summaries(place))
        for number, (path, summary) in enumerate(found, start=1):
            if isinstance(summary, RunError):
                if len(found) == 1:
                    raise summary
                self._add(path.parent.name, f"summary: {summary}", path, "unreadable")
            else:
                self._case(path, summary)
            self._progress(number, len(found), path.parent.name)
        for table in sorted(place.rglob("cohort.csv")):
            with table.open(newline="", encoding="utf-8") as file:
                done = [row["case_id"] for row in csv.DictReader(file) if row.get("status") in ("done", "skipped")]
            for case_id in done:
                summary_file = table.parent / case_id / "summary.json"
                if not summary_file.is_file():
                    self._add(case_id, "summary", summary_file, "missing")

    def _case(self, path: Path, summary: CaseSummary) -> None:
        owner = summary.case_id
        for name, entry in summary.inputs.items():
            self._file(owner, f"input {name}", Path(entry.file), entry.sha256)
        self._model(owner, summary.model)
        for name, recorded in summary.outputs.items():
            self._file(owner, f"output {name}", path.parent / name, recorded)
        self._versions(owner, summary.versions)

    def _model(self, owner: str, record: ModelRecord) -> None:
        """Check that the model is the one that answered; several that answered together have one checksum."""
        folders = [Path(folder) for folder in record.members or (record.folder,)]
        digests = [self._digest(folder / "model.json") for folder in folders]
        if None in digests:
            self._add(owner, "model", folders[digests.index(None)] / "model.json", "missing")
            return
        together = "".join(str(digest) for digest in digests)
        found = together if len(folders) == 1 else hashlib.sha256(together.encode()).hexdigest()
        matches = found == record.sha256
        self._add(owner, "model", folders[0] / "model.json", "matches" if matches else "differs")
        if matches:  # then what model.json names is what answered
            for folder in folders:
                self.model_folder(folder, owner)

    def _versions(self, owner: str, made_with: Mapping[str, str]) -> None:
        """Note which packages differ from those installed here: the same input may then give another result."""
        here = versions()
        for name, version in made_with.items():
            if name not in ("platform", "python") and here.get(name, version) != version:
                self.notes.add(f"made with {name} {version}, installed is {here[name]}; first met in {owner}")


def _entry(record: Any, name: str, path: Path) -> dict[str, Any]:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, dict):
        raise RunError(f"{path}: has no table '{name}'; it is damaged or of another version, make the result again")
    return value
