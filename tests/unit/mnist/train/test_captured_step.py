"""Training by replays of a recorded step, on a CPU that does what a CUDA graph does."""

import copy
import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.mnist.model.determinism import configure_determinism
from src.mnist.model.network import CPULinear, build_model
from src.mnist.model.params import TrainParams
from src.mnist.model.shifts import shifted_views
from src.mnist.train.batches import Batches, Pass, epoch_plan
from src.mnist.train.forward_seeds import ForwardSeeds
from src.mnist.train.graphs import Capture
from src.mnist.train.steps import StepRunner
from tests.conftest import PARAMS, THREADS, random_examples
from tests.unit.mnist.train.cuda_graph import HostReadError, Recorder, emulated_cuda_graph, recorded
from tests.unit.mnist.train.dropout import DROPOUT

# Two epochs of 18 images: two calls of two steps, and a last batch of two.
SIZE, BATCH_SIZE, STEPS, EPOCHS = 18, 4, 2, 2


@pytest.fixture(autouse=True)
def linear_layers_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CPULinear, "forward", nn.Linear.forward)


def case(**changes: Any) -> TrainParams:
    plain = {"batch_size": BATCH_SIZE, "label_smoothing": 0.0, "shift": 0}
    return PARAMS.model_copy(update=plain | changes)


WARP: dict[str, Any] = {"shift": 2, "rotation": 10.0, "scale": 0.1}
EVERYTHING: dict[str, Any] = {"ema": 0.8, "weight_decay": 0.1, "label_smoothing": 0.1, **WARP}
FULL_CASES = {
    "cnn, everything": case(**EVERYTHING),
    "cnn, bf16, everything": case(precision="bf16", **EVERYTHING),
    "resnet, everything": case(architecture="resnet", **EVERYTHING),
    "resnet, bf16, everything": case(architecture="resnet", precision="bf16", **EVERYTHING),
    "resnet, shards, everything": case(architecture="resnet", shards=2, **EVERYTHING),
    "dropout, everything": case(architecture=DROPOUT, **EVERYTHING),
    "dropout, shards, everything": case(architecture=DROPOUT, shards=2, **EVERYTHING),
}
CASES = FULL_CASES | {
    "cnn": case(),
    "cnn, averaged": case(ema=0.8),
    "cnn, decayed": case(weight_decay=0.1),
    "cnn, warped": case(**WARP),
    "cnn, bf16": case(precision="bf16"),
    "small": case(architecture="small"),
    "resnet": case(architecture="resnet"),
    "dropout": case(architecture=DROPOUT),
}
EACH_FULL = pytest.mark.parametrize("case", FULL_CASES.values(), ids=FULL_CASES)


class Training:
    """A network in training; `capture` as in `StepRunner`."""

    def __init__(self, case: TrainParams, capture: Capture | None) -> None:
        configure_determinism(THREADS)
        self.case, self.capture = case, capture
        split = random_examples(SIZE)
        self.views = shifted_views(torch.from_numpy(split.images), case.shift)
        self.labels = torch.from_numpy(split.labels).long()
        self.model: nn.Module = build_model(case.architecture, 0).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if case.ema else None
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=torch.zeros(()), weight_decay=case.weight_decay, fused=True
        )
        self.runners: dict[torch.Size, StepRunner] = {}
        self.logits: list[Tensor] = []

    def epoch(self, number: int) -> "Training":
        """Train for one epoch."""
        first_step = number * -(-SIZE // BATCH_SIZE)
        whole = Batches(self.views, self.labels, epoch_plan(SIZE, number, self.case), first_step)
        for batches in Pass(whole, BATCH_SIZE, STEPS):
            shape = batches.plan.indices.shape
            if shape not in self.runners:
                # As on a GPU, a batch that comes alone is not recorded.
                capture = self.capture if len(batches.plan.indices) > 1 else None
                self.runners[shape] = StepRunner(
                    self.model, self.average, self.optimizer, batches, self.case, capture=capture
                )
            rates = 0.001 * (1 + number + torch.arange(len(batches.plan.indices)))
            self.logits.append(self.runners[shape].run(batches, rates).clone())
        return self

    def run(self) -> "Training":
        """Train for all epochs."""
        for number in range(EPOCHS):
            self.epoch(number)
        return self

    def resumed(self) -> "Training":
        """Another training with the same state, as from a checkpoint; what was drawn until then does not matter."""
        torch.manual_seed(99)
        other = Training(self.case, self.capture)
        other.model.load_state_dict(self.model.state_dict())
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        if self.average is not None and other.average is not None:
            other.average.load_state_dict(self.average.state_dict())
        other.logits = self.logits
        return other

    def state(self) -> list[np.ndarray]:
        """Every number that training has made."""
        networks = [self.model] if self.average is None else [self.model, self.average]
        tensors = [tensor for network in networks for tensor in network.state_dict().values()]
        tensors += [value for state in self.optimizer.state.values() for value in state.values()]
        return [tensor.numpy() for tensor in [*tensors, *self.logits]]


def same_bytes(a: Training, b: Training) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a.state(), b.state(), strict=True))


