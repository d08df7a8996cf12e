"""Settings, run folders and model folders: what is read back is what was written, and damage is named."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from glioscope.cases import Fold
from glioscope.errors import ConfigError, ModelError, RunError
from glioscope.files import csv_text, is_nifti, nifti_stem, nifti_suffix, read_json, sha256_of, write_json
from glioscope.machine import cores, processor, provenance
from glioscope.model import ModelSpec, read_model, write_model
from glioscope.prepare.preprocessing import PreprocessingConfig
from glioscope.runs import Run
from glioscope.settings import builtin_configs, read_config, settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    steps: int = 10
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)


def test_builtin_configurations_are_named():
    assert {"original", "standard"} <= set(builtin_configs())


def test_overrides_are_typed_by_toml_and_bare_words_are_strings():
    config = read_config("standard", ["training.steps=50", "loss.name=cross-entropy", "augment.scale=[0.5, 2.0]"])
    assert config["training"]["steps"] == 50
    assert config["loss"]["name"] == "cross-entropy"
    assert config["augment"]["scale"] == [0.5, 2.0]


def test_configuration_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nsteps = 3\n")
    assert read_config(str(path))["training"] == {"steps": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [("[train]\nsteps=1", "has 'train'; its tables are"), ("steps", "not valid TOML"), ("steps = 1", "has 'steps'")],
)
def test_bad_configuration_files(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(str(path))


def test_unknown_configuration_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"'standart' is neither a file nor one of .*standard"):
        read_config("standart")


@pytest.mark.parametrize("override", ["steps=5", "training.steps", "nonsense.steps=5"])
def test_bad_overrides(override):
    with pytest.raises(ConfigError, match=r"write table\.key=value"):
        read_config("standard", [override])


def test_settings_offer_the_nearest_name():
    with pytest.raises(ConfigError, match=r"training.stebs is not known; did you mean 'steps'"):
        settings(Toy, {"training": {"stebs": 3}}, "training")


def test_settings_of_the_wrong_type_name_key_and_value():
    with pytest.raises(ConfigError, match=r"training.steps is 'many'"):
        settings(Toy, {"training": {"steps": "many"}}, "training")


def test_settings_carry_the_rooms_own_message():
    with pytest.raises(ConfigError, match=r"spacing_mm is -1"):
        settings(PreprocessingConfig, {"preprocessing": {"spacing_mm": -1}}, "preprocessing")


def test_settings_fill_defaults_and_turn_lists_into_tuples():
    assert settings(Toy, {"training": {"sizes": [4]}}, "training") == Toy(sizes=(4,))


def test_run_folder_round_trip(tmp_path):
    run = Run(tmp_path / "run")
    config = read_config("original")
    run.write_config("original", config)
    run.write_folds([Fold(("a", "b"), ("c",))])
    assert run.config() == config
    assert run.folds() == (Fold(("a", "b"), ("c",)),)
    assert run.trained_folds() == ()
    write_json(run.fold(2) / "model" / "model.json", {})
    assert run.trained_folds() == (2,)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match="give the folder that 'glioscope train' wrote"):
        Run(tmp_path).config()
    with pytest.raises(RunError, match="thing: "):
        read_json(tmp_path / "none.json", what="thing")


def test_provenance_names_processor_and_versions():
    record = provenance()
    assert record["processor"]["cores"] >= 1
    assert "numpy" in record["versions"]


class FakeCore:
    """OpenVINO on a processor that multiplies bfloat16, which the machine of this test may not be."""

    def get_property(self, device, name):
        assert device == "CPU"
        return {"FULL_DEVICE_NAME": "Fast 1", "OPTIMIZATION_CAPABILITIES": ["BF16", "WINOGRAD", "FP32", "INT8"]}[name]


def test_the_processor_is_what_openvino_says_it_is(monkeypatch):
    monkeypatch.setattr("openvino.Core", FakeCore)
    found = processor.__wrapped__()
    assert (found.model, found.features, found.has_bf16) == ("Fast 1", ("BF16", "FP32", "INT8"), True)
    assert found.memory_gb > 0.5


def test_without_openvino_nothing_is_known_of_bf16(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = processor.__wrapped__()
    assert (found.features, found.has_bf16) == ((), False)
    assert found.model


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_cores_are_those_the_process_may_use():
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, mine)


def test_checksum_is_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_table_is_quoted_where_it_must_be():
    assert csv_text(("a", "b"), [(1, 'x,"y"'), ("", None)]) == 'a,b\n1,"x,""y"""\n,\n'


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [("scans/p_t1c.nii.gz", "p_t1c", ".nii.gz"), ("P.T1.NII", "P.T1", ".nii"), ("p.Nii.gz", "p", ".nii.gz")],
)
def test_nifti_is_told_by_the_name(name, stem, suffix):
    assert is_nifti(name)
    assert is_nifti(Path(name))
    assert (nifti_stem(name), nifti_suffix(name)) == (stem, suffix)


@pytest.mark.parametrize("name", ["._p.nii", ".hidden.nii.gz", "p.nii.txt", "p.gz", "nii"])
def test_what_is_not_nifti(name):
    assert not is_nifti(f"folder/{name}")


@pytest.fixture
def model(tmp_path):
    (tmp_path / "network.bin").write_bytes(b"weights")
    spec = ModelSpec(
        name="toy", outputs="regions", divisor=16, network={"name": "standard"}, temperature=(1.5, 1.0, 2.0)
    )
    write_model(tmp_path, spec, ["network.bin"])
    return tmp_path, spec


def test_model_folder_round_trip(model):
    folder, spec = model
    assert read_model(folder) == spec
    assert spec.sequences == ("t1n", "t1c", "t2w", "t2f")


def test_damaged_weights_are_named(model):
    folder, _ = model
    (folder / "network.bin").write_bytes(b"weighty")
    with pytest.raises(ModelError, match=r"network.bin: its checksum differs"):
        read_model(folder)


def test_missing_weights_are_named(model):
    folder, _ = model
    (folder / "network.bin").unlink()
    with pytest.raises(ModelError, match=r"lacks network\.bin"):
        read_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has model format 99"),
        ({"outputs": "both"}, "outputs"),
        ({"files": {"../escape": "0"}}, r"lacks \.\./escape"),
    ],
)
def test_foreign_model_files(model, change, message):
    folder, _ = model
    content = json.loads((folder / "model.json").read_text()) | change
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        read_model(folder)


def test_not_a_model_and_not_json(tmp_path):
    with pytest.raises(ModelError, match=r"has no model\.json"):
        read_model(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        read_model(tmp_path)
