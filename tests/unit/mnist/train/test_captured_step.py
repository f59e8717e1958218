"""Training by replays of recorded steps, with CUDA graphs emulated on a CPU."""

import functools
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from src.mnist.data.dataset import write_examples
from src.mnist.model.network import CPULinear
from src.mnist.train import batches, steps
from src.mnist.train.batches import Batches
from src.mnist.train.classifier import Classifier
from src.mnist.train.graphs import Capture, ForwardSeeds
from src.mnist.train.steps import StepRunner
from tests.conftest import PARAMS, random_examples
from tests.unit.mnist.train.cuda_graph import HostReadError, emulated_cuda_graph
from tests.unit.mnist.train.dropout import DRAWS, DROPOUT
from tests.unit.trainings import Annealing, Freezing, Trainings, add_callback

pytestmark = pytest.mark.usefixtures("undrawn")

# An epoch has 30 images: two calls of three batches, one call of one batch, and a last batch of two images.
SMALL = {"batch_size": 4, "val_fraction": 0.25, "epochs": 2}
BATCHES_PER_CALL = 3
EVERYTHING = {"ema": 0.8, "weight_decay": 0.1, "rotation": 10.0, "scale": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "cnn": {"shift": 0},
    "small, bf16, everything": {"architecture": "small", "precision": "bf16", **EVERYTHING},
    "small, shards": {"architecture": "small", "shards": 2},
    "dropout": {"architecture": DROPOUT},
    "dropout, shards, everything": {"architecture": DROPOUT, "shards": 2, **EVERYTHING},
    "ensemble, bf16, shards, everything": {"architecture": "ensemble", "precision": "bf16", "shards": 2, **EVERYTHING},
}
SLOW = pytest.param("ensemble, bf16, shards, everything", marks=pytest.mark.slow)
Train = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def train_plainly(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train for two epochs and return the bytes of all outputs."""
    folder = tmp_path_factory.mktemp("captured")
    write_examples(folder, random_examples(40), random_examples(10))

    def run(is_interrupted: bool = False, **changes: Any) -> list[bytes]:
        trainings = Trainings(
            tmp_path_factory.mktemp("outputs"), folder, PARAMS.model_copy(update={**SMALL, **changes})
        )
        if is_interrupted:
            trainings.interrupt()
            trainings.resume()
        else:
            trainings.run()
        return trainings.read()

    return run


@pytest.fixture(scope="module")
def expected(train_plainly: Train) -> Callable[[str], list[bytes]]:
    """Outputs of a case without replays, cached."""
    return functools.cache(lambda name: train_plainly(**CASES[name]))


@pytest.fixture(autouse=True)
def few_batches_per_call_and_torch_linear_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCHES_PER_CALL", BATCHES_PER_CALL)
    monkeypatch.setattr(CPULinear, "forward", nn.Linear.forward)


@pytest.fixture
def train_captured(train_plainly: Train, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train by replays of captured steps."""

    def run(capture: Capture = emulated_cuda_graph, **options: Any) -> list[bytes]:
        with monkeypatch.context() as patch:
            # As on a GPU, a single batch is not captured.
            patch.setattr(steps, "capture_for", lambda _, number: capture if number > 1 else None)
            return train_plainly(**options)

    return run


@pytest.mark.parametrize("name", [*list(CASES)[:-1], SLOW])
def test_replays_and_plain_steps_give_the_same_bytes(
    train_captured: Train, expected: Callable[[str], list[bytes]], name: str
) -> None:
    assert train_captured(**CASES[name]) == expected(name)


@pytest.mark.parametrize("name", ["dropout, shards, everything", SLOW])
def test_replays_give_the_same_bytes_after_a_resume(
    train_captured: Train, expected: Callable[[str], list[bytes]], name: str
) -> None:
    assert train_captured(is_interrupted=True, **CASES[name]) == expected(name)


NOT_CAPTURED = pytest.warns(UserWarning, match="steps draw from the generators of Python or NumPy")


@pytest.mark.parametrize(
    ("scale", "expectation"), [(lambda: 0.1, nullcontext()), (random.random, NOT_CAPTURED)], ids=["torch", "Python"]
)
def test_noise_on_images_is_the_same_in_replays(
    train_captured: Train,
    train_plainly: Train,
    monkeypatch: pytest.MonkeyPatch,
    scale: Callable[[], float],
    expectation: AbstractContextManager[object],
) -> None:
    def load(self: Batches) -> tuple[Tensor, Tensor]:
        x, labels = usual(self)
        return x + scale() * torch.randn_like(x), labels

    usual = Batches.load
    monkeypatch.setattr(Batches, "load", load)
    with expectation:
        assert train_captured(architecture=DROPOUT) == train_plainly(architecture=DROPOUT)


def test_failed_capture_falls_back_to_plain_steps(
    train_captured: Train, expected: Callable[[str], list[bytes]]
) -> None:
    def failing(function: Callable[[], Tensor], _: ForwardSeeds) -> Any:
        function()
        raise RuntimeError("operation not permitted when stream is capturing")

    name = "small, bf16, everything"
    with pytest.warns(UserWarning, match=r"one by one, .* CUDA graph: operation not permitted"):
        assert train_captured(failing, **CASES[name]) == expected(name)


def test_optimizer_state_with_nonzero_start_matches_plain_steps(
    train_captured: Train, train_plainly: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "configure_optimizers", lambda self: torch.optim.Rprop(self.model.parameters()))
    assert train_captured() == train_plainly()


@pytest.mark.parametrize("callback", [Annealing, Freezing])
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_replays_follow_changes_of_settings(
    train_captured: Train,
    train_plainly: Train,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[], Callback],
    is_interrupted: bool,
) -> None:
    add_callback(monkeypatch, callback)
    changes = {"architecture": "small", "epochs": 4}
    assert train_captured(is_interrupted=is_interrupted, **changes) == train_plainly(**changes)


