"""What the name of a file tells: the case it belongs to, the sequence it is, and whether it is a copy or a mask.

A name is read from its end: words of processing (``_bias``, ``_unstripped``), the sequence, then the case. BIDS names
are read by their entities. Subjects are told by the rules of each data set, see `subject_of`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioscope.files import nifti_stem

ROLES = {
    "t1n": ("t1n", "t1", "t1w", "t1pre", "t1nat", "t1native"),
    "t1c": ("t1c", "t1ce", "t1gd", "t1gad", "ct1", "cet1", "t1post", "t1wce", "t1cw", "t1km", "t1contrast", "t1cw"),
    "t2w": ("t2w", "t2"),
    "t2f": ("t2f", "flair", "t2flair", "flairw"),
    "seg": ("seg", "segm", "gtv", "tumormask", "tumourmask"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_PAIRS = {
    ("t1", "ce"): "t1c", ("t1", "gd"): "t1c", ("t1", "gad"): "t1c", ("t1", "post"): "t1c", ("t1", "c"): "t1c",
    ("t1", "contrast"): "t1c", ("ce", "t1"): "t1c", ("t1", "pre"): "t1n", ("t1", "native"): "t1n",
    ("t2", "flair"): "t2f", ("t2w", "flair"): "t2f", ("tumor", "segmentation"): "seg",
    ("tumour", "segmentation"): "seg",
    ("tumor", "mask"): "seg", ("tumour", "mask"): "seg", ("glistrboost", "manuallycorrected"): "seg",
}  # fmt: skip
"""Last two words of a name to the role that they tell together."""
_PROCESSED = frozenset(
    ("bias", "unstripped", "n4", "brain", "stripped", "bet", "reg", "registered", "r2s", "resampled", "orig", "raw",
     "cropped", "defaced", "norm", "normalized", "corrected", "preproc", "strip", "skull")
)  # fmt: skip
_AUTOMATIC = frozenset(("automated", "approx", "auto", "automatic", "glistrboost"))
_OTHERS = frozenset(
    [
        "dwi",
        "adc",
        "swi",
        "asl",
        "dti",
        "dsc",
        "fa",
        "md",
        "ad",
        "rd",
        "l1",
        "l2",
        "l3",
        "noreg",
        "hardi",
        "pd",
        "bold",
        "ph",
        "dce",
    ]
)
_MASKS = ("mask", "brainmask", "maske", "masque", "roi", "label", "labels")
_SEPARATORS = re.compile(r"[-_.\s]+")
_GENERIC = re.compile(r"(?:(.*)[-_.\s])?([A-Za-z0-9]+)", re.DOTALL)
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+(?=_|$)")

_SESSION = (
    r"(?:ses|session|tp|timepoint|time|visit|week|month|year|followup|follow[-_]up|fu|baseline|pre[-_]?op|post[-_]?op"
    r"|pre[-_]?treatment|post[-_]?treatment|scan[-_]?date)"
)
SESSION_FOLDER = re.compile(rf"(?i){_SESSION}[-_]?\w*(?:[-_]\d+)*|t\d|\d{{1,2}}|(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d")
"""Names of folders that are a visit, not a person: week-000-1, ses-02, Timepoint_1, 2019-03-01."""
_INNER_FOLDER = re.compile(r"(?i)anat|nifti|nii|images?|scans?|mri?|native|original")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What one file's name tells."""

    prefix: str
    """Of the case; empty where the folder must name it."""
    role: str
    """A sequence code or ``seg``; empty for a file that is neither."""
    variant: tuple[str, ...] = ()
    """Words of processing, or the entities of BIDS: of two files of one role the plainer is taken."""
    reason: str = ""
    """Why a file without role is not read."""


def named(path: Path) -> Named | None:
    """Return what a file's name tells; None if it tells nothing."""
    stem = nifti_stem(path)
    if _SUBJECT.match(stem):
        return _bids(stem)
    match = _GENERIC.fullmatch(stem)
    if match is None:
        return None
    prefix, words = _cut(stem)
    variant: list[str] = []
    while words and words[-1] in _PROCESSED and len(words) > 1:
        variant.insert(0, words[-1])
        prefix, words = _cut(prefix)
    role, prefix = _role(prefix, words)
    if not role:
        return _not_used(words)
    return _checked(prefix, role, tuple(variant))


