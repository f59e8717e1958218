"""Atomic writes, and hashes of files."""

import csv
import hashlib
import io
import json
import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# MD5 of the content that this process last wrote to each file, by absolute path.
written: dict[str, str] = {}
# Suffix of files that are still being written.
SCRATCH = ".tmp"


def write_bytes(path: Path, content: bytes) -> None:
    """Write next to the target, flush to disk, rename: a reader sees the old file or the new one, never a partial one.

    Args:
        path: Target; its folder is created if missing.
        content: The complete new content.

    Raises:
        OSError: If the disk is full or the folder is read-only; the old file is kept.
    """
    scratch = _scratch(path)
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        written[os.path.abspath(path)] = hashlib.md5(content).hexdigest()  # noqa: PTH100 - links are not followed
    except OSError as error:
        # If the disk is full, the system's error does not name the file.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        scratch.unlink(missing_ok=True)


def _scratch(path: Path) -> Path:
    """Choose a free name next to the path, and remove leftovers of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other machines may write to this folder; their processes are not visible from here.
    own = f".{path.name}.{platform.node()}"
    pattern = re.compile(rf"{re.escape(own)}\.(\d+){SCRATCH}")
    for left in path.parent.iterdir():
        found = pattern.fullmatch(left.name)
        # In containers, a killed process and this one often have the same id.
        if found and (int(found[1]) == os.getpid() or not _is_running(int(found[1]))):
            left.unlink(missing_ok=True)
    # Next to the target, because a rename is atomic only within one file system. One per process, because two may write
    # concurrently.
    return path.with_name(f"{own}.{os.getpid()}{SCRATCH}")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # Another user's process.
    return True


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline, atomically.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write CSV with a header, atomically; missing values are left empty.

    Raises:
        ValueError: If a row has additional columns.
    """
    # Not pandas, whose import takes as long as the entire startup of a light stage.
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def md5(path: Path) -> str:
    """Hexadecimal MD5 of a file's content, the hash that DVC uses."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def is_within(name: str, places: Collection[str]) -> bool:
    """Whether a path is one of these files, or is in one of these folders."""
    return any(name == place or name.startswith(f"{place}/") for place in places)