class Counting(torch.optim.SGD):
    """Counts its steps in plain numbers, some in its state and some in its groups."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
            for weight in group["params"]:
                count = self.state[weight]["count"] = self.state[weight].get("count", 0) + 1
                weight.mul_(1 - 0.01 / (count + group["count"]))


class CountingElsewhere(torch.optim.SGD):
    """Counts its steps on another device, as Adagrad does on the CPU."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.state[self.param_groups[0]["params"][0]]["step"] = torch.zeros((), device="meta")


def test_steps_of_an_optimizer_that_counts_on_another_device_are_not_captured(
    train_captured: Train, train_plainly: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Classifier, "configure_optimizers", lambda self: CountingElsewhere(self.model.parameters(), fused=True)
    )
    with pytest.warns(UserWarning, match="the optimizer keeps tensors on meta"):
        assert train_captured() == train_plainly()


def test_steps_of_an_optimizer_that_counts_in_plain_numbers_are_not_captured(
    train_captured: Train, train_plainly: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "configure_optimizers", lambda self: Counting(self.model.parameters(), fused=True))
    with pytest.warns(UserWarning, match="the optimizer counts in plain numbers"):
        assert train_captured() == train_plainly()


def test_steps_that_draw_from_numpy_or_python_are_not_captured(train_captured: Train, train_plainly: Train) -> None:
    with NOT_CAPTURED:
        assert train_captured(architecture=DRAWS) == train_plainly(architecture=DRAWS)


run_steps = StepRunner.run


def replace_a_buffer(runner: StepRunner, *arguments: Any) -> Tensor:
    runner.batches = runner.batches._replace(plan=tuple(tensor.clone() for tensor in runner.batches.plan))
    return run_steps(runner, *arguments)


@pytest.mark.parametrize(
    ("patched", "method", "broken"),
    [
        (StepRunner, "_state", lambda _: []),
        (StepRunner, "run", replace_a_buffer),
        (ForwardSeeds, "start_call", lambda *_: None),
    ],
    ids=["state not restored", "replaced buffer", "unseeded calls"],
)
def test_emulator_detects_broken_steps(
    train_captured: Train,
    expected: Callable[[str], list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    patched: type,
    method: str,
    broken: Callable[..., Any],
) -> None:
    assert expected("dropout")
    monkeypatch.setattr(patched, method, broken)
    assert train_captured(**CASES["dropout"]) != expected("dropout")


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: x.sum().tolist(), Tensor.cpu, lambda x: x[x > 0]],
    ids=["item", "bool", "tolist", "cpu", "mask"],
)
def test_emulator_detects_reads_on_the_host(read: Callable[[Tensor], Tensor]) -> None:
    seeds = ForwardSeeds(0, 1, 1, torch.device("cpu"))
    with pytest.raises(HostReadError):
        emulated_cuda_graph(lambda: read(torch.ones(3)), seeds)
