"""The report in words: every sentence chosen by a field of the result and filled with fields of the result.

    Anatomy (and measurements, change, flags) ──report_text──▶ Text: sentences by section, each with its fields

Nothing is concluded: a sentence that would need a judgement is not there. What could not be told is said. `phrases`
holds the words of both languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from glioscope.measure.anatomy.locate import LEAST_ML
from glioscope.measure.anatomy.phrases import IN_PLACE, NAMES, REGIONS, SECTIONS, SENTENCES, Language
from glioscope.results.anatomy import Anatomy, Location
from glioscope.results.change import Change
from glioscope.results.flags import Flag
from glioscope.results.measurements import Measurements

Section = Literal["findings", "measurements", "comparison", "limits"]
ORDER: tuple[Section, ...] = ("findings", "measurements", "comparison", "limits")
LEAST_NAMED = 0.05
"""Lobes that hold less of a lesion are not named in words."""
MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence of the report."""

    section: Section
    text: str
    fields: tuple[str, ...]
    """Paths of the fields it was made from, as in ``anatomy.regions[WT].side``; empty for what always holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A report in words."""

    language: Language
    sentences: tuple[Sentence, ...]

    @property
    def title(self) -> str:
        """Heading of the whole."""
        return SECTIONS[self.language]["title"]

    def sections(self) -> tuple[tuple[str, tuple[Sentence, ...]], ...]:
        """Return the headings and what stands under each, in order; a section without sentences is left out."""
        found = ((SECTIONS[self.language][n], tuple(s for s in self.sentences if s.section == n)) for n in ORDER)
        return tuple((heading, sentences) for heading, sentences in found if sentences)

    def plain(self) -> str:
        """Return it as plain text: headings, one paragraph each."""
        parts = [self.title]
        parts += [f"{heading}\n{' '.join(s.text for s in sentences)}" for heading, sentences in self.sections()]
        return "\n\n".join(parts) + "\n"


def report_text(
    anatomy: Anatomy,
    *,
    language: Language = "en",
    measurements: Measurements | None = None,
    change: Change | None = None,
    flags: Sequence[Flag] = (),
) -> Text:
    """Return the report in words.

    Parameters
    ----------
    anatomy : Anatomy
        Without regions the findings are one sentence: nothing was segmented.
    measurements : Measurements, optional
        For diameters.
    change : Change, optional
        Against the earlier date; without it the section says that nothing was compared.
    flags : sequence of Flag
        Of the automatic checks; warnings and errors are named by their codes.
    """
    writer = _Writer(language)
    _findings(writer, anatomy)
    _sizes(writer, anatomy, measurements)
    _compared(writer, change)
    _limits(writer, anatomy, flags)
    return Text(language=language, sentences=tuple(writer.sentences))


@dataclass(slots=True)
class _Writer:
    """Collects sentences in one language."""

    language: Language
    sentences: list[Sentence] = field(default_factory=list)

    def say(self, section: Section, key: str, fields: Sequence[str] = (), **values: str | int) -> None:
        """Add a sentence."""
        text = SENTENCES[self.language][key].format(**values)
        self.sentences.append(Sentence(section=section, text=text, fields=tuple(fields)))

    def phrase(self, key: str, **values: str) -> str:
        return SENTENCES[self.language][key].format(**values)

    def name(self, key: str) -> str:
        return NAMES[self.language][key]

    def number(self, value: float, digits: int = 1) -> str:
        text = f"{value:.{digits}f}"
        return text.replace(".", ",") if self.language == "de" else text

    def percent(self, share: float, *, signed: bool = False) -> str:
        """Return a share as whole percent; what is not nothing is never told as 0, nor what is not all as 100."""
        whole = round(100 * share)
        text = f"{whole:+d}" if signed else str(whole)
        if not signed and whole in (0, 100) and share not in (0, 1):
            text = "<1" if whole == 0 else ">99"
        return f"{text} %" if self.language == "de" else f"{text}%"

    def percents(self, amounts: Sequence[float]) -> list[str]:
        """Return amounts as whole percent of their sum that add up to 100: the largest remainders are rounded up."""
        exact = [100 * amount / sum(amounts) for amount in amounts]
        whole = [int(value) for value in exact]
        order = sorted(range(len(exact)), key=lambda n: whole[n] - exact[n])
        for n in order[: 100 - sum(whole)]:
            whole[n] += 1
        return [
            self.percent(value / 100) if value or not a else self.percent(a / sum(amounts))
            for value, a in zip(whole, amounts, strict=True)
        ]

    def joined(self, names: Sequence[str]) -> str:
        """Return names as a list in words."""
        if len(names) < 2:
            return "".join(names)
        return f"{', '.join(names[:-1])} {self.name('and')} {names[-1]}"


