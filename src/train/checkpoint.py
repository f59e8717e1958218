"""The state of training on disk after every epoch, so that a training that broke off goes on where it was.

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
MOST_FILES, MOST_BYTES = 20, 500_000_000
HASH_BYTES = hashlib.sha256().digest_size


class DamagedError(Exception):
    """A checkpoint that is not what was written."""


class SealedFiles(CheckpointIO):
    """How Lightning reads and writes a checkpoint here: whole or not at all, and never unnoticed what was changed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint atomically."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        payload = content.getvalue()
        write_bytes(Path(path), hashlib.sha256(payload).digest() + payload)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint to the CPU.

        Raises:
            DamagedError: If it is not whole or holds more than numbers and names.
        """
        content = Path(path).read_bytes()
        if hashlib.sha256(content[HASH_BYTES:]).digest() != content[:HASH_BYTES]:
            raise DamagedError(f"{path}: is damaged (its hash is wrong)")
        try:
            return torch.load(io.BytesIO(content[HASH_BYTES:]), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise DamagedError(f"{path}: is damaged (it is no checkpoint of this pipeline)") from error

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def shared_folder(copy: Path) -> Path:
    """Where checkpoints lie for all copies of a repository: `logs/checkpoints` of the repository itself.

    DVC runs queued and `--temp` experiments in copies below `.dvc/tmp/exps` and deletes such a copy when its experiment
    fails.

    Args:
        copy: Root of the repository or of a copy.
    """
    for folder in copy.resolve().parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2] / CHECKPOINTS
    return copy / CHECKPOINTS


class Checkpoints(Checkpoint):
    """Writes one file for a training, anew after every epoch, and finds it again.

    Trainings that would go through other states write other files, so that many may run at once. Whoever writes one
    deletes the oldest where there are too many. The file of a finished training stays, too: its results may not have
    been stored, and where the learning rate is constant a training with more epochs may go on from it.

    Lightning calls a `Checkpoint` after all other callbacks, so that their state includes the epoch.
    """

    def __init__(self, folder: Path, identity: dict[str, str], is_stored: Callable[[], bool] = lambda: False) -> None:
        """Use a folder, which is made if missing.

        Args:
            folder: Where the files lie; nothing else should.
            identity: Everything that determines the state after an epoch; only a file with the same is gone on from.
            is_stored: Whether the results are safe, so that a finished training is asked for again on purpose.
        """
        self.is_stored = is_stored
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{fingerprint}.ckpt"

    def find(self, epochs: int) -> int:
        """Number of epochs after which a training of so many may go on from the file; 0: it starts over.

        If all epochs are done, only their results are left to write.

        Raises:
            DamagedError: If the file cannot be used.
        """
        try:
            checkpoint = SealedFiles().load_checkpoint(self.path)
        except FileNotFoundError:
            return 0
        if checkpoint.get("fingerprint") != self.path.stem:
            raise DamagedError(f"{self.path}: is damaged (it is of another training)")
        done = checkpoint["epochs_done"]
        return 0 if done > epochs or (done == epochs and self.is_stored()) else done

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what `find` asks for."""
        checkpoint |= {"fingerprint": self.path.stem, "epochs_done": trainer.current_epoch + 1}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path, weights_only=False)
        delete_oldest(self.path.parent)


def delete_oldest(folder: Path, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> None:
    """Delete the files of a folder that were written longest ago, until no more than so many and so much are left."""
    found = []
    for path in folder.iterdir():
        # Another training may delete or rename it meanwhile.
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for number, (_, size, path) in enumerate(sorted(found, reverse=True), start=1):
        total += size
        # The newest stays, however large.
        if number > 1 and (number > most_files or total > most_bytes):
            path.unlink(missing_ok=True)
