"""Stamp, hook, stamp: ensures that a stage read exactly the files that were hashed, and no others."""

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pathspec import GitIgnoreSpec

from src.core.errors import UserError
from src.core.files import SCRATCH, is_within, md5
from src.core.folder import IGNORE, folder_md5, ignored_files
from src.core.receipt import PARAMS_FILE
from src.guard.opened import CHECKPOINTS, LOGS, Opened, Stamp, stamp
from src.guard.stage import DVC_FILE, Stage, read_params

VOID = "so the result is void; run `dvc repro` again"
# What a stage did with files where it may not.
FOLDER = "opened the folder, and files that it opens relative to that are not recorded; open files by their whole paths"
UNDECLARED = f"read it, but {DVC_FILE} does not list it among the stage's deps; add it there"
UNHASHED = (
    "read it, but it is no input that was hashed: an earlier run left it, it came later, or DVC ignores it "
    f"({IGNORE}, a `.dvc` beside it, a linked folder); remove what does not belong there and run `dvc repro` again"
)
WRITTEN = (
    f"wrote or removed it, but {DVC_FILE} does not list it among the stage's outputs; add it there, or write to {LOGS}"
)
# Maximum number of files in a message.
NAMED = 5
# Longest time without progress of a file system's clock.
TICK_SECONDS = 5.0
# In nanoseconds.
SECOND = 10**9
# Files that decide no result: DVC itself tracks a stage's entry in dvc.yaml, and its configuration determines where
# objects are stored, but not their content. matplotlib reads its own, but `png_figure` sets the defaults.
HARMLESS = {"dvc.yaml", ".dvc/config", ".dvc/config.local", "matplotlibrc"}
# A checkpoint whose name identifies its run.
CHECKPOINT = re.compile(CHECKPOINTS + r"[0-9a-f]{64}\.ckpt")
# ID of the Linux clock that stamps files; it advances every 1 to 10 ms.
CLOCK_REALTIME_COARSE = 5


class Inputs:
    """The inputs of a stage: stamped, then hashed, then watched.

    Attributes:
        params: Value of every declared param, by name.
        md5: MD5 of every file of every dependency, by path.
        deps: MD5 of every dependency, as in dvc.lock.
    """

    def __init__(self, stage: Stage, opened: Opened) -> None:
        """Stamp and hash the inputs; `opened` records the files that the process opens from here on.

        Raises:
            UserError: If an input is missing, or hidden from DVC.
        """
        self.stage, self.opened = stage, opened
        # Code of the guard and the interpreter, which tracebacks and warnings read again.
        self._before = {*opened.read, "stages/__main__.py"}
        with opened.paused():
            self._places = stage.deps if stage.params is not None else (*stage.deps, PARAMS_FILE)
            self._stamps = stamps_of(self._places)
            wait_for_tick(self._stamps.values())
            self.params = read_params(stage.params)
            self.md5 = {path: md5(Path(path)) for path in self._stamps}
        self.deps = {dep: md5_of(dep, self.md5) for dep in stage.deps}

    def identity(self) -> dict[str, str]:
        """All inputs in one table: the value of each param (`params.yaml: lr`) and the MD5 of each path."""
        params = {f"{PARAMS_FILE}: {name}": repr(value) for name, value in self.params.items()}
        return params | self.md5

    def check(self) -> None:
        """Raise UserError if an input was touched, or the process opened undeclared files, even if no trace is left."""
        self._check_touched()
        self._check_opened()

    def _check_touched(self) -> None:
        with self.opened.paused():
            read = {path: set(self.opened.read[path]) for path in self._stamps}
            now = stamps_of(self._places)
            touched = [path for path in {**self._stamps, **now} if not self._is_as_it_was(path, now.get(path))]
            params = read_params(self.stage.params)
        touched += [f"{PARAMS_FILE}: {name}" for name in params if repr(params[name]) != repr(self.params[name])]
        touched += [path for path in read if read[path] - {self._stamps[path]}]
        if touched:
            raise UserError(f"{', '.join(dict.fromkeys(touched))}: touched during the run, {VOID}")
        for path in read:
            self.opened.read[path] -= read[path]

    def _is_as_it_was(self, path: str, now: Stamp | None) -> bool:
        then = self._stamps.get(path)
        if now == then:
            return True
        # If DVC is configured to link data to its cache, every run that checks out the same data changes the file's
        # time of change. This is harmless if the content is the same, and if the file was neither read since the last
        # check nor is open: an edit that was undone in between then had no effect.
        if then is None or now is None or now[:2] + now[3:] != then[:2] + then[3:] or not _has_other_names(path):
            return False
        if self.opened.read[path] or _is_open(path):
            return False
        wait_for_tick([now])
        if md5(Path(path)) != self.md5[path] or stamp(path) != now:
            return False
        self._stamps[path] = now
        return True

    def _check_opened(self) -> None:
        """Raise UserError if the process opened a file where it may not."""
        others = self.opened.read.keys() - self._stamps.keys() - self._before - HARMLESS
        read = [name for name in others if not CHECKPOINT.fullmatch(name)]
        # A copy, since other threads may open more.
        written = [name for name in [*self.opened.written] if not name.endswith(SCRATCH) or os.path.lexists(name)]
        own, declared = (*self.stage.outs, LOGS.rstrip("/")), (*self.stage.deps, *self.stage.outs)
        for names, allowed, problem in (
            # `shutil.rmtree` opens folders that it removes.
            (self.opened.folders, own, FOLDER),
            (read, declared, UNDECLARED),
            (read, (), UNHASHED),
            (written, own, WRITTEN),
        ):
            if wrong := [name for name in sorted(names) if not is_within(name, allowed)]:
                more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
                raise UserError(f"{', '.join(wrong[:NAMED])}{more}: stage {self.stage.name} {problem}")


