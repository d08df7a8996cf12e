"""Results of `segment` as a derivative of BIDS, which its validator accepts.

    OUT/glioscope/<case>/…  ──write_derivative──▶  OUT/sub-01/ses-02/anat/sub-01_ses-02_desc-glioma_dseg.nii.gz, .json
                                                   OUT/dataset_description.json, desc-glioma_dseg.tsv, README.md

BIDS (brain imaging data structure): Gorgolewski et al. 2016, doi 10.1038/sdata.2016.44; derivatives since 1.4.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glioscope import __version__
from glioscope.errors import CaseError, RunError
from glioscope.files import atomic_path, csv_text, write_json, write_text
from glioscope.labels import SCHEMES, LabelScheme, scheme_named
from glioscope.results import CaseSummary, summaries
from glioscope.results.preparation import InputFile

WORK = "glioscope"
"""Folder of the derivative that holds what `segment` writes; the validator passes over it."""
BIDS_VERSION = "1.10.0"
GROUP_TABLE = "group_glioma.tsv"
_TISSUES = {
    "NCR": "Necrotic tumour core", "NETC": "Non-enhancing tumour core", "ED": "Oedema and infiltration",
    "SNFH": "Surrounding non-enhancing FLAIR hyperintensity", "ET": "Enhancing tumour", "RC": "Resection cavity",
    "CC": "Cystic component", "GTV": "Gross tumour volume",
}  # fmt: skip
_README = """# Tumour segmentations by Glioscope

