"""A model loaded once, and the cases that pass through it: one read ahead, one written behind."""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from glioscope.cases import Case
from glioscope.dicom.find import DicomCase
from glioscope.errors import ModelError, RunError
from glioscope.files import sha256_of
from glioscope.inference import Engine, InferenceConfig, load_ensemble
from glioscope.labels import scheme_named
from glioscope.model import ModelSpec, model_folders, read_ensemble
from glioscope.quality.inputs import Card
from glioscope.results.summary import ModelRecord
from glioscope.segmentation.asked import require_packages
from glioscope.segmentation.case import Predicted, Ready, Work, finish, predict, read
from glioscope.segmentation.records import CaseOutcome, SegmentOptions, reason
from glioscope.settings import settings

T = TypeVar("T")


def default_model() -> Path:
    """Return the folder of the network that comes with the package.

    Raises
    ------
    ModelError
        This installation has none.
    """
    folder = Path(__file__).parents[1] / "models" / "starter"
    if not (folder / "model.json").is_file():
        raise ModelError(f"{folder}: this installation has no network; name one with --model FOLDER")
    return folder


class Worker:
    """One model, loaded once, that segments cases as they come.

    Parameters
    ----------
    output : path
        ``<output>/<case>/`` gets the files of a case. Tables and pages over several are `cohort`'s.
    model : path, optional
        As for `segment`.
    options : SegmentOptions
        As for `segment`.

    Raises
    ------
    ModelError
        The model is absent or damaged.
    LabelError
        The options name a scheme that is not known.
    """

    def __init__(
        self, output: Path | str, *, model: Path | str | None = None, options: SegmentOptions = SegmentOptions()
    ) -> None:
        self._folders = model_folders(Path(model) if model is not None else default_model())
        spec = read_ensemble(self._folders)
        if options.scheme is not None:
            scheme_named(options.scheme)
        if options.requests:
            require_packages(options)
        self._work = Work(
            output=Path(output),
            spec=spec,
            inference=_inference(spec, options),
            options=options,
            model=_model_record(self._folders, spec),
            card=_card(self._folders[0]),
        )
        self._engine: Engine | None = None

    def _load(self) -> Engine:
        if self._engine is None:
            o = self._work.options
            self._engine = load_ensemble(self._folders, device=o.device, precision=o.precision, threads=o.threads)
        return self._engine

    def segment(self, cases: Sequence[Case | DicomCase], *, strict: bool = False) -> Generator[CaseOutcome]:
        """Segment cases, reading one ahead and writing one behind.

        Parameters
        ----------
        cases : sequence of Case or DicomCase
            No two with one id. None: nothing happens, and no model is loaded.
        strict : bool
            Raise the error of a case instead of making it the case's outcome.

        Yields
        ------
        CaseOutcome
            One for each case, in their order.

        Raises
        ------
        ModelError
            The model does not run.
        RunError
            The output cannot be written.
        """
        if not cases:
            return
        with (
            ThreadPoolExecutor(1, "reader") as reader,
            ThreadPoolExecutor(1, "checker") as checker,
            ThreadPoolExecutor(1, "writer") as writer,
        ):
            behind: Future[CaseOutcome] | None = None
            ahead = reader.submit(_attempt, cases[0], partial(read, self._work, cases[0]), strict=strict)
            writer.submit(import_module, "glioscope.measure")  # large, and not needed before the first result
            try:
                engine = self._load()  # while the first case is being read
                for index, case in enumerate(cases):
                    item: Ready | Predicted | CaseOutcome = ahead.result()
                    if index + 1 < len(cases):
                        after = cases[index + 1]
                        ahead = reader.submit(_attempt, after, partial(read, self._work, after), strict=strict)
                    if isinstance(item, Ready):
                        item = _attempt(case, partial(predict, self._work, engine, item), strict=strict)
                    if behind is not None:
                        yield behind.result()
                        behind = None
                    if isinstance(item, CaseOutcome):
                        yield item
                    elif isinstance(item, Predicted):
                        last_step = partial(finish, self._work, engine, checker, item)
                        behind = writer.submit(_attempt, case, last_step, strict=strict)
                if behind is not None:
                    yield behind.result()
            finally:
                ahead.cancel()


def _attempt(case: Case | DicomCase, step: Callable[[], T], *, strict: bool) -> T | CaseOutcome:
    """Take one step of one case; unless strict, its error becomes the outcome."""
    try:
        return step()
    except (ModelError, RunError):  # no other case would fare better
        raise
    except Exception as error:
        if strict:
            raise
        return CaseOutcome(case_id=case.case_id, status="failed", reason=reason(error))


def _inference(spec: ModelSpec, options: SegmentOptions) -> InferenceConfig:
    table = {"divisor": spec.divisor, "temperature": spec.temperature, **spec.inference}
    config = settings(InferenceConfig, {"inference": table}, "inference").of(len(spec.regions.names))
    return replace(config, mirror_axes=(0,)) if options.mirror else config


def _card(folder: Path) -> Card | None:
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Card).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is damaged ({' '.join(str(error).split())}); copy the model again") from error


def _model_record(folders: Sequence[Path], spec: ModelSpec) -> ModelRecord:
    """Return what tells one model from another; an ensemble's checksum is that of its members' checksums in order."""
    digests = [sha256_of(folder / "model.json") for folder in folders]
    together = len(folders) > 1
    return ModelRecord(
        name=spec.name,
        folder=str(folders[0].resolve()),
        sha256=hashlib.sha256("".join(digests).encode()).hexdigest() if together else digests[0],
        members=tuple(str(folder.resolve()) for folder in folders) if together else (),
    )
