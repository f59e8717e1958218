"""Notes what a stage writes, so that its guard can check the outputs."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

_places: Collection[str] = ()
_written: dict[str, str] = {}


@contextmanager
def noting_writes(places: Collection[str]) -> Iterator[Mapping[str, str]]:
    """While active, note what this process writes.

    Args:
        places: Files and folders, relative to the current directory. Nothing else is noted, since hashing takes time.

    Yields:
        Hexadecimal MD5 of the content last written to each file, by path relative to the current directory; it grows.
    """
    global _places, _written
    _places, _written = places, {}
    try:
        yield _written
    finally:
        _places = ()


def note_write(path: Path, content: bytes) -> None:
    """Note the content that is about to be written to a file."""
    if not _places:
        return
    name = os.path.relpath(path)
    if is_within(name, _places):
        _written[name] = md5(content).hexdigest()


def is_within(name: str, places: Collection[str]) -> bool:
    """Whether a path is one of these files, or lies in one of these folders."""
    return any(name == place or name.startswith(f"{place}/") for place in places)
