"""The files of a commit, or of the working tree as git would commit it, read only from git objects.

Nothing else is read: no DVC configuration or cache, no remote, no checkout. Files ignored by git are not included.
"""

import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pathspec import GitIgnoreSpec

from src.core.errors import UserError
from src.core.folder import ALWAYS_IGNORED, IGNORE, folder_md5
from src.revision.git import MAX_COMMIT_BYTES, NOTHING, Objects, list_files, open_objects, places, run_git
from src.revision.parsing import T, parse, validated

MAX_TOTAL_BYTES = 100_000_000  # All files read from a tree; one object may be many files.
MAX_NEW_BYTES = 500_000_000  # Files in the working tree that git neither has nor ignores.
LINK = "120000"
LFS = b"version https://git-lfs.github.com/spec/"  # How git's file begins if the content is elsewhere.
MAX_PATH = 4096  # Linux's limit; patterns are slow for longer paths.


class LinkError(UserError):
    """A symbolic link or nested repository in place of a file or folder."""


@dataclass(frozen=True)
class Entry:
    """A file or link: git's mode and the hash of the object."""

    mode: str
    oid: str


class Tree:
    """Files by path, relative to the project's folder and with forward slashes.

    If the project is in a subfolder of the git repository, paths outside of it start with `../`.
    """

    def __init__(self, name: str, entries: Mapping[str, Entry], objects: Objects) -> None:
        self.name = name
        self.entries = entries
        self._objects = objects
        self._left = MAX_TOTAL_BYTES
        self._md5: dict[str, str] = {}

    def has(self, path: str) -> bool:
        """Whether the file exists.

        Raises:
            LinkError: If the path contains a symbolic link or a nested repository.
        """
        for end in [*(place for place, char in enumerate(path) if char == "/"), len(path)]:
            entry = self.entries.get(path[:end])
            if entry and not entry.mode.startswith("100"):
                what = "symbolic link" if entry.mode == LINK else "repository of its own"
                raise LinkError(f"{path[:end]} of {self.name}: is a {what}, which is not followed")
        return path in self.entries

    def files(self, folder: str) -> dict[str, Entry]:
        """All files at a path: a single file, or those in the folder."""
        inside = f"{folder}/"
        return {path: entry for path, entry in self.entries.items() if path == folder or path.startswith(inside)}

    def read(self, path: str) -> bytes | None:
        """Content of a file, or None if it is missing.

        Raises:
            UserError: If the files that were read have more than MAX_TOTAL_BYTES, or this one is a symbolic link.
        """
        if not self.has(path):
            return None
        where = f"{path} of {self.name}"
        content = self._objects.read(self.entries[path].oid, "blob", MAX_TOTAL_BYTES, where)
        self._left -= len(content)
        if self._left < 0:
            raise UserError(f"{where}: at most {MAX_TOTAL_BYTES:,} bytes of a revision are read")
        return content

    def parse(self, path: str) -> Any:
        """Parse a YAML, JSON or TOML file.

        Raises:
            UserError: If the file is missing, malformed, or beyond the limits.
        """
        content = self.read(path)
        if content is None:
            raise UserError(f"{path} of {self.name}: is missing")
        return parse(content, path, f"{path} of {self.name}")

    def load(self, schema: type[T], path: str) -> T | None:
        """Read a YAML, JSON or TOML file as an instance of its schema, or None if it is missing.

        Raises:
            UserError: If the file is invalid, or beyond the limits.
        """
        return validated(schema, self.parse(path), f"{path} of {self.name}") if self.has(path) else None

    def md5(self, path: str, outside: Mapping[str, str | None] = NOTHING) -> str | None:
        """Hash of a file or folder as DVC computes it, or None if it is missing.

        Args:
            path: The file or folder.
            outside: Hashes of files in the folder that may be missing in git, by path.

        Raises:
            UserError: If it is or contains a symbolic link or a file in Git LFS, or a file outside of git has no hash.
        """
        if self.has(path):
            oid = self.entries[path].oid
            if oid not in self._md5:
                content = self.read(path) or b""
                if content.startswith(LFS):
                    raise UserError(f"{path} of {self.name}: is in Git LFS, which is not read; keep it in git itself")
                self._md5[oid] = hashlib.md5(content, usedforsecurity=False).hexdigest()
            return self._md5[oid]
        inside = self.files(path)
        if not inside and not outside:
            return None
        shown = {file: self.md5(file) for file in inside if not self.ignored.match_file(file)}
        files = {file.removeprefix(f"{path}/"): oid for file, oid in {**outside, **shown}.items()}
        known = {file: oid for file, oid in files.items() if oid and not oid.endswith(".dir")}
        if unknown := sorted(files.keys() - known.keys()):
            raise UserError(
                f"{path} of {self.name}: only DVC knows the files in {unknown[0]}; depend on it by its name"
            )
        return folder_md5(known)

    @cached_property
    def ignored(self) -> GitIgnoreSpec:
        """Patterns of files that DVC ignores, from the project's top folder.

        Raises:
            UserError: If they cannot be read, or if subfolders have more patterns.
        """
        if below := [path for path in self.entries if path.endswith(f"/{IGNORE}") and not path.startswith("../")]:
            raise UserError(f"{below[0]} of {self.name}: hides files from DVC; move its lines to {IGNORE}")
        return self.patterns(IGNORE, ALWAYS_IGNORED)

    def patterns(self, path: str, more: Sequence[str] = ()) -> GitIgnoreSpec:
        """Patterns of a file such as .gitignore, preceded by `more`; the file may be missing. Matching may be slow.

        Raises:
            UserError: If a line is not a pattern.
        """
        text = (self.read(path) or b"").decode(errors="replace")
        try:
            return GitIgnoreSpec.from_lines([*more, *map(str.strip, text.splitlines())])
        except ValueError as error:
            raise UserError(f"{path} of {self.name}: has a line that is not a pattern: {error}") from error


