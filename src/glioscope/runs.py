"""The run folder and the model folder: settings, provenance, weights on disk.

    RUN/config.json     resolved settings, and their SHA-256
    RUN/record.json     versions, processor, seed, cases with checksums
    RUN/folds.json      case ids of each fold
    RUN/test.json       case ids set aside for a test, if any
    RUN/prepared/       cases as the network sees them
    RUN/fold_0/         history.csv, last.pt, model/, validation/, samples/ (slices of validated cases over steps)

    MODEL/model.json    what the network expects and gives, and the SHA-256 of each file beside it
    MODEL/network.xml, network.bin     OpenVINO; MODEL/weights.safetensors     torch

Settings are TOML tables of *differences*; each default stands once, in the dataclass of the room that uses it.
"""

import difflib
import errno
import hashlib
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from glioscope.cases import Fold
from glioscope.errors import ConfigError, ModelError, RunError
from glioscope.preprocessing import PreprocessingConfig
from glioscope.volumes import atomic_path, write_text

TABLES = ("preprocessing", "network", "augment", "loss", "training", "inference")
"""Tables of a configuration file, one per room that has settings."""

MODEL_FORMAT = 1
"""Version of the model folder's layout; read_model refuses others."""

Config = dict[str, dict[str, Any]]
T = TypeVar("T")


def builtin_configs() -> tuple[str, ...]:
    """Return the names of the configurations that come with the package."""
    folder = resources.files("glioscope") / "configs"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def read_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration by name or from a TOML file and apply ``table.key=value`` overrides.

    Returns
    -------
    dict of dict
        One dict per table of `TABLES`, holding differences from the defaults.

    Raises
    ------
    ConfigError
        The file is absent or not TOML, or a table or override is not known.
    """
    place = resources.files("glioscope") / "configs" / f"{name_or_path}.toml"
    source = place if name_or_path in builtin_configs() else Path(name_or_path)
    if not source.is_file():
        raise ConfigError(f"configuration '{name_or_path}' is neither a file nor one of {', '.join(builtin_configs())}")
    try:
        raw = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not text, not TOML, or nested without end
        raise ConfigError(f"configuration '{name_or_path}' is not valid TOML: {error}") from error
    config: Config = {table: {} for table in TABLES}
    for table, values in raw.items():
        if table not in TABLES or not isinstance(values, dict):
            raise ConfigError(f"configuration '{name_or_path}' has '{table}'; its tables are {', '.join(TABLES)}")
        config[table].update(values)
    for override in overrides:
        _override(config, override)
    return config


def _override(config: Config, override: str) -> None:
    key, equals, value = override.partition("=")
    table, dot, name = key.strip().partition(".")
    if not equals or not dot or table not in TABLES:
        raise ConfigError(f"--set {override}: write table.key=value, with one of the tables {', '.join(TABLES)}")
    try:
        config[table][name] = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        config[table][name] = value.strip()  # a bare word is a string


def settings(cls: type[T], config: Mapping[str, Mapping[str, Any]], table: str) -> T:
    """Return one room's settings record from a configuration.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest name is offered) or a value is of the wrong type.
    """
    values = dict(config.get(table, {}))
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
            raise ConfigError(f"setting {table}.{key} is not known; {hint}")
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([table, *(str(part) for part in first["loc"])])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise cause from error
        raise ConfigError(f"setting {where} is {first['input']!r}: {first['msg']}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    if not path.is_file():  # to open a pipe would wait for ever
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processor() -> dict[str, Any]:
    """Return what figures must name: processor model, cores, and whether it multiplies in bfloat16."""
    text = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    entries = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    entries = {key.strip(): value.strip() for key, value in entries.items()}
    flags = set(entries.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return {
        "model": entries.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count() or 1,
        "flags": [flag for flag in wanted if flag in flags],
    }


def has_bf16(record: Mapping[str, Any] | None = None) -> bool:
    """Return whether the processor multiplies in bfloat16; without it the type is emulated and very slow."""
    flags = (record or processor())["flags"]
    return "avx512_bf16" in flags or "amx_bf16" in flags


def versions() -> dict[str, str]:
    """Return versions of Glioscope, Python and the packages that decide a result; absent ones are left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("glioscope", "numpy", "scipy", "nibabel", "openvino", "torch", "SimpleITK", "connected-components-3d"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the source tree this runs from, `+dirty` if changed; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "."], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+dirty" if dirty else commit


