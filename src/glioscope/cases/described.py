"""Data sets that describe themselves in ``dataset.json``: nnU-Net, and the Medical Segmentation Decathlon.

    imagesTr/<case>_0000.nii.gz …, labelsTr/<case>.nii.gz     nnU-Net: a file for each channel
    imagesTr/<case>.nii.gz (4-D),  labelsTr/<case>.nii.gz     Decathlon: a volume for each channel

Channels and labels are what the description says they are; its order is a matter of taste.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioscope.cases.case import Case
from glioscope.cases.names import named, subject_of
from glioscope.files import IMAGE_SUFFIXES, nifti_stem
from glioscope.labels import REGIONS, SCHEMES
from glioscope.space.volumes import VolumeFile

DECATHLON_FILE = re.compile(r"BRATS_\d+")
_DECATHLON_CHANNELS = ("t2f", "t1n", "t1c", "t2w")
_CHANNEL_FILE = re.compile(r"(.+)_(\d{4})")
_TISSUE_WORDS = (
    ("RC", r"cavity|resection|\brc\b"),
    ("CC", r"cyst|\bcc\b"),
    ("NCR", r"necro|non[- _]?enhanc|\bncr\b|\bnetc?\b|\bncr/net\b"),
    ("ET", r"enhanc|\bet\b|\bat\b"),
    ("ED", r"o?edema|\bed\b|\bsnfh\b|flair|infiltrat|peritumou?r"),
)
_REGION_WORDS = (("WT", r"whole|\bwt\b"), ("TC", r"core|\btc\b"), ("ET", r"enhanc|\bet\b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a ``dataset.json`` says."""

    channels: tuple[str, ...]
    """Sequence code of each channel; empty text for one that is none of the four."""
    scheme: str | None
    """The scheme whose labels are those of the description, or None."""


def in_images_folder(path: Path) -> bool:
    """Return whether a file lies where nnU-Net and the Decathlon keep their images."""
    return re.fullmatch(r"images(?:Tr|Ts|Val)", path.parent.name) is not None


def read_description(folder: Path) -> Described | None:
    """Return what the ``dataset.json`` of a folder says; None where there is none that can be read."""
    try:
        table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        channels = table.get("channel_names") or table.get("modality") or {}
        names = [str(channels[key]) for key in sorted(channels, key=int)]
        return Described(channels=tuple(map(_sequence, names)), scheme=_scheme(table.get("labels") or {}))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _sequence(name: str) -> str:
    known = named(Path(re.sub(r"(?i)[-_ ]?weighted|mri", "", name).strip()))
    return known.role if known is not None and known.role != "seg" else ""


def _scheme(labels: Mapping[str, Any]) -> str | None:
    """Return the scheme in which labels mean what a description says: value to name, name to value, or regions."""
    pairs = [(str(v), int(k)) if str(k).isdigit() else (str(k), v) for k, v in labels.items()]
    regions = {name: tuple(sorted(v)) for name, v in pairs if isinstance(v, list | tuple)}
    if regions:
        wanted = {_first(_REGION_WORDS, name): values for name, values in regions.items()}
        fits = [n for n, s in SCHEMES.items() if all(s.regions.get(r) == wanted.get(r) for r in REGIONS)]
    else:
        meanings = {int(v): _first(_TISSUE_WORDS, name) for name, v in pairs if int(v)}
        same = {"NETC": "NCR", "SNFH": "ED"}
        fits = [n for n, s in SCHEMES.items() if {v: same.get(t, t) for v, t in s.meanings.items()} == meanings]
    return fits[0] if fits else None


def _first(words: Sequence[tuple[str, str]], name: str) -> str:
    return next((what for what, pattern in words if re.search(pattern, name.casefold())), "")


def described_cases(files: Sequence[Path]) -> tuple[list[Case], dict[str, str], dict[Path, str]]:
    """Return the cases of files in folders of images, by case id why others are none, and files that are not read."""
    groups: dict[tuple[Path, str], dict[int | None, Path]] = defaultdict(dict)
    for path in files:
        stem = nifti_stem(path)
        match = _CHANNEL_FILE.fullmatch(stem)
        groups[path.parent, match[1] if match else stem][int(match[2]) if match else None] = path
    cases: list[Case] = []
    problems: dict[str, str] = {}
    unused: dict[Path, str] = {}
    for (folder, case_id), parts in groups.items():
        told = read_description(folder.parent)
        if told is None and DECATHLON_FILE.fullmatch(case_id):
            told = Described(channels=_DECATHLON_CHANNELS, scheme="msd")
        if told is None or not any(told.channels):
            problems[case_id] = (
                f"case {case_id}: lies in {folder.name}, whose channels a dataset.json beside that folder must name; "
                "copy it there, or use --t1n … --t2f"
            )
            continue
        sequences = _channels(parts, told, unused)
        if not sequences:
            problems[case_id] = f"case {case_id}: has none of the four sequences among the channels of dataset.json"
            continue
        cases.append(
            Case(
                case_id=case_id,
                subject_id=subject_of(case_id),
                sequences=sequences,
                reference=_labels(folder, case_id),
                scheme=told.scheme,
            )
        )
    return cases, problems, unused


def _channels(parts: Mapping[int | None, Path], told: Described, unused: dict[Path, str]) -> dict[str, VolumeFile]:
    """Return the files (or volumes of one file) by sequence, and note the channels that are none of the four."""
    if None in parts:
        return {code: VolumeFile(parts[None], n) for n, code in enumerate(told.channels) if code}
    found = {}
    for number, path in sorted((n, p) for n, p in parts.items() if n is not None):
        code = told.channels[number] if number < len(told.channels) else ""
        if code and code not in found:
            found[code] = VolumeFile(path)
        else:
            unused[path] = f"channel {number} is none of the four sequences by dataset.json"
    return found


def _labels(folder: Path, case_id: str) -> VolumeFile | None:
    place = folder.parent / folder.name.replace("images", "labels")
    for suffix in IMAGE_SUFFIXES:
        if (path := place / f"{case_id}{suffix}").is_file():
            return VolumeFile(path)
    return None
