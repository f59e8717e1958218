"""Files of one revision as bytes: a commit's from git's objects, the working tree's from the disk.

Nothing else is read: no DVC configuration or cache, no remote, no checkout. Git may not use the network.
"""

import hashlib
import os
import re
import stat
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from src.core.errors import UserError
from src.core.receipt import folder_md5
from src.report.git import git_environment, run_git

IGNORE = ".dvcignore"
# What DVC ignores in every repository.
ALWAYS_IGNORED = (".hg/", ".git/", ".git", ".dvc/")
# A pattern becomes a regular expression that takes time proportional to (length of the path) ** (number of stars).
MAX_STARS = 3
MAX_IGNORE_BYTES = 20_000
MAX_TOTAL_BYTES = 100_000_000  # of all files that are read from a commit; one object may be many files
MAX_LISTING_BYTES = 16_000_000  # of `git ls-tree`, about 200,000 files


class LinkError(UserError):
    """A symbolic link stands where a file or folder was expected."""


class Snapshot(ABC):
    """Files by path, relative to the root of the repository and with forward slashes."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def _size(self, path: str) -> int | None:
        """Size of a file in bytes, or None if there is no such file.

        Raises:
            LinkError: If the path leads through a symbolic link.
        """

    @abstractmethod
    def _content(self, path: str) -> bytes:
        """Content of an existing file."""

    @abstractmethod
    def _files_under(self, folder: str) -> list[str]:
        """Paths of all files under a folder; empty if there is no such folder.

        Raises:
            LinkError: If one of them is a symbolic link or a nested repository.
        """

    @abstractmethod
    def everything(self) -> list[str]:
        """Paths of all files; in the working tree, only those that git does not ignore."""

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._size(path) is not None

    def read(self, path: str, largest: int) -> bytes | None:
        """Content of a file, or None if there is no such file.

        Raises:
            UserError: If it has more bytes than `largest`, or is a symbolic link.
        """
        size = self._size(path)
        if size is None:
            return None
        if size > largest:
            raise UserError(f"{path} of {self.name}: expected at most {largest:,} bytes, got {size:,}")
        return self._content(path)

    def md5(self, path: str) -> str | None:
        """Hash of a file or folder as DVC computes it, or None if there is neither.

        Raises:
            UserError: If it is or contains a symbolic link.
        """
        if self._size(path) is not None:
            return self._md5(path)
        files = self._files_under(path)
        if not files:
            return None
        hidden = self._ignored()
        return folder_md5(
            {file.removeprefix(f"{path}/"): self._md5(file) for file in files if not hidden.match_file(file)}
        )

    def _md5(self, path: str) -> str:
        return hashlib.md5(self._content(path), usedforsecurity=False).hexdigest()

    def _ignored(self) -> GitIgnoreSpec:
        text = (self.read(IGNORE, MAX_IGNORE_BYTES) or b"").decode(errors="replace")
        if any(len(re.findall(r"\*+", line)) > MAX_STARS for line in text.splitlines()):
            raise UserError(f"{IGNORE} of {self.name}: expected at most {MAX_STARS} stars in a line")
        try:
            return GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *text.splitlines()])
        except ValueError as error:
            raise UserError(f"{IGNORE} of {self.name}: has a line that is not a pattern: {error}") from error


@dataclass(frozen=True)
class _Entry:
    """One line of `git ls-tree`."""

    mode: str
    object_name: str
    size: int


class Commit(Snapshot):
    """A commit, read through one `git cat-file`."""

    def __init__(self, name: str, root: Path, commit: str, blobs: "subprocess.Popen[bytes]") -> None:
        super().__init__(name)
        self._entries = _list_tree(name, root, commit)
        self._blobs = blobs
        self._left = MAX_TOTAL_BYTES

    def _size(self, path: str) -> int | None:
        entry = self._entries.get(path)
        if entry is None:
            for end in (place for place, char in enumerate(path) if char == "/"):
                if path[:end] in self._entries:
                    self._check_kind(path[:end])
            return None
        self._check_kind(path)
        return entry.size

    def _content(self, path: str) -> bytes:
        self._check_kind(path)
        entry = self._entries[path]
        self._left -= entry.size
        if self._left < 0:
            raise UserError(f"{path} of {self.name}: the report reads at most {MAX_TOTAL_BYTES:,} bytes of a commit")
        requests, answers = self._blobs.stdin, self._blobs.stdout
        assert requests is not None
        assert answers is not None
        requests.write(f"{entry.object_name}\n".encode())
        requests.flush()
        if answers.readline() != f"{entry.object_name} blob {entry.size}\n".encode():
            raise UserError(f"{path} of {self.name}: git cannot read it; try `git fsck`")
        content = answers.read(entry.size)
        answers.read(1)
        return content

    def _files_under(self, folder: str) -> list[str]:
        files = [path for path in self._entries if path.startswith(f"{folder}/")]
        for path in files:
            self._check_kind(path)
        return files

    def everything(self) -> list[str]:
        """All files of the commit."""
        return list(self._entries)

    def _check_kind(self, path: str) -> None:
        mode = self._entries[path].mode
        if not mode.startswith("100"):
            what = "symbolic link" if mode == "120000" else "repository of its own"
            raise LinkError(f"{path} of {self.name}: is a {what}, which the report does not follow")


class WorkingTree(Snapshot):
    """The files on the disk, with no symbolic link followed."""

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name)
        self._root = root

    def _size(self, path: str) -> int | None:
        state = self._state(path)
        return state.st_size if state and stat.S_ISREG(state.st_mode) else None

    def _content(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise UserError(f"{path} of {self.name}: cannot be read: {error.strerror}") from error

    def _files_under(self, folder: str) -> list[str]:
        state = self._state(folder)
        if state is None or not stat.S_ISDIR(state.st_mode):
            return []
        files: list[str] = []
        folders = [folder]
        while folders:
            current = folders.pop()
            for entry in os.scandir(self._root / current):
                path = f"{current}/{entry.name}"
                if entry.is_symlink():
                    raise LinkError(f"{path} of {self.name}: is a symbolic link, which the report does not follow")
                (folders if entry.is_dir() else files).append(path)
        return files

    def everything(self) -> list[str]:
        """Files that git tracks or would track."""
        listing = run_git(self._root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return [path for path in os.fsdecode(listing).split("\0") if path and self._state(path, strict=False)]

    def _state(self, path: str, strict: bool = True) -> os.stat_result | None:
        """State of a path; checks every part of it, since any of them may be a link."""
        current, state = self._root, None
        for part in path.split("/"):
            current /= part
            try:
                state = current.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            if strict and stat.S_ISLNK(state.st_mode):
                raise LinkError(f"{path} of {self.name}: is a symbolic link, which the report does not follow")
        return state


@contextmanager
def open_snapshot(root: Path, name: str, commit: str | None) -> Iterator[Snapshot]:
    """The files of a commit, or of the working tree.

    Args:
        root: Top folder of the repository.
        name: What to call it in errors.
        commit: Its full hash, or None for the working tree.
    """
    if commit is None:
        yield WorkingTree(name, root)
        return
    command = ["git", "cat-file", "--batch"]
    with subprocess.Popen(
        command, cwd=root, env=git_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as blobs:
        try:
            yield Commit(name, root, commit, blobs)
        finally:
            blobs.kill()


def _list_tree(name: str, root: Path, commit: str) -> dict[str, _Entry]:
    command = ["git", "ls-tree", "-r", "-z", "-l", "--full-tree", commit]
    with subprocess.Popen(command, cwd=root, env=git_environment(), stdout=subprocess.PIPE) as listing:
        assert listing.stdout
        text = listing.stdout.read(MAX_LISTING_BYTES + 1)
        if len(text) > MAX_LISTING_BYTES:
            listing.kill()
            raise UserError(
                f"{name}: has too many files; the report reads at most {MAX_LISTING_BYTES:,} bytes of their names"
            )
    if listing.returncode:
        raise UserError(f"{name}: git cannot list its files; try `git fsck`")
    entries: dict[str, _Entry] = {}
    for line in text.split(b"\0")[:-1]:
        state, _, raw = line.partition(b"\t")
        mode, _, object_name, size = state.decode().split()
        path = os.fsdecode(raw)
        if not size.isdigit() and size != "-":
            raise UserError(f"{path} of {name}: git cannot read it; try `git fsck`")
        if path in entries or {"", ".", "..", ".git"} & set(path.split("/")):
            raise UserError(f"{path} of {name}: is not a path that git can check out, or appears twice")
        entries[path] = _Entry(mode, object_name, 0 if size == "-" else int(size))
    for path in entries:
        if any(path[:end] in entries for end, char in enumerate(path) if char == "/"):
            raise UserError(f"{path} of {name}: is in a folder that is a file, too")
    return entries