def _cut(stem: str) -> tuple[str, list[str]]:
    """Return a name without its last word, and all its words in small letters."""
    match = _GENERIC.fullmatch(stem)
    return (match[1] or "" if match else ""), [word for word in _SEPARATORS.split(stem.lower()) if word]


def _role(prefix: str, words: Sequence[str]) -> tuple[str, str]:
    """Return the role that the last word or two tell, and what stands before them."""
    if len(words) > 1 and (role := _PAIRS.get((words[-2], words[-1]))):
        return role, _cut(prefix)[0]
    return (_ROLE_OF.get(words[-1], "") if words else ""), prefix


def _checked(prefix: str, role: str, variant: tuple[str, ...]) -> Named:
    """Return a file with a role, unless the words before it make it a mask or an automatic result."""
    _, words = _cut(prefix)
    if words and words[-1].endswith("mask"):  # brainmask_t1c.nii.gz lies beside the scan that it is of
        return Named(prefix="", role="", reason="a mask, not a scan")
    automatic = False
    while words and (words[-1] in _AUTOMATIC or words[-1] == "brain"):
        automatic = automatic or words[-1] in _AUTOMATIC
        prefix, words = _cut(prefix)[0], words[:-1]
    if role == "seg" and automatic:
        return Named(prefix=prefix, role="", reason="an automatic segmentation, which is no reference")
    return Named(prefix=prefix, role=role, variant=variant)


def _not_used(words: Sequence[str]) -> Named | None:
    """Return why a file is not read whose name tells no role but something else; None if it tells nothing."""
    last = words[-1] if words else ""
    if last in _AUTOMATIC:
        return Named(prefix="", role="", reason="an automatic segmentation, which is no reference")
    if last in _MASKS or last.endswith("mask"):
        return Named(prefix="", role="", reason="a mask, not a scan")
    if last == "segmentation" and "brain" in words:
        return Named(prefix="", role="", reason="a mask of the brain, not of a tumour")
    if last in _OTHERS:
        return Named(prefix="", role="", reason=f"{last.upper()}, none of the four sequences")
    return None


_BIDS_SEQUENCES = {
    "T1w": "t1n", "T1c": "t1c", "T1ce": "t1c", "T1gd": "t1c", "T2w": "t2w", "FLAIR": "t2f", "T2FLAIR": "t2f",
    "dseg": "seg", "seg": "seg",
}  # fmt: skip
_CONTRAST_WORDS = re.compile(r"(?i)(?:post|ce|gd|gad\w*|km|enh\w*|contrast\w*|post(?:gd|gad\w*|contrast|km))")


def _bids(stem: str) -> Named | None:
    """Return what a BIDS name tells: entities in the order of the standard, then the suffix."""
    *parts, suffix = stem.split("_")
    if not parts or "-" in suffix:
        return None
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    if len(entities) != len(parts):
        return _loose_bids(stem)
    prefix = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)
    role = {name.lower(): role for name, role in _BIDS_SEQUENCES.items()}.get(suffix.lower(), "")
    rest = tuple(f"{k}-{v}" for k, v in entities.items() if k not in ("sub", "ses", "ce"))
    if not role:
        mask = suffix == "mask"
        return Named(
            prefix=prefix, role="", reason="a mask, not a scan" if mask else f"{suffix}, none of the four sequences"
        )
    if entities.get("part", "mag") != "mag":
        return Named(prefix=prefix, role="", reason=f"the {entities['part']} part of a signal, not its magnitude")
    given = entities.get("ce", "")
    said = next((v for k in ("acq", "desc") if (v := entities.get(k, "")) and _CONTRAST_WORDS.fullmatch(v)), "")
    if role == "t1n" and (said or (given and given.lower() not in ("none", "no", "pre"))):
        role, rest = "t1c", tuple(part for part in rest if part.split("-", 1)[1] != said)
    return Named(prefix=prefix, role=role, variant=rest)


