"""Files that appear whole or not at all."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import psutil


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename: a reader sees the old file or the new one, never a part.

    Args:
        path: Target; its folder is made if missing.
        content: The whole new content.

    Raises:
        OSError: If the disk is full or the folder is read-only; the old file is then still in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since a rename is atomic within one file system only; by process, since two may write at once.
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _sweep(path)
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote to the path."""
    for scratch in path.parent.glob(f".{path.name}.*.tmp"):
        if not psutil.pid_exists(int(scratch.suffixes[-2][1:])):
            scratch.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline, whole or not at all.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
