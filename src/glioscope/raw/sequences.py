"""Which scan is which: every series typed from its tags, where they fail from its images, and the best of each chosen.

A series collects points for T1, T2 and FLAIR: `WORDS` if its description names it, `TIMING` if its echo, repetition and
inversion times are those of that weighting. What is plainly something else (a localiser, diffusion, a derived map) is
left out, with its kind as the reason. Which of the T1 series came after contrast is read from their words, then from
the contrast tags, then from the time of acquisition together with the images.

Timing windows: Bushberg et al., The Essential Physics of Medical Imaging, and the vendors' default protocols at 1.5 and
3 T, widened to meet 3-D fast spin echo with its long effective echo times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glioscope.cases import SEQUENCES
from glioscope.errors import CaseError
from glioscope.raw import looks, words
from glioscope.raw.scan import Choice, RawScan

WORDS, TIMING = 4.0, 3.0
"""Points of a description that names the weighting, and of times that fit it."""
ALIKE = 0.2
"""A scan this near to the one most like T2, as a share of the range of likeness, is a second FLAIR."""
NAMES = {"t1n": "T1", "t1c": "T1 with contrast", "t2w": "T2", "t2f": "FLAIR"}
SHORT_MM = 80.0
"""A volume that covers less than this along its slices holds a part of the brain."""


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
    """Start of acquisition, seconds since midnight."""
    exam: str = ""
    """What tells one examination from another: its date, else its UID."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    extent_mm: float = 150.0
    """Along the slices."""
    plane: str = "axial"
    three_d: bool = False
    frame_of_reference: str = ""

    @property
    def text(self) -> str:
        """Description, protocol and sequence name as plain words."""
        return words.plain(f"{self.description} {self.protocol}")

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
    if other := _other(facts):
        return Typing(kind=other, points=0, evidence=())
    named, word = _by_words(facts.text)
    timed = _by_times(facts)
    points = {"t1": 0.0, "t2w": 0.0, "t2f": 0.0}
    evidence, problems = [], []
    if named:
        points[named] += WORDS
        evidence.append(f"its description says {word.upper()}")
    if timed in points:
        points[timed] += TIMING
        evidence.append(f"its times are those of {_name(timed)}")
    elif timed and not named:
        return Typing(kind=timed, points=0, evidence=())
    if named and timed and named != timed:
        problems.append(
            f"the description says {_name(named)} but the times are those of {_name(timed)}; check the choice"
        )
    best = max(points, key=lambda kind: points[kind])
    if points[best] == 0:
        return Typing(kind="unknown", points=0, evidence=())
    return Typing(
        kind=best,
        points=points[best] - sum(p for kind, p in points.items() if kind != best),
        evidence=tuple(evidence),
        problems=tuple(problems),
        contrast=_contrast_words(facts.text) if best == "t1" else None,
    )


def _name(kind: str) -> str:
    return "T1" if kind == "t1" else NAMES.get(kind, kind)


_OTHER_TYPES = {
    "localiser": {"LOCALIZER", "SCOUT"},
    "diffusion": {"ADC", "FA", "TRACEW", "DIFFUSION", "TENSOR"},
    "perfusion": {"PERFUSION", "CBV", "CBF", "MTT", "ASL", "TTP"},
    "phase image": {"P", "PHASE", "I", "IMAGINARY"},
    "derived image": {"PROJECTION", "MIP", "MNIP", "SUBTRACTION"},
}
"""Kind of another series, to the values of ImageType that tell it."""


def _other(facts: SeriesFacts) -> str:
    """Return the kind of a series that is none of the four sequences, or nothing."""
    kinds = set(facts.image_type)
    for kind, types in _OTHER_TYPES.items():
        if kinds & types:
            return kind
    if (facts.b_value or 0) > 0:
        return "diffusion"
    named = next((kind for kind, pattern in words.OTHER.items() if words.find(pattern, facts.text)), "")
    return named or ("spine" if "spine" in facts.body_part.casefold() else "")


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


def _by_times(facts: SeriesFacts) -> str:
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


def _contrast_words(text: str) -> bool | None:
    if words.find(words.WITHOUT_CONTRAST, text):
        return False
    return True if words.find(words.WITH_CONTRAST, text) else None


