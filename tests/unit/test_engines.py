import builtins
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino
import pytest

from glioscope.errors import DependencyError, ModelError
from glioscope.inference import (
    EnsembleEngine,
    OpenVinoEngine,
    engines,
    exporting,
    load_engine,
    parity,
    quantise,
)
from glioscope.machine import Processor, cache_folder, processor
from glioscope.model import read_model
from tiny import write_tiny_model, write_tiny_network

PRESENT = np.array([True, True])


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Logits 2a - b + 1 and b of channels a and b."""
    return write_tiny_network(tmp_path / "net", np.array([[2, -1], [0, 1]]), np.array([1, 0]))


def image(a: float, b: float, shape: tuple[int, int, int] = (4, 5, 6)) -> np.ndarray:
    return np.stack([np.full(shape, a, np.float32), np.full(shape, b, np.float32)])


def test_openvino_computes_what_the_network_says(network: Path) -> None:
    engine = OpenVinoEngine(network, precision="fp32", threads=1)
    logits = engine(image(3, 0.5), PRESENT)
    assert logits.shape == (2, 4, 5, 6)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[0], 6.5)
    np.testing.assert_allclose(logits[1], 0.5)


def test_results_belong_to_the_caller(network: Path) -> None:
    engine = OpenVinoEngine(network, precision="fp32")
    first = engine(image(3, 0), PRESENT)
    engine(image(100, 0), PRESENT)
    np.testing.assert_allclose(first[0], 7)


def test_arrays_shared_with_the_plug_in_stand_until_it_has_run(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO keeps no reference to shared memory: an array freed before the run is read all the same, as garbage."""
    engine = OpenVinoEngine(network, precision="fp32")
    shared: list[weakref.ref[np.ndarray]] = []
    alive: list[bool] = []

    def tensor(array: np.ndarray, *, shared_memory: bool) -> Any:
        assert shared_memory
        shared.append(weakref.ref(array))
        return openvino.Tensor(array, shared_memory=True)

    request = engine._request((2, 4, 5, 6))
    watched = SimpleNamespace(
        get_compiled_model=request.get_compiled_model,
        set_tensor=request.set_tensor,
        infer=lambda: (alive.extend(one() is not None for one in shared), request.infer()),
    )
    monkeypatch.setattr(engine, "_openvino", SimpleNamespace(Tensor=tensor))
    monkeypatch.setattr(engine, "_request", lambda _shape: watched)
    np.testing.assert_allclose(engine(image(3, 0.5), PRESENT)[0], 6.5)
    assert alive == [True, True, True]


def test_shapes_come_and_go(network: Path) -> None:
    engine = OpenVinoEngine(network, precision="fp32")
    for edge in (4, 5, 6, 4):
        assert engine(image(1, 1, (edge, 4, 4)), PRESENT).shape == (2, edge, 4, 4)
    assert len(engine._requests) == engines._SHAPES_KEPT
    engine.compile((2, 4, 4, 4))


