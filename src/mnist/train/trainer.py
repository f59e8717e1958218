"""Lightning's Trainer as this pipeline uses it: it prints, logs and writes nothing by itself."""

import logging
import os
import warnings
from collections.abc import Sequence

import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src.mnist.model.device import torch_device
from src.mnist.train.checkpoint import CheckpointFiles


def build_trainer(epochs: int, accelerator: str, callbacks: Sequence[Callback]) -> Trainer:
    """A trainer for this many epochs, those before a resume included.

    What it computes is deterministic only after `configure_determinism`. At most one callback writes checkpoints.
    """
    _quiet_lightning()
    # Importing Lightning sets this, so that asking for GPUs does not start CUDA before a fork. Nothing forks here, and
    # each optimizer step asks: on a machine without a driver, looking for its library takes 5 to 10% of a step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    device = torch_device(accelerator).type
    return Trainer(
        accelerator=device,
        # That of this process, where several train together; what they exchange, `ShardedBackward` does.
        devices=[torch.cuda.current_device()] if device == "cuda" else 1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        # Not left to Lightning: in a batch system, it would requeue the job and resume from any `hpc_ckpt_*` in its
        # root folder.
        plugins=[CheckpointFiles(), LightningEnvironment()],
        default_root_dir=os.devnull,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        # Without a callback of ours, Lightning would add one of its own.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


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