def _findings(w: _Writer, anatomy: Anatomy) -> None:
    whole = anatomy.region("WT")
    if whole is None:
        w.say("findings", "no-tumour", ("anatomy.regions",))
        return
    _lesions(w, anatomy, whole)
    _composition(w, anatomy)
    core = anatomy.region("TC")
    solid = core if core is not None and core.volume_ml >= LEAST_ML else None
    _neighbours(w, whole, solid)
    _middle(w, anatomy, whole, solid)
    _depth(w, whole, solid)


def _lesions(w: _Writer, anatomy: Anatomy, whole: Location) -> None:
    path = "anatomy.regions[WT]"
    fields = (f"{path}.volume_ml", *_where_fields(path))
    if anatomy.lesion_count > 1:
        fields = ("anatomy.lesion_count", *fields)
        w.say(
            "findings",
            "lesions",
            fields,
            count=anatomy.lesion_count,
            volume=w.number(whole.volume_ml),
            where=_where(w, whole),
        )
        for n, lesion in enumerate(anatomy.lesions):
            path = f"anatomy.lesions[{n}]"
            w.say(
                "findings",
                "lesion",
                (f"{path}.number", f"{path}.location.volume_ml", *_where_fields(f"{path}.location")),
                number=lesion.number,
                volume=w.number(lesion.location.volume_ml),
                where=_where(w, lesion.location),
            )
        if anatomy.lesion_count > len(anatomy.lesions):
            rest = anatomy.lesion_count - len(anatomy.lesions)
            w.say("findings", "more-lesions", ("anatomy.lesion_count", "anatomy.lesions"), count=rest)
    else:
        w.say("findings", "one-lesion", fields, volume=w.number(whole.volume_ml), where=_where(w, whole))
    if anatomy.focality in ("multifocal", "multicentric"):
        w.say("findings", anatomy.focality, ("anatomy.focality",))


def _where_fields(path: str) -> tuple[str, ...]:
    return (f"{path}.side", f"{path}.left_share", f"{path}.lobes")


def _where(w: _Writer, place: Location) -> str:
    """Return side and lobes as a phrase."""
    keys = {"left": "on-the-left", "right": "on-the-right", "not determined": "side-unknown"}
    left = w.percent(place.left_share) if place.left_share is not None else ""
    side = w.phrase(keys.get(place.side, place.side), left=left)
    named = [s for s in place.lobes if s.share >= LEAST_NAMED][:MOST_NAMED]
    if not named:
        return f"{side}, {w.phrase('place-unknown')}"
    if len(named) == 1 and named[0].share >= 1 - LEAST_NAMED:
        return f"{side}, {IN_PLACE[w.language][named[0].name]}"
    parts = [w.phrase("part", share=w.percent(s.share), place=IN_PLACE[w.language][s.name]) for s in named]
    return f"{side}, {w.joined(parts)}"


