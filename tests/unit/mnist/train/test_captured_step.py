"""Training by replays of a recorded step, on a CPU that does what a CUDA graph does."""

import copy
import functools
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.mnist.model.determinism import configure_determinism
from src.mnist.model.network import CPULinear, build_model
from src.mnist.model.shifts import windows
from src.mnist.train.augmentation import Augmentation
from src.mnist.train.batches import BatchLoader, DeviceExamples, shuffled
from src.mnist.train.graphs import Capture
from src.mnist.train.steps import StepRunner
from tests.conftest import THREADS, random_examples
from tests.unit.mnist.train.cuda_graph import HostReadError, Recorder, emulated_cuda_graph, recorded

# Two epochs of 18 images: two calls of two steps, and a last batch of two.
SIZE, BATCH_SIZE, STEPS, EPOCHS = 18, 4, 2, 2


@pytest.fixture(autouse=True)
def linear_layers_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CPULinear, "forward", nn.Linear.forward)


@dataclass(frozen=True)
class Case:
    """A training, and its options."""

    architecture: str = "cnn"
    precision: str = "fp32"
    ema: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    shards: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)


WARP = Augmentation(2, 10.0, 0.1)
EVERYTHING: dict[str, Any] = {"ema": 0.8, "weight_decay": 0.1, "label_smoothing": 0.1, "augmentation": WARP}
FULL_CASES = {
    "cnn, everything": Case(**EVERYTHING),
    "cnn, bf16, everything": Case(precision="bf16", **EVERYTHING),
    "resnet, everything": Case("resnet", **EVERYTHING),
    "resnet, bf16, everything": Case("resnet", "bf16", **EVERYTHING),
    "resnet, shards, everything": Case("resnet", shards=2, **EVERYTHING),
}
CASES = FULL_CASES | {
    "cnn": Case(),
    "cnn, averaged": Case(ema=0.8),
    "cnn, decayed": Case(weight_decay=0.1),
    "cnn, warped": Case(augmentation=WARP),
    "cnn, bf16": Case(precision="bf16"),
    "resnet": Case("resnet"),
}
EACH_FULL = pytest.mark.parametrize("case", FULL_CASES.values(), ids=FULL_CASES)


class Training:
    """A network in training; `capture` as in `StepRunner`."""

    def __init__(self, case: Case, capture: Capture[Tensor] | None) -> None:
        configure_determinism(THREADS)
        self.case, self.capture = case, capture
        split = random_examples(SIZE)
        images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
        self.examples = DeviceExamples(windows(images, case.augmentation.shift), labels.long())
        self.model: nn.Module = build_model(case.architecture, 0).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if case.ema else None
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=torch.zeros(()), weight_decay=case.weight_decay, fused=True
        )
        self.runners: dict[torch.Size, StepRunner] = {}
        self.logits: list[Tensor] = []

    def epoch(self, number: int) -> "Training":
        """Train for one epoch."""
        loader = BatchLoader(self.examples, shuffled(SIZE, 0, number, self.case.augmentation), BATCH_SIZE, STEPS)
        for batches in loader:
            shape = batches.selection.indices.shape
            if shape not in self.runners:
                self.runners[shape] = StepRunner(
                    self.model,
                    self.optimizer,
                    batches,
                    average=self.average,
                    ema=self.case.ema,
                    label_smoothing=self.case.label_smoothing,
                    precision=self.case.precision,
                    shards=self.case.shards,
                    # As on a GPU, a batch that comes alone is not recorded.
                    capture=self.capture if len(batches.selection.indices) > 1 else None,
                )
            rates = 0.001 * (1 + number + torch.arange(len(batches.selection.indices)))
            self.logits.append(self.runners[shape].run(batches, rates).clone())
        return self

    def run(self) -> "Training":
        """Train for all epochs."""
        for number in range(EPOCHS):
            self.epoch(number)
        return self

    def resumed(self) -> "Training":
        """Another training with the same state, as from a checkpoint."""
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
def trained_plainly(case: Case) -> Training:
    """What others are compared with, made once."""
    return Training(case, None).run()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_replays_train_the_same_bytes_as_plain_steps(case: Case) -> None:
    replayed = Training(case, emulated_cuda_graph).run()
    assert [runner.replay is not None for runner in replayed.runners.values()] == [True, False]
    assert same_bytes(trained_plainly(case), replayed)


@EACH_FULL
def test_replays_go_on_after_a_resume_as_if_there_had_been_none(case: Case) -> None:
    resumed = Training(case, emulated_cuda_graph).epoch(0).resumed().epoch(1)
    assert same_bytes(trained_plainly(case), resumed)


def test_the_emulator_notices_a_state_that_is_not_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepRunner, "_state", lambda _: [])
    assert not same_bytes(trained_plainly(CASES["cnn"]), Training(CASES["cnn"], emulated_cuda_graph).run())


@pytest.mark.parametrize("name", ["rates", "selection"])
def test_the_emulator_notices_a_buffer_that_is_replaced(name: str) -> None:
    replayed = Training(CASES["cnn"], emulated_cuda_graph).epoch(0)
    for runner in replayed.runners.values():
        buffer = getattr(runner, name)
        setattr(runner, name, buffer.clone() if name == "rates" else buffer.map(Tensor.clone))
    assert not same_bytes(trained_plainly(CASES["cnn"]), replayed.epoch(1))


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


def failing(function: Any) -> Any:
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


def one_step(case: Case) -> Recorder:
    training = Training(case, None).epoch(0)
    runner = next(iter(training.runners.values()))
    return recorded(runner._steps)[0]


@EACH_FULL
def test_no_operator_of_a_step_is_nondeterministic_on_cuda(case: Case) -> None:
    names = {name.removesuffix("_") for name in one_step(case).names()}
    assert "convolution_backward" in names
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
