"""Stage train: fits the network and writes the model, its metrics, its history and its learning curve."""

import os
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    raise SystemExit("this module has the stage's functions; its guarded command is `python -m stages train`")

import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import nn
from torch.nn import functional as F

from src.core.copies import original
from src.core.errors import UserError
from src.core.files import write_json
from src.core.run import ReceiptFields, Run, versions
from src.mnist.data.dataset import DATA_DIR, load_examples
from src.mnist.model.device import configure_determinism, device_facts, keep_freed_memory, torch_device
from src.mnist.model.network import BATCH_SIZE, CalibratedModel, predict_logits
from src.mnist.model.params import TrainParams
from src.mnist.model.weights import MODEL_PATH, load_model, save_model
from src.mnist.train.batches import TrainingData
from src.mnist.train.calibration import fit_temperature
from src.mnist.train.checkpoint import CHECKPOINTS, Checkpoints
from src.mnist.train.classifier import Classifier, EpochScores
from src.mnist.train.cores import Cores
from src.mnist.train.distributed import check_same, connect, from_first, rank_and_count
from src.mnist.train.history import History, summary
from src.mnist.train.progress import ProgressTable
from src.mnist.train.trainer import build_trainer

# The packages that compute the outputs.
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "numpy", "matplotlib", "pillow", "safetensors")


@dataclass(frozen=True)
class Outputs:
    """Where the stage writes; the defaults are the outs in dvc.yaml."""

    model: Path = MODEL_PATH
    metrics: Path = Path("metrics/train.json")
    history: Path = Path("plots/history.csv")
    learning_curve: Path = Path("plots/learning_curve.png")


@dataclass(frozen=True)
class Result:
    """Facts about the device, for the receipt, and the duration of training."""

    machine: dict[str, Any]
    fit_seconds: float


def main(run: Run) -> ReceiptFields:
    """Train with params.yaml on the requested device."""
    params = TrainParams.model_validate(run.params)
    device, installed = torch_device(run.accelerator), versions(*PACKAGES)
    identity = {name: str(value) for name, value in {**run.identity, **installed, **device_facts(device)}.items()}
    checkpoints = Checkpoints(original(Path.cwd()) / CHECKPOINTS, identity, run.is_locked)
    connect(device)
    check_same(identity)
    result = train(params, DATA_DIR, Outputs(), run.accelerator, checkpoints, run.check_unchanged)
    return ReceiptFields(installed, result.machine)


def train(
    params: TrainParams,
    data_dir: Path,
    outputs: Outputs,
    accelerator: str = "auto",
    checkpoints: Checkpoints | None = None,
    before_epoch: Callable[[], None] = lambda: None,
) -> Result:
    """Fit the network and write every output; of several connected processes, only the first writes.

    Args:
        params: Hyperparameters.
        data_dir: Output of the fetch stage.
        outputs: Where to write.
        accelerator: Lightning's name of a device: auto, cpu, cuda or gpu.
        checkpoints: Saves a checkpoint after every epoch and finds one to resume from; None: no checkpoints.
        before_epoch: Called at the start of every epoch; an exception ends training.

    Raises:
        UserError: If the data is missing or damaged, the params do not fit it, or a score is not finite.
    """
    tf32 = params.precision == "tf32"
    configure_determinism(params.threads, tf32=tf32)
    keep_freed_memory()
    data = TrainingData(load_examples(data_dir, "train"), params)
    classifier = Classifier(params, data.steps_per_epoch)
    rank, count = rank_and_count()
    # A GPU must not wait for cores. Several processes of a training wait for each other within a call.
    shares_cores = count == 1 and torch_device(accelerator).type == "cpu"
    history, is_first = History(outputs.history), rank == 0
    progress = ProgressTable(history, astuple(outputs) if checkpoints else ())
    callbacks = [
        LambdaCallback(on_train_epoch_start=lambda *_: before_epoch()),
        *([Cores(params.threads, os.sched_getaffinity(0))] if shares_cores else []),
        *([history, progress] if is_first else []),
        *([checkpoints] if checkpoints else []),
    ]
    trainer = build_trainer(params.epochs, accelerator, callbacks)
    started = time.perf_counter()
    found = from_first(checkpoints.find(params.epochs) if checkpoints and is_first else None)
    trainer.fit(classifier, datamodule=data, ckpt_path=found, weights_only=True)
    seconds = time.perf_counter() - started
    if checkpoints:
        checkpoints.finish(trainer)
    device = trainer.strategy.root_device
    if is_first:
        # If all epochs were already done, Lightning restores the state and calls no callback.
        history.write()
        _write_results(outputs, params, classifier.eval_network.to(device), data, history.rows)
    machine = device_facts(device, tf32=tf32) | {"threads": torch.get_num_threads()}
    # Omitted for a single process, since the number of processes does not change outputs.
    if count > 1:
        machine["processes"] = count
    return Result(machine, round(seconds, 3))


def _write_results(
    outputs: Outputs, params: TrainParams, network: nn.Module, data: TrainingData, rows: list[dict[str, float]]
) -> None:
    """Calibrate a trained network, and write the model, its metrics and its learning curve."""
    # Imported here because matplotlib takes a third of a second, which must not delay training.
    from src.mnist.train.learning_curve import draw_learning_curve

    # Use the same precision, device and weights as the evaluate stage.
    configure_determinism(params.threads)
    images, labels = data.val
    logits, labels = predict_logits(network, images), labels.cpu()
    model = CalibratedModel(network, fit_temperature(logits, labels))
    save_model(outputs.model, model, params.architecture)
    some = images[: BATCH_SIZE["cpu"]]
    loaded = predict_logits(load_model(outputs.model).to(images.device), some)
    if not torch.allclose(loaded, predict_logits(model, some), rtol=1e-3, atol=1e-3):
        raise UserError(
            f"{outputs.model}: computes something else than the trained network; keep what that needs besides its "
            "weights, such as a param, in its buffers"
        )
    calibrated_loss = F.cross_entropy(logits / model.temperature, labels)
    metrics = summary(rows, EpochScores()(logits, labels), calibrated_loss, model.temperature)
    weights = sum(weight.numel() for weight in network.parameters())
    write_json(outputs.metrics, {**metrics, "weights": weights})
    draw_learning_curve(rows, outputs.learning_curve)
