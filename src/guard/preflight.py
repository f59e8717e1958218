"""Checks before a run, without torch, because DVC deletes the last results before each stage.

Every check raises UserError.
"""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil
from dvc.config import Config

from src.core.copies import original
from src.core.errors import UserError
from src.core.files import SCRATCH

RLIMITS = {"ulimit -d": resource.RLIMIT_DATA, "ulimit -s": resource.RLIMIT_STACK, "ulimit -v": resource.RLIMIT_AS}
# Control groups of this process, and the file with the memory limit of one, in both versions of the interface.
GROUPS, CGROUP = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
CGROUP_LIMITS = {"": (CGROUP, "memory.max"), "memory": (CGROUP / "memory", "memory.limit_in_bytes")}


def check_disk(folder: Path, needed: int) -> None:
    """Check that a folder, created if missing, is writable and that its disk has `needed` free bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Some file systems do not support unnamed files, so the probe has a name that the guard ignores.
        with tempfile.TemporaryFile(dir=folder, suffix=SCRATCH) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); make it writable") from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{folder}: {needed >> 20} MiB of disk are needed, {free >> 20} MiB are free; free some")


def check_not_linked(folders: Iterable[Path]) -> None:
    """Check that output folders are not links, through which DVC would delete and write files outside of git."""
    for folder in folders:
        if folder.is_symlink():
            raise UserError(
                f"{folder}: is a symbolic link to {folder.readlink()}; make it a folder "
                "(`dvc cache dir` moves the large files to another disk)"
            )


def check_other_folders(project: Path) -> None:
    """Check that libraries write outside the project, where the guard would take each file for an undeclared output."""
    for variable, folder in {"TMPDIR": tempfile.gettempdir(), "HOME": os.environ.get("HOME", "/")}.items():
        if Path(folder).resolve().is_relative_to(original(project)):
            raise UserError(f"{folder}: libraries would write to the project; set {variable} to a folder outside it")


def check_limits(needs: Mapping[str, int]) -> None:
    """Check that memory and limits are sufficient; otherwise, a library may fail with an arbitrary message.

    Args:
        needs: Bytes that a process needs, by the name of the limit, such as `ulimit -v`; `memory` of all processes.
    """
    limits = {name: (resource.getrlimit(number)[0], needs[name]) for name, number in RLIMITS.items()}
    for path in _cgroup_files():
        if path.exists() and (text := path.read_text(encoding="utf-8").strip()).isdecimal():
            limits[str(path)] = int(text), needs["memory"]
    limits["free memory"] = psutil.virtual_memory().available + psutil.swap_memory().free, needs["memory"]
    for name, (there, needed) in limits.items():
        if there != resource.RLIM_INFINITY and there < needed:
            raise UserError(
                f"{name}: {needed >> 10} KiB are needed, {there >> 10} KiB are there; raise the limit or free some"
            )


def _cgroup_files() -> Iterator[Path]:
    """Files that may have a limit for this process: that of a group limits all groups in it, as in a batch system."""
    for line in GROUPS.read_text(encoding="utf-8").splitlines() if GROUPS.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers in CGROUP_LIMITS:
            top, name = CGROUP_LIMITS[controllers]
            yield from (top / folder / name for folder in Path(group.lstrip("/"), name).parents)


def cache_folder(root: Path = Path()) -> Path:
    """Folder of DVC's cache, as configured for the repository in `root`."""
    dvc_dir = root.resolve() / ".dvc"
    return Path(Config(dvc_dir=os.fspath(dvc_dir))["cache"].get("dir") or dvc_dir / "cache")
