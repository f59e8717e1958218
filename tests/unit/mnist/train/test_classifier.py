import copy
import random
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning import Callback, LightningModule, Trainer
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score
from torch import Tensor, nn
from torch.nn import functional as F

from src.core.errors import UserError
from src.mnist.data.dataset import Examples, load_examples
from src.mnist.model.device import configure_determinism
from src.mnist.model.network import ARCHITECTURES, CNN, build_model, normalize
from src.mnist.model.params import TrainParams
from src.mnist.model.split import split_indices
from src.mnist.train import batches as batches_module
from src.mnist.train.batches import TrainingData, epoch_plan
from src.mnist.train.classifier import Classifier, EpochScores
from src.mnist.train.resumable import check_repeatable
from src.mnist.train.schedule import learning_rates
from src.mnist.train.trainer import build_trainer
from tests.conftest import PARAMS, THREADS

BATCH_SIZE, EPOCHS, SEED, VAL_FRACTION = 16, 2, 0, 0.2
LR = 0.002
PLAIN = {"schedule": "constant", "label_smoothing": 0.0, "shift": 0}
OWN = {"val_fraction": VAL_FRACTION, "batch_size": BATCH_SIZE, "seed": SEED, "epochs": EPOCHS, "lr": LR}
# Each option moves the weights by more than the tolerance of the comparison with a plain loop.
EVERYTHING = {"weight_decay": 0.5, "label_smoothing": 0.2, "ema": 0.8, "schedule": "one-cycle"}


def params_of(**changes: Any) -> TrainParams:
    return PARAMS.model_copy(update=OWN | PLAIN | changes)


@pytest.fixture(scope="module")
def split(digits_dir: Any) -> Examples:
    whole = load_examples(digits_dir, "train")
    # Ten whole batches of training images and a smaller last one.
    return Examples(whole.images[:212], whole.labels[:212])


class Logged(Callback):
    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit(split: Examples, accelerator: str = "cpu", **changes: Any) -> tuple[Classifier, list[dict[str, float]]]:
    configure_determinism(THREADS)
    params = params_of(**changes)
    data = TrainingData(split, params)
    classifier, logged = Classifier(params, data.steps_per_epoch), Logged()
    build_trainer(params.epochs, accelerator, [logged]).fit(classifier, datamodule=data)
    return classifier.cpu(), logged.epochs