@contextmanager
def open_tree(root: Path, name: str, commit: str | None) -> Iterator[Tree]:
    """Open the files of a commit, or of the working tree.

    Args:
        root: Folder of the project.
        name: Name of the tree in error messages.
        commit: Full hash of the commit, or None for the working tree.

    Raises:
        UserError: If folders are beyond the limits or malformed, or the clone lacks one.
    """
    with TemporaryDirectory(prefix="tree-") as scratch:
        extra = {} if commit else _scratch_environment(root, Path(scratch))
        with open_objects(root, extra) as objects:
            if commit:
                first = objects.read(commit, "commit", MAX_COMMIT_BYTES, name).split(b"\n", 1)[0]
                tree = first.decode(errors="replace").removeprefix("tree ")
            else:
                tree = _write_tree(root, extra)
            yield Tree(name, _entries(root, tree, name, extra), objects)


def _scratch_environment(root: Path, scratch: Path) -> dict[str, str]:
    """Set up a copy of the index and a folder for new objects, so that nothing is written to the repository."""
    found = places(root)
    if found.index.exists():
        shutil.copy2(found.index, scratch / "index")  # With its times, which git uses to detect changes.
    (scratch / "objects/info").mkdir(parents=True)
    (scratch / "objects/info/alternates").write_bytes(os.fsencode(found.objects.resolve()) + b"\n")
    return {"GIT_INDEX_FILE": str(scratch / "index"), "GIT_OBJECT_DIRECTORY": str(scratch / "objects")}


def _write_tree(root: Path, extra: Mapping[str, str]) -> str:
    """Write the working tree as a tree object."""
    listing = run_git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", ":/", extra=extra)
    sizes = {path: _size(root / path) for path in os.fsdecode(listing).split("\0") if path}
    if sum(sizes.values()) > MAX_NEW_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        raise UserError(
            f"{largest}: has {sizes[largest]:,} bytes, and git neither has nor ignores it; name it in .gitignore"
        )
    run_git(root, "add", "--all", "--sparse", "--", ":/", extra=extra)
    return run_git(root, "write-tree", "--missing-ok", extra=extra).decode().strip()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # Removed in the meantime.
        return 0


def _entries(root: Path, tree: str, name: str, extra: Mapping[str, str]) -> dict[str, Entry]:
    """All files, by path relative to the project."""
    prefix = places(root).prefix
    found: dict[str, Entry] = {}
    seen = {""}
    for line in os.fsdecode(list_files(root, tree, name, extra)).split("\0")[:-1]:
        words, path = line.split("\t", 1)
        mode, kind, oid = words.split()
        bad = len(path) >= MAX_PATH or any(part.lower() in {"", ".", "..", ".git"} for part in path.split("/"))
        if bad or path in seen or posixpath.dirname(path) not in seen:
            raise UserError(f"{path} of {name}: is not a path that git can check out, or appears twice")
        seen.add(path)
        if kind != "tree":
            short = path.removeprefix(prefix) if path.startswith(prefix) else posixpath.relpath(path, prefix)
            found[short] = Entry(mode, oid)
    return found