def test_an_image_that_is_not_contiguous(network: Path) -> None:
    turned = np.moveaxis(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32), 1, 3)
    logits = OpenVinoEngine(network, precision="fp32")(turned, PRESENT)
    np.testing.assert_allclose(logits[0], 2 * turned[0] - turned[1] + 1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "expected"), [((), "fp32"), (("FP32", "INT8"), "fp32"), (("BF16", "FP32"), "bf16")]
)
def test_precision_follows_the_processor(
    network: Path, monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(
        engines, "processor", lambda: Processor(model="Example 9000", cores=3, memory_gb=8.0, features=features)
    )
    engine = OpenVinoEngine(network)
    assert engine.precision == expected
    assert engine.description == f"OpenVINO {expected} on Example 9000, 3 threads"
    assert engine.name.startswith("openvino 20")


def test_channels_that_the_network_does_not_take(network: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot run on an image of shape \(3, 4, 4, 4\)"):
        OpenVinoEngine(network)(np.zeros((3, 4, 4, 4), np.float32), np.ones(3, bool))


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "network.xml").write_text("<html></html>")
    with pytest.raises(ModelError, match=r"network\.xml: not a network OpenVINO reads"):
        OpenVinoEngine(tmp_path / "network.xml")


def test_a_network_without_the_names(network: Path) -> None:
    network.write_text(network.read_text("utf-8").replace('names="presence"', 'names="other"'))
    with pytest.raises(ModelError, match=r"but lacks \['presence'\]; export it with 'glioscope export'"):
        OpenVinoEngine(network)


def test_compiled_networks_are_kept_in_the_users_cache(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    OpenVinoEngine(network)(image(1, 1), PRESENT)
    assert cache_folder() == tmp_path / "cache" / "glioscope" / "compiled"
    assert any((tmp_path / "cache" / "glioscope" / "compiled").iterdir())


def test_without_a_writable_cache_all_works(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() is None
    np.testing.assert_allclose(OpenVinoEngine(network, precision="fp32")(image(1, 1), PRESENT)[0], 2)


def test_load_engine_takes_openvino_on_the_processor(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path / "model"), precision="fp32", threads=1)
    assert isinstance(engine, OpenVinoEngine)
    assert engine.description.endswith("1 threads")


def test_load_engine_raises_where_nothing_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "model")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/plugin.cpp:7:\nplug-in is absent\n")

    monkeypatch.setattr(engines, "OpenVinoEngine", broken)
    with pytest.raises(ModelError, match=r"OpenVINO fails \(plug-in is absent\)"):
        load_engine(folder)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    (folder / "network.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"network\.bin: its checksum differs"):
        load_engine(folder)


def test_cuda_is_not_looked_for_without_torch_or_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _name: None)
    assert not engines._cuda_is_likely()
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(engines.shutil, "which", lambda _name: None)
    assert engines._cuda_is_likely() == Path("/proc/driver/nvidia/version").exists()


def test_torch_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without_torch(name: str, *args: object, **kwargs: object) -> object:
        if name == "torch":
            raise ImportError(name)
        return true_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(DependencyError, match=r"pip install 'glioscope\[train\]'"):
        engines.import_torch()


def test_parity_counts_voxels_decided_alike() -> None:
    base = np.zeros((3, 2, 2, 2), np.float32) - 1
    other = base.copy()
    other[1, 0, 0, 0] = 1
    other[2, 0, 0, 0] = 1  # two regions, but one voxel
    cases = [(np.zeros((1, 2, 2, 2), np.float32), np.array([True]))]
    assert parity(lambda *_: base, lambda *_: base, cases) == 1
    assert parity(lambda *_: base, lambda *_: other, cases) == 7 / 8
    labels = np.zeros((4, 1, 1, 2), np.float32)
    labels[2, 0, 0, 1] = 1
    assert parity(lambda *_: labels, lambda *_: labels[::-1], cases) == 1 / 2
    assert parity(lambda *_: base, lambda *_: other, []) == 1


@pytest.mark.slow
def test_a_torch_network_survives_the_export(tmp_path: Path) -> None:
    """The same decisions through torch, OpenVINO and the fallback; a network that differs is refused."""
    torch = pytest.importorskip("torch")
    from dataclasses import asdict

    from safetensors.torch import save_file

    from glioscope.model import ModelSpec, read_model, write_model
    from glioscope.model.network import NetworkConfig, build

    torch.manual_seed(0)
    config = NetworkConfig(widths=(4, 8), blocks=(1, 1))
    network = build(config).eval()
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    source = tmp_path / "trained"
    source.mkdir()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, source / "weights.safetensors")
    spec = ModelSpec(name="t", outputs="regions", divisor=config.divisor, network=asdict(config))
    write_model(source, spec, ["weights.safetensors"])
    rng = np.random.default_rng(0)
    cases = [(rng.normal(size=(4, 16, 8, 12)).astype(np.float32), np.array([True, True, False, True]))]

    assert exporting.export_model(source, tmp_path / "model", cases) >= exporting.PARITY
    exported = read_model(tmp_path / "model")
    assert exported.record["parity"] >= exporting.PARITY
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {"network.xml", "network.bin", "network.onnx"}

    with torch.inference_mode():
        expected = network(torch.from_numpy(cases[0][0])[None], torch.from_numpy(cases[0][1].astype(np.float32))[None])
    logits = load_engine(tmp_path / "model", precision="fp32", device="cpu")(*cases[0])
    np.testing.assert_allclose(logits, expected[0].numpy(), atol=0.02)  # weights went through fp16

    fallback = load_engine(source, device="cpu")  # no network.xml there
    assert fallback.description.startswith("torch fp32 on ")
    assert "fallback: OpenVINO failed" in fallback.description
    np.testing.assert_allclose(fallback(*cases[0]), expected[0].numpy(), atol=1e-4)

    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="finds no CUDA device"):
            load_engine(source, device="cuda")


@pytest.mark.slow
def test_an_export_that_decides_otherwise_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(exporting, "TorchEngine", lambda *_, **__: type("Engine", (), {"network": None})())
    monkeypatch.setattr(exporting, "OpenVinoEngine", lambda *_, **__: None)
    monkeypatch.setattr(exporting, "export_openvino", lambda *_, **__: ())
    monkeypatch.setattr(exporting, "parity", lambda *_, **__: 0.9)
    folder = write_tiny_model(tmp_path / "source")
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"agrees with torch on 90\.0000% of voxels; 99\.9% is needed"):
        exporting.export_model(folder, tmp_path / "out", [])
    assert not (tmp_path / "out" / "model.json").exists()


