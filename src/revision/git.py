"""Resolves names of commits, and reads git objects under limits.

Git cannot use the network, and nothing in the repository is changed.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from src.core.errors import UserError

# A partial clone would fetch missing objects, and a replaced object does not match its hash.
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
SETTINGS = [
    word
    for setting in (
        "core.warnAmbiguousRefs=true",
        # Hooks may be in the working tree, where the branch controls them.
        *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.untrackedCache=false", "core.splitIndex=false"),
        *("core.autocrlf=false", "core.safecrlf=false", "core.compression=0"),
    )
    for word in ("-c", setting)
]
HASH = re.compile(r"[0-9a-f]{40}")
MAX_COMMIT_BYTES = 1_000_000  # Commit with its message.
MAX_LISTING_BYTES = 20_000_000  # Names of all files and folders.
# These variables would point git to another repository or index, or change how it reads paths, as in a hook.
POINTING = re.compile(r"GIT_(?!CONFIG)")
NOTHING: Mapping[str, str] = MappingProxyType({})


class UnreadableError(Exception):
    """Git cannot read an object: the clone is at fault, not the branch. `open_objects` makes it a UserError."""


def own_environment() -> dict[str, str]:
    """The environment of this process for a git that must find its repository from the current directory."""
    return {name: value for name, value in os.environ.items() if not POINTING.match(name)}


def run_git(root: Path, *words: str, extra: Mapping[str, str] = NOTHING, fails: int = 1) -> bytes:
    """Output of a git command, with additional environment variables.

    Raises:
        UserError: If the exit code is at least `fails`.
    """
    done = _git(root, *words, extra=extra)
    if done.returncode not in range(fails):
        complaint = " ".join(done.stderr.decode(errors="replace").split())
        raise UserError(f"git {words[0]}: {complaint or f'failed with exit code {done.returncode}'}")
    return done.stdout


@dataclass(frozen=True)
class Places:
    """Git's paths for a folder of a repository.

    Attributes:
        top: Top folder of the repository.
        prefix: Path of the folder relative to `top`, with a trailing slash; empty for the top folder itself.
        index: The index file.
        objects: Folder of all objects.
        shallow: File that lists the commits whose parents the clone lacks; it may not exist.
    """

    top: Path
    prefix: str
    index: Path
    objects: Path
    shallow: Path


@lru_cache
def places(folder: Path) -> Places:
    """Find the paths of the repository that contains a folder, which is given by its absolute path.

    Raises:
        UserError: If there is no git repository, or DVC cannot read it.
    """
    inner = [word for name in ("index", "objects", "shallow") for word in ("--git-path", name)]
    words = ("rev-parse", "--show-object-format", "--show-toplevel", "--show-prefix", *inner)
    try:
        lines = os.fsdecode(run_git(folder, *words)).split("\n")
    except (UserError, FileNotFoundError) as error:
        raise UserError(f"{folder}: expected a folder of a git repository; {error}") from error
    match lines:
        case ["sha1", top, prefix, index, objects, shallow, ""]:
            return Places(Path(top), prefix, folder / index, folder / objects, folder / shallow)
        case [name, top, *_] if name != "sha1":
            advice = "begin another with `git init --object-format=sha1`"
            raise UserError(f"{top}: expected a git repository with SHA-1 names, got {name}, unknown to DVC; {advice}")
    raise UserError(f"{folder}: expected a path without line breaks")


def find_root() -> Path:
    """Folder of the project that contains the current directory: the nearest with a .dvc folder, or git's top folder.

    Raises:
        UserError: If there is no git repository.
    """
    here = Path().resolve()
    top = places(here).top
    within = [folder for folder in (here, *here.parents) if folder.is_relative_to(top)]
    return next((folder for folder in within if (folder / ".dvc").is_dir()), top)


def find_commit(root: Path, name: str) -> str:
    """Full hash of the commit with this name, which may be anything that git accepts.

    Raises:
        UserError: If there is no such commit, or the name is ambiguous. Git prefers a tag to a branch of the same name,
            and either to a short hash, and `git fetch` also fetches tags.
    """
    if not name:
        raise UserError("expected the name of a revision, such as main, got an empty string")
    oid = _look_up(root, name)
    # Of a tag, it is another commit; a name such as `:/text` cannot have this suffix.
    if oid and (commit := _look_up(root, f"{oid}^{{commit}}")):
        return commit
    # This works even if the clone is configured to fetch only one branch.
    every = "try `git fetch --tags origin '+refs/heads/*:refs/remotes/origin/*'`; the remote's are called origin/NAME"
    raise UserError(f"{name}: is not a revision in this clone; {_incomplete(root) or every}")


def merge_bases(root: Path, base: str, head: str) -> list[str]:
    """Hashes of all merge bases of two commits; empty if their histories have no commit in common.

    Raises:
        UserError: If the clone lacks commits that may include a later merge base.
    """
    if (shallow := places(root).shallow).exists():
        apart = run_git(root, "rev-list", f"{base}...{head}", "--").decode()
        if {*shallow.read_text().split()} & {*apart.split()}:
            raise UserError(f"{base[:7]} and {head[:7]}: where they parted is not in this clone; {_incomplete(root)}")
    return run_git(root, "merge-base", "--all", base, head, fails=2).decode().split()


def list_files(root: Path, tree: str, where: str, extra: Mapping[str, str] = NOTHING) -> bytes:
    """Output of `git ls-tree` for everything in a tree, with a null character after each file and folder.

    It includes folders, so that git cannot work for long without output, which is limited. Errors name the tree as
    `where`.

    Raises:
        UserError: If the listing is too long.
        UnreadableError: If the clone lacks a part of the tree.
    """
    with _running(root, "ls-tree", "-r", "-t", "-z", "--full-tree", tree, extra=extra) as process:
        assert process.stdout
        listing = process.stdout.read(MAX_LISTING_BYTES + 1)
        if len(listing) > MAX_LISTING_BYTES:
            raise UserError(f"{where}: has too many files and folders; {MAX_LISTING_BYTES:,} bytes of names are read")
        if process.wait():
            raise _unreadable(root, where)
        return listing


class Objects:
    """Git objects by full hash, read through two `git cat-file`: one gives their sizes, the other their contents."""

    def __init__(self, root: Path, sizes: "subprocess.Popen[bytes]", contents: "subprocess.Popen[bytes]") -> None:
        self._root = root
        self._sizes = sizes
        self._contents = contents

    def read(self, oid: str, kind: str, largest: int, where: str) -> bytes:
        """Read a `commit` or `blob` of at most `largest` bytes; errors name it as `where`.

        Raises:
            UserError: If the object is larger.
            UnreadableError: If the clone lacks it.
        """
        match self._ask(self._sizes, oid).split(" ") if HASH.fullmatch(oid) else []:
            case [_, found, digits] if found == kind:
                size = int(digits)
                if size > largest:
                    raise UserError(f"{where}: expected at most {largest:,} bytes, got {size:,}")
                if self._ask(self._contents, oid) == f"{oid} {kind} {size}":
                    assert self._contents.stdout
                    content = self._contents.stdout.read(size + 1)
                    if len(content) == size + 1:
                        return content[:-1]
        raise _unreadable(self._root, where)

    def _ask(self, process: "subprocess.Popen[bytes]", oid: str) -> str:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{oid}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return process.stdout.readline().decode(errors="replace").rstrip("\n")


@contextmanager
def open_objects(root: Path, extra: Mapping[str, str] = NOTHING) -> Iterator[Objects]:
    """Open the objects of the repository that contains a folder.

    Raises:
        UserError: If the clone lacks an object that is read within the context.
    """
    # Not `--batch-command`, which Ubuntu 22.04's git does not have.
    with (
        _running(root, "cat-file", "--batch-check", extra=extra) as sizes,
        _running(root, "cat-file", "--batch", extra=extra) as contents,
    ):
        try:
            yield Objects(root, sizes, contents)
        except UnreadableError as error:
            raise UserError(str(error)) from error


def _unreadable(root: Path, where: str) -> UnreadableError:
    return UnreadableError(f"{where}: git cannot read it; {_incomplete(root) or 'run `git fsck`'}")


def _incomplete(root: Path) -> str | None:
    """How to complete a shallow or partial clone, or None if the clone is neither."""
    if places(root).shallow.exists():
        return "the clone is shallow: run `git fetch --unshallow`"
    if run_git(root, "config", "--get-regexp", r"^remote\..*\.promisor$", fails=2):
        return "the clone is partial: run `git fetch --refetch --no-filter`"
    return None


def _look_up(root: Path, name: str) -> str:
    """Hash of the object with this name, or an empty string.

    Raises:
        UserError: If the name is ambiguous.
    """
    if "\0" in name:  # No argument of a program can have it.
        return ""
    done = _git(root, "rev-parse", "--verify", "--end-of-options", name)
    # A whole hash means its object, even if there is a tag of that name.
    if b"is ambiguous" in done.stderr and not HASH.match(name):
        raise UserError(
            f"{name}: is the name of more than one tag, branch or commit; "
            f"give the whole name, such as refs/heads/{name}, or the whole hash"
        )
    oid = done.stdout.decode(errors="replace").strip()
    return oid if HASH.fullmatch(oid) else ""


def _git(root: Path, *words: str, extra: Mapping[str, str] = NOTHING) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(**_call(root, words, extra), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)


@contextmanager
def _running(root: Path, *words: str, extra: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a git command, which is killed on exit if it is still running."""
    process = subprocess.Popen(**_call(root, words, extra), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _call(root: Path, words: Sequence[str], extra: Mapping[str, str]) -> dict[str, Any]:
    environment = {**own_environment(), **ENVIRONMENT, **extra}
    return {"args": ["git", *SETTINGS, *words], "cwd": root, "env": environment, "stdout": subprocess.PIPE}
