import copy
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from torch import nn
from torch.nn import functional as F

from src.mnist.data.dataset import Examples, load_examples
from src.mnist.model.determinism import configure_determinism
from src.mnist.model.network import build_model, normalize
from src.mnist.model.params import TrainParams
from src.mnist.model.split import split_indices
from src.mnist.train import batches as batches_module
from src.mnist.train.batches import TrainingData, epoch_plan
from src.mnist.train.classifier import Classifier
from src.mnist.train.schedule import learning_rates
from tests.conftest import PARAMS, THREADS

BATCH_SIZE, EPOCHS, SEED, VAL_FRACTION = 16, 2, 0, 0.2
LR = 0.002


def params_of(**changes: Any) -> TrainParams:
    own = {"val_fraction": VAL_FRACTION, "batch_size": BATCH_SIZE, "seed": SEED, "epochs": EPOCHS, "lr": LR}
    plain = {"schedule": "constant", "label_smoothing": 0.0, "shift": 0}
    return PARAMS.model_copy(update=own | plain | changes)


@pytest.fixture(scope="module")
def split(digits_dir: Any) -> Examples:
    whole = load_examples(digits_dir, "train")
    # 200 images: 160 to train, ten batches; the others make a last and smaller one.
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
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=params.epochs,
        deterministic=True,
        callbacks=[logged],
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(classifier, datamodule=data)
    return classifier.cpu(), logged.epochs


def fit_plainly(
    split: Examples,
    schedule: str = "constant",
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    ema: float = 0.0,
) -> nn.Module:
    """The same training as a plain loop over batches, with the loss as a formula."""
    train, _ = split_indices(split.labels, VAL_FRACTION, SEED)
    images, labels = torch.tensor(split.images[train]), torch.tensor(split.labels[train]).long()
    model = build_model("cnn", SEED)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=weight_decay)
    orders = [epoch_plan(len(train), epoch, params_of()).indices for epoch in range(EPOCHS)]
    batches = [batch for order in orders for batch in order.split(BATCH_SIZE)]
    for batch, rate in zip(batches, learning_rates(schedule, LR, len(batches)), strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        target = (1 - label_smoothing) * F.one_hot(labels[batch], 10) + label_smoothing / 10
        loss = -(target * model(normalize(images[batch])).log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.copy_(ema * old + (1 - ema) * new)
    return average


def evaluate(model: nn.Module, split: Examples, indices: np.ndarray) -> dict[str, float]:
    y_true = split.labels[indices]
    with torch.no_grad():
        logits = model(normalize(torch.tensor(split.images[indices])))
    y_pred, macro = logits.argmax(1).numpy(), {"labels": range(10), "average": "macro", "zero_division": 0}
    return {
        "loss": F.cross_entropy(logits, torch.tensor(y_true).long()).item(),
        "acc": accuracy_score(y_true, y_pred),
        "precision": precision_score(y_true, y_pred, **macro),
        "recall": recall_score(y_true, y_pred, **macro),
        "f1": f1_score(y_true, y_pred, **macro),
    }


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}], ids=["plain", "averaged"])
def test_validation_scores_are_scikit_learns_of_the_eval_network(split: Examples, options: dict[str, Any]) -> None:
    classifier, epochs = fit(split, **options)
    _, val = split_indices(split.labels, VAL_FRACTION, SEED)
    expected = {f"val_{name}": value for name, value in evaluate(classifier.eval_network, split, val).items()}
    assert {name: epochs[-1][name] for name in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_training_scores_are_scikit_learns_over_all_images(split: Examples, label_smoothing: float) -> None:
    # At a rate of nearly 0 the network stays as it is, so that every batch is scored by the same one.
    _, epochs = fit(split, lr=1e-12, label_smoothing=label_smoothing)
    train, _ = split_indices(split.labels, VAL_FRACTION, SEED)
    assert len(train) % BATCH_SIZE
    expected = evaluate(build_model("cnn", SEED), split, train)
    for epoch in epochs:
        assert {name: epoch[name] for name in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"weight_decay": 0.5}, {"label_smoothing": 0.2}, {"ema": 0.8}, {"schedule": "one-cycle"}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_the_weights_are_those_of_a_plain_loop(split: Examples, options: dict[str, Any]) -> None:
    ours, theirs = fit(split, **options)[0].eval_network, fit_plainly(split, **options)
    start = build_model("cnn", SEED)
    weights = (model.state_dict().values() for model in (ours, theirs, start))
    for own, expected, first in zip(*weights, strict=True):
        moved = (expected - first).norm()
        assert (own - expected).norm() < 0.02 * moved


def test_the_weights_do_not_depend_on_the_batches_per_call(split: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = fit(split)
    monkeypatch.setattr(batches_module, "BATCHES_PER_CALL", 3)
    other, _ = fit(split)
    for a, b in zip(usual.eval_network.parameters(), other.eval_network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_lower_precision_trains_float32_weights(split: Examples) -> None:
    classifier, epochs = fit(split, precision="bf16", epochs=4)
    assert {weight.dtype for weight in classifier.eval_network.parameters()} == {torch.float32}
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"ema": 0.8}, {"schedule": "one-cycle"}])
def test_a_gpu_trains_the_same_weights(split: Examples, options: dict[str, Any]) -> None:
    ours, theirs = fit(split, accelerator="gpu", **options)[0].eval_network, fit_plainly(split, **options)
    weights = (model.state_dict().values() for model in (ours, theirs, build_model("cnn", SEED)))
    for own, expected, first in zip(*weights, strict=True):
        assert (own - expected).norm() < 0.1 * (expected - first).norm()
