"""How bright each tissue is: spin-echo and inversion-recovery equations on published relaxation times.

Times are in milliseconds, concentrations in mmol/l, relaxivities in l/(mmol s).

Sources of the constants
------------------------
1.5 T, white and grey matter, cerebrospinal fluid, fat, and all proton densities: the tissue table of the BrainWeb
simulator (Kwan, Evans and Pike 1999, IEEE Trans Med Imaging 18:1085, doi 10.1109/42.816072).
3 T, white and grey matter: Wansapura et al. 1999, J Magn Reson Imaging 9:531 (T1 832 and 1331, T2 79.6 and 110);
blood and muscle: Stanisz et al. 2005, Magn Reson Med 54:507, doi 10.1002/mrm.20605.
Gadobutrol in plasma at 37 °C: r1 from Szomolanyi et al. 2019, Invest Radiol 54:559, doi 10.1097/RLI.0000000000000577;
r2 from Rohrer et al. 2005, Invest Radiol 40:715.
Deep nuclei (iron shortens T2, the thalamus holds white matter), cerebellum, brainstem, bone marrow, skin and all
tumour tissues are this project's choice: between the values above, ordered as radiology describes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from glioscope.cases import SEQUENCES


@dataclass(frozen=True, slots=True)
class Tissue:
    """What a tissue's signal depends on: T1 and T2 in milliseconds, proton density relative to water."""

    t1_ms: float
    t2_ms: float
    density: float


FIELDS_TESLA = (1.5, 3.0)

RELAXIVITY: Mapping[float, tuple[float, float]] = {1.5: (4.78, 6.1), 3.0: (4.97, 7.1)}
"""Gadobutrol: field strength to (r1, r2)."""

# Each row: T1 and T2 at 1.5 T, T1 and T2 at 3 T, proton density.
_TABLE: Mapping[str, tuple[float, float, float, float, float]] = {
    "air": (1000, 1, 1000, 1, 0.0),
    "csf": (2569, 329, 4000, 1000, 1.0),
    "grey": (833, 83, 1331, 110, 0.86),
    "white": (500, 70, 832, 79.6, 0.77),
    "striatum": (760, 74, 1230, 92, 0.84),
    "thalamus": (680, 74, 1080, 90, 0.82),
    "pallidum": (590, 58, 960, 62, 0.78),
    "nuclei": (600, 62, 980, 68, 0.79),  # red nucleus, substantia nigra: iron again
    "cerebellum": (780, 80, 1240, 102, 0.85),
    "brainstem": (580, 74, 930, 86, 0.79),
    "blood": (1441, 290, 1932, 275, 0.9),
    "choroid": (1100, 130, 1600, 150, 0.92),
    "fat": (350, 70, 380, 68, 1.0),
    "skin": (900, 40, 1100, 36, 0.75),
    "bone": (500, 3, 600, 2, 0.05),
    "marrow": (420, 60, 450, 56, 0.55),
    "muscle": (1008, 44, 1412, 50, 0.8),
    "eye": (2300, 500, 3500, 450, 1.0),
    "oedema": (1150, 165, 1650, 185, 0.92),
    "solid": (1050, 120, 1550, 140, 0.9),  # cellular tumour, before contrast the same with and without a leak
    "necrosis": (1750, 230, 2700, 250, 0.96),
    "gliosis": (800, 110, 1250, 135, 0.86),  # white-matter hyperintensities of age
}


def tissues(field_tesla: float, *, rng: np.random.Generator | None = None, spread: float = 0.0) -> dict[str, Tissue]:
    """Return the tissue table at a field strength.

    Parameters
    ----------
    field_tesla : 1.5 or 3.0
    rng, spread :
        Where given, each T1 and T2 is multiplied by its own log-normal factor of this relative spread: no two people
        have the same brain.
    """
    offset = 0 if field_tesla == 1.5 else 2
    table = {}
    for name, row in _TABLE.items():
        wobble = np.exp(spread * rng.standard_normal(2)) if rng is not None else (1.0, 1.0)
        table[name] = Tissue(row[offset] * float(wobble[0]), row[offset + 1] * float(wobble[1]), row[4])
    return table


def with_contrast(tissue: Tissue, millimolar: float, field_tesla: float) -> Tissue:
    """Return the tissue with gadolinium in it: 1/T = 1/T0 + r C, for T1 and T2."""
    r1, r2 = RELAXIVITY[field_tesla]
    return Tissue(
        1 / (1 / tissue.t1_ms + r1 * millimolar / 1000),
        1 / (1 / tissue.t2_ms + r2 * millimolar / 1000),
        tissue.density,
    )


