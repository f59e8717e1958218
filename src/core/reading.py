"""Reads inputs so that a stage's guard can check what was read."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

from src.core.errors import UserError

_expected: Mapping[str, str] = {}


@contextmanager
def expecting(expected: Mapping[str, str]) -> Iterator[None]:
    """While active, refuse to read these files with any other content.

    Args:
        expected: Hexadecimal MD5 by path, relative to the current directory.
    """
    global _expected
    _expected = expected
    try:
        yield
    finally:
        _expected = {}


def read_input(path: Path) -> bytes:
    """Content of a file.

    Raises:
        UserError: If the guard expects different content.
    """
    content = path.read_bytes()
    check_read(os.path.relpath(path), content)
    return content


def check_read(name: str, content: bytes) -> None:
    """Check content that was read against the hash that the guard expects for this path, if any.

    Raises:
        UserError: If it differs.
    """
    if name in _expected and md5(content).hexdigest() != _expected[name]:
        raise UserError(f"{name} changed during the run, so its result is void; run `dvc repro` again")
