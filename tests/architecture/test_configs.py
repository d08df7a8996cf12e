"""Every configuration and protocol that ships can be read, and says nothing that nobody reads."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from architecture.source import PACKAGE
from glioscope.errors import ConfigError
from glioscope.inference import InferenceConfig
from glioscope.prepare.preprocessing import PreprocessingConfig
from glioscope.settings import builtin_configs, read_config, settings

CONFIGS = sorted((PACKAGE / "configs").glob("*.toml"))
PROTOCOLS = sorted((PACKAGE / "protocols").glob("*.toml"))

READ_ALL = """
import sys
from glioscope.training.augment import AugmentConfig
from glioscope.training.losses import LossConfig
from glioscope.model.network import NetworkConfig
from glioscope.settings import read_config, settings
from glioscope.training import TrainingConfig
rooms = {"augment": AugmentConfig, "loss": LossConfig, "network": NetworkConfig, "training": TrainingConfig}
for name in sys.argv[1:]:
    for table, record in rooms.items():
        settings(record, read_config(name), table)
"""


def test_both_configurations_ship() -> None:
    assert {"original", "standard"} <= {path.stem for path in CONFIGS}
    assert builtin_configs() == tuple(path.stem for path in CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configuration_holds_known_settings(path: Path) -> None:
    config = read_config(path.stem)
    settings(PreprocessingConfig, config, "preprocessing")
    settings(InferenceConfig, config, "inference")


def test_training_tables_hold_known_settings() -> None:
    """In one process of its own: these rooms load torch, which the other fast tests do without."""
    pytest.importorskip("torch")
    command = [sys.executable, "-c", READ_ALL, *(path.stem for path in CONFIGS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configuration_says_why_it_exists(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    config = read_config("standard", ["preprocessing.spacing=2"])
    with pytest.raises(ConfigError, match=r"preprocessing\.spacing is not known; did you mean 'spacing_mm'"):
        settings(PreprocessingConfig, config, "preprocessing")


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_protocol_is_toml_and_names_its_source(path: Path) -> None:
    assert tomllib.loads(path.read_text("utf-8"))["source"]
