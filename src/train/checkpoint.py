"""The state of training on disk after every epoch, so that a training that broke off goes on where it was.

A file is the SHA-256 of the rest, then what `torch.save` writes. It is read with `weights_only=True`, so that nothing
in it runs.
"""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src.core.files import write_bytes

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
            raise DamagedError("its hash is wrong")
        try:
            return torch.load(io.BytesIO(content[HASH_BYTES:]), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise DamagedError("it is no checkpoint of this pipeline") from error

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class Checkpoints(Checkpoint):
    """Writes one file an epoch over the last one's, and finds the file from which a training may go on.

    The last epoch has a file of its own, from which a training with more epochs may go on. The same training, if it
    broke off while it wrote its results, does the last epoch again: where none is left Lightning does nothing at all.
    Lightning calls a `Checkpoint` after all other callbacks, so that their state includes the epoch.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        """Use a folder, which is made if missing.

        Args:
            folder: Where the files lie; nothing else should.
            identity: Everything that determines the state after an epoch; only a file with the same is gone on from.
        """
        self.unfinished, self.finished = folder / "unfinished.ckpt", folder / "finished.ckpt"
        self.fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.damaged: list[str] = []

    def find(self, epochs: int) -> tuple[Path, int] | None:
        """The file to go on from and the number of epochs that are done, for a training of so many; None: start over.

        Files that cannot be used because they are damaged are described in `damaged`, one line each.
        """
        found = [(path, self._epochs_done(path)) for path in (self.unfinished, self.finished)]
        return max((item for item in found if 0 < item[1] < epochs), key=lambda item: item[1], default=None)

    def _epochs_done(self, path: Path) -> int:
        """Epochs after which the file was written, 0 if it cannot be used."""
        try:
            checkpoint = SealedFiles().load_checkpoint(path)
        except FileNotFoundError:
            return 0
        except DamagedError as error:
            self.damaged.append(f"{path}: is damaged ({error}); training does not go on from it")
            return 0
        return checkpoint["epochs_done"] if checkpoint["fingerprint"] == self.fingerprint else 0

    def finish(self) -> None:
        """Forget the training that is finished now, its results being written."""
        self.unfinished.unlink(missing_ok=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what `find` asks for."""
        checkpoint |= {"fingerprint": self.fingerprint, "epochs_done": trainer.current_epoch + 1}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.save_checkpoint(self.finished if last else self.unfinished, weights_only=False)
