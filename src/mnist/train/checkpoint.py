"""Checkpoints after every epoch, so that interrupted training resumes where it was.

A file is the SHA-256 of the rest, then what `torch.save` writes. It is read with `weights_only=True`, so that nothing
in it runs.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src.core.files import write_bytes

CHECKPOINTS = Path("logs/checkpoints")
# A file of the default recipe takes 12 MB.
MAX_FILES, MAX_BYTES = 20, 500_000_000
HASH_BYTES = hashlib.sha256().digest_size


class DamagedError(Exception):
    """A checkpoint that cannot be used."""


class CheckpointFiles(CheckpointIO):
    """Makes Lightning write checkpoints atomically, and refuse those that have changed since."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint atomically."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        payload = content.getvalue()
        write_bytes(Path(path), hashlib.sha256(payload).digest() + payload)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint to the CPU.

        Raises:
            DamagedError: If its hash is wrong or it holds more than numbers and names.
        """
        content = Path(path).read_bytes()
        if hashlib.sha256(content[HASH_BYTES:]).digest() != content[:HASH_BYTES]:
            raise DamagedError(f"{path}: is damaged (its hash is wrong)")
        try:
            return torch.load(io.BytesIO(content[HASH_BYTES:]), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise DamagedError(f"{path}: is damaged (it is not a checkpoint of this pipeline)") from error

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def shared_folder(copy: Path) -> Path:
    """The folder of checkpoints that all copies of a repository share: `logs/checkpoints` of the repository itself.

    DVC runs queued and `--temp` experiments in copies below `.dvc/tmp/exps`, and deletes the copy if the experiment
    fails.

    Args:
        copy: Root of the repository or of a copy.
    """
    for folder in copy.resolve().parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2] / CHECKPOINTS
    return copy / CHECKPOINTS


class Checkpoints(Checkpoint):
    """Writes one file per training run, replaces it after every epoch, and finds it again.

    Runs that differ in anything that determines their state write different files, so that many may run at once.
    Each write deletes the oldest files if there are too many. The file of a finished run stays: DVC may not have
    stored its results, and with a constant learning rate, a run with more epochs may resume from it.

    Lightning calls a `Checkpoint` after all other callbacks, so their saved state includes the epoch.
    """

    def __init__(self, folder: Path, identity: dict[str, str], is_stored: Callable[[], bool] = lambda: False) -> None:
        """Use a folder, which is created if missing.

        Args:
            folder: Where the files are; it should hold nothing else.
            identity: Everything that determines the state after an epoch; training resumes only from the same.
            is_stored: Whether the results are stored, so that repeating a finished run is deliberate.
        """
        self.is_stored = is_stored
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{fingerprint}.ckpt"

    def find(self, epochs: int) -> int:
        """Number of epochs in the file, if a run of `epochs` may resume from it; 0: it starts over.

        If all epochs are done, only the results remain to be written.

        Raises:
            DamagedError: If the file cannot be used.
        """
        try:
            checkpoint = CheckpointFiles().load_checkpoint(self.path)
        except FileNotFoundError:
            return 0
        if checkpoint.get("fingerprint") != self.path.stem:
            raise DamagedError(f"{self.path}: is damaged (it belongs to another training run)")
        done = checkpoint["epochs_done"]
        return 0 if done > epochs or (done == epochs and self.is_stored()) else done

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what `find` needs."""
        checkpoint |= {"fingerprint": self.path.stem, "epochs_done": trainer.current_epoch + 1}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path, weights_only=False)
        if trainer.is_global_zero:
            delete_oldest(self.path)


def delete_oldest(own: Path, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
    """Delete the oldest files in a run's folder until both limits are met.

    Args:
        own: The run's own file stays, however large it is, and however old if the clock was set back.
        max_files: Limit to the number of files, at least 1.
        max_bytes: Limit to the size of all files together.
    """
    found = []
    for path in own.parent.iterdir():
        # Another run may delete or rename it in the meantime.
        with suppress(FileNotFoundError):
            found.append((path == own, path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for number, (*_, size, path) in enumerate(sorted(found, reverse=True), start=1):
        total += size
        if path != own and (number > max_files or total > max_bytes):
            path.unlink(missing_ok=True)
