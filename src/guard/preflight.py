"""What would make a run fail, found before it starts, without torch: DVC deletes the last results before each stage."""

import os
import shutil
import tempfile
from pathlib import Path

from dvc.config import Config

from src.core.errors import UserError
from src.model.params import Params
from src.model.split import held_out

# Training images of each class. MNIST's numbers are fixed by the hashes of its files. Of a data set that is not listed
# here, nothing is known before it is fetched; the train stage checks the same.
CLASS_COUNTS = {
    "mnist": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "digits": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
}
# MNIST unpacked and its copy in the cache take 110 MB; checkpoints, model and their copies 40 MB.
NEEDED_BYTES = 200_000_000


def check_sizes(params: Params) -> None:
    """Check what only the number of images can tell about val_fraction and batch_size.

    Raises:
        UserError: If a class would be missing from a part, or a batch be larger than the training part.
    """
    if params.dataset not in CLASS_COUNTS:
        return
    counts = CLASS_COUNTS[params.dataset]
    training = sum(n - held_out(n, params.val_fraction, label) for label, n in enumerate(counts))
    if params.batch_size > training:
        raise UserError(
            f"params.yaml: batch_size must be at most {training}, the training images, got {params.batch_size}"
        )


def check_room(folder: Path) -> None:
    """Check that files can be written to a folder, which is made if missing, and that there is room for a whole run.

    Raises:
        UserError: If it is read-only or too full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); make it writable") from error
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise UserError(f"{folder}: {NEEDED_BYTES >> 20} MiB of disk are needed, {free >> 20} MiB are free; free some")


def cache_folder(root: Path = Path()) -> Path:
    """Where DVC keeps its objects, as configured for the repository in `root`."""
    dvc_dir = root.resolve() / ".dvc"
    return Path(Config(dvc_dir=os.fspath(dvc_dir))["cache"].get("dir") or dvc_dir / "cache")
