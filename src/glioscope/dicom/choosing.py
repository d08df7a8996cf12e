"""Which scan is which: the kinds of all series settled, by their images where tags fail, and the best of each chosen.

Which of the T1 series came after contrast is read from their words, then from the contrast tags, then from the time of
acquisition together with the images.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glioscope.cases import SEQUENCES
from glioscope.dicom import looks, words
from glioscope.dicom.exam import shown_elsewhere
from glioscope.dicom.scans import Choice, RawScan
from glioscope.dicom.sequences import NAMES, Series, SeriesFacts, Typing, kind_name, type_series
from glioscope.errors import CaseError

ALIKE = 0.2
"""A scan this near to the one most like T2, as a share of the range of likeness, is a second FLAIR."""
SHORT_MM = 80.0
"""A volume that covers less than this along its slices holds a part of the brain."""


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
    beside = shown_elsewhere([one.facts for one in free], [typings[id(one)].kind for one in free])
    left_out.update({free[n].facts.label: reason for n, reason in beside.items()})
    free = [one for n, one in enumerate(free) if n not in beside]
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
    return (f"named as {NAMES[code]} by the user, though its tags say {kind_name(typing.kind)}",)


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
                verdicts[id(one)] = (kind, (f"its image looks like {kind_name(kind)}",), (_LOOKS_ONLY,))
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
