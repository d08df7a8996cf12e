"""A model: the networks that can be built (`network`, needs torch), and the folder a trained one is kept in.

MODEL/model.json    what the network expects and gives, and the SHA-256 of each file beside it
MODEL/network.xml, network.bin     OpenVINO; MODEL/weights.safetensors     torch
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from glioscope.errors import ModelError
from glioscope.files import sha256_of, write_json
from glioscope.labels import RegionsConfig
from glioscope.prepare.preprocessing import PreprocessingConfig
from glioscope.runs import Run

MODEL_FORMAT = 1
"""Version of the model folder's layout; read_model refuses others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a trained network expects and gives."""

    name: str
    outputs: Literal["regions", "labels"]
    """`regions`: logits of WT, TC, ET, each its own sigmoid; `labels`: logits of background, NCR, ED, ET."""
    divisor: int
    """Spatial sizes must be multiples of this."""
    network: dict[str, Any]
    """The network table it was built from."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    inference: dict[str, Any] = field(default_factory=dict)
    """The inference table: patch, overlap, thresholds."""
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    """What the logits of `regions` stand for, and the labels of results."""
    temperature: tuple[float, ...] = ()
    """Logits of WT, TC, ET (or the regions learnt) are divided by these, so that probabilities are calibrated."""
    record: dict[str, Any] = field(default_factory=dict)
    """Provenance: data, steps, seed, versions."""

    @property
    def sequences(self) -> tuple[str, ...]:
        """Input channels in order."""
        return self.preprocessing.sequences


def model_folders(place: Path) -> tuple[Path, ...]:
    """Return the model folders that a place names: itself, or those of every trained fold of a run.

    Raises
    ------
    ModelError
        It is neither a model nor a run with a trained fold.
    """
    if (place / "model.json").is_file():
        return (place,)
    run = Run(place)
    folds = run.trained_folds()
    if not folds:
        raise ModelError(
            f"{place}: has no model.json and no trained fold; give a folder made by 'glioscope export' or 'train'"
        )
    return tuple(run.fold(fold) / "model" for fold in folds)


def read_ensemble(folders: Sequence[Path]) -> ModelSpec:
    """Return what models that answer together expect and give; one folder is its own ensemble.

    Raises
    ------
    ModelError
        As `read_model`, or two of them do not take the same input and give the same output.
    """
    specs = [read_model(folder) for folder in folders]
    for folder, spec in zip(folders[1:], specs[1:], strict=True):
        if (spec.preprocessing, spec.outputs, spec.divisor, spec.regions) != (
            specs[0].preprocessing,
            specs[0].outputs,
            specs[0].divisor,
            specs[0].regions,
        ):
            raise ModelError(f"{folder}: takes or gives something else than {folders[0]}; an ensemble is of one kind")
    return specs[0]


def write_model(folder: Path, spec: ModelSpec, files: Sequence[str]) -> None:
    """Write model.json with the checksum of each named file, which must lie in the folder already."""
    content = {"format": MODEL_FORMAT, **asdict(spec), "files": {name: sha256_of(folder / name) for name in files}}
    write_json(folder / "model.json", content)


def read_model(folder: Path) -> ModelSpec:
    """Read a model folder and check every file against its checksum.

    Raises
    ------
    ModelError
        The folder is not a model, is of another format, or a file is missing or damaged.
    """
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(f"{folder}: has no model.json; give a folder made by 'glioscope export'")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found_format = content.pop("format")
        files = TypeAdapter(dict[str, str]).validate_python(content.pop("files"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: is damaged ({error}); export the model again") from error
    if found_format != MODEL_FORMAT:
        raise ModelError(f"{folder}: has model format {found_format}; this version reads {MODEL_FORMAT}")
    for name, digest in files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ModelError(f"{folder}: lacks {name}, which model.json names; copy the folder again")
        if sha256_of(file) != digest:
            raise ModelError(f"{file}: its checksum differs from model.json; the file is damaged, copy it again")
    try:
        return TypeAdapter(ModelSpec).validate_python(content)
    except ValidationError as error:
        raise ModelError(f"{path}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}; export it again") from error
