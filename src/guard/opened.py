"""Records every file of the project that this process opens, in any thread, with its stamp at that moment.

Python reports the files that it opens as audit events (PEP 578). Code in other languages opens files unseen, so stages
must not read through it; tests/pipeline/test_unseen_calls.py checks this.
"""

import os
import stat
import sys
import sysconfig
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

from src.core.copies import original
from src.core.errors import UserError

# Index of the argument of an audit event that names the file.
READS = {"import": 1, "ctypes.dlopen": 0}
MOVES = ("os.rename", "os.link", "os.symlink")
REMOVAL = "os.remove"
# `subprocess` may start programs other than shells, because libraries use them to query the system.
STARTS = ("os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec")
SHELLS = ("sh", "bash")
# Modules that multiprocessing and joblib import to start a process, with or without a fork.
STARTER = "popen_"
# Folder descriptor of a path that is not relative to a descriptor.
NOWHERE = -1
EVENTS = frozenset({"open", "os.truncate", "sqlite3.connect", "subprocess.Popen", *READS, *MOVES, REMOVAL, *STARTS})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CODE = tuple(all_suffixes())
# Logs and locks of the guard and the stages, and checkpoints.
LOGS, CHECKPOINTS = "logs/", "logs/checkpoints/"

Stamp = tuple[int, int, int, int]


def stamp(path: str) -> Stamp:
    """Size, time of modification, time of change and inode; users can set all except the third.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    return _stamp(os.stat(path))  # noqa: PTH116 - called often


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class Opened:
    """Files that this process has opened in a folder, and in the repository that it is a copy of, except for Python's.

    Attributes:
        read: Stamps of each file when it was opened for reading, by path relative to the folder. Files created by this
            process are omitted, unless they are code.
        written: Files that were opened for writing, moved to or removed.
        folders: Folders that were opened. Files can be opened relative to them, and events then lack the full path.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.original, self.python = f"{root}/", f"{original(root)}/", _python_folders(root)
        self.read: defaultdict[str, set[Stamp]] = defaultdict(set)
        self.written: set[str] = set()
        self.folders: set[str] = set()
        self._made: set[str] = set()
        self._paused_in: int | None = None
        # What subprocess was last asked to run.
        self._program: object = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing in this thread within the context, in which the guard itself reads files."""
        self._paused_in = threading.get_ident()
        try:
            yield
        finally:
            self._paused_in = None

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Record an audit event.

        Raises:
            UserError: If the operation would open files that are not recorded; this prevents the operation.
        """
        if self._paused_in == threading.get_ident():
            return
        # SQLite's ATTACH can open any file.
        if event == "sqlite3.connect" or self._is_start(event, args):
            raise UserError(
                f"{'SQLite' if event == 'sqlite3.connect' else 'another process'} would open files unrecorded; "
                "export tables, compute in threads (a DataLoader with num_workers=0)"
            )
        if event in MOVES:
            self._note_move(event, args[0], args[1])
        elif event == "open":
            self._note_open(args[0], args[2])
        elif event == "os.truncate":
            self._note_open(args[0], os.O_RDWR)
        elif event == REMOVAL and args[-1] == NOWHERE and (name := self._name(args[0])) and os.path.lexists(args[0]):
            self.written.add(name)
        elif event in READS:
            self._note_open(args[READS[event]], os.O_RDONLY)

    def _note_open(self, path: object, flags: int) -> None:
        name = self._name(path)
        if name is None:
            return
        try:
            # The path as given, so that the system follows links.
            found = os.stat(path)  # type: ignore[arg-type]  # noqa: PTH116 - a descriptor of a path, or bytes
        except (OSError, ValueError):
            found = None
        if found and stat.S_ISDIR(found.st_mode):
            # Opening a folder for writing creates an unnamed temporary file.
            if not flags & WRITING:
                self.folders.add(name)
            return
        if flags & WRITING:
            self.written.add(name)
            if found is None or flags & os.O_TRUNC:
                self._made.add(name)
        # A log of an earlier run may be continued.
        is_log = name.startswith(LOGS) and flags & os.O_ACCMODE == os.O_WRONLY
        # Any other file opened for modification can also be read.
        if found and not flags & os.O_TRUNC and not is_log and (name not in self._made or name.endswith(CODE)):
            self.read[name].add(_stamp(found))

    def _note_move(self, event: str, source: object, target: object) -> None:
        origin, name = self._name(source), self._name(target)
        is_made = origin in self._made
        if event != "os.symlink" and not is_made:
            self._note_open(source, os.O_RDONLY)
        if name is not None:
            self.written.add(name)
            (self._made.add if is_made else self._made.discard)(name)

    def _is_start(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether an audit event starts a process that could do a stage's work."""
        if event == "subprocess.Popen":
            self._program = args[0]
            return Path(os.fsdecode(args[0])).name in SHELLS
        if event == "os.posix_spawn" and args[0] == self._program:
            # By subprocess, which uses it for most programs since Python 3.13.
            return False
        return event in STARTS or (event == "import" and args[0].rpartition(".")[2].startswith(STARTER))

    def _name(self, path: object) -> str | None:
        """Path relative to the folder; None if it is outside of the project."""
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        path = os.fsdecode(path)
        # This comes first because most opened files are here.
        if path.startswith(self.python) and ".." not in path:
            return None
        if ".." in path and ".." in path.split("/"):
            # After a link, `..` is relative to the link's target.
            folder, _, name = path.rpartition("/")
            path = f"{os.path.realpath(folder)}/{name}"
        path = os.path.abspath(path)  # noqa: PTH100 - links are not followed
        if not path.startswith(self.root):
            # A path outside may be a link to the inside. A link inside keeps its own name, because DVC may link a
            # dependency to its cache, anywhere.
            path = os.path.realpath(path)
        if path.startswith(self.python):
            return None
        if self.root.startswith(f"{path}/"):
            return os.path.relpath(path, self.root)
        if path.startswith(self.root):
            return path[len(self.root) :]
        # A copy has its own files; only checkpoints are shared.
        if path.startswith(self.original):
            name = path[len(self.original) :]
            return name if name.startswith(CHECKPOINTS) else os.path.relpath(path, self.root)
        return None


def _python_folders(root: Path) -> tuple[str, ...]:
    """Folders of the running Python and its packages, except those that contain the project."""
    found = set()
    for prefix in {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix)}:
        if f"{root}/".startswith(f"{prefix}/"):
            paths = sysconfig.get_paths(vars={"base": prefix, "platbase": prefix, "installed_base": prefix})
            found |= {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        else:
            found.add(prefix)
    return tuple(f"{folder}/" for folder in sorted(found))


# Python cannot remove an audit hook, so a process has a single one whose recorder changes.
_recorder: Opened | None = None
_is_listening = False


# A function instead of a method, for speed: it is called a hundred thousand times while torch is imported.
def _listen(event: str, args: tuple[Any, ...]) -> None:
    if event in EVENTS and _recorder is not None:
        _recorder.note(event, args)


@contextmanager
def recording(root: Path) -> Iterator[Opened]:
    """Record the files that this process opens in a folder, given as an absolute path without links."""
    global _recorder, _is_listening
    if not _is_listening:
        sys.addaudithook(_listen)
        _is_listening = True
    _recorder = Opened(root)
    try:
        yield _recorder
    finally:
        _recorder = None
