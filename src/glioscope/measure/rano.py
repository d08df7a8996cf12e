"""What RANO 2.0 says of sizes: when a lesion is measurable, and what a change in size is called.

Source: Wen et al. 2023, RANO 2.0, J Clin Oncol 41(33):5187-5199, doi 10.1200/JCO.23.01059. What of it is computed, and
what is not, stands in the texts below and goes into every output: whoever reads a category should see its rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from glioscope.results import Diameters, Measurable
from glioscope.results.change import Category, Code

SOURCE = "RANO 2.0, Wen et al. 2023, doi 10.1200/JCO.23.01059"
DIAMETER_MM = 10.0
"""Both diameters of a measurable lesion are at least this long."""
SLICES = 2
"""A measurable lesion is seen on at least this many axial slices."""
THICK_MM = 5.0
"""On thicker slices a measurable lesion is at least twice as large as they are thick."""

NAMES: dict[Code, str] = {
    "CR": "complete response",
    "PR": "partial response",
    "SD": "stable disease",
    "PD": "progressive disease",
    "NE": "not evaluable",
    "none": "no enhancing tumour",
}

NOT_JUDGED = (
    "whether margins are clear; whether there are gaps between slices; whether the enhancement is tumour; and cysts, "
    "cavities and necrosis inside the outline, which are measured with it here while RANO leaves cysts and cavities out"
)
NOT_KNOWN = (
    "This category is of imaging alone and of two scans alone. RANO also asks for steroid dose, clinical state and, "
    "for several categories, a second scan that confirms them; it compares progression with the smallest tumour since "
    "the start of treatment and response with the baseline scan, while here the earlier scan stands for both. Within "
    "12 weeks of radiotherapy, growth may be pseudoprogression. The whole tumour (FLAIR) has no part in the category."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Thresholds for one way to measure."""

    name: str
    quantity: str
    growth_percent: float
    """At least this much more is progression."""
    loss_percent: float
    """At least this much less is partial response."""

    @property
    def text(self) -> str:
        """The rule in words."""
        return (
            f"By {self.quantity}: complete response when no enhancing tumour is left; progressive disease at "
            f"an increase of {self.growth_percent:g} % or more, or when a new lesion is of measurable size; partial "
            f"response at a decrease of {self.loss_percent:g} % or more; stable disease between. It needs measurable "
            f"disease on the earlier scan ({SOURCE})."
        )


BY_DIAMETERS = Rule(
    name="diameters",
    quantity="the sum of the products of perpendicular diameters of enhancing lesions measurable on the earlier scan",
    growth_percent=25,
    loss_percent=50,
)
BY_VOLUME = Rule(
    name="volume",
    quantity="the volume of all enhancing tumour",
    growth_percent=40,
    loss_percent=65,
)


def least_diameter_mm(thickness_mm: float) -> float:
    """Return how long both diameters of a measurable lesion must be on slices of this thickness."""
    return max(DIAMETER_MM, 2 * thickness_mm if thickness_mm > THICK_MM else 0.0)


def is_measurable(diameters: Diameters, thickness_mm: float) -> bool:
    """Return whether a lesion's `diameters` meet the size rule."""
    least = least_diameter_mm(thickness_mm)
    return bool(diameters.perpendicular_mm >= least and diameters.slices >= SLICES)


def measurable(measured: Sequence[Diameters], thickness_mm: float) -> Measurable:
    """Return whether there is measurable disease by size, the rule in words, and how many lesions meet it.

    Parameters
    ----------
    measured : sequence of Diameters
        Those of each enhancing lesion; empty where nothing enhances.
    """
    passing = [d for d in measured if is_measurable(d, thickness_mm)]
    if not measured:
        reason = "no enhancing tumour was found"
    elif passing:
        reason = f"{len(passing)} enhancing lesion{'s' if len(passing) > 1 else ''} of that size"
    else:
        best = max(measured, key=lambda d: d.perpendicular_mm)
        reason = f"the best enhancing lesion has {best.longest_mm:.1f} × {best.perpendicular_mm:.1f} mm"
        reason += f" on {best.slices} slice{'s' if best.slices > 1 else ''}"
    return Measurable(
        by_size=bool(passing),
        lesions=len(passing),
        rule=(
            f"an enhancing lesion whose longest axial diameter and longest perpendicular to it are both at least "
            f"{least_diameter_mm(thickness_mm):g} mm, seen on at least {SLICES} axial slices"
        ),
        reason=reason,
        not_judged=NOT_JUDGED,
        source=SOURCE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a category is decided by."""

    earlier: float
    later: float
    enhancing_earlier: bool
    """A lesion (not only specks) enhances on the earlier scan."""
    enhancing_later: bool
    measurable_earlier: bool
    new_measurable: bool
    """A lesion of measurable size lies where nothing enhanced before."""
    became_measurable: bool
    """None was measurable before, one is now."""


def percent(earlier: float, later: float) -> float | None:
    """Return the change in percent; 0 where both are 0, None where something came of nothing."""
    if earlier == 0:
        return 0.0 if later == 0 else None
    return 100 * (later - earlier) / earlier


def category(sizes: Sizes, rule: Rule) -> Category:
    """Return what RANO calls a change, by size alone."""
    change = percent(sizes.earlier, sizes.later)
    code, reason = _decide(sizes, rule, change)
    return Category(
        code=code,
        name=NAMES[code],
        reason=reason,
        earlier=round(sizes.earlier, 4),
        later=round(sizes.later, 4),
        percent=None if change is None else round(change, 2),
        rule=rule.text,
        growth_percent=rule.growth_percent,
        loss_percent=rule.loss_percent,
    )


def not_judged(found: Category) -> Category:
    """Return a category withheld: the two scans may not be of one person."""
    reason = "the aligned brains differ too much for one person's; make sure that they are before reading sizes"
    return replace(found, code="NE", name=NAMES["NE"], reason=reason)


def _decide(sizes: Sizes, rule: Rule, change: float | None) -> tuple[Code, str]:
    found = _without_thresholds(sizes)
    if found is not None or change is None:  # what was measurable had a size, so a change
        return found or ("NE", "nothing enhanced on the earlier scan")
    less, more = -rule.loss_percent, rule.growth_percent
    if change >= more:
        return "PD", f"{change:.0f} % more; {more:g} % or more is progression"
    if change <= less:
        return "PR", f"{-change:.0f} % less; {-less:g} % or more is partial response"
    amount = f"{change:+.0f}" if round(change) else "0"
    return "SD", f"{amount} % lies between {less:+g} % and {more:+g} %"


def _without_thresholds(sizes: Sizes) -> tuple[Code, str] | None:
    """Return the category where it follows from what is there at all, else None."""
    gone = not sizes.enhancing_later
    if gone and not sizes.enhancing_earlier:
        return "none", "nothing enhances on either scan"
    if sizes.new_measurable:
        return "PD", "a new enhancing lesion is of measurable size"
    if sizes.became_measurable:
        return "PD", "an enhancing lesion too small to measure has grown to measurable size"
    if not sizes.measurable_earlier:
        now = "; nothing enhances any more" if gone else ""
        return "NE", f"no enhancing lesion was of measurable size on the earlier scan{now}"
    return ("CR", "nothing enhances any more") if gone else None
