"""Lightning's Trainer, configured so that it prints, logs and writes nothing by itself."""

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
    """Build a trainer for `epochs` epochs, including those before a resume.

    Training is deterministic only after `configure_determinism`. At most one callback may write checkpoints.
    """
    _quiet_lightning()
    # Importing Lightning sets this, so that looking for GPUs does not start CUDA before a fork. Nothing forks here, and
    # every optimizer step looks: on a machine without a driver, searching for its library takes 5 to 10% of a step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    device = torch_device(accelerator).type
    return Trainer(
        accelerator=device,
        # Only the device of this process; `ShardedBackward` communicates with the others.
        devices=[torch.cuda.current_device()] if device == "cuda" else 1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        # Set explicitly, because Lightning's choice in a batch system would requeue the job and resume from any
        # `hpc_ckpt_*` in its root folder.
        plugins=[CheckpointFiles(), LightningEnvironment()],
        default_root_dir=os.devnull,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        # Otherwise, Lightning would add a checkpoint callback of its own.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _quiet_lightning() -> None:
    """Silence Lightning, so that the terminal shows only the progress table."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Averaging is unnecessary, since every process computes the scores of all images.
    warnings.filterwarnings("ignore", message=".*sync_dist=True", category=UserWarning)
    # Training on one machine does not need srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available", category=UserWarning)
    # Lightning 2.6 uses an API that torch 2.15 deprecates, in every epoch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