def spin_echo(tissue: Tissue, *, tr_ms: float, te_ms: float) -> float:
    """Return the signal of a spin echo: PD (1 - exp(-TR/T1)) exp(-TE/T2)."""
    return float(tissue.density * (1 - np.exp(-tr_ms / tissue.t1_ms)) * np.exp(-te_ms / tissue.t2_ms))


def inversion_recovery(tissue: Tissue, *, tr_ms: float, ti_ms: float, te_ms: float) -> float:
    """Return the magnitude signal of inversion recovery: PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)."""
    recovery = 1 - 2 * np.exp(-ti_ms / tissue.t1_ms) + np.exp(-tr_ms / tissue.t1_ms)
    return float(tissue.density * abs(recovery) * np.exp(-te_ms / tissue.t2_ms))


def nulling_time(t1_ms: float, tr_ms: float) -> float:
    """Return the inversion time at which a tissue gives no signal: T1 ln(2 / (1 + exp(-TR/T1)))."""
    return float(t1_ms * np.log(2 / (1 + np.exp(-tr_ms / t1_ms))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """One protocol on one machine."""

    field_tesla: float
    t1_inversion: bool
    """T1-weighted by inversion recovery (as MPRAGE) instead of spin echo."""
    t1_ms: tuple[float, float, float]
    """TR, TI, TE of both T1-weighted scans; TI is not used by the spin echo."""
    t2_ms: tuple[float, float]
    """TR, TE."""
    flair_ms: tuple[float, float, float]
    """TR, TI, TE."""
    gain: Mapping[str, float]
    """Sequence code to receiver gain: BraTS intensities have no unit."""


def draw_scanner(rng: np.random.Generator, field_tesla: float | None = None) -> Scanner:
    """Return a protocol as sites run them; `field_tesla` None draws it too."""
    field = float(rng.choice(FIELDS_TESLA)) if field_tesla is None else float(field_tesla)
    inversion = bool(rng.random() < (0.8 if field == 3.0 else 0.3))
    if inversion:
        t1 = (rng.uniform(1900, 2300), rng.uniform(850, 1000), rng.uniform(3, 5))
        if field == 1.5:
            t1 = (t1[0], t1[1] * 0.85, t1[2])
    else:
        t1 = (rng.uniform(450, 650), 0.0, rng.uniform(8, 14))
    t2 = (rng.uniform(4000, 6500), rng.uniform(85, 110))
    flair_tr = rng.uniform(8000, 10000)
    null = nulling_time(tissues(field)["csf"].t1_ms, flair_tr)
    flair = (flair_tr, null * rng.uniform(0.97, 1.03), rng.uniform(95, 130))
    gain = {s: float(np.exp(rng.normal(0, 0.35))) for s in SEQUENCES}
    gain["t1c"] = gain["t1n"] * float(np.exp(rng.normal(0, 0.1)))
    return Scanner(
        field_tesla=field,
        t1_inversion=inversion,
        t1_ms=tuple(map(float, t1)),  # type: ignore[arg-type]
        t2_ms=tuple(map(float, t2)),  # type: ignore[arg-type]
        flair_ms=tuple(map(float, flair)),  # type: ignore[arg-type]
        gain=gain,
    )


def signals(tissue: Tissue, scanner: Scanner, *, contrast_millimolar: float = 0.0) -> np.ndarray:
    """Return the signal of a tissue in each sequence, in the order of `SEQUENCES`.

    Parameters
    ----------
    contrast_millimolar : float
        Gadolinium in the tissue when t1c is taken; t2w and t2f are taken before it, as the order of BraTS's sites
        mostly is.

    Returns
    -------
    (4,) float32
    """

    def t1(t: Tissue) -> float:
        tr, ti, te = scanner.t1_ms
        if scanner.t1_inversion:
            return inversion_recovery(t, tr_ms=tr, ti_ms=ti, te_ms=te)
        return spin_echo(t, tr_ms=tr, te_ms=te)

    tr2, te2 = scanner.t2_ms
    tr, ti, te = scanner.flair_ms
    after = with_contrast(tissue, contrast_millimolar, scanner.field_tesla)
    by_code = {
        "t1n": t1(tissue),
        "t1c": t1(after),
        "t2w": spin_echo(tissue, tr_ms=tr2, te_ms=te2),
        "t2f": inversion_recovery(tissue, tr_ms=tr, ti_ms=ti, te_ms=te),
    }
    return np.array([by_code[s] for s in SEQUENCES], np.float32)