def _composition(w: _Writer, anatomy: Anatomy) -> None:
    ml = {n: place.volume_ml if (place := anatomy.region(n)) else 0.0 for n in REGIONS["en"]}
    fields = tuple(f"anatomy.regions[{n}].volume_ml" for n in REGIONS["en"])
    if ml["TC"] == ml["WT"] and not ml["ET"]:
        w.say("findings", "one-label", fields)
        return
    enhancing, rest, oedema = w.percents((ml["ET"], ml["TC"] - ml["ET"], ml["WT"] - ml["TC"]))
    if ml["ET"] < LEAST_ML:
        w.say("findings", "no-enhancement", fields)
        w.say("findings", "composition-bare", fields, rest=rest, oedema=oedema)
    else:
        w.say("findings", "composition", fields, enhancing=enhancing, rest=rest, oedema=oedema)
    margin = anatomy.margin
    if margin is not None:
        mm = {} if margin.kind == "solid" else {"mm": w.number(margin.thickness_mm)}
        w.say("findings", f"margin-{margin.kind}", ("anatomy.margin",), **mm)
    if anatomy.satellites:
        w.say("findings", "satellites", ("anatomy.satellites",))


def _subject(w: _Writer, solid: Location | None, *, again: bool = False) -> str:
    """Return what a sentence is about: the core, or all of it where there is none."""
    return w.name(("core" if solid is not None else "whole") + ("-again" if again else ""))


def _neighbours(w: _Writer, whole: Location, solid: Location | None) -> None:
    """Say how the tumour lies to ventricles, cortex and the brain's surface."""
    place = solid or whole
    path = f"anatomy.regions[{place.region}]"
    region = _subject(w, solid)
    gap = place.distances
    if place.touches_ventricles == "yes":
        w.say("findings", "ventricles-yes", (f"{path}.touches_ventricles",), region=region)
    elif gap.ventricles_mm is not None:
        key = "ventricles-oedema" if whole.touches_ventricles == "yes" else "ventricles-no"
        fields = (f"{path}.distances.ventricles_mm", "anatomy.regions[WT].touches_ventricles")
        w.say("findings", key, fields, region=region, mm=w.number(gap.ventricles_mm, 0))
    again = _subject(w, solid, again=True)
    if place.reaches_cortex == "yes" and place.cortex_share is not None and gap.surface_mm is not None:
        seen = (f"{path}.reaches_cortex", f"{path}.cortex_share", f"{path}.distances.surface_mm")
        share, mm = w.percent(place.cortex_share), w.number(gap.surface_mm, 0)
        key = "cortex-yes" if gap.surface_mm else "cortex-surface"
        w.say("findings", key, seen, region=again, share=share, mm=mm)
    elif gap.cortex_mm is not None:
        w.say("findings", "cortex-no", (f"{path}.distances.cortex_mm",), region=again, mm=w.number(gap.cortex_mm, 0))


def _middle(w: _Writer, anatomy: Anatomy, whole: Location, solid: Location | None) -> None:
    """Say how the tumour lies to midline and callosum."""
    place = solid or whole
    path = f"anatomy.regions[{place.region}]"
    mm = place.distances.midline_mm
    if place.crosses_midline == "not determined" or mm is None:
        return
    fields = (f"{path}.crosses_midline", f"{path}.distances.midline_mm", "anatomy.regions[WT].crosses_midline")
    if place.crosses_midline == "yes":
        w.say("findings", "midline-crossed", fields[:1], region=_subject(w, solid))
        if place.crosses_callosum == "yes":
            w.say("findings", "callosum-crossed", (f"{path}.crosses_callosum",))
    elif whole.crosses_midline == "yes" and mm > 0:
        w.say("findings", "midline-oedema", fields, mm=w.number(mm, 0))
    elif mm == 0:
        w.say("findings", "midline-near", fields[:2], region=_subject(w, solid))
    else:
        w.say("findings", "midline-no", fields[:2], region=_subject(w, solid), mm=w.number(mm, 0))
    if place.in_callosum == "yes" and place.crosses_callosum != "yes":
        w.say("findings", "callosum-in", (f"{path}.in_callosum",))


