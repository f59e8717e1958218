"""What would make a run fail, found before it starts, without torch: DVC deletes the last results before each stage."""

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from dvc.config import Config

from src.core.errors import UserError
from src.guard.explain import missing
from src.mnist.model.params import Params
from src.mnist.model.split import held_out

# Training images of each class. The hashes of MNIST's files fix its numbers. Nothing is known about an unlisted data
# set before it is fetched; the train stage repeats the checks.
CLASS_COUNTS = {
    "mnist": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "digits": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
}
# The learning rates of all steps are computed beforehand: 40 MB, and about 400 MB while computing.
MAX_STEPS = 10_000_000
# MNIST unpacked and its copy in the cache take 110 MB; checkpoints, model and their copies 40 MB.
NEEDED_BYTES = 200_000_000
# Measured when training MNIST on a CPU: 1.0 GB of memory and 4.1 GB of address space.
MEMORY_BYTES = 1_200_000_000
ADDRESS_SPACE_BYTES = 4_500_000_000
# Enough for MNIST's unpacked images and for the checkpoint of a large recipe.
FILE_BYTES = 50_000_000
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_sizes(params: Params) -> None:
    """Check val_fraction, batch_size, shards and epochs against the number of images.

    Raises:
        UserError: If a class would be missing from a part, a batch would be larger than the training part, shards would
            not be equal, or training would have too many steps.
    """
    if params.batch_size % params.shards:
        raise UserError(
            f"params.yaml: batch_size must be a multiple of shards, which is {params.shards}, got {params.batch_size}"
        )
    if params.dataset not in CLASS_COUNTS:
        return
    counts = CLASS_COUNTS[params.dataset]
    training = sum(n - held_out(n, params.val_fraction, label) for label, n in enumerate(counts))
    if params.batch_size > training:
        raise UserError(
            f"params.yaml: batch_size must be at most {training}, the training images, got {params.batch_size}"
        )
    steps = params.epochs * -(-training // params.batch_size)
    if steps > MAX_STEPS:
        raise UserError(
            f"params.yaml: epochs and batch_size make {steps} optimizer steps, at most {MAX_STEPS} are possible; "
            "lower epochs or raise batch_size"
        )


def check_disk(folder: Path) -> None:
    """Check that a folder, created if missing, is writable and that its disk has space for a whole run.

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


def check_not_linked(folders: Iterable[Path]) -> None:
    """Check that output folders are not links: through one, DVC would delete and write files that git does not see.

    Raises:
        UserError: If one is a symbolic link.
    """
    for folder in folders:
        if folder.is_symlink():
            raise UserError(
                f"{folder}: is a symbolic link to {folder.readlink()}; make it a folder "
                "(`dvc cache dir` moves the large files to another disk)"
            )


def check_packages(requirements: Path) -> None:
    """Check that every pinned package is installed, in any version; receipts record the versions.

    Raises:
        UserError: If one is not.
    """
    for name in re.findall(r"^([\w.-]+)==", requirements.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            version(name)
        except PackageNotFoundError as error:
            raise UserError(missing(f"package {name}")) from error


def check_limits(processes: int = 1) -> None:
    """Check that memory and limits suffice: out of memory, training would end inside a library with any message.

    Args:
        processes: How many will train on this machine.

    Raises:
        UserError: If a limit or the free memory is below what is needed.
    """
    limits = {
        "ulimit -v": (resource.getrlimit(resource.RLIMIT_AS)[0], ADDRESS_SPACE_BYTES),
        "ulimit -f": (resource.getrlimit(resource.RLIMIT_FSIZE)[0], FILE_BYTES),
    }
    memory = processes * MEMORY_BYTES
    limits |= {str(path): (int(text), memory) for path in CGROUP_LIMITS if (text := _read(path)).isdecimal()}
    limits["free memory"] = (psutil.virtual_memory().available + psutil.swap_memory().free, memory)
    for name, (there, needed) in limits.items():
        if there != resource.RLIM_INFINITY and there < needed:
            raise UserError(
                f"{name}: {needed >> 20} MiB are needed, {there >> 20} MiB are there; raise the limit or free some"
            )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def cache_folder(root: Path = Path()) -> Path:
    """Where DVC keeps its objects, as configured for the repository in `root`."""
    dvc_dir = root.resolve() / ".dvc"
    return Path(Config(dvc_dir=os.fspath(dvc_dir))["cache"].get("dir") or dvc_dir / "cache")
