import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional as F

from src.core.errors import UserError
from src.mnist.model.network import ARCHITECTURES, CNN, MEAN, STD, CalibratedModel, CPULinear, build_model, normalize
from src.mnist.model.weights import METADATA_KEY, load_model, save_model

EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)


class Marker:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def images(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (size, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@EACH
@pytest.mark.parametrize("size", [1, 7])
def test_images_become_logits(architecture: str, size: int) -> None:
    logits = build_model(architecture, 0).eval()(normalize(images(size)))
    assert logits.shape == (size, 10)
    assert logits.dtype == torch.float32
    assert (logits < 0).any()


def test_the_cnn_is_the_one_that_was_asked_for() -> None:
    shapes = {name: tuple(weight.shape) for name, weight in CNN().named_parameters() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": (10, 1, 5, 5),
        "conv2.weight": (20, 10, 3, 3),
        "linear1.weight": (500, 2000),
        "linear2.weight": (10, 500),
    }
    assert sum(weight.numel() for weight in CNN().parameters()) == 1_007_590


@EACH
def test_the_docstring_gives_the_number_of_weights(architecture: str) -> None:
    number = sum(weight.numel() for weight in build_model(architecture, 0).parameters())
    assert f"{number:,} weights" in (ARCHITECTURES[architecture].__doc__ or "")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_pooling_before_the_relu_gives_the_same(seed: int) -> None:
    model, x = build_model("cnn", seed), normalize(images(3))
    assert isinstance(model, CNN)
    with torch.no_grad():
        y = F.max_pool2d(F.relu(model.conv1(x)), 2)
        y = F.relu(model.conv2(y))
        y = F.relu(model.linear1(y.permute(0, 2, 3, 1).flatten(1)))
        torch.testing.assert_close(model(x), model.linear2(y), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 7, 128])
def test_a_linear_layer_computed_with_onednn_is_one(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    layer = CPULinear(2000, 500)
    x, gradient = (torch.randn(size, width, generator=generator) for width in (2000, 500))
    results = []
    for function in (layer, lambda y: F.linear(y, layer.weight, layer.bias)):
        layer.zero_grad()
        start = x.clone().requires_grad_()
        output = function(start)
        output.backward(gradient)
        results.append([output.detach(), start.grad, *(weight.grad for weight in layer.parameters())])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_normalising_gives_mnists_mean_and_deviation() -> None:
    expected = (images(4).double() / 255 - MEAN) / STD
    torch.testing.assert_close(normalize(images(4)), expected[:, None].float(), rtol=1e-5, atol=1e-5)


def test_normalising_changes_nothing_that_it_is_given() -> None:
    grey = images(4).float()
    normalize(grey)
    assert torch.equal(grey, images(4).float())


@EACH
def test_weights_are_a_function_of_the_seed_alone(architecture: str) -> None:
    first = build_model(architecture, 0)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert equal(first, build_model(architecture, 0))
    assert not equal(first, build_model(architecture, 1))
    assert torch.equal(torch.get_rng_state(), state)


@EACH
def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path, architecture: str) -> None:
    network = build_model(architecture, 3).to(memory_format=torch.channels_last)
    save_model(tmp_path / "models" / "model.safetensors", CalibratedModel(network, 0.1), architecture)
    loaded = load_model(tmp_path / "models" / "model.safetensors")
    assert loaded.temperature == 0.1
    assert equal(loaded.network, network)
    torch.testing.assert_close(loaded.eval()(normalize(images(2))), network.eval()(normalize(images(2))) / 0.1)


@EACH
def test_the_file_has_the_same_bytes_twice(tmp_path: Path, architecture: str) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, CalibratedModel(build_model(architecture, 3), 0.3), architecture)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"^nowhere: is missing; run `dvc checkout`"):
        load_model(Path("nowhere"))


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model"
    save_model(path, CalibratedModel(build_model("cnn", 0), 1.0), "cnn")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=f"^{path}: is not a model of this pipeline"):
        load_model(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {METADATA_KEY: "not json"},
        {METADATA_KEY: "{}"},
        {METADATA_KEY: '{"architecture": "vgg", "mean": 0.1307, "std": 0.3081, "layout": "NHWC", "temperature": 1.0}'},
        {METADATA_KEY: '{"architecture": "cnn", "mean": 0.1307, "std": 0.3081, "layout": "NHWC", "temperature": 1.0}'},
        {METADATA_KEY: "[1]"},
        {METADATA_KEY: "null"},
    ],
)
def test_foreign_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(UserError, match="is not a model of this pipeline") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model", CalibratedModel(build_model("resnet", 0), 1.0), "cnn")
    with pytest.raises(UserError, match="is not a model of this pipeline"):
        load_model(tmp_path / "model")


def test_a_model_of_images_normalised_in_another_way_is_refused(tmp_path: Path) -> None:
    metadata = {METADATA_KEY: '{"architecture": "cnn", "mean": 0.5, "std": 0.5}'}
    save_file(build_model("cnn", 0).state_dict(), tmp_path / "model", metadata)
    with pytest.raises(UserError, match="normalised differently"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("missing", ["layout", "temperature"])
def test_a_model_of_an_older_version_is_refused(tmp_path: Path, missing: str) -> None:
    description = {"architecture": "cnn", "layout": "NHWC", "mean": 0.1307, "std": 0.3081, "temperature": 1.0}
    save_file(build_model("cnn", 0).state_dict(), tmp_path / "model", {METADATA_KEY: json.dumps(description)})
    load_model(tmp_path / "model")
    del description[missing]
    save_file(build_model("cnn", 0).state_dict(), tmp_path / "model", {METADATA_KEY: json.dumps(description)})
    with pytest.raises(UserError, match=r"model: an older version wrote it, .*; run `dvc repro`$"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("temperature", ["0.0", "-1.0", "NaN", "Infinity", '"1.0"', "null", "true"])
def test_an_impossible_temperature_is_refused(tmp_path: Path, temperature: str) -> None:
    facts = '"architecture": "cnn", "layout": "NHWC", "mean": 0.1307, "std": 0.3081'
    metadata = {METADATA_KEY: f'{{{facts}, "temperature": {temperature}}}'}
    save_file(build_model("cnn", 0).state_dict(), tmp_path / "model", metadata)
    with pytest.raises(UserError, match=r"is not a model of this pipeline \(temperature is"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("write", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
def test_nothing_in_a_pickle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, marker = tmp_path / "model", tmp_path / "it ran"
    write(Marker(marker), path)
    with pytest.raises(UserError, match="is not a model of this pipeline"):
        load_model(path)
    assert not marker.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert marker.exists()
