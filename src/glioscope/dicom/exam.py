"""What tags say of one series and what they only repeat of the whole examination; the order of series in time.

Scanners copy the name of the examination into tags of its series (``ProtocolName`` on GE), anonymisers give all series
one description, and an acquisition time says nothing of its day.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.dicom import words
from glioscope.dicom.sequences import SeriesFacts, weighting_by_times
from glioscope.dicom.slices import Stack, Tags

DAY_S = 86_400.0
_TOGETHER = 0.5
LONG_S = 43_200.0
"""No examination lasts half a day: where times of day say so, it went on past midnight."""


def settled(facts: Sequence[SeriesFacts]) -> list[SeriesFacts]:
    """Return the facts of one patient's series, what is only the examination's taken out, times in order.

    - A protocol is a series' own if no other series has it that differs in description or times.
    - A description that series of several weightings share, by their times, describes none of them.
    - A part of the body that all series share is believed only where it is not the head: the word in a description
      (NECK) then counts.
    - Times of day that lie half a day apart within one study went past midnight.
    """
    settled = list(facts)
    for study in {one.study for one in facts}:
        members = [n for n, one in enumerate(facts) if one.study == study]
        for n, one in zip(members, _of_one_study([facts[n] for n in members]), strict=True):
            settled[n] = one
    return settled


def _of_one_study(facts: Sequence[SeriesFacts]) -> list[SeriesFacts]:
    protocols = _shared(facts, lambda one: one.protocol, lambda one: (one.description, *_times(one)))
    descriptions = _shared(facts, lambda one: one.description, weighting_by_times)
    parts = {one.body_part for one in facts}
    whole_head = len(parts) == 1 and len(facts) > 1 and words.find(words.HEAD, words.plain(parts.copy().pop()))
    known = [one.time_s for one in facts if one.time_s is not None]
    late = max(known, default=0.0) - LONG_S
    overnight = bool(known) and DAY_S > max(known) - min(known) > LONG_S
    return [
        replace(
            one,
            protocol="" if one.protocol in protocols else one.protocol,
            description="" if one.description in descriptions else one.description,
            body_part="" if whole_head else one.body_part,
            time_s=one.time_s + DAY_S if overnight and one.time_s is not None and one.time_s < late else one.time_s,
        )
        for one in facts
    ]


def _times(one: SeriesFacts) -> tuple[float, ...]:
    return tuple(round(value or 0, 1) for value in (one.echo_ms, one.repetition_ms, one.inversion_ms))


def _shared(
    facts: Sequence[SeriesFacts], value: Callable[[SeriesFacts], str], differs: Callable[[SeriesFacts], Any]
) -> set[str]:
    """Return the values that series share which differ otherwise; a series of several volumes is one."""
    seen: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for one in facts:
        if value(one):
            seen[value(one)][one.uid].add(differs(one))
    shared = set()
    for text, series in seen.items():
        kinds = {kind for found in series.values() for kind in found if kind}
        if len(series) > 1 and len(kinds) > 1:
            shared.add(text)
    return shared


def shown_elsewhere(facts: Sequence[SeriesFacts], kinds: Sequence[str]) -> dict[int, str]:
    """Return the series that lie beside the others in the patient, to the reason: a neck in the examination of a head.

    Volumes of one frame of reference belong together if they share half of the smaller one; the group that holds most
    weightings is the head's, of two alike the larger one, then the upper one.

    Parameters
    ----------
    facts, kinds : sequences
        Series that are candidates, and what each was taken for: t1, t2w, t2f, unknown.
    """
    frames = Counter(one.frame_of_reference for one in facts if one.frame_of_reference and one.box_mm)
    if not frames:
        return {}
    frame, _ = frames.most_common(1)[0]
    groups: list[list[int]] = []
    for n, one in enumerate(facts):
        if one.box_mm is None or one.frame_of_reference != frame:
            continue
        touching = [group for group in groups if any(_shared_part(one, facts[m]) >= _TOGETHER for m in group)]
        groups = [group for group in groups if group not in touching] + [[n, *(m for g in touching for m in g)]]
    if len(groups) < 2:
        return {}

    def worth(group: list[int]) -> tuple[int, int, float]:
        return len({kinds[n] for n in group} - {"unknown"}), len(group), max(_centre(facts[n])[2] for n in group)

    groups.sort(key=worth, reverse=True)
    middle = np.mean([_centre(facts[n]) for n in groups[0]], axis=0)
    apart = {n: float(np.linalg.norm(_centre(facts[n]) - middle)) for group in groups[1:] for n in group}
    return {n: f"shows another part of the body: it lies {mm:.0f} mm from the others" for n, mm in apart.items()}


def _centre(one: SeriesFacts) -> NDArray[np.float64]:
    return np.mean(np.array(one.box_mm), axis=0)


def _shared_part(a: SeriesFacts, b: SeriesFacts) -> float:
    """Return the part of the smaller of two volumes that lies in the other."""
    first, second = np.array(a.box_mm), np.array(b.box_mm)
    common = np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])
    least = min(float(np.prod(box[1] - box[0])) for box in (first, second))
    return float(np.prod(np.maximum(common, 0)) / least)


def started(stack: Stack) -> float | None:
    """Return when the first slice of a volume was acquired, in seconds of the calendar where a date is known."""
    times = [_moment(frame.tags) for frame in stack.frames if frame is not None]
    return min((time for time in times if time is not None), default=None)


def _moment(tags: Tags) -> float | None:
    whole = tags.text("AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime")
    kinds = ("Acquisition", "Series", "Content")
    parts = [(tags.text(f"{kind}Date", "StudyDate"), tags.text(f"{kind}Time")) for kind in kinds]
    for day, time in [(whole[:8], whole[8:]), *parts]:
        digits = time.replace(":", "").split(".")[0][:6]
        if len(digits) == 6 and digits.isdigit():
            return _day(day) * DAY_S + int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    return None


def _day(text: str) -> int:
    """Return a date as a number of days, 0 where there is none; dots or strokes may stand in it (ACR-NEMA)."""
    digits = "".join(letter for letter in text if letter.isdigit())[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).toordinal()
    except ValueError:
        return 0