def test_an_ensemble_answers_with_the_mean_of_its_members():
    class Constant:
        name = precision = description = "constant"

        def __init__(self, value):
            self.value = value

        def __call__(self, image, presence):
            return np.full((3, *image.shape[1:]), self.value, np.float32)

    engine = EnsembleEngine([Constant(1.0), Constant(4.0), Constant(1.0)])
    np.testing.assert_array_equal(
        engine(np.zeros((4, 2, 2, 2), np.float32), np.ones(4, bool)), np.full((3, 2, 2, 2), 2.0)
    )
    assert engine.description == "3 networks, each: constant"


def test_an_int8_form_is_chosen_by_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bf16 the folder's int8 network answers, close to the fp32 one but rounded; with bf16 it is left alone."""
    monkeypatch.setattr(engines.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(engines, "processor", lambda: replace(processor(), features=("FP32",)))
    folder = write_tiny_model(tmp_path / "model")
    assert engines.automatic_precision(folder) == "fp32"
    with pytest.raises(ModelError, match="make it with 'glioscope export --int8'"):
        load_engine(folder, precision="int8")
    rng = np.random.default_rng(0)
    cases = [(rng.uniform(-3, 3, (4, 8, 8, 8)).astype(np.float32), np.ones(4, bool)) for _ in range(3)]
    with pytest.raises(ModelError, match="int8 needs cases"):
        quantise(folder, [])
    quantise(folder, cases)

    assert read_model(folder).name == "tiny"  # every file with its checksum
    engine = load_engine(folder)
    assert engine.precision == "int8"
    rounded, exact = engine(*cases[0]), load_engine(folder, precision="fp32")(*cases[0])
    assert 0 < np.abs(rounded - exact).max() < 0.5  # of logits from -52 to 8
    monkeypatch.setattr(engines, "processor", lambda: replace(processor(), features=("BF16",)))
    assert engines.automatic_precision(folder) == "bf16"
    monkeypatch.setattr(engines, "processor", lambda: replace(processor(), features=("FP32",)))
    monkeypatch.setattr(engines.platform, "machine", lambda: "arm64")
    assert engines.automatic_precision(folder) == "fp32"
    with pytest.raises(ModelError, match="int8 is for processors"):
        load_engine(folder, precision="int8", device="cuda")


@pytest.mark.slow
def test_two_forms_share_one_file_of_weights(tmp_path: Path) -> None:
    """Kernels in 8 bits for both, a third of the folder's weight; int8 answers as before, and training reads them."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("nncf")
    from glioscope.inference import export_openvino, share_weights, trained_weights
    from glioscope.model import ModelSpec, write_model
    from glioscope.model.network import NetworkConfig, build

    torch.manual_seed(0)
    network = build(NetworkConfig(widths=(8, 16), blocks=(1, 1))).eval()
    for parameter in network.parameters():  # none at its first value, which would be folded away
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path / "model"
    export_openvino(network, folder, sequences=4, onnx=False)
    write_model(folder, ModelSpec(name="t", outputs="regions", divisor=8, network={}), ["network.xml", "network.bin"])
    rng = np.random.default_rng(0)
    cases = [(rng.normal(size=(4, 16, 8, 16)).astype(np.float32), np.array([True, True, False, True]))]
    with pytest.raises(ModelError, match="quantise it first"):
        share_weights(folder, cases)
    quantise(folder, cases)
    exact, whole = (load_engine(folder, device="cpu", precision=form)(*cases[0]) for form in ("fp32", "int8"))
    before = sum(file.stat().st_size for file in folder.glob("*.bin"))

    assert share_weights(folder, []) == 1
    assert sum(file.stat().st_size for file in folder.glob("*.bin")) < before / 2
    read_model(folder)  # every file with its checksum, and none too many
    assert not (folder / "network-int8.bin").exists()
    np.testing.assert_array_equal(load_engine(folder, device="cpu", precision="int8")(*cases[0]), whole)
    shared = load_engine(folder, device="cpu", precision="fp32")(*cases[0])
    assert 0 < np.abs(shared - exact).max() < 0.1 * np.ptp(exact)

    found = trained_weights(folder)
    for name, weight in network.state_dict().items():
        if name.startswith("deep_heads"):
            continue
        axis = 1 if name.startswith(("up.", "fine_up.weight")) else 0  # of the output channels
        largest = np.abs(weight.numpy()).max(axis=tuple(a for a in range(weight.ndim) if a != axis), keepdims=True)
        assert (np.abs(found[name].reshape(weight.shape) - weight.numpy()) <= largest / 100 + 1e-3).all(), name