Made from MRI by a program, for research alone; not a medical device. Each `_dseg.nii.gz` lies on the grid of what its
sidecar names in `Sources`; `desc-glioma_dseg.tsv` says what its numbers mean. `glioscope/` holds each case's summary.
"""


def write_derivative(output: Path, *, source: Path | None = None) -> tuple[Path, ...]:
    """Write the derivative of what lies in ``output/glioscope``; cases done before are written again.

    Parameters
    ----------
    output : Path
        Folder of the derivative.
    source : Path, optional
        The data set that was segmented; sources in it are named relative to it.

    Returns
    -------
    tuple of Path
        The label maps.

    Raises
    ------
    CaseError
        Two cases would get one name, or the results are of several label schemes.
    RunError
        There is no result, or the folder cannot be written.
    """
    found = _results(output)
    schemes = {summary.scheme.name for _, summary in found}
    if len(schemes) > 1:
        raise CaseError(
            f"{output}: results are in label schemes {', '.join(sorted(schemes))}, and a derivative has one table of "
            "labels; segment again with --scheme"
        )
    names: dict[str, str] = {}
    for _, summary in found:
        stem = entities(summary.case_id, summary.subject_id)
        if (other := names.setdefault(stem, summary.case_id)) != summary.case_id:
            raise CaseError(f"cases {other} and {summary.case_id} would both be {stem} in BIDS; rename one")
    maps = tuple(_write_case(output, folder, summary, source) for folder, summary in found)
    for name in schemes:
        write_text(output / "desc-glioma_dseg.tsv", _table(scheme_named(name)))
    description: dict[str, Any] = {
        "Name": "Tumour segmentations by Glioscope",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Glioscope", "Version": __version__}],
    }
    write_json(output / "dataset_description.json", description)
    write_text(output / "README.md", _README)
    write_text(output / ".bidsignore", f"{WORK}\n{GROUP_TABLE}\n")
    return maps


def _results(output: Path) -> list[tuple[Path, CaseSummary]]:
    """Return the folder and the summary of each case, or raise the error of one that cannot be read."""
    found = []
    for path, summary in summaries(output / WORK, "*/summary.json"):
        if isinstance(summary, RunError):
            raise summary
        found.append((path.parent, summary))
    if not found:
        raise RunError(f"{output / WORK}: holds no result of 'glioscope segment'; segment participants first")
    return found


def entities(case_id: str, subject_id: str) -> str:
    """Return subject and session of a case as BIDS names them: letters and digits alone.

    >>> entities("sub-01_ses-pre", "sub-01"), entities("BraTS-GLI-00001-100", "BraTS-GLI-00001"), entities("p 7", "p 7")
    ('sub-01_ses-pre', 'sub-BraTSGLI00001_ses-100', 'sub-p7')
    """
    if re.fullmatch(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?", case_id):
        return case_id
    rest = case_id.removeprefix(subject_id) if subject_id and case_id.startswith(subject_id) else case_id
    subject, session = _plain(subject_id or case_id), _plain(rest) if rest != case_id else ""
    if rest == case_id and subject_id != case_id:
        session = _plain(case_id)
    return f"sub-{subject or 'unnamed'}" + (f"_ses-{session}" if session else "")


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isalnum())


def _write_case(output: Path, folder: Path, summary: CaseSummary, source: Path | None) -> Path:
    stem = entities(summary.case_id, summary.subject_id)
    place = output.joinpath(*stem.split("_"), "anat")
    code, labels = _map_of(folder, summary)
    target = place / f"{stem}_desc-glioma_dseg.nii.gz"
    with atomic_path(target) as scratch:
        shutil.copyfile(labels, scratch)
    measured = summary.measurements
    sidecar: dict[str, Any] = {
        "Description": "Glioma: tissues of the tumour, one number each, by Glioscope. Research use only.",
        "Manual": False,
        "Sources": [_source(Path(file), source) for name, file in _files(summary).items() if code in ("", name)],
        "LabelScheme": summary.scheme.name,
        "VolumesMl": dict(measured.volumes_ml),
        "Flags": [f"{flag.severity}: {flag.message}" for flag in summary.flags],
    }
    write_json(target.with_name(target.name.replace(".nii.gz", ".json")), sidecar)
    return target


def _files(summary: CaseSummary) -> dict[str, str]:
    """Return the files that were given by sequence; of DICOM none, whose paths may name the patient."""
    given = summary.inputs if summary.raw is None else summary.raw.inputs
    return {name: entry.file for name, entry in given.items() if isinstance(entry, InputFile)}


def _map_of(folder: Path, summary: CaseSummary) -> tuple[str, Path]:
    """Return the label map of a case: of raw scans that on the grid of T1 with contrast, or the first there is."""
    if summary.raw is None:
        return "", folder / "segmentation.nii.gz"
    native: Mapping[str, Any] = summary.raw.native
    code = next(name for name in ("t1c", "t1n", "t2f", "t2w") if name in native)
    return code, folder / native[code].file


def _source(file: Path, source: Path | None) -> str:
    """Return the place of a file in the source data set; of another its name alone, since paths may tell of people."""
    root = None if source is None else source.resolve()
    return file.relative_to(root).as_posix() if root is not None and file.is_relative_to(root) else file.name


def _table(scheme: LabelScheme) -> str:
    rows = [("0", "Background", "BG")]
    rows += [(str(value), _TISSUES[tissue], tissue) for value, tissue in sorted(scheme.meanings.items())]
    return csv_text(("index", "name", "abbreviation"), rows).replace(",", "\t")


def write_group(output: Path) -> Path:
    """Write one line a case over a derivative: volumes of the regions and flags.

    Raises
    ------
    RunError
        There is no result, or the folder cannot be written.
    """
    found = [summary for _, summary in _results(output)]
    regions: Sequence[str] = tuple(dict.fromkeys(r for s in SCHEMES.values() for r in s.regions))
    present = [r for r in regions if any(r in s.measurements.volumes_ml for s in found)]
    rows = []
    for summary in found:
        volumes = summary.measurements.volumes_ml
        flags = " ".join(flag.code for flag in summary.flags) or "n/a"
        rows.append((entities(summary.case_id, summary.subject_id), *(volumes.get(r, "n/a") for r in present), flags))
    text = csv_text(("case", *(f"{region}_ml" for region in present), "flags"), rows).replace(",", "\t")
    write_text(output / GROUP_TABLE, text)
    return output / GROUP_TABLE
