import json
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from src.core.errors import UserError
from src.mnist.model.network import (
    ARCHITECTURES,
    CNN,
    MEAN,
    STD,
    CalibratedModel,
    CPULinear,
    Ensemble,
    build_model,
    normalize,
    shifted_views,
)
from src.mnist.model.weights import METADATA_KEY, load_model, save_model
from tests.conftest import random_examples

# Listed explicitly, because other tests add to ARCHITECTURES.
EACH = pytest.mark.parametrize("architecture", ["cnn", "small", "resnet", "ensemble", "large_ensemble"])
IMAGES = torch.from_numpy(random_examples(7).images)


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@EACH
def test_network_output_and_weight_count_match_the_docstring(architecture: str) -> None:
    network = build_model(architecture, 0).eval()
    for size in (1, 7):
        logits = network(normalize(IMAGES[:size]))
        assert logits.shape == (size, 10)
        assert logits.dtype == torch.float32
        assert (logits < 0).any()
    number = sum(weight.numel() for weight in network.parameters())
    assert f"{number:,} weights" in (ARCHITECTURES[architecture].__doc__ or "")


@pytest.mark.parametrize("count", [1, 7])
def test_ensemble_trains_one_member_per_image_and_averages_both(count: int) -> None:
    network, x = build_model("ensemble", 0), normalize(IMAGES[:count])
    first, second = (list(member.parameters()) for member in cast(Ensemble, network).members)
    for part, trained, other in (
        (slice(None, -(-count // 2)), first, second),
        (slice(-(-count // 2), None), second, first),
    ):
        network.zero_grad()
        network.train()(x)[part].sum().backward()
        assert all(weight.grad is not None for weight in trained) == bool(len(x[part]))
        assert all(weight.grad is None or not weight.grad.any() for weight in other)
    alone = [member(x) for member in cast(Ensemble, network.eval()).members]
    assert not torch.equal(*alone)
    torch.testing.assert_close(network(x), sum(alone) / 2)


def test_pooling_before_relu_gives_the_same_logits() -> None:
    model, x = build_model("cnn", 0), normalize(IMAGES)
    assert isinstance(model, CNN)
    with torch.no_grad():
        y = F.max_pool2d(F.relu(model.conv1(x)), 2)
        y = F.relu(model.conv2(y))
        y = F.relu(model.linear1(y.permute(0, 2, 3, 1).flatten(1)))
        torch.testing.assert_close(model(x), model.linear2(y), rtol=0, atol=0)


def test_onednn_linear_layer_matches_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = CPULinear(2000, 500)
    x, gradient = (torch.randn(128, width, generator=generator) for width in (2000, 500))
    results = []
    for function in (layer, lambda y: F.linear(y, layer.weight, layer.bias)):
        layer.zero_grad()
        start = x.clone().requires_grad_()
        output = function(start)
        output.backward(gradient)
        results.append([output.detach(), start.grad, *(weight.grad for weight in layer.parameters())])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_other_image_size_is_named() -> None:
    with pytest.raises(RuntimeError, match="7x2880 and 2000x500"):
        build_model("cnn", 0)(torch.zeros(7, 1, 32, 32))


def test_normalize_uses_mnist_statistics_and_keeps_its_input() -> None:
    grey = IMAGES.float()
    expected = (grey.double() / 255 - MEAN) / STD
    torch.testing.assert_close(normalize(grey), expected[:, None].float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(grey, IMAGES.float())


def test_shifted_views_are_padded_and_share_memory() -> None:
    views, padded = shifted_views(IMAGES, 2), np.pad(IMAGES.numpy(), ((0, 0), (2, 2), (2, 2)))
    for down, right in ((0, 0), (1, 2), (3, 4)):
        np.testing.assert_array_equal(views[:, down, right].numpy(), padded[:, down : down + 28, right : right + 28])
    assert views.untyped_storage().nbytes() == 7 * 32 * 32


@EACH
def test_initial_weights_depend_only_on_the_seed(architecture: str) -> None:
    first = build_model(architecture, 0)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert equal(first, build_model(architecture, 0))
    assert not equal(first, build_model(architecture, 1))
    assert torch.equal(torch.get_rng_state(), state)


@EACH
def test_model_round_trips_and_its_file_is_deterministic(tmp_path: Path, architecture: str) -> None:
    network = build_model(architecture, 3).to(memory_format=torch.channels_last)
    for name in ("a", "b"):
        save_model(tmp_path / "models" / name, CalibratedModel(network, 0.1), architecture)
    loaded = load_model(tmp_path / "models/a")
    assert loaded.temperature == 0.1
    assert equal(loaded.network, network)
    torch.testing.assert_close(loaded.eval()(normalize(IMAGES)), network.eval()(normalize(IMAGES)) / 0.1)
    assert (tmp_path / "models/a").read_bytes() == (tmp_path / "models/b").read_bytes()


def test_network_with_shared_weights_round_trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tied() -> nn.Module:
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        network[1].weight = network[0].weight
        return network

    monkeypatch.setitem(ARCHITECTURES, "tied", tied)
    network = build_model("tied", 0)
    save_model(tmp_path / "model", CalibratedModel(network, 1.0), "tied")
    assert equal(load_model(tmp_path / "model").network, network)


def test_missing_model_is_named() -> None:
    with pytest.raises(UserError, match=r"^nowhere: is missing; run `dvc pull`"):
        load_model(Path("nowhere"))


@pytest.mark.fault(38)
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.999999])
def test_truncated_model_is_rejected(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model"
    save_model(path, CalibratedModel(build_model("cnn", 0), 1.0), "cnn")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    advice = "to restore its own, delete models/model.safetensors and run"
    with pytest.raises(UserError, match=f"^{path}: is not a model of this pipeline .*; {advice}"):
        load_model(path)


OTHER, OLD = r"is not a model of this pipeline", r"another version wrote it, .*; run `dvc repro`$"
DESCRIPTION = {"architecture": "cnn", "layout": "NHWC", "mean": MEAN, "std": STD, "temperature": 1.0}


@pytest.mark.fault(38)
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        *[(metadata, OTHER) for metadata in (None, {"format": "pt"})],
        *[({METADATA_KEY: text}, OTHER) for text in ("not json", "[1]", "null")],
        *[
            ({METADATA_KEY: json.dumps(DESCRIPTION | {"temperature": value})}, rf"{OTHER} \(temperature is")
            for value in (0.0, -1.0, float("nan"), float("inf"), "1.0", None, True)
        ],
        *[
            ({METADATA_KEY: json.dumps({key: value for key, value in DESCRIPTION.items() if key != missing})}, OTHER)
            for missing in DESCRIPTION
        ],
        *[({METADATA_KEY: json.dumps(DESCRIPTION | {"architecture": name})}, OTHER) for name in ("vgg", "resnet")],
        *[({METADATA_KEY: json.dumps(DESCRIPTION | change)}, OLD) for change in ({"mean": 0.5}, {"layout": "NCHW"})],
    ],
)
def test_incompatible_metadata_is_rejected(tmp_path: Path, metadata: dict[str, str] | None, reason: str) -> None:
    path = tmp_path / "model"
    weights = build_model("cnn", 0).state_dict()
    save_file(weights, path, {METADATA_KEY: json.dumps(DESCRIPTION)})
    load_model(path)
    save_file(weights, path, metadata)
    with pytest.raises(UserError, match=f"^{path}: {reason}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


class Marker:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.fault(37)
@pytest.mark.parametrize("write", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
def test_pickle_in_a_model_file_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, marker = tmp_path / "model", tmp_path / "it ran"
    write(Marker(marker), path)
    with pytest.raises(UserError, match="is not a model of this pipeline"):
        load_model(path)
    assert not marker.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert marker.exists()