def _depth(w: _Writer, whole: Location, solid: Location | None) -> None:
    """Say which deep white matter and eloquent areas are reached."""
    place = solid or whole
    path = f"anatomy.regions[{place.region}]"
    if not place.structures:
        return
    names = w.joined([w.name(n) for n in place.deep_white_matter])
    key = "deep" if names else "deep-no"
    w.say("findings", key, (f"{path}.deep_white_matter",), region=_subject(w, solid), names=names)
    region = _subject(w, solid, again=True)
    touched = [w.name(e.name) for e in place.eloquent if e.involved == "yes"]
    away = [(e.distance_mm, e.name) for e in place.eloquent if e.distance_mm is not None]
    if touched:
        w.say("findings", "eloquent", (f"{path}.eloquent",), region=region, names=w.joined(touched))
    elif away:
        mm, name = min(away)
        fields = (f"{path}.eloquent",)
        w.say("findings", "eloquent-no", fields, region=region, mm=w.number(mm, 0), name=w.name(name))


def _sizes(w: _Writer, anatomy: Anatomy, measurements: Measurements | None) -> None:
    whole, core, enhancing = (anatomy.region(n) for n in ("WT", "TC", "ET"))
    if whole is None:
        return
    values = {"whole": w.number(whole.volume_ml)}
    fields = tuple(f"anatomy.regions[{n}].volume_ml" for n in ("WT", "TC", "ET"))
    if core is not None and (enhancing is not None or core.volume_ml != whole.volume_ml):
        values["core"] = w.number(core.volume_ml)
        values["enhancing"] = w.number(enhancing.volume_ml if enhancing else 0.0)
        w.say("measurements", "volumes", fields, **values)
    else:
        w.say("measurements", "volume", fields[:1], **values)
    found = measurements.diameters if measurements is not None else None
    if found is not None:
        w.say(
            "measurements",
            "diameters",
            tuple(f"measurements.diameters.{n}" for n in ("longest_mm", "perpendicular_mm", "product_mm2", "region")),
            longest=w.number(found.longest_mm, 0),
            perpendicular=w.number(found.perpendicular_mm, 0),
            product=w.number(found.product_mm2, 0),
            region=found.region,
        )


def _compared(w: _Writer, change: Change | None) -> None:
    if change is None:
        w.say("comparison", "no-earlier")
        return
    for name in ("WT", "TC", "ET"):
        region = change.regions.get(name)
        if region is None:
            continue
        path = f"change.regions[{name}]"
        values = {
            "region": REGIONS[w.language][name],
            "earlier": w.number(region.earlier_ml),
            "later": w.number(region.later_ml),
        }
        fields = (f"{path}.earlier_ml", f"{path}.later_ml")
        if region.percent is None:
            w.say("comparison", "change", fields, **values)
        else:
            values["percent"] = w.percent(region.percent / 100, signed=True)
            w.say("comparison", "change-percent", (*fields, f"{path}.percent"), **values)


def _limits(w: _Writer, anatomy: Anatomy, flags: Sequence[Flag]) -> None:
    fit = anatomy.fit
    if fit.usable and fit.overlap is not None:
        w.say(
            "limits",
            "fit",
            ("anatomy.fit.method", "anatomy.fit.overlap"),
            method=w.name(fit.method),
            overlap=w.number(fit.overlap, 2),
        )
    for n, problem in enumerate(anatomy.problems):
        if problem.code == "map-lacks":
            names = w.joined([NAMES[w.language].get(name, name) for name in fit.lacks])
            w.say("limits", problem.code, ("anatomy.fit.lacks",), names=names)
        elif problem.code != "no-tumour":
            w.say("limits", problem.code, (f"anatomy.problems[{n}]",))
    if anatomy.regions and anatomy.regions[0].left_share is not None:
        w.say("limits", "midline-straight")
    warnings = [flag.code for flag in flags if flag.severity != "info"]
    if warnings:
        w.say("limits", "flags", ("flags",), codes=", ".join(warnings))
    else:
        w.say("limits", "no-flags", ("flags",))
    w.say("limits", "geometry")
    w.say("limits", "not-said")
