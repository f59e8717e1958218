"""Commits by their names, and git objects under limits.

Git may not use the network, and nothing in the repository is changed.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

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
SETTINGS = ("-c", "core.warnAmbiguousRefs=true", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")
COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_COMMIT_BYTES = 1_000_000  # of a commit or tag with its message
MAX_TAGS = 5  # a tag may point to a tag


NOTHING: Mapping[str, str] = MappingProxyType({})


def _environment(extra: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """The environment for a git process."""
    return {**os.environ, **ENVIRONMENT, **extra}


def run_git(root: Path, *words: str, extra: Mapping[str, str] = NOTHING) -> bytes:
    """Output of a git command.

    Args:
        root: Where to run it.
        words: The command.
        extra: More environment variables.

    Raises:
        UserError: If it fails.
    """
    return _git(root, *words, extra=extra).stdout


def find_root() -> Path:
    """Folder of the project that contains the current directory: the nearest with DVC's folder, or git's top folder.

    Raises:
        UserError: If there is no git repository.
    """
    here = Path().resolve()
    try:
        top = Path(os.fsdecode(run_git(here, "rev-parse", "--show-toplevel")).rstrip("\n"))
    except UserError as error:
        raise UserError(f"{here}: expected a folder of a git repository; {error}") from error
    within = [folder for folder in (here, *here.parents) if folder.is_relative_to(top)]
    return next((folder for folder in within if (folder / ".dvc").is_dir()), top)


def find_commit(root: Path, name: str) -> str:
    """Full hash of the commit with this name: anything that git accepts, or the name of a DVC experiment.

    Raises:
        UserError: If there is none, or if the name could mean another commit, too. Git prefers a tag to a branch of the
            same name, and either to a short hash, and `git fetch` brings the tags of whomever it fetches from.
    """
    advice = f"try `git fetch`, or origin/{name} for a branch that only the remote has"
    if (repair := _incomplete(root)) is not None:
        advice = repair
    unknown = UserError(f"{name}: is not a revision in this clone; {advice}")
    try:
        done = _git(root, "rev-parse", "--verify", "--end-of-options", name)
    except ValueError as error:  # a null character
        raise unknown from error
    except UserError:
        found = _find_experiment(root, name)
    else:
        if b"is ambiguous" in done.stderr:
            raise UserError(
                f"{name}: is the name of more than one tag, branch or commit; "
                f"give the whole name, such as refs/heads/{name}, or the whole hash"
            )
        found = done.stdout.decode().strip()
    # The name may be that of a tag, a file or a folder.
    with open_objects(root) as objects:
        for _ in range(MAX_TAGS):
            kind = objects.kind(found) if COMMIT.fullmatch(found) else None
            if kind == "commit":
                return found
            if kind != "tag":
                break
            found = (
                objects.read(found, "tag", MAX_COMMIT_BYTES, name).split(b"\n", 1)[0].decode().removeprefix("object ")
            )
    raise unknown


def merge_bases(root: Path, base: str, head: str) -> list[str]:
    """Hashes of all merge bases of two commits; none if their histories have no commit in common.

    Raises:
        UserError: If they have none in a clone without its whole history, which proves nothing.
    """
    done = _git(root, "merge-base", "--all", base, head, may_fail=True)
    if done.returncode == 1 and _is_shallow(root):
        raise UserError(f"{base[:7]} and {head[:7]}: no commit in common in this clone; {_incomplete(root)}")
    if done.returncode not in (0, 1):
        raise UserError(f"git merge-base: {_complaint(done)}")
    return done.stdout.decode().split()


class Objects:
    """Git objects by their hashes, read through one `git cat-file`. Sizes are asked first."""

    def __init__(self, root: Path, process: "subprocess.Popen[bytes]") -> None:
        self._root = root
        self._process = process

    def kind(self, oid: str) -> str | None:
        """`commit`, `tree`, `blob` or `tag`; None if the clone lacks the object."""
        found = self._info(oid)
        return found[0] if found else None

    def read(self, oid: str, kind: str, largest: int, where: str) -> bytes:
        """Content of an object.

        Args:
            oid: Its hash.
            kind: What it should be.
            largest: At most so many bytes.
            where: How to name it in an error.

        Raises:
            UserError: If it is larger, or the clone lacks it.
        """
        size = self.size(oid, kind, where)
        if size > largest:
            raise UserError(f"{where}: expected at most {largest:,} bytes, got {size:,}")
        if self._ask(f"contents {oid}") != f"{oid} {kind} {size}":
            raise self._unreadable(where)
        assert self._process.stdout
        content = self._process.stdout.read(size + 1)
        if len(content) != size + 1:
            raise self._unreadable(where)
        return content[:-1]

    def size(self, oid: str, kind: str, where: str) -> int:
        """Number of bytes of an object.

        Raises:
            UserError: If the clone lacks it, or it is of another kind.
        """
        found = self._info(oid)
        if found is None or found[0] != kind:
            raise self._unreadable(where)
        return found[1]

    def _info(self, oid: str) -> tuple[str, int] | None:
        match self._ask(f"info {oid}").split(" "):
            case [_, kind, size] if size.isdigit():
                return kind, int(size)
        return None

    def _ask(self, request: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline().decode(errors="replace").rstrip("\n")

    def _unreadable(self, where: str) -> UserError:
        return UserError(f"{where}: git cannot read it; {_incomplete(self._root) or 'run `git fsck`'}")


@contextmanager
def open_objects(root: Path, extra: Mapping[str, str] = NOTHING) -> Iterator[Objects]:
    """The objects of a repository.

    Args:
        root: A folder of it.
        extra: More environment variables for git.
    """
    command = ["git", *SETTINGS, "cat-file", "--batch-command"]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=_environment(extra),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Objects(root, process)
    finally:
        process.kill()
        process.communicate()


def _incomplete(root: Path) -> str | None:
    """How to get what a shallow or partial clone lacks, or None if the clone is neither."""
    if _is_shallow(root):
        return "the clone is shallow: run `git fetch --unshallow`"
    if _git(root, "config", "--get-regexp", r"^remote\..*\.promisor$", may_fail=True).returncode == 0:
        return "the clone is partial: run `git fetch --refetch --no-filter`"
    return None


def _is_shallow(root: Path) -> bool:
    return run_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"


def _find_experiment(root: Path, name: str) -> str:
    """Hash of the experiment with this name, or an empty string if there is not exactly one."""
    references = run_git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode().splitlines()
    found = {line.split()[0] for line in references if line.split("/")[-1] == name}
    return found.pop() if len(found) == 1 else ""


def _git(
    root: Path, *words: str, may_fail: bool = False, extra: Mapping[str, str] = NOTHING
) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", *SETTINGS, *words]
    done = subprocess.run(command, cwd=root, env=_environment(extra), capture_output=True, check=False)
    if done.returncode and not may_fail:
        raise UserError(f"git {words[0]}: {_complaint(done)}")
    return done


def _complaint(done: "subprocess.CompletedProcess[bytes]") -> str:
    return " ".join(done.stderr.decode(errors="replace").split()) or f"failed with exit code {done.returncode}"
