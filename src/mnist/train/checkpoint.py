"""Checkpoints after every epoch, from which interrupted training resumes.

A file starts with the SHA-256 of its name and its payload, followed by the payload, the output of `torch.save`. The
payload's own checksums are not enough: if a bit of the archive's directory flips, `torch.load` may return wrong values.
"""

import copy
import hashlib
import io
import json
import pickle
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from src.core.errors import UserError
from src.core.files import write_bytes
from src.mnist.train.distributed import from_first, rank_and_count
from src.mnist.train.resumable import HiddenState, check_types
from src.mnist.train.settings import Settings

# Relative to the original repository; its copies, as for experiments, share the folder.
CHECKPOINTS = Path("logs/checkpoints")
NAME = re.compile(r"[0-9a-f]{64}\.ckpt")
# A checkpoint of the default recipe takes 12 MB.
MAX_FILES, MAX_BYTES = 20, 500_000_000
# The newest files are kept even if they are larger, so that trainings that run side by side keep theirs.
KEPT = 4
HASH_BYTES = hashlib.sha256().digest_size


class CheckpointFiles(TorchCheckpointIO):
    """Writes temporary files next to the target; Lightning's own writes are atomic only if both share a disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint atomically.

        Raises:
            UserError: If it contains more than tensors and plain values, so that nothing could resume from it.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        content.seek(0)
        if kinds := get_unsafe_globals_in_checkpoint(content):
            raise UserError(
                f"a checkpoint would contain {', '.join(sorted(kinds))}, which cannot be loaded safely; keep tensors "
                "and plain values in the state of callbacks and optimizers (`float`, `item`)"
            )
        payload = content.getvalue()
        write_bytes(Path(path), _digest(Path(path), payload) + payload)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint in process 0 and send it to all processes."""
        rank, _ = rank_and_count()
        return from_first(None if rank else read_checkpoint(Path(path)))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU without running any code in it.

    Raises:
        FileNotFoundError: If the file does not exist.
        UserError: If its hash is wrong, or it contains more than tensors and plain values.
    """
    content = path.read_bytes()
    if content[:HASH_BYTES] != _digest(path, content[HASH_BYTES:]):
        raise UserError(f"{path}: is damaged (its hash is wrong)")
    try:
        return torch.load(io.BytesIO(content[HASH_BYTES:]), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: is damaged (it is not a checkpoint of this pipeline)") from error


def _digest(path: Path, payload: bytes) -> bytes:
    """Hash the payload and the name, which identifies the training run, so that a renamed file is rejected."""
    return hashlib.sha256(path.name.encode() + payload).digest()


class Checkpoints(Checkpoint):
    """Writes one file per training run in process 0, overwrites it after every epoch, and finds it for a resume.

    The file of a finished run is kept, because DVC may not have stored its results. Lightning calls a `Checkpoint`
    after all other callbacks, so their saved state includes the epoch.
    """

    def __init__(self, folder: Path, identity: dict[str, str], is_stored: bool = False) -> None:
        """Choose the file of a training run.

        Args:
            folder: Folder of the checkpoints; created if missing.
            identity: Everything that determines the state after an epoch.
            is_stored: Whether dvc.lock records the results, so that repeating a finished run is deliberate.
        """
        self.is_stored, self.is_over = is_stored, False
        # Restored from the file: the module's state, and the settings of each network in it.
        self.restored: dict[str, Tensor] = {}
        self.settings: list[Settings] = []
        self.path = folder / f"{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()}.ckpt"

    def find(self, epochs: int) -> Path | None:
        """Return the file if this run, of `epochs`, can resume from it, and print whether it resumes or starts over.

        If the training is over, only the results remain to be written.
        """
        try:
            saved = read_checkpoint(self.path)
        except FileNotFoundError:
            return None
        except UserError as error:
            print(f"train: {error}; training starts over", file=sys.stderr)  # noqa: T201
            return None
        if saved["is_over"] and self.is_stored:
            return None
        print(f"Resuming after epoch {epochs_done(saved)} of {epochs}, from {self.path}")  # noqa: T201
        return self.path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note what may change without being saved."""
        self.hidden = HiddenState(trainer, pl_module)
        self.hidden.note_code_and_data()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the rest, and restore settings, after other callbacks, which may change both in this hook."""
        for network, settings in zip(pl_module.children(), self.settings, strict=False):
            settings.restore(network)
        self.hidden.note_others()
        self._check_restored(pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note what was restored, after other callbacks. A training that is over, even early, does not go on."""
        self.restored = copy.deepcopy(pl_module.state_dict())
        self.is_over = checkpoint["is_over"]
        self.settings = [Settings(**settings) for settings in checkpoint["settings"]]
        if self.is_over:
            trainer.fit_loop.max_epochs = epochs_done(checkpoint)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record whether the training is over, and the settings of each network."""
        checkpoint["is_over"] = self.is_over
        checkpoint["settings"] = [asdict(Settings.of(network)) for network in pl_module.children()]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint, except after the last epoch, when callbacks may still change the weights."""
        if not trainer.should_stop and trainer.current_epoch + 1 != trainer.max_epochs:
            self._write(trainer)

    def finish(self, trainer: Trainer) -> None:
        """Write the checkpoint of a training that is over, unless it was resumed from that."""
        if self.is_over:
            self._check_restored(trainer.lightning_module)
        else:
            self.is_over = True
            self._write(trainer)

    def _check_restored(self, pl_module: LightningModule) -> None:
        """Raise UserError if a hook that is called when a training starts has changed what was restored."""
        state = pl_module.state_dict()
        if changed := [
            name for name, value in self.restored.items() if not torch.equal(value.cpu(), state[name].cpu())
        ]:
            raise UserError(
                f"{', '.join(changed)}: set by a hook when a training starts, also when it resumes; set it in "
                f"`__init__` of {type(pl_module).__name__}"
            )

    def _write(self, trainer: Trainer) -> None:
        self.hidden.check()
        check_types(trainer.optimizers)
        rank, _ = rank_and_count()
        if rank:
            return
        trainer.save_checkpoint(self.path, weights_only=False)
        delete_oldest(self.path)


def epochs_done(checkpoint: Mapping[str, Any]) -> int:
    """Number of epochs after which a checkpoint was written."""
    return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]


def delete_oldest(own: Path, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
    """Delete the oldest checkpoints in a run's folder until their number and total size are within the limits.

    The run's own file is kept, even if it appears old because the clock was set back.
    """
    found = []
    for path in own.parent.iterdir():
        # Another run may delete the file concurrently.
        with suppress(OSError):
            if NAME.fullmatch(path.name):
                found.append((path == own, path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for number, (*_, size, path) in enumerate(sorted(found, reverse=True), start=1):
        total += size
        if path != own and (number > max_files or (number > KEPT and total > max_bytes)):
            with suppress(OSError):
                path.unlink()
