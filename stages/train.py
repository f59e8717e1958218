"""Stage train: fits the network and writes the model, its metrics, its history and its learning curve."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LambdaCallback

from src.core.dataset import load_examples
from src.core.files import write_json
from src.core.run import Facts, Run, versions
from src.model.accelerator import chosen_accelerator
from src.model.determinism import configure_determinism
from src.model.device import device_facts, torch_device
from src.model.logits import predict_logits
from src.model.memory import keep_freed_memory
from src.model.network import CalibratedModel, build_model
from src.model.params import Params
from src.model.processes import Processes, chosen_processes
from src.model.weights import save_model
from src.train.augmentation import Augmentation
from src.train.calibration import fit_temperature
from src.train.callbacks.history import HistoryCSV
from src.train.callbacks.progress import ProgressTable
from src.train.callbacks.stop_at_nan import StopAtNaN
from src.train.checkpoint import CheckpointFiles, Checkpoints, DamagedError, shared_folder
from src.train.classifier import Classifier
from src.train.datamodule import TrainingData
from src.train.distributed import ShardedStrategy, Started, check_same, connected, from_first
from src.train.schedule import learning_rates
from src.train.scores import EpochScores
from src.train.summary import summary

DATA_DIR = Path("data/MNIST")
RECORD_PATH = Path("logs/train.json")
# The packages that compute the outputs.
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "numpy", "pandas", "matplotlib", "pillow", "safetensors")


@dataclass(frozen=True)
class Outputs:
    """Where the stage writes; the defaults are the outs in dvc.yaml."""

    model: Path = Path("models/model.safetensors")
    metrics: Path = Path("metrics/train.json")
    history: Path = Path("plots/history.csv")
    learning_curve: Path = Path("plots/learning_curve.png")


@dataclass(frozen=True)
class Result:
    """Device and time of a training run; not the same on every machine.

    Attributes:
        machine: What the receipt says about the device.
        fit_seconds: How long training took.
    """

    machine: dict[str, Any]
    fit_seconds: float


def main(run: Run) -> Facts:
    """Train as params.yaml says, on the device that the environment asks for."""
    params = Params.model_construct(**run.params)
    accelerator, processes = chosen_accelerator(os.environ), chosen_processes(os.environ)
    device = torch_device(accelerator)
    identity = _identity(run.origin, params.schedule, device)
    checkpoints = Checkpoints(shared_folder(Path.cwd()), identity, run.is_locked)
    with connected(processes, device):
        check_same(identity, processes)
        result = train(params, DATA_DIR, Outputs(), accelerator, checkpoints, run.check_unchanged, processes)
    if processes.rank == 0:
        record = {"device": result.machine["device"], "processes": processes.count, "fit_seconds": result.fit_seconds}
        write_json(RECORD_PATH, record)
    return Facts(versions(*PACKAGES), result.machine)


def train(
    params: Params,
    data_dir: Path,
    outputs: Outputs,
    accelerator: str = "auto",
    checkpoints: Checkpoints | None = None,
    before_epoch: Callable[[], None] = lambda: None,
    processes: Processes = Processes(),  # noqa: B008 - it is frozen
) -> Result:
    """Fit the network and write every output.

    Args:
        params: Hyperparameters.
        data_dir: What the fetch stage wrote.
        outputs: Where to write.
        accelerator: Lightning's name of a device: auto, gpu, cpu, mps.
        checkpoints: Where to save a checkpoint after every epoch and to find one to resume from; None: nowhere.
        before_epoch: Called at the start of every epoch; what it raises ends training.
        processes: This process among those that train together and are connected; only the first writes outputs.

    Returns:
        Device and time.

    Raises:
        UserError: If the data is missing or damaged, the params do not fit it, or a score is not finite.
    """
    _quiet_lightning()
    tf32 = params.precision == "tf32"
    configure_determinism(tf32=tf32)
    keep_freed_memory()
    data = TrainingData(
        load_examples(data_dir, "train"),
        val_fraction=params.val_fraction,
        batch_size=params.batch_size,
        seed=params.seed,
        augmentation=Augmentation(shift=params.shift, rotation=params.rotation, scale=params.scale),
    )
    classifier = Classifier(
        model=build_model(params.architecture, params.seed),
        rates=learning_rates(params.schedule, params.lr, params.epochs * data.steps_per_epoch),
        weight_decay=params.weight_decay,
        label_smoothing=params.label_smoothing,
        ema=params.ema,
        precision=params.precision,
        shards=params.shards,
        processes=processes,
    )
    history = HistoryCSV(outputs.history)
    trainer = Trainer(
        accelerator=accelerator,
        devices=_devices(processes),
        strategy=ShardedStrategy() if processes.count > 1 else "auto",
        max_epochs=params.epochs,
        deterministic=True,
        callbacks=[
            LambdaCallback(on_train_epoch_start=lambda *_: before_epoch()),
            StopAtNaN(),
            *([history, ProgressTable()] if processes.rank == 0 else []),
            *([checkpoints] if checkpoints else []),
        ],
        plugins=[CheckpointFiles(), Started(processes)],
        default_root_dir=os.devnull,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=checkpoints is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    started = time.perf_counter()
    found = from_first(_resume(checkpoints, params.epochs) if processes.rank == 0 else None, processes)
    trainer.fit(classifier, datamodule=data, ckpt_path=found, weights_only=True)
    seconds = time.perf_counter() - started
    device = trainer.strategy.root_device
    machine = device_facts(device, tf32=tf32) | {"threads": torch.get_num_threads()}
    if device.type == "cuda":
        machine["captured"] = classifier.captured
    # Said only if there are several: their number changes no output.
    if processes.count > 1:
        machine["processes"] = processes.count
    result = Result(machine, round(seconds, 3))
    if processes.rank > 0:
        return result
    # If all epochs were already done, Lightning restores the state and calls no callback.
    history.write()
    # With the precision, the device and the weights that the evaluate stage will use.
    configure_determinism()
    network, (images, labels) = classifier.deployed.to(device), data.validation_set()
    logits = predict_logits(network, images.to(device))
    model = CalibratedModel(network, fit_temperature(logits, labels))
    save_model(outputs.model, model, params.architecture)
    val_scores = EpochScores()(logits / model.temperature, labels)
    write_json(outputs.metrics, summary(history.rows, val_scores, model.temperature))
    _draw_learning_curve(history.rows, outputs.learning_curve)
    return result


def _devices(processes: Processes) -> int:
    """Number of devices that Lightning shall see here: one per process, or the only one that a process was given."""
    return 1 if torch.cuda.is_available() and torch.cuda.device_count() == 1 else processes.local_count


def _identity(origin: Mapping[str, str], schedule: str, device: torch.device) -> dict[str, str]:
    """Everything that determines the weights after an epoch: inputs, versions and machine."""
    # With a constant rate, no epoch depends on how many there will be.
    ignored = {"params.yaml: epochs"} if schedule == "constant" else set()
    counting = {name: value for name, value in origin.items() if name not in ignored}
    return {**counting, **versions(*PACKAGES), **{name: str(fact) for name, fact in device_facts(device).items()}}


def _resume(checkpoints: Checkpoints | None, epochs: int) -> Path | None:
    """The checkpoint to resume from, or None; says so on the terminal."""
    try:
        done = checkpoints.find(epochs) if checkpoints else 0
    except DamagedError as error:
        print(f"train: {error}; training starts over", file=sys.stderr)
        return None
    if not checkpoints or not done:
        return None
    print(f"Resuming after epoch {done} of {epochs}, from {checkpoints.path}")
    return checkpoints.path


def _quiet_lightning() -> None:
    """Leave the terminal to the progress table."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It would average what every process has computed from all images.
    warnings.filterwarnings("ignore", message=".*sync_dist=True", category=UserWarning)
    # One machine needs no srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available", category=UserWarning)
    # In every epoch, Lightning 2.6 uses what torch 2.15 has deprecated.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)


def _draw_learning_curve(rows: list[dict[str, float]], path: Path) -> None:
    # Imported here because matplotlib takes a third of a second, which is better spent after training.
    from src.train.learning_curve import draw_learning_curve

    draw_learning_curve(rows, path)


if __name__ == "__main__":
    sys.exit("this module has the stage's functions; its guarded command is `python -m stages train`")
