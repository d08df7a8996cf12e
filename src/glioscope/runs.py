"""The run folder: settings, folds, and what each fold left on disk.

RUN/config.json     resolved settings, and their SHA-256
RUN/record.json     versions, processor, seed, cases with checksums
RUN/folds.json      case ids of each fold
RUN/test.json       case ids set aside for a test, if any
RUN/prepared/       cases as the network sees them
RUN/fold_0/         history.csv, last.pt, model/, validation/, samples/ (slices of validated cases over steps)
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Fold
from glioscope.errors import RunError
from glioscope.files import atomic_path, read_json, write_json
from glioscope.settings import Config


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
