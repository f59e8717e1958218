"""Training by replays of a recorded step, on a CPU that does what a CUDA graph does."""

import copy
import functools
import re
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


# Operators behind what PyTorch documents as not deterministic on CUDA, by the name in that list: the docstring of
# `torch.use_deterministic_algorithms`. The first list's become deterministic in Lightning's deterministic mode, and are
# here where that costs more than one kernel; the second list's raise an error.
NONDETERMINISTIC = {
    "AdaptiveAvgPool2d": "_adaptive_avg_pool2d_backward",
    "AdaptiveAvgPool3d": "_adaptive_avg_pool3d_backward",
    "AdaptiveMaxPool2d": "adaptive_max_pool2d_backward",
    "AvgPool3d": "avg_pool3d_backward",
    "CTCLoss": "_ctc_loss_backward",
    "Embedding": "embedding_dense_backward",
    "EmbeddingBag": "_embedding_bag_dense_backward",
    "FractionalMaxPool2d": "fractional_max_pool2d_backward",
    "FractionalMaxPool3d": "fractional_max_pool3d_backward",
    "MaxPool3d": "max_pool3d_with_indices_backward",
    "MaxUnpool1d": "max_unpool2d",
    "MaxUnpool2d": "max_unpool2d",
    "MaxUnpool3d": "max_unpool3d",
    "NLLLoss": "nll_loss2d_forward",
    "ReflectionPad1d": "reflection_pad1d_backward",
    "ReflectionPad2d": "reflection_pad2d_backward",
    "ReflectionPad3d": "reflection_pad3d_backward",
    "ReplicationPad1d": "replication_pad1d_backward",
    "ReplicationPad2d": "replication_pad2d_backward",
    "ReplicationPad3d": "replication_pad3d_backward",
    "Tensor.__getitem__": "index_put_",
    "Tensor.index_copy": "index_copy_",
    "Tensor.index_put": "index_put_",
    "Tensor.index_reduce": "index_reduce_",
    "Tensor.put_": "put_",
    "Tensor.scatter": "scatter_",
    "Tensor.scatter_add_": "scatter_add_",
    "Tensor.scatter_reduce": "scatter_reduce_",
    "bincount": "bincount",
    "cumsum": "cumsum",
    "functional.grid_sample": "grid_sampler_2d_backward",
    "functional.interpolate": "upsample_bilinear2d_backward",
    "gather": "gather_backward",
    "histc": "histc",
    "index_add": "index_add_",
    "index_select": "index_select_backward",
    "kthvalue": "kthvalue",
    "median": "median",
    "repeat_interleave": "repeat_interleave",
}
# Convolutions have kernels that are deterministic; `bmm` is listed for sparse tensors, `resize_` for quantized ones,
# pooling for MPS.
HARMLESS = {"AvgPool3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"}
HARMLESS |= {"MaxPool2d", "Tensor.resize_", "bmm"}


def one_step(case: TrainParams) -> Recorder:
    training = Training(case, None).epoch(0)
    runner = next(iter(training.runners.values()))
    return recorded(runner._steps)[0]


@EACH_FULL
def test_no_operator_of_a_step_is_nondeterministic_on_cuda(case: TrainParams) -> None:
    names = {name.removesuffix("_") for name in one_step(case).names()}
    assert "_fused_adamw" in names
    assert not names & {name.removesuffix("_") for name in NONDETERMINISTIC.values()}


def test_the_list_of_nondeterministic_operators_is_that_of_the_installed_torch() -> None:
    documented = str(torch.use_deterministic_algorithms.__doc__).partition("In addition, several")[0]
    listed = re.findall(r":(?:class|func):`torch\.(?:nn\.)?([\w.]+)`", documented.partition("The following")[2])
    assert set(listed) == set(NONDETERMINISTIC) | HARMLESS


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
    assert NONDETERMINISTIC["AdaptiveMaxPool2d"] in names