def fit_plainly(split: Examples, schedule: str = "constant", **changes: Any) -> nn.Module:
    """Run the same training as a plain loop over batches, with an explicit formula for the loss."""
    params = params_of(**changes)
    train, _ = split_indices(split.labels, VAL_FRACTION, SEED)
    images, labels = torch.tensor(split.images[train]), torch.tensor(split.labels[train]).long()
    model = build_model(params.architecture, SEED)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=params.weight_decay)
    orders = [epoch_plan(len(train), epoch, params)[0] for epoch in range(EPOCHS)]
    batches = [batch for order in orders for batch in order.split(BATCH_SIZE)]
    for batch, rate in zip(batches, learning_rates(schedule, LR, len(batches)), strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        target = (1 - params.label_smoothing) * F.one_hot(labels[batch], 10) + params.label_smoothing / 10
        loss = -(target * model(normalize(images[batch])).log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.copy_(params.ema * old + (1 - params.ema) * new)
    return average


def assert_close_to_plain_loop(model: nn.Module, split: Examples, share: float, **options: Any) -> None:
    """Assert that each weight tensor deviates by less than a share of its change in training."""
    start = build_model(params_of(**options).architecture, SEED)
    weights = (network.state_dict().values() for network in (model, fit_plainly(split, **options), start))
    for own, expected, start in zip(*weights, strict=True):
        assert (own - expected).norm() < share * (expected - start).norm()


def sklearn_scores(y_true: np.ndarray, probs: np.ndarray) -> dict[str, float]:
    y_pred, macro = probs.argmax(1), {"labels": range(10), "average": "macro", "zero_division": 0}
    return {
        "loss": log_loss(y_true, probs, labels=range(10)),
        "acc": accuracy_score(y_true, y_pred),
        "precision": precision_score(y_true, y_pred, **macro),
        "recall": recall_score(y_true, y_pred, **macro),
        "f1": f1_score(y_true, y_pred, **macro),
    }


def scores_of(model: nn.Module, split: Examples, indices: np.ndarray) -> dict[str, float]:
    with torch.no_grad():
        probs = model(normalize(torch.tensor(split.images[indices]))).double().softmax(1)
    return sklearn_scores(split.labels[indices], probs.numpy())


def test_validation_scores_match_scikit_learn_for_the_eval_network(
    split: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "VAL_BATCH_SIZE", 15)
    classifier, epochs = fit(split, ema=0.9)
    _, val = split_indices(split.labels, VAL_FRACTION, SEED)
    expected = {f"val_{name}": value for name, value in scores_of(classifier.eval_network, split, val).items()}
    assert {name: epochs[-1][name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_training_scores_match_scikit_learn_without_label_smoothing(split: Examples) -> None:
    # A rate of nearly 0 leaves the network unchanged, so that it scores every batch the same way.
    _, epochs = fit(split, lr=1e-12, label_smoothing=0.2)
    train, _ = split_indices(split.labels, VAL_FRACTION, SEED)
    assert len(train) % BATCH_SIZE
    expected = scores_of(build_model("cnn", SEED), split, train)
    for epoch in epochs:
        assert {name: epoch[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def tied() -> nn.Module:
    """A network in which two layers share their weights."""
    layers = [nn.Linear(784, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 10)]
    layers[2].weight = layers[1].weight
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize(
    "options", [{}, EVERYTHING, {"architecture": "tied", "ema": 0.9}], ids=["plain", "everything", "tied"]
)
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_weights_match_a_plain_loop(
    split: Examples, options: dict[str, Any], accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tied", tied)
    share = {"cpu": 0.02, "gpu": 0.1}[accelerator]
    assert_close_to_plain_loop(fit(split, accelerator, **options)[0].eval_network, split, share, **options)


def test_weights_do_not_depend_on_batches_per_call(split: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = fit(split)
    monkeypatch.setattr(batches_module, "BATCHES_PER_CALL", 3)
    other, _ = fit(split)
    for a, b in zip(usual.eval_network.parameters(), other.eval_network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bf16_trains_float32_weights(split: Examples) -> None:
    classifier, epochs = fit(split, precision="bf16")
    assert {weight.dtype for weight in classifier.eval_network.parameters()} == {torch.float32}
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=30)
def test_scores_over_several_batches_match_scikit_learn(seed: int, actual: int, predicted: int) -> None:
    generator, scores = np.random.default_rng(seed), EpochScores()
    sizes = generator.integers(1, 40, size=3).tolist()
    y_true, logits = generator.integers(0, actual, sum(sizes)), generator.normal(size=(sum(sizes), 10))
    logits[:, predicted:] -= 10
    parts = zip(torch.from_numpy(logits).float().split(sizes), torch.from_numpy(y_true).split(sizes), strict=True)
    for part in parts:
        scores.update(*part)
    computed = {name: value.item() for name, value in scores.compute().items()}
    expected = sklearn_scores(y_true, softmax(logits, axis=1))
    assert {name: computed[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_counts_of_a_whole_epoch_are_exact() -> None:
    scores = EpochScores()
    for label in [3] * 60 + [4]:
        scores.update(F.one_hot(torch.full((1000,), label), 10).float(), torch.full((1000,), 3))
    assert scores.confusion[3].tolist() == [0, 0, 0, 60_000, 1000, 0, 0, 0, 0, 0]


DRAWS = (np.random.default_rng(0).random, random.SystemRandom().random, count().__next__)


def after_many_passes(network: Any, logits: Tensor) -> Tensor:
    network.passes += 1
    return logits * (1 + (network.passes > 99))


def in_an_object(network: Any, logits: Tensor) -> Tensor:
    network.held = SimpleNamespace(passes=getattr(network, "held", SimpleNamespace(passes=0)).passes + 1)
    return logits


def in_a_number_of_numpy(network: Any, logits: Tensor) -> Tensor:
    network.passes += np.int64(1)
    return logits


def in_its_class(network: Any, logits: Tensor) -> Tensor:
    type(network).passes += 1
    return logits


def in_a_list(network: Any, logits: Tensor) -> Tensor:
    network.seen = [*getattr(network, "seen", ()), len(logits)]
    return logits


def in_a_large_array(network: Any, logits: Tensor) -> Tensor:
    if not hasattr(network, "table"):
        network.table = np.zeros(5000)
    network.table[2500] += 1
    return logits


def in_a_hidden_layer(network: Any, logits: Tensor) -> Tensor:
    if not hasattr(network, "hidden"):
        network.hidden = [nn.BatchNorm1d(10)]
    network.hidden[0](logits)
    return logits


def in_what_no_file_has(network: Any, logits: Tensor) -> Tensor:
    if not hasattr(network, "count"):
        network.register_buffer("count", torch.tensor(0), persistent=False)
    network.count += 1
    return logits


def in_the_backward_pass(network: Any, logits: Tensor) -> Tensor:
    if logits.requires_grad:
        logits.register_hook(lambda gradient: after_many_passes(network, gradient))
    return logits


def in_evaluation(network: Any, logits: Tensor) -> Tensor:
    if network.training:
        network.mean = logits.detach().mean(0)
    return logits if network.training else logits - network.mean


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        *((lambda _, logits, draw=draw: logits + draw(), "logits") for draw in DRAWS),
        (after_many_passes, "passes"),
        (in_evaluation, "logits"),
        (in_an_object, "held"),
        (in_a_number_of_numpy, "passes"),
        (in_its_class, "passes"),
        (in_a_list, "seen"),
        (in_a_large_array, "table"),
        (in_a_hidden_layer, "hidden"),
        (in_what_no_file_has, "_buffers"),
        (in_the_backward_pass, "passes"),
    ],
    ids=[
        "own generator",
        "system generator",
        "counter",
        "counter with a late effect",
        "mean for evaluation",
        "object",
        "number of NumPy",
        "class",
        "list",
        "large array",
        "layer in a list",
        "unsaved buffer",
        "gradient hook",
    ],
)
def test_network_that_cannot_be_resumed_exactly_is_rejected(
    split: Examples, monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module, Tensor], Tensor], what: str
) -> None:
    class Changing(CNN):
        passes, mean = 0, torch.zeros(())

        def forward(self, x: Tensor) -> Tensor:
            return change(self, super().forward(x))

    monkeypatch.setitem(ARCHITECTURES, "changing", Changing)
    with pytest.raises(
        UserError, match=f"^Changing: the same weights, images and seed give different .*{what}.* the second"
    ):
        fit(split, architecture="changing")


def test_every_parameter_group_is_trained(split: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = fit(split)

    def grouped(self: Classifier) -> torch.optim.Optimizer:
        groups = [{"params": [weight]} for weight in self.model.parameters()]
        return torch.optim.AdamW(groups, lr=torch.zeros(()), weight_decay=self.params.weight_decay, fused=True)

    monkeypatch.setattr(Classifier, "configure_optimizers", grouped)
    for a, b in zip(usual.model.parameters(), fit(split)[0].model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_average_has_the_counters_of_the_network(split: Examples) -> None:
    classifier, _ = fit(split, architecture="small", ema=0.9)
    name = "norm1.num_batches_tracked"
    assert classifier.eval_network.state_dict()[name] == classifier.model.state_dict()[name] == 2 * 11


class Moving(CNN):
    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor | None
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.mean()
        return super().forward(x)


class Making(Moving):
    def __init__(self) -> None:
        super().__init__()
        self.mean = None


class Replacing(CNN):
    def forward(self, x: Tensor) -> Tensor:
        self.linear2.weight = nn.Parameter(self.linear2.weight.detach().clamp(-1, 1))
        return super().forward(x)


class Noting(CNN):
    def get_extra_state(self) -> Any:
        return {}

    def set_extra_state(self, state: Any) -> None:
        pass


class Wide(CNN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).repeat(1, 2)


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Wide, r"Wide: expected logits of shape \(8, 10\), one for each class, got \(8, 20\)"),
        (Moving, "Moving: mean is set to another tensor"),
        (Making, "Making: mean is set to another tensor"),
        (Replacing, "Replacing: linear2.weight is set to another tensor"),
        (Noting, "Noting: _extra_state is not a tensor"),
    ],
)
def test_unsuitable_network_is_rejected(kind: type[nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check_repeatable(kind(), torch.randn(8, 1, 28, 28), params_of())


def test_repeatability_check_has_no_side_effects() -> None:
    # The first layer changes its input in place; the last stays in evaluation mode.
    model = nn.Sequential(nn.ReLU(inplace=True), build_model("small", SEED), nn.Dropout(0.5), nn.Dropout(0.5).eval())
    before = copy.deepcopy(model.state_dict())
    check_repeatable(model, x := torch.randn(8, 1, 28, 28), params_of())
    assert (x < 0).any()
    assert [module.training for module in model] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Reading(CNN):
    """Reads its input on the host, which CUDA cannot capture."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all().item()
        return super().forward(x)


@pytest.mark.gpu
def test_uncapturable_steps_run_one_by_one_on_cuda(split: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "reading", Reading)
    with pytest.warns(UserWarning, match="one by one"):
        classifier, _ = fit(split, "gpu", architecture="reading")
    assert_close_to_plain_loop(classifier.eval_network, split, 0.1)
