import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning_fabric.utilities.rank_zero import rank_zero_module
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import nn
from torchmetrics import SumMetric

import stages.train
from benchmarks.ours import RECIPES
from src.core.errors import UserError
from src.core.run import Run
from src.mnist.data.dataset import load_examples, write_examples
from src.mnist.model.network import ARCHITECTURES, predict_logits
from src.mnist.model.params import Params
from src.mnist.model.split import split_indices
from src.mnist.model.weights import load_model
from src.mnist.train import batches
from src.mnist.train.batches import Batches, TrainingData
from src.mnist.train.calibration import fit_temperature
from src.mnist.train.checkpoint import epochs_done, read_checkpoint
from src.mnist.train.classifier import Classifier
from src.mnist.train.cores import Cores
from src.mnist.train.schedule import learning_rates
from src.mnist.train.trainer import build_trainer
from stages.evaluate import predict
from stages.train import Outputs, main
from tests.conftest import REPOSITORY, THREADS, random_examples
from tests.unit.mnist.train.dropout import DRAWS, DROPOUT
from tests.unit.trainings import TINY, Annealing, Freezing, Tiny, Trainings, add_callback, read_all


def test_training_learns_and_outputs_agree(trained: Outputs, params: Params, digits_dir: Path) -> None:
    history, metrics = pd.read_csv(trained.history), json.loads(trained.metrics.read_text())
    assert history["epoch"].tolist() == [1, 2]
    assert history["loss"].is_monotonic_decreasing
    assert history["val_acc"].iloc[-1] > 0.7
    train_indices, _ = split_indices(load_examples(digits_dir, "train").labels, params.val_fraction, params.seed)
    steps = -(-len(train_indices) // params.batch_size)
    rates = learning_rates(params.schedule, params.lr, params.epochs * steps)
    assert history["lr"].tolist() == pytest.approx(rates[steps - 1 :: steps].tolist(), rel=1e-5)
    assert set(metrics) == {"final", "best", "temperature", "weights"}
    for name in ("loss", "acc", "f1", "val_loss", "val_acc", "val_f1"):
        assert metrics["final"][name] == pytest.approx(history[name].iloc[-1], rel=1e-5)
    with Image.open(trained.learning_curve) as image:
        assert image.format == "PNG"


def test_final_scores_match_the_saved_model_calibrated_on_validation_data(
    trained: Outputs, params: Params, digits_dir: Path
) -> None:
    split, model = load_examples(digits_dir, "train"), load_model(trained.model)
    metrics = json.loads(trained.metrics.read_text())
    _, val = split_indices(split.labels, params.val_fraction, params.seed)
    images, target = split.images[val], split.labels[val]
    probs, final = predict(model, images), metrics["final"]
    assert final["val_loss_calibrated"] == pytest.approx(log_loss(target, probs), abs=1e-6)
    assert final["val_acc"] == pytest.approx(accuracy_score(target, probs.argmax(1)), abs=1e-6)
    assert final["val_f1"] == pytest.approx(f1_score(target, probs.argmax(1), average="macro"), abs=1e-6)
    logits = predict_logits(model.network, torch.from_numpy(images))
    expected = fit_temperature(logits, torch.from_numpy(target).long())
    assert model.temperature == pytest.approx(expected, rel=1e-6)
    assert metrics["temperature"] == pytest.approx(expected, abs=1e-6)
    assert final["val_loss_calibrated"] < log_loss(target, predict(model.network, images))


# With two threads, the order of sums must not depend on which thread finishes first.
@pytest.mark.parametrize(("architecture", "threads"), [("cnn", 2), (DRAWS, 1)])
@pytest.mark.usefixtures("undrawn")
def test_training_is_deterministic_for_any_global_random_state(few: Trainings, architecture: str, threads: int) -> None:
    few.set(threads=threads, architecture=architecture, val_fraction=0.75, epochs=1)
    for seed, name in enumerate(("a", "b")):
        for seed_generator in (random.seed, np.random.seed, torch.manual_seed):
            seed_generator(seed)
        few.run(name)
    assert torch.get_num_threads() == threads
    assert few.read("a") == few.read("b")


CHANGES: dict[str, Any] = {
    "architecture": "resnet",
    "seed": 1,
    "val_fraction": 0.2,
    "epochs": 2,
    "batch_size": 4,
    "shards": 2,
    "lr": 0.001,
    "schedule": "cosine",
    "weight_decay": 0.5,
    "label_smoothing": 0.2,
    "shift": 1,
    "rotation": 10.0,
    "scale": 0.1,
    "ema": 0.5,
    "precision": "bf16",
}


@pytest.mark.usefixtures("undrawn")
def test_every_hyperparameter_changes_the_model(params: Params, tmp_path: Path) -> None:
    write_examples(tmp_path, random_examples(40), random_examples(10))
    given: dict[str, Any] = {"architecture": TINY, "val_fraction": 0.5, "batch_size": 8, "epochs": 1}
    short, models = params.model_copy(update=given), []
    for change in [{}, *({name: value} for name, value in CHANGES.items()), {"precision": "tf32"}]:
        changed = Trainings(tmp_path / str(change), tmp_path, short.model_copy(update=change))
        changed.run()
        models.append(changed.outputs().model.read_bytes())
    # On a CPU, tf32 is fp32.
    assert models.pop() == models[0]
    assert len(set(models)) == len(models)


@pytest.mark.usefixtures("workspace")
def test_main_writes_outputs_and_receipt_fields(
    params: Params, trained: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[dict[str, str]] = []
    monkeypatch.setattr(stages.train, "check_same", compared.append)
    values = params.model_dump(exclude={"dataset", "tta_shift"})
    facts = main(Run(values, {"src/mnist/model/network.py": "its hash"}, accelerator="cpu"))
    # Inputs that must be the same in all processes of a training.
    assert [one["src/mnist/model/network.py"] for one in compared] == ["its hash"]
    assert compared[0].items() >= {**facts.versions, "device": "cpu"}.items()
    assert read_all(Outputs()) == read_all(trained)
    assert facts.machine == {"device": "cpu", "threads": THREADS}
    assert facts.versions["torch"] == torch.__version__.split("+")[0]


def test_batch_larger_than_the_training_part_is_rejected(params: Params, digits_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^params.yaml: batch_size must be at most 12\d\d, "):
        Trainings(tmp_path, digits_dir, params.model_copy(update={"batch_size": 1438})).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_every_call_waits_for_its_turn_unless_it_is_for_a_gpu(few: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for part in ("train", "validation"):
        monkeypatch.setattr(Cores, f"on_{part}_batch_start", lambda self, *_: order.append(f"take {self.needed}"))
        monkeypatch.setattr(Cores, f"on_{part}_batch_end", lambda *_: order.append("give"))
    few.set(epochs=1, threads=1)
    few.run()
    # 275 images in batches of 64: one call of four batches and one of the rest. Then validation.
    assert order == ["take 1", "give"] * 3
    monkeypatch.setattr(stages.train, "torch_device", lambda _: torch.device("cuda"))
    few.run()
    assert len(order) == 6


def test_lightning_is_silent_and_does_not_query_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing Lightning sets this.
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    build_trainer(1, "cpu", [])
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    assert not rank_zero_module.log.isEnabledFor(logging.INFO)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_gpu_training_matches_cpu(
    trained: Outputs, params: Params, digits_dir: Path, tmp_path: Path, precision: str
) -> None:
    trainings = Trainings(tmp_path, digits_dir, params.model_copy(update={"precision": precision}))
    result = trainings.run(accelerator="gpu")
    assert result.machine["device"] == torch.cuda.get_device_name()
    assert result.machine["fp32"] == ("tf32" if precision == "tf32" else "ieee")
    on_gpu, on_cpu = (pd.read_csv(outputs.history) for outputs in (trainings.outputs(), trained))
    np.testing.assert_allclose(on_gpu["loss"], on_cpu["loss"], rtol=0.05)
    assert load_model(trainings.outputs().model)(torch.zeros(1, 1, 28, 28)).device.type == "cpu"


RESUMED = {name: yaml.safe_load((REPOSITORY / path).read_text()) for name, path in RECIPES.items()}
RESUMED |= {name: {"architecture": name} for name in (DROPOUT, DRAWS)}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("accurate", "gpu") else name for name in RESUMED]
)
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_resumed_training_gives_the_same_bytes(few: Trainings, accelerator: str, name: str) -> None:
    few.set(**RESUMED[name] | {"epochs": 2, "batch_size": 64, "threads": 1})
    at_once = few.run("whole", accelerator=accelerator)
    few.interrupt("resumed", accelerator)
    # The last time, the training is over.
    for _ in range(2):
        assert few.resume("resumed", accelerator).machine == at_once.machine
        assert few.read("resumed") == few.read("whole")


@pytest.mark.fault(100)
def test_model_file_that_lacks_what_the_network_needs_is_rejected(
    few: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scaled(Tiny):
        scale = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * super().forward(x)

    def set_up(self: Classifier, *arguments: Any) -> None:
        usual(self, *arguments)
        # As README says how a hyperparameter reaches the network.
        self.model.scale = few.params.lr * 1000  # type: ignore[assignment]

    usual = Classifier.__init__
    monkeypatch.setitem(ARCHITECTURES, TINY, Scaled)
    monkeypatch.setattr(Classifier, "__init__", set_up)
    with pytest.raises(UserError, match=r"safetensors: computes something else than the trained network"):
        few.run(accelerator="auto")


@pytest.mark.usefixtures("undrawn")
def test_resumed_training_draws_the_same_augmentation_from_global_generators(
    few: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Batches) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = usual_load(self)
        return x + 0.1 * torch.randn_like(x) * random.random(), labels

    usual_load, usual_plan = Batches.load, batches.epoch_plan
    monkeypatch.setattr(Batches, "load", load)
    monkeypatch.setattr(batches, "epoch_plan", lambda size, *rest: (torch.randperm(size), *usual_plan(size, *rest)[1:]))
    few.set(architecture=DROPOUT, epochs=2, threads=1)
    few.interrupt("resumed")
    few.resume("resumed")
    few.run("whole")
    assert few.read("resumed") == few.read("whole")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(39, 53)
@pytest.mark.parametrize("is_stored", [False, True], ids=["only the results are written", "trained again"])
@pytest.mark.parametrize(
    ("make", "epochs"),
    [
        (lambda: EarlyStopping("val_loss", patience=1, min_delta=100.0), 2),
        # It sets the weights when training ends.
        (EMAWeightAveraging, 4),
    ],
    ids=["ended early", "weights set at the end"],
)
def test_training_with_a_callback_of_lightning_gives_the_same_bytes_again(
    few: Trainings, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Callback], epochs: int, is_stored: bool
) -> None:
    add_callback(monkeypatch, make)
    few.set(epochs=4)
    few.resume("first")
    few.run("second", few.checkpoints(is_stored=is_stored))
    assert len(few.outputs("first").history.read_text().splitlines()) == 1 + epochs
    assert few.read("first") == few.read("second")


class Noting(Callback):
    """Keeps a number of NumPy."""

    def state_dict(self) -> dict[str, Any]:
        return {"best": np.float64(1)}


class Best(Callback):
    """Keeps the best score so far."""

    score = 0.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch > 0:
            self.score = float(trainer.callback_metrics["val_acc"])


class Counting(torch.optim.SGD):
    steps = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.steps += 1


class Averaging(torch.optim.SGD):
    def __init__(self, weights: Iterator[torch.nn.Parameter]) -> None:
        super().__init__(weights)
        self.slow = [weight.detach().clone() for group in self.param_groups for weight in group["params"]]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for slow, weight in zip(self.slow, self.param_groups[0]["params"], strict=True):
            slow.lerp_(weight.detach(), 0.1)


class Summing(torch.optim.SGD):
    """Sums in a type of its own, which torch does not restore."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        weight = self.param_groups[0]["params"][0]
        self.state[weight]["sum"] = weight.grad.double()


class Nesting(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        weight = self.param_groups[0]["params"][0]
        self.state[weight]["sums"] = [weight.grad.double()]


class SavingOnly(Best):
    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score}


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("callback", "optimizer", "said"),
    [
        (Noting, torch.optim.SGD, r"a checkpoint would contain numpy\._core\.multiarray\.scalar"),
        (Best, torch.optim.SGD, "Best: score changes, but is not in a checkpoint"),
        (Callback, Counting, "Counting: steps changes, but is not in a checkpoint"),
        (Callback, Averaging, "Averaging: slow changes, but is not in a checkpoint"),
        (Callback, Summing, "Summing: torch would restore sum with the type of the weights"),
        (Callback, Nesting, "Nesting: torch would restore sums with the type of the weights"),
        (SavingOnly, torch.optim.SGD, "SavingOnly: score changes, but is not in a checkpoint"),
    ],
)
def test_state_that_no_checkpoint_restores_is_rejected(
    few: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[], Callback],
    optimizer: Callable[..., torch.optim.Optimizer],
    said: str,
) -> None:
    add_callback(monkeypatch, callback)
    monkeypatch.setattr(Classifier, "configure_optimizers", lambda self: optimizer(self.model.parameters()))
    # The second time, no checkpoint is left that it would resume from.
    for _ in range(2):
        with pytest.raises(UserError, match=f"^{said}"):
            few.resume()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(100)
@pytest.mark.parametrize("kind", [Classifier, TrainingData])
def test_count_in_the_module_or_its_data_is_rejected_unless_it_is_saved(
    few: Trainings, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    def begin(self: Classifier) -> None:
        holder = self if kind is Classifier else self.trainer.datamodule  # type: ignore[attr-defined]
        holder.count = getattr(holder, "count", 0) + 1

    monkeypatch.setattr(Classifier, "on_train_epoch_start", begin)
    with pytest.raises(UserError, match=f"^{kind.__name__}: count changes, but is not in a checkpoint"):
        few.resume()
    monkeypatch.setattr(kind, "on_save_checkpoint", lambda *_: None, raising=False)
    monkeypatch.setattr(kind, "on_load_checkpoint", lambda *_: None, raising=False)
    if kind is TrainingData:
        # Lightning never calls these.
        with pytest.raises(UserError, match=f"^{kind.__name__}: count changes, but is not in a checkpoint"):
            few.resume()
        monkeypatch.setattr(kind, "state_dict", lambda *_: {})
        monkeypatch.setattr(kind, "load_state_dict", lambda *_: None)
    few.resume()


class Held:
    count = 0


def set_the_middle(numbers: Any) -> None:
    numbers[2500] = 1


# What a callback may hold, and how it may change.
HELD: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "array": (lambda: np.zeros(5000), set_the_middle),
    "tensor": (lambda: torch.zeros(5000), set_the_middle),
    "generator of NumPy": (lambda: np.random.default_rng(0), lambda generator: generator.random()),
    "generator of PyTorch": (torch.Generator, lambda generator: torch.rand(1, generator=generator)),
    "generator of Python": (random.Random, lambda generator: generator.random()),
    "object": (Held, lambda held: setattr(held, "count", 1)),
    "network": (lambda: nn.Linear(2, 2), lambda network: nn.init.zeros_(network.weight)),
    "score": (SumMetric, lambda score: score.update(1.0)),
    "iterator": (lambda: iter([1, 2, 3]), next),
}


@pytest.mark.fault(100)
@pytest.mark.parametrize("kind", HELD)
def test_change_of_anything_that_a_callback_holds_is_found(
    few: Trainings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class Holding(Callback):
        # A checkpoint has an optimizer's and data of this name.
        def __init__(self) -> None:
            self.state, self.val = HELD[kind][0](), 0

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            HELD[kind][1](self.state)
            self.val += 1

    add_callback(monkeypatch, Holding)
    with pytest.raises(UserError, match=r"^Holding: state, val changes, but is not in a checkpoint"):
        few.resume()


@pytest.mark.fault(100)
@pytest.mark.parametrize("place", ["plan", "load", "data"])
def test_own_generator_for_augmentation_is_found(few: Trainings, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def draw(function: Callable[..., Any], holder: Any) -> Callable[..., Any]:
        def drawing(*arguments: Any) -> Any:
            (holder or arguments[0]).generator.random()
            return function(*arguments)

        return drawing

    monkeypatch.setattr(TrainingData if place == "data" else batches, "generator", random.Random(0), raising=False)
    if place == "plan":
        monkeypatch.setattr(batches, "epoch_plan", draw(batches.epoch_plan, batches))
    elif place == "load":
        monkeypatch.setattr(Batches, "load", draw(Batches.load, batches))
    else:
        monkeypatch.setattr(TrainingData, "train_dataloader", draw(TrainingData.train_dataloader, None))
    name = "TrainingData" if place == "data" else "src.mnist.train.batches"
    with pytest.raises(UserError, match=f"^{name}: generator changes, but is not in a checkpoint"):
        few.resume()


@pytest.mark.fault(100)
def test_state_of_another_kind_in_a_later_epoch_or_after_a_damaged_checkpoint_is_found(
    few: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Callback):
        best: Any = 0.0

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch >= first:
                self.best = np.float64(1)

        def state_dict(self) -> dict[str, Any]:
            return {"best": self.best}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.best = state_dict["best"]

    add_callback(monkeypatch, Late)
    checkpoints, first = few.checkpoints(), 1
    few.set(epochs=3)
    with pytest.raises(UserError, match=r"^a checkpoint would contain numpy\._core\.multiarray\.scalar"):
        few.run(checkpoints=checkpoints)
    # That of the first epoch is intact.
    assert epochs_done(read_checkpoint(checkpoints.path)) == 1
    checkpoints.path.write_bytes(b"damaged")
    first = 0
    with pytest.raises(UserError, match=r"^a checkpoint would contain numpy\._core\.multiarray\.scalar"):
        few.run(checkpoints=checkpoints)


class Referring(Callback):
    """Holds what is saved elsewhere, and times that affect nothing."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trainer, self.module, self.weights = trainer, pl_module, list(pl_module.parameters())
        self.views = [weight.detach() for weight in self.weights]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.optimizers, self.data = trainer.optimizers, trainer.datamodule  # type: ignore[attr-defined]


class Timing(Callback):
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class Saving(Averaging):
    """Saves what it holds."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "slow": self.slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.slow = [slow.clone() for slow in state_dict["slow"]]
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "slow"})


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(1, 100)
@pytest.mark.parametrize(
    ("callback", "optimizer"),
    [
        (Referring, torch.optim.AdamW),
        (Timing, torch.optim.AdamW),
        (Callback, Saving),
        # Its first step changes an attribute that only saves a check.
        (Callback, lambda weights: torch.optim.SGD(weights, lr=torch.zeros(()), momentum=0.9, fused=True)),
        (Freezing, torch.optim.AdamW),
        (Annealing, torch.optim.AdamW),
        # It replaces a method of the optimizer, and would train a network with statistics for another epoch.
        (lambda: StochasticWeightAveraging(0.01, swa_epoch_start=1), torch.optim.AdamW),
    ],
    ids=["references", "times", "optimizer", "fused optimizer", "frozen layers", "layers' numbers", "schedule"],
)
def test_training_with_callbacks_and_optimizers_of_ones_own_resumes_to_the_same_bytes(
    few: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[], Callback],
    optimizer: Callable[..., torch.optim.Optimizer],
) -> None:
    add_callback(monkeypatch, callback)
    monkeypatch.setattr(Classifier, "configure_optimizers", lambda self: optimizer(self.model.parameters()))
    few.set(epochs=3, architecture="cnn" if isinstance(callback(), StochasticWeightAveraging) else TINY)
    few.run("whole", few.checkpoints("others"))
    for epochs in (1, 2):
        few.interrupt("resumed")
        assert epochs_done(read_checkpoint(few.checkpoints().path)) == epochs
    few.resume("resumed")
    assert few.read("resumed") == few.read("whole")


@pytest.mark.gpu
@pytest.mark.parametrize("change", [{}, {"precision": "tf32"}, {"architecture": "ensemble", "precision": "bf16",
                                    "rotation": 10.0, "ema": 0.9}], ids=["cnn", "tf32", "ensemble"])  # fmt: skip
def test_gpu_training_is_deterministic(params: Params, digits_dir: Path, tmp_path: Path, change: dict) -> None:
    trainings = Trainings(tmp_path, digits_dir, params.model_copy(update=change))
    for name in ("a", "b"):
        trainings.run(name, accelerator="gpu")
    assert trainings.read("a") == trainings.read("b")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(1, 53, 100)
@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_start"])
@pytest.mark.parametrize("is_over", [False, True])
def test_weights_that_are_set_again_when_a_training_resumes_are_found(
    few: Trainings, monkeypatch: pytest.MonkeyPatch, hook: str, is_over: bool
) -> None:
    """A hook that loads pretrained weights, for example; a training that is over does not start again."""
    callback = Callback()
    add_callback(monkeypatch, lambda: callback)
    monkeypatch.setattr(callback, hook, lambda _, module: nn.init.zeros_(module.model.linear2.bias), raising=False)

    def saved() -> torch.Tensor:
        return read_checkpoint(few.checkpoints().path)["state_dict"]["model.linear2.bias"]

    if is_over:
        few.resume()
    else:
        few.interrupt()
    before = saved()
    if is_over and hook == "on_train_start":
        few.resume("again")
        assert few.read("again") == few.read()
    else:
        with pytest.raises(UserError, match=r"^model\.linear2\.bias: set by a hook when a training starts"):
            few.resume("again")
        assert not few.outputs("again").model.exists()
    assert torch.equal(saved(), before)
