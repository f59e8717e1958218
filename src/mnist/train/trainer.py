"""Lightning's Trainer as this pipeline uses it: it prints, logs and writes nothing by itself."""

import logging
import os
import warnings
from collections.abc import Sequence

from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src.mnist.train.checkpoint import CheckpointFiles
from src.mnist.train.distributed import ShardedStrategy, rank_and_count


def build_trainer(epochs: int, accelerator: str, callbacks: Sequence[Callback]) -> Trainer:
    """A trainer for this many epochs, those before a resume included.

    What it computes is deterministic only after `configure_determinism`. At most one callback writes checkpoints.
    """
    _quiet_lightning()
    # Importing Lightning sets this, so that asking for GPUs does not start CUDA before a fork. Nothing forks here, and
    # each optimizer step asks: on a machine without a driver, looking for its library takes 5 to 10% of a step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    _, count = rank_and_count()
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if count > 1 else 1
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=count // devices,
        strategy=ShardedStrategy() if count > 1 else "auto",
        max_epochs=epochs,
        callbacks=list(callbacks),
        # Not left to Lightning: in a batch system, it would requeue the job and resume from any `hpc_ckpt_*` in its
        # root folder.
        plugins=[CheckpointFiles(), TorchElasticEnvironment() if count > 1 else LightningEnvironment()],
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