@functools.cache
def trained_plainly(case: TrainParams) -> Training:
    """What others are compared with, made once."""
    return Training(case, None).run()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_replays_train_the_same_bytes_as_plain_steps(case: TrainParams) -> None:
    replayed = Training(case, emulated_cuda_graph).run()
    assert [runner.is_captured for runner in replayed.runners.values()] == [True, False]
    assert same_bytes(trained_plainly(case), replayed)


@EACH_FULL
def test_replays_go_on_after_a_resume_as_if_there_had_been_none(case: TrainParams) -> None:
    resumed = Training(case, emulated_cuda_graph).epoch(0).resumed().epoch(1)
    assert same_bytes(trained_plainly(case), resumed)


def test_the_emulator_notices_a_state_that_is_not_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepRunner, "_state", lambda _: [])
    assert not same_bytes(trained_plainly(CASES["cnn"]), Training(CASES["cnn"], emulated_cuda_graph).run())


@pytest.mark.parametrize("name", ["rates", "plan"])
def test_the_emulator_notices_a_buffer_that_is_replaced(name: str) -> None:
    replayed = Training(CASES["cnn"], emulated_cuda_graph).epoch(0)
    for runner in replayed.runners.values():
        if name == "rates":
            runner.rates = runner.rates.clone()
        else:
            runner.batches = replace(runner.batches, plan=runner.batches.plan.map(Tensor.clone))
    assert not same_bytes(trained_plainly(CASES["cnn"]), replayed.epoch(1))


def test_the_emulator_notices_passes_that_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForwardSeeds, "start_pass", lambda *_: None)
    assert not same_bytes(trained_plainly(CASES["dropout"]), Training(CASES["dropout"], emulated_cuda_graph).run())


class Reading(nn.Module):
    """A network that looks at its input on the host."""

    def __init__(self, network: nn.Module, read: Any) -> None:
        super().__init__()
        self.network, self.read = network, read

    def forward(self, x: Tensor) -> Tensor:
        self.read(x)
        return self.network(x)


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: x.sum().tolist(), Tensor.cpu, lambda x: x[x > 0]],
    ids=["item", "bool", "tolist", "cpu", "mask"],
)
def test_the_emulator_notices_a_read_by_the_host(read: Any) -> None:
    training = Training(CASES["cnn"], emulated_cuda_graph)
    training.model = Reading(training.model, read)
    with pytest.raises(HostReadError):
        training.run()


def failing(function: Any, _: Any) -> Any:
    function()
    raise RuntimeError("operation not permitted when stream is capturing")


def test_steps_that_cannot_be_captured_run_one_by_one_and_train_the_same() -> None:
    with pytest.warns(UserWarning, match=r"one by one, .* CUDA graph: operation not permitted"):
        failed = Training(CASES["cnn, everything"], failing).run()
    assert same_bytes(trained_plainly(CASES["cnn, everything"]), failed)


# Operators behind what PyTorch documents as not deterministic on CUDA, in `torch.use_deterministic_algorithms`: some
# raise an error in deterministic mode, the others become deterministic at more than the cost of one kernel.
# fmt: off
NONDETERMINISTIC = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "_ctc_loss_backward",
    "_embedding_bag_dense_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward", "bincount",
    "cumsum", "embedding_dense_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "gather_backward", "grid_sampler_2d_backward", "histc", "index_add", "index_copy", "index_put",
    "index_reduce", "index_select_backward", "kthvalue", "max_pool3d_with_indices_backward", "max_unpool2d",
    "max_unpool3d", "median", "nll_loss2d_forward", "put", "reflection_pad1d_backward",
    "reflection_pad2d_backward", "reflection_pad3d_backward", "repeat_interleave", "replication_pad1d_backward",
    "replication_pad2d_backward", "replication_pad3d_backward", "scatter", "scatter_add", "scatter_reduce",
    "upsample_bilinear2d_backward",
}
# fmt: on


def one_step(case: TrainParams) -> Recorder:
    training = Training(case, None).epoch(0)
    runner = next(iter(training.runners.values()))
    return recorded(runner._steps)[0]


@EACH_FULL
def test_no_operator_of_a_step_is_nondeterministic_on_cuda(case: TrainParams) -> None:
    names = {name.removesuffix("_") for name in one_step(case).names()}
    assert "_fused_adamw" in names
    assert not names & NONDETERMINISTIC


class Pooled(nn.Module):
    """A network with a layer whose backward pass is not deterministic on CUDA."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        return logits + nn.functional.adaptive_max_pool2d(logits.view(-1, 1, 2, 5), (2, 5)).flatten(1)


def test_such_an_operator_would_be_seen() -> None:
    training = Training(CASES["cnn"], None)
    training.model = Pooled(training.model)
    names = recorded(lambda: training.epoch(0).logits[-1])[0].names()
    assert NONDETERMINISTIC & set(names) == {"adaptive_max_pool2d_backward"}