def stamps_of(places: Iterable[str]) -> dict[str, Stamp]:
    """Stamp of every file that DVC hashes for these files and folders, by path, in a fixed order.

    Raises:
        UserError: If a file is missing, or hidden from DVC.
    """
    ignored = ignored_files(Path(IGNORE).read_text(encoding="utf-8") if Path(IGNORE).exists() else "")
    stamps: dict[str, Stamp] = {}
    for place in places:
        try:
            stamps |= {path: stamp(path) for path in _files(place, ignored)}
        except FileNotFoundError as error:
            repair = "track it with `dvc import-url`" if ":/" in place else "run `dvc repro`, or restore it from git"
            raise UserError(f"{error.filename}: is missing; {repair}") from error
    return stamps


def _files(place: str, ignored: GitIgnoreSpec) -> Iterator[str]:
    """Files that DVC hashes: it follows links to files and a link that is the place itself, but to no folder in it."""
    hiding = [str(folder / IGNORE) for folder in Path(place).parents[:-1] if (folder / IGNORE).exists()]
    if hiding and not place.startswith(("..", "/")):
        raise UserError(f"{hiding[0]}: hides files of {place} from DVC; move its lines to {IGNORE}")
    if not Path(place).is_dir():
        yield place
        return
    for folder, folders, names in os.walk(place):
        # DVC skips folders that contain a DVC repository.
        here = (name for name in folders if not os.path.lexists(f"{folder}/{name}/.dvc"))
        folders[:] = sorted(name for name in here if not ignored.match_file(f"{folder}/{name}/"))
        for name in sorted(names):
            if name == IGNORE:
                raise UserError(f"{folder}/{name}: hides files of {place} from DVC; move its lines to {IGNORE}")
            if not ignored.match_file(path := f"{folder}/{name}"):
                yield path


def md5_of(place: str, files: Mapping[str, str]) -> str:
    """MD5 of a declared file or folder as in dvc.lock, from the MD5 of its files by path."""
    if place in files:
        return files[place]
    return folder_md5({os.path.relpath(path, place): files[path] for path in files if is_within(path, [place])})


def wait_for_tick(stamps: Iterable[Stamp]) -> None:
    """Wait until an edit would give a file a time of change that differs from these stamps: usually up to 10 ms.

    File systems use a clock that advances in ticks, or a server's time. Some have a resolution of one second (ext3) or
    two (FAT), and inputs may be on a different file system than the project; then it takes two or three seconds.

    Raises:
        UserError: If the file system has no such times, so that edits of inputs would go unnoticed.
    """
    deadline = time.monotonic() + TICK_SECONDS
    times, tick = {found[2] for found in stamps}, time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    latest = max((found for found in times if found % SECOND == 0 and found - time.time_ns() < 2 * SECOND), default=0)
    Path(LOGS).mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=LOGS) as probe:
        while (
            time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == tick
            or os.fstat(probe.fileno()).st_ctime_ns in times
            or time.time_ns() < latest + 2 * SECOND
        ):
            if time.monotonic() > deadline:
                raise UserError(f"{LOGS}: files here get no times of change; move the project to another file system")
            time.sleep(0.0005)
            os.utime(probe.fileno())


def _is_open(path: str) -> bool:
    """Whether this process has a file open or mapped into memory."""
    # Imported here because hardly any run needs it.
    import psutil

    process = psutil.Process()
    opened = {file.path for file in process.open_files()} | {mapped.path for mapped in process.memory_maps()}
    return os.path.realpath(path) in opened


def _has_other_names(path: str) -> bool:
    """Whether the path contains a symbolic link, or the file has hard links."""
    return Path(path).resolve() != Path.cwd() / path or Path(path).stat().st_nlink > 1