def _quality(facts: SeriesFacts, injection_s: float | None, code: str) -> tuple[float, list[str]]:
    """Return points for how well a series serves as `code` apart from its weighting, and what decided."""
    points, why = 0.0, []
    thickest = max(facts.spacing_mm)
    points -= min(thickest, 10) / 10
    why.append(f"{thickest:.2g} mm voxels at most")
    if "DERIVED" in facts.image_type or {"REFORMATTED", "MPR"} & set(facts.image_type):
        points -= 1
        why.append("derived")
    if facts.extent_mm < SHORT_MM:
        points -= 2
        why.append(f"covers only {facts.extent_mm:.0f} mm")
    if code != "t1c" and injection_s is not None and facts.time_s is not None:
        before = facts.time_s < injection_s
        points += 0.5 if before else 0
        why.append("before the contrast" if before else "after the contrast")
    if facts.plane == "axial":
        points += 0.1
    return points, why


ReadScan = Callable[[Series], RawScan]
Chosen = dict[str, tuple[Series, tuple[str, ...]]]
Verdict = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Sequence code, the evidence, the problems."""


def choose(
    series: Sequence[Series], overrides: Mapping[str, str], read: ReadScan
) -> tuple[Chosen, tuple[Choice, ...], dict[str, str]]:
    """Choose at most one series for each sequence.

    Parameters
    ----------
    series : sequence of Series
        All volumes of one patient.
    overrides : mapping of str to str
        Sequence code to series number, UID or part of a description, or ``none``.
    read : callable
        Gives the pixels of a series; called only where tags do not decide.

    Returns
    -------
    chosen : dict
        Sequence code, in the order of `SEQUENCES`, to the series and what to say about it.
    choices : tuple of Choice
        Why each was chosen.
    left_out : dict
        Label of every other series to the reason.

    Raises
    ------
    CaseError
        An override names no sequence, no series, or several.
    """
    forced = _forced(series, overrides)
    taken = {id(one) for one in forced.values()}
    typings = {id(one): type_series(one.facts) for one in series}
    left_out = {}
    free = []
    for one in series:
        typing = typings[id(one)]
        if id(one) in taken:
            continue
        if typing.kind in ("t1", "t2w", "t2f", "unknown"):
            free.append(one)
        else:
            left_out[one.facts.label] = f"{typing.kind}, not one of the four sequences"
    free, elsewhere = _one_exam(free, list(forced.values()), typings)
    left_out.update(elsewhere)
    verdicts, injection_s, undecided = _verdicts(free, typings, read)
    left_out.update(undecided)
    chosen: Chosen = {}
    choices = []
    for code in SEQUENCES:
        if code in forced:
            one, problems = forced[code], _forced_problems(code, typings[id(forced[code])])
            chosen[code] = (one, problems)
            choices.append(Choice(sequence=code, series=one.facts.label, reason="named by the user"))
            continue
        candidates = [one for one in free if id(one) in verdicts and verdicts[id(one)][0] == code]
        if overrides.get(code, "").casefold() == "none":
            left_out.update({one.facts.label: f"{NAMES[code]} is not wanted" for one in candidates})
        elif candidates:
            one, reason, beaten = _best(code, candidates, verdicts, typings, injection_s)
            chosen[code] = (one, verdicts[id(one)][2])
            choices.append(Choice(sequence=code, series=one.facts.label, reason=reason))
            left_out.update(beaten)
    return chosen, tuple(choices), left_out


def _forced(series: Sequence[Series], overrides: Mapping[str, str]) -> dict[str, Series]:
    forced: dict[str, Series] = {}
    for code, wanted in overrides.items():
        if code not in SEQUENCES:
            raise CaseError(f"override '{code}' is no sequence; name one of {', '.join(SEQUENCES)}")
        if wanted.casefold() == "none":
            continue
        found = _named(series, wanted)
        if len(found) != 1:
            what = "no series" if not found else f"{len(found)} series"
            known = ", ".join(one.facts.label for one in (found or series))
            raise CaseError(f"--{code} '{wanted}': fits {what}; name one by its number: {known}")
        if any(found[0] is other for other in forced.values()):
            raise CaseError(f"--{code} '{wanted}': {found[0].facts.label} is named for two sequences; name two series")
        forced[code] = found[0]
    return forced


def _named(series: Sequence[Series], wanted: str) -> list[Series]:
    """Return the series that `wanted` names: by number, UID or description, else by a part of a description."""
    text = words.plain(wanted)
    tests: tuple[Callable[[SeriesFacts], bool], ...] = (
        lambda facts: facts.label.removeprefix("series ").split(" ")[0] == wanted.strip(),
        lambda facts: str(facts.number) == wanted.strip(),
        lambda facts: facts.uid == wanted.strip(),
        lambda facts: words.plain(facts.description) == text,
        lambda facts: bool(text) and text in words.plain(facts.description),
    )
    for test in tests:
        if found := [one for one in series if test(one.facts)]:
            return found
    return []


def _forced_problems(code: str, typing: Typing) -> tuple[str, ...]:
    kind = "t1" if code in ("t1n", "t1c") else code
    if typing.kind in (kind, "unknown"):
        return ()
    return (f"named as {NAMES[code]} by the user, though its tags say {_name(typing.kind)}",)


def _one_exam(
    series: list[Series], forced: list[Series], typings: Mapping[int, Typing]
) -> tuple[list[Series], dict[str, str]]:
    """Keep the series of one examination: that of the forced ones, else the one with most sequences, else the last."""
    exams = {one.facts.exam for one in (*series, *forced)}
    if len(exams) < 2:
        return series, {}

    def worth(exam: str) -> tuple[int, int, str]:
        kinds = {typings[id(one)].kind for one in series if one.facts.exam == exam}
        return sum(one.facts.exam == exam for one in forced), len(kinds - {"unknown"}), exam

    kept = max(exams, key=worth)
    reason = "belongs to another examination of the patient; give its folder by itself to use it"
    return (
        [one for one in series if one.facts.exam == kept],
        {one.facts.label: reason for one in series if one.facts.exam != kept},
    )


def _verdicts(
    series: Sequence[Series], typings: Mapping[int, Typing], read: ReadScan
) -> tuple[dict[int, Verdict], float | None, dict[str, str]]:
    """Return what each series is taken for, when contrast was given, and the series that stay unknown."""
    verdicts: dict[int, Verdict] = {}
    t1, unknown = [], []
    for one in series:
        typing = typings[id(one)]
        if typing.kind == "t1":
            t1.append(one)
        elif typing.kind == "unknown":
            unknown.append(one)
        else:
            verdicts[id(one)] = (typing.kind, typing.evidence, typing.problems)
    left_out = {}
    if unknown:
        found = _by_looks(unknown, [one for one in series if one not in unknown], typings, read)
        for one in unknown:
            if id(one) not in found:
                left_out[one.facts.label] = "neither its tags nor its image tell what it is; name it by an override"
            elif found[id(one)] == "t1":
                t1.append(one)
            else:
                kind = found[id(one)]
                verdicts[id(one)] = (kind, (f"its image looks like {_name(kind)}",), (_LOOKS_ONLY,))
    verdicts.update(_native_or_enhanced(t1, typings, read))
    after = [one.facts.time_s for one in t1 if verdicts[id(one)][0] == "t1c" and one.facts.time_s is not None]
    return verdicts, min(after, default=None), left_out


_LOOKS_ONLY = "typed by its image alone, since its tags are silent; check the choice"


def _by_looks(
    unknown: Sequence[Series], known: Sequence[Series], typings: Mapping[int, Typing], read: ReadScan
) -> dict[int, str]:
    """Return the kind of each unknown series by comparing images; nothing where fewer than three can be compared."""
    everything, known_from = [*unknown, *known], len(unknown)
    if len(everything) < 3:
        return {}
    scans = [read(one) for one in everything]
    kinds = {id(one): typings[id(one)].kind for one in known}
    t2 = next((n for n, one in enumerate(everything) if kinds.get(id(one)) == "t2w"), None)
    if t2 is None:
        alike = looks.likeness(scans)
        if alike is None:
            return {}
        t2 = min(range(len(unknown)), key=lambda n: alike[n].sum())
        kinds[id(everything[t2])] = "t2w"
    order = [n for n in range(len(everything)) if n != t2]
    like = looks.likeness_to_t2(scans[t2], [scans[n] for n in order])
    if like is None:
        return {}
    flair = next((n for n in order if kinds.get(id(everything[n])) == "t2f"), None)
    flair = order[int(np.argmax(like))] if flair is None else flair
    kinds.setdefault(id(everything[flair]), "t2f")
    if len(order) > 2:  # with fewer, the range says nothing
        alike_flair = max(like) - ALIKE * np.ptp(like)
        second = [n for n, r in zip(order, like, strict=True) if r > alike_flair and n < known_from]
        kinds.update({id(everything[n]): "t2f" for n in second})
    return {id(one): kinds.get(id(one), "t1") for one in unknown}


def _native_or_enhanced(t1: Sequence[Series], typings: Mapping[int, Typing], read: ReadScan) -> dict[int, Verdict]:
    """Return t1n or t1c for each T1 series: by words, by tags that differ, by time and image."""
    states: dict[int, tuple[bool, str]] = {}
    for one in t1:
        said = typings[id(one)].contrast
        if said is not None:
            states[id(one)] = (said, "its description says contrast" if said else "its description says no contrast")
    tagged = [one for one in t1 if one.facts.contrast]
    told = len(tagged) < len(t1) or len(t1) == 1
    if told or any(state for state, _ in states.values()):
        for one in tagged:
            states.setdefault(id(one), (True, "a contrast agent is in its tags"))
    _by_time(t1, states, read)
    verdicts: dict[int, Verdict] = {}
    for one in t1:
        typing = typings[id(one)]
        evidence = typing.evidence or ("its image looks like T1",)
        problems = typing.problems if typing.evidence else (_LOOKS_ONLY,)
        enhanced, why = states.get(id(one), (False, "nothing speaks of contrast"))
        verdicts[id(one)] = ("t1c" if enhanced else "t1n", (*evidence, why), problems)
    return verdicts


def _by_time(t1: Sequence[Series], states: dict[int, tuple[bool, str]], read: ReadScan) -> None:
    """Settle the T1 series whose words and tags are silent, in place."""
    silent = [one for one in t1 if id(one) not in states]
    enhanced = [one for one in t1 if states.get(id(one), (False, ""))[0]]
    times = [one.facts.time_s for one in enhanced if one.facts.time_s is not None]
    for one in silent:
        if enhanced:
            late = one.facts.time_s is not None and bool(times) and one.facts.time_s > min(times)
            states[id(one)] = (late, f"it was acquired {'after' if late else 'before'} a scan known to have contrast")
    if enhanced or not silent or len(t1) < 2:
        return
    ordered = sorted(t1, key=lambda one: one.facts.time_s if one.facts.time_s is not None else np.inf)
    first, scans = ordered[0], {id(one): read(one) for one in ordered}
    asymmetry = {id(b): looks.enhancement(scans[id(first)], scans[id(b)]) or 0.0 for b in ordered[1:]}
    dimmed = [value for value in asymmetry.values() if value < -looks.ENHANCED]
    timed = all(one.facts.time_s is not None for one in t1)  # contrast does not wash out within an examination
    if not timed and first in silent and dimmed and len(dimmed) == len(asymmetry):
        states[id(first)] = (True, f"vessels and tissue are brighter in it than in the others ({-min(dimmed):+.2f})")
        return
    for one in ordered[1:]:
        value = asymmetry[id(one)]
        if one in silent and value > looks.ENHANCED:
            minutes = _minutes(first, one)
            states[id(one)] = (True, f"{minutes}it is brighter in vessels and tissue than the first T1 ({value:+.2f})")


def _minutes(first: Series, later: Series) -> str:
    if first.facts.time_s is None or later.facts.time_s is None:
        return ""
    return f"made {(later.facts.time_s - first.facts.time_s) / 60:.0f} min after {first.facts.label}, "


def _best(
    code: str,
    candidates: Sequence[Series],
    verdicts: Mapping[int, Verdict],
    typings: Mapping[int, Typing],
    injection_s: float | None,
) -> tuple[Series, str, dict[str, str]]:
    """Return the best candidate for `code`, the reason in words, and why the others were left."""
    scored = []
    for one in candidates:
        extra, why = _quality(one.facts, injection_s, code)
        later = one.facts.time_s if one.facts.time_s is not None else -1.0
        scored.append((round(typings[id(one)].points + extra, 2) + 0.0, later, one, why))
    scored.sort(key=lambda row: (-row[0], -row[1]))  # of two alike, the later: scans are repeated because of motion
    points, _, best, why = scored[0]
    reason = f"{'; '.join((*verdicts[id(best)][1], *why))} (score {points:g})"
    beaten = {
        row[2].facts.label: f"also {NAMES[code]}, {', '.join(row[3])} (score {row[0]:g}); {best.facts.label} was taken"
        for row in scored[1:]
    }
    if beaten:
        reason += f"; left: {', '.join(f'{row[2].facts.label} (score {row[0]:g})' for row in scored[1:])}"
    return best, reason, beaten
