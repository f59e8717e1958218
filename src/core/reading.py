"""Reading inputs in a way that the guard of a stage can check."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

from src.core.errors import UserError

_expected: Mapping[str, str] = {}


@contextmanager
def expecting(expected: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile, refuse to read any other content of these files.

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
        UserError: If the guard expects another content.
    """
    content = path.read_bytes()
    check_read(os.path.relpath(path), content)
    return content


def check_read(name: str, content: bytes) -> None:
    """Hold content that was read against what the guard expects of this path, if it expects anything.

    Raises:
        UserError: If it is another.
    """
    if name in _expected and md5(content).hexdigest() != _expected[name]:
        raise UserError(f"{name} changed during the run, so its result is void; run `dvc repro` again")
