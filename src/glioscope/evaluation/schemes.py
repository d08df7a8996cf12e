"""The label schemes of references and predictions, decided once for all cases that are named alike."""

from collections.abc import Iterable, Mapping, Sequence

from glioscope.errors import LabelError
from glioscope.evaluation.pairs import PackedPair, PairFiles
from glioscope.evaluation.protocols import Protocol
from glioscope.labels import GLIOMA_SCHEMES, HIGHEST_LABEL, LabelScheme, choose_scheme, scheme_named

Schemes = tuple[LabelScheme, LabelScheme]
"""Label schemes of one case's reference and prediction."""
_UNTELLABLE = frozenset(("brats2024-ped", "brats2024-men-rt"))
"""Schemes that values cannot tell; a protocol that is of theirs alone does."""


def choose_schemes(
    files: Sequence[PairFiles],
    pairs: Sequence[PackedPair],
    protocols: Sequence[Protocol],
    *,
    scheme: str | None = None,
    prediction_scheme: str | None = None,
) -> tuple[Schemes, ...]:
    """Return the label schemes of each case: those named, else the one that all evidence leaves.

    A data set may mix years, so cases that are named alike are looked at together; references and predictions apart, so
    that a network which writes ET as 3 is scored rightly against references that write 4. Evidence of references: the
    names, protocols of 2018 to 2022 (which knew no cavity), the values in all maps, and the records of predictions. Of
    predictions: the record, else the references' scheme where it knows their values.

    Raises
    ------
    LabelError
        The evidence leaves several schemes open, or disagrees; the message names them.
    """
    years = {p.scheme for p in protocols if p.scheme}
    chosen: dict[int, Schemes] = {}
    for candidates in dict.fromkeys(f.schemes for f in files):
        members = [n for n, f in enumerate(files) if f.schemes == candidates]
        recorded = {name for n in members if (name := files[n].prediction_scheme) is not None}
        sets = [_values(pairs[n].reference_values) for n in members]
        own = scheme_named(scheme) if scheme else _of_references(sets, candidates, years, recorded)
        unrecorded = [_values(pairs[n].prediction_values) for n in members if files[n].prediction_scheme is None]
        other = own if scheme or prediction_scheme else _of_predictions(unrecorded, own, candidates)
        for n in members:
            name = prediction_scheme or files[n].prediction_scheme
            chosen[n] = own, scheme_named(name) if name else other
    return tuple(chosen[n] for n in range(len(files)))


def _values(counts: Mapping[int, int]) -> set[int]:
    """Return the label values that occur; those that no scheme has are left for `unknown_labels` to name."""
    return {v for v in counts if v <= HIGHEST_LABEL}


def _of_references(
    sets: Sequence[set[int]], candidates: tuple[str, ...], years: set[str], recorded: Iterable[str]
) -> LabelScheme:
    present = set().union(*sets)
    named = candidates != GLIOMA_SCHEMES
    for year in sorted(years & _UNTELLABLE):
        if len(years) == 1 and (not named or year in candidates):
            return scheme_named(year)
    told = tuple(sorted(recorded))
    try:
        own = choose_scheme(sets, candidates, subject="references")
    except LabelError:
        evidence = [name for name in {*told, *(years & {"brats2018"})} if present <= set(scheme_named(name).meanings)]
        if len(evidence) == 1 and (not named or evidence[0] in candidates):
            return scheme_named(evidence[0])
        raise
    if named:
        return own
    fitting = [name for name in told if present <= set(scheme_named(name).meanings)]
    return choose_scheme(sets, (own.name, *fitting), subject="references and the records of predictions")


def _of_predictions(sets: Sequence[set[int]], own: LabelScheme, candidates: tuple[str, ...]) -> LabelScheme:
    if set().union(*sets) <= set(own.meanings):
        return own
    open_ = candidates if "brats2024" not in candidates and own.name in GLIOMA_SCHEMES else GLIOMA_SCHEMES
    other = choose_scheme(sets, open_, subject="predictions", option="--prediction-scheme")
    if {own.name, other.name} == {"brats2018", "brats2024"}:
        raise LabelError(
            f"references look like '{own.name}' and predictions like '{other.name}': label 4 may be enhancing tumour "
            "(2018 to 2022) or resection cavity (2024). Name it with --scheme brats2018 or --scheme brats2024."
        )
    return other
