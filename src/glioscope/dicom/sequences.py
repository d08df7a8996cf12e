"""What a series is by its tags alone; `choosing` compares images where tags fail, and takes the best of each.

A series collects points for T1, T2 and FLAIR: `WORDS` if its description names it, `TIMING` if its echo, repetition and
inversion times are those of that weighting. What is plainly something else (a localiser, diffusion, a derived map) is
left out, with its kind as the reason.

Timing windows: Bushberg et al., The Essential Physics of Medical Imaging, and the vendors' default protocols at 1.5 and
3 T, widened to meet 3-D fast spin echo with its long effective echo times.
"""

from dataclasses import dataclass

from glioscope.dicom import words

WORDS, TIMING = 4.0, 3.0
"""Points of a description that names the weighting, and of times that fit it."""
NAMES = {"t1n": "T1", "t1c": "T1 with contrast", "t2w": "T2", "t2f": "FLAIR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What the tags of one volume say, as far as sequences are told from it. Times in milliseconds."""

    label: str
    """Name for messages: number and the known words of the description."""
    uid: str
    number: int | None
    description: str
    """As typed at the console; it may name anybody, so it never leaves this room."""
    protocol: str = ""
    pulse: str = ""
    image_type: tuple[str, ...] = ()
    body_part: str = ""
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    flip_degrees: float | None = None
    b_value: float | None = None
    contrast: bool = False
    """A tag names a contrast agent. On many scanners every series after the patient's entry has it, or none."""
    time_s: float | None = None
    """Start of acquisition, seconds; only differences mean something. Midnight is no jump back."""
    exam: str = ""
    """What tells one examination from another: its date, else its UID."""
    study: str = ""
    """UID of the study."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    extent_mm: float = 150.0
    """Along the slices."""
    plane: str = "axial"
    three_d: bool = False
    frame_of_reference: str = ""
    box_mm: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Least and greatest RAS coordinates of the volume."""

    @property
    def text(self) -> str:
        """Description and protocol as plain words, without those of operations, visits and coils."""
        return words.about_scan(words.plain(f"{self.description} {self.protocol}"))

    def summary(self) -> str:
        """Return one phrase without anything personal: label, plane, spacing, times."""
        spacing = " × ".join(f"{edge:.3g}" for edge in self.spacing_mm)
        times = [
            f"{name} {value:.4g} ms"
            for name, value in (("TR", self.repetition_ms), ("TE", self.echo_ms), ("TI", self.inversion_ms))
            if value
        ]
        return ", ".join([self.label, f"{self.plane}{' 3-D' if self.three_d else ''}", f"{spacing} mm", *times])


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One volume of a DICOM series: its facts, and (in the reader's own subclass) where its pixels lie."""

    facts: SeriesFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """What a series is, and what says so."""

    kind: str
    """t1, t2w, t2f, `unknown`, or the kind of another series such as `diffusion`."""
    points: float
    evidence: tuple[str, ...]
    problems: tuple[str, ...] = ()
    contrast: bool | None = None
    """Of a T1: what its own words say; None if they are silent."""


def type_series(facts: SeriesFacts) -> Typing:
    """Return what a series is by its tags alone."""
    named, word = _by_words(facts.text)
    timed = weighting_by_times(facts)
    if other := _other(facts, named, timed):
        return Typing(kind=other, points=0, evidence=())
    points = {"t1": 0.0, "t2w": 0.0, "t2f": 0.0}
    evidence, problems = [], []
    if named:
        points[named] += WORDS
        evidence.append(f"its description says {word.upper()}")
    if timed in points:
        points[timed] += TIMING
        evidence.append(f"its times are those of {kind_name(timed)}")
    elif timed and not named:
        return Typing(kind=timed, points=0, evidence=())
    if named and timed and named != timed:
        problems.append(
            f"the description says {kind_name(named)} but the times are those of {kind_name(timed)}; check the choice"
        )
    best = max(points, key=lambda kind: points[kind])
    if points[best] == 0:
        return Typing(kind="unknown", points=0, evidence=())
    return Typing(
        kind=best,
        points=points[best] - sum(p for kind, p in points.items() if kind != best),
        evidence=tuple(evidence),
        problems=tuple(problems),
        contrast=words.of_contrast(facts.text) if best == "t1" else None,
    )


def kind_name(kind: str) -> str:
    """Return a kind in the words of messages."""
    return "T1" if kind == "t1" else NAMES.get(kind, kind)


_OTHER_TYPES = {
    "localiser": {"LOCALIZER", "SCOUT"},
    "diffusion": {"ADC", "FA", "TRACEW", "DIFFUSION", "TENSOR"},
    "perfusion": {"PERFUSION", "CBV", "CBF", "MTT", "ASL", "TTP"},
    "phase image": {"P", "PHASE", "I", "IMAGINARY", "VELOCITY"},
    "real part of an image": {"R", "REAL"},
    "derived image": {"PROJECTION", "MIP", "MNIP", "SUBTRACTION"},
}
"""Kind of another series, to the values of ImageType that tell it."""


def _other(facts: SeriesFacts, named: str, timed: str) -> str:
    """Return the kind of a series that is none of the four sequences, or nothing.

    A word of several meanings must not overrule a weighting that is named and that the times agree with.
    """
    kinds = set(facts.image_type)
    for kind, types in _OTHER_TYPES.items():
        if kinds & types:
            return kind
    if (facts.b_value or 0) > 0:
        return "diffusion"
    for kind, pattern in words.OTHER.items():
        if words.find(pattern, facts.text):
            return kind
    for kind, pattern in words.DOUBTFUL.items():
        agreed = bool(named) and (timed == named or (not timed and kind != "proton density"))
        if words.find(pattern, facts.text) and not agreed:
            return kind
    return _other_part(facts)


def _other_part(facts: SeriesFacts) -> str:
    """Return that a series shows another part of the body, or nothing; words for the head outweigh."""
    tag = words.plain(facts.body_part)
    if words.find(words.HEAD, tag):
        return ""
    if part := words.find(rf"{words.ELSEWHERE}|hand|arm|leg|\w*spine", tag):
        return "spine" if "spine" in part else f"another part of the body ({part})"
    part = words.find(words.ELSEWHERE, facts.text)
    return f"another part of the body ({part})" if part and not words.find(words.HEAD, facts.text) else ""


def _by_words(text: str) -> tuple[str, str]:
    """Return the weighting that the words name, and the word."""
    flair, t1, t2 = (words.find(pattern, text) for pattern in (words.FLAIR, words.T1, words.T2))
    if flair and not (t1 and not t2 and t1.startswith("t1")):  # "T1 FLAIR" is an inversion-prepared T1
        return "t2f", flair
    if t1 and t2:
        first = min((t1, t2), key=text.index)
        return ("t1", t1) if first == t1 else ("t2w", t2)
    if t1:
        return "t1", t1
    return ("t2w", t2) if t2 else ("", "")


def weighting_by_times(facts: SeriesFacts) -> str:
    """Return the weighting that echo, repetition and inversion times make, another kind, or nothing."""
    echo, repetition, inversion = facts.echo_ms, facts.repetition_ms, facts.inversion_ms or 0
    if echo is None or repetition is None:
        return ""
    pulse = facts.pulse.casefold()
    gradient = "gr" in pulse.split() or "gradient" in pulse
    windows = {
        "t2f": inversion > 1400 and echo > 60 and repetition > 4000,
        "fat image": 80 < inversion < 300 and repetition > 1500,
        "t2w": echo > 60 and repetition > 1800 and inversion < 300,
        "susceptibility": gradient and inversion == 0 and echo > 12,
        "t1": echo < 35 and (repetition < 1100 or 400 < inversion < 1400),
        "proton density": echo < 45 and repetition > 1500 and inversion == 0 and not gradient,
    }
    return next((kind for kind, fits in windows.items() if fits), "")