def provenance() -> dict[str, Any]:
    """Return the record of who made a result: time (UTC), commit, versions, processor."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions(),
        "processor": processor(),
    }


def write_json(path: Path, content: Any) -> None:
    """Write JSON, complete or not at all; key order is kept."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON.

    Raises
    ------
    RunError
        The file is absent or damaged; `what` names it to the reader.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{what}: {path} cannot be read ({error}); give the folder that 'glioscope train' wrote"
        ) from error


@dataclass(frozen=True, slots=True)
class Run:
    """Paths inside a run folder."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """Resolved settings."""
        return self.folder / "config.json"

    @property
    def folds_file(self) -> Path:
        """Case ids of each fold."""
        return self.folder / "folds.json"

    @property
    def test_file(self) -> Path:
        """Case ids of the test part; there only if one was set aside."""
        return self.folder / "test.json"

    @property
    def prepared(self) -> Path:
        """Cases as the network sees them."""
        return self.folder / "prepared"

    def fold(self, index: int) -> Path:
        """Return the folder of one fold."""
        return self.folder / f"fold_{index}"

    def trained_folds(self) -> tuple[int, ...]:
        """Return the folds that have a model, ascending."""
        found = [int(p.parent.parent.name[5:]) for p in self.folder.glob("fold_*/model/model.json")]
        return tuple(sorted(found))

    def config(self) -> Config:
        """Return the settings this run was made with."""
        content: Config = read_json(self.config_file, what="run")["settings"]
        return content

    def folds(self) -> tuple[Fold, ...]:
        """Return the folds this run was made with."""
        content = read_json(self.folds_file, what="run")
        return tuple(Fold(tuple(f["train"]), tuple(f["validation"])) for f in content)

    def write_config(self, name: str, config: Config) -> None:
        """Write the settings with their checksum."""
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
        write_json(self.config_file, {"name": name, "sha256": digest, "settings": config})

    def test_cases(self) -> tuple[str, ...]:
        """Return the case ids set aside for a test; none if no part was."""
        return tuple(read_json(self.test_file, what="run")) if self.test_file.is_file() else ()

    def write_folds(self, folds: Sequence[Fold]) -> None:
        """Write the folds."""
        write_json(self.folds_file, [asdict(fold) for fold in folds])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Glimpse:
    """One axial slice of a case at one moment of a training."""

    image: NDArray[np.float16]
    """(channel, i, j) as the network got it, RAS order."""
    prediction: NDArray[np.bool_]
    """(3, i, j) WT, TC, ET; `reference` alike."""
    reference: NDArray[np.bool_]
    spacing_mm: float

    def write(self, path: Path) -> None:
        """Write `fold_0/samples/CASE/000020.npz`, complete or not at all."""
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            parts = {"image": self.image, "prediction": self.prediction, "reference": self.reference}
            np.savez_compressed(file, allow_pickle=False, spacing_mm=np.array(self.spacing_mm), **parts)

    @classmethod
    def read(cls, path: Path) -> "Glimpse":
        """Read one; a damaged file is a `RunError`."""
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = {f.name: found[f.name] for f in fields(cls)}
            return cls(**{**arrays, "spacing_mm": float(arrays["spacing_mm"])})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunError(f"{path}: is damaged ({error}); train on, and the next validation writes another") from error


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
    temperature: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Logits of WT, TC, ET are divided by these, so that probabilities are calibrated."""
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
        if (spec.preprocessing, spec.outputs, spec.divisor) != (
            specs[0].preprocessing,
            specs[0].outputs,
            specs[0].divisor,
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