def _loose_bids(stem: str) -> Named | None:
    """Return what a name tells that begins as BIDS has it and goes on otherwise, such as ``sub-1_t1_post``."""
    prefix, words = _cut(stem)
    role, prefix = _role(prefix, words)
    return _checked(prefix, role, ()) if role else _not_used(words)


_SUBJECTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(BraTS-[A-Z]+(?:-[A-Z]+)?-\d+)-\d+",
        r"brats\d\d_((?!training|validation)[A-Z0-9]+_[A-Z0-9]+)_\d+",
        r"(sub-[A-Z0-9]+)(?:_.*)?",
        r"(UPENN-GBM-\d+)_\d+",
        r"(UCSF-PDGM-\d+)(?:_FU\d+d?)?(?:_nifti)?",
        r"(TCGA-\w{2}-\w{4}).*",
        r"(UCSD-PTGBM-\d+)_\d+",
        r"(RHUH-\d+)_\d+",
        rf"(.*?\d.*?)[-_. ]{_SESSION}[-_]?[A-Z0-9]*(?:[-_]\d+)*",
        r"(.*?\d.*?)[-_. ](?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d",
    )
)
"""Rules of the data sets, the first that fits the whole id counts; its group is the subject."""


def subject_of(case_id: str) -> str:
    """Return the subject that a case id belongs to.

    ``BraTS-GLI-01234-100`` is session 100 of subject ``BraTS-GLI-01234``; ``Brats18_2013_11_1`` is session 1 of
    ``2013_11`` — of the same person as ``BraTS19_2013_11_1`` and ``Brats17_2013_11_1``. UPENN-GBM, UCSF-PDGM, TCGA,
    LUMIERE, MU-Glioma-Post and BIDS have rules of their own; else a visit or a date at the end of an id with a number
    before it is taken off. Other ids are their own subject.

    >>> subject_of("UPENN-GBM-00001_21"), subject_of("sub-01_ses-02"), subject_of("Patient-007_week-000-1")
    ('UPENN-GBM-00001', 'sub-01', 'Patient-007')
    >>> subject_of("PatientID_0003_Timepoint_2"), subject_of("cohort_visit_3")
    ('PatientID_0003', 'cohort_visit_3')
    """
    return next((match[1] for rule in _SUBJECTS if (match := rule.fullmatch(case_id))), case_id)


def place_name(folder: Path, root: Path, *, levels: int = 0) -> tuple[str, str]:
    """Return the case id and the subject that folders give: the last one, and those above where it names a visit.

    Parameters
    ----------
    root : Path
        Folders above it are never used.
    levels : int
        So many folders more, to tell cases of one name apart; they stand for whatever holds the subjects.

    Examples
    --------
    >>> place_name(Path("d/Patient-001/week-000"), Path("d")), place_name(Path("d/p7/anat"), Path("d"))
    (('Patient-001_week-000', 'Patient-001'), ('p7', 'p7'))
    >>> place_name(Path("d/site1/p7"), Path("d"), levels=1)
    ('site1_p7', 'site1_p7')
    """
    visits: list[str] = []
    place = folder
    while place != root and _INNER_FOLDER.fullmatch(_last(place)):
        place = place.parent
    while place != root and place.parent != root.parent and SESSION_FOLDER.fullmatch(_last(place)):
        if place.parent == root and not any(letter.isalpha() for letter in _last(place)):
            break  # folders of mere numbers right below the data set are its patients
        visits.insert(0, _last(place))
        place = place.parent
    parts = [_last(place)]
    for _ in range(levels):
        if place == root:
            break
        place = place.parent
        parts.insert(0, _last(place))
    person = "_".join(parts)
    return "_".join([person, *visits]), subject_of(person) if visits else subject_of("_".join([person, *visits]))


def _last(folder: Path) -> str:
    return folder.name or folder.absolute().name
