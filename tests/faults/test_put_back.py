"""Edits that are read and then undone, including times: a stage that read one fails, whatever the file's final state.

Each edit is tested with a fine-grained time of change, and on ramfs, where it advances in ticks of milliseconds.
Mounting ramfs requires root; without root, that half is skipped.
"""

import ctypes
import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.guard.inputs import Inputs
from src.guard.opened import recording
from src.guard.stage import Stage
from tests.faults.test_preflight import needs_mounts

pytestmark = pytest.mark.fault(87)

RIGHT, WRONG = b"right", b"wrong"
FILE, OTHER, LINK = Path("data/inner/file"), Path("other/file"), Path("data/link")
AT_FDCWD, RENAME_EXCHANGE = -100, 2
Edit = Callable[[], AbstractContextManager[object]]


@contextmanager
def times_kept() -> Iterator[None]:
    """Restore the times of the file."""
    before = FILE.stat()
    yield
    os.utime(FILE, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def in_place() -> Iterator[None]:
    FILE.write_bytes(WRONG)
    yield
    FILE.write_bytes(RIGHT)


@contextmanager
def exchange(one: Path, other: Path) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    names = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
    if libc.renameat2(*names):
        pytest.skip(f"this file system does not exchange names: {os.strerror(ctypes.get_errno())}")
    yield
    libc.renameat2(*names)


@contextmanager
def memory_map() -> Iterator[None]:
    with FILE.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:] = WRONG
        memory.flush()
        yield
        memory[:] = RIGHT
        memory.flush()


@contextmanager
def open_descriptor() -> Iterator[None]:
    with FILE.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), WRONG, 0)
        yield
        os.pwrite(file.fileno(), RIGHT, 0)


@contextmanager
def shell(there: str, back: str) -> Iterator[None]:
    """Commands that edit the file F or its folder D with the help of O or its folder P, and commands that undo it."""
    names = {"F": str(FILE), "D": str(FILE.parent), "O": str(OTHER), "P": str(OTHER.parent), "L": str(LINK)}
    # Not a shell started by this process, which a stage may not do.
    run = partial(subprocess.run, check=True, env={**os.environ, **names})
    run(["env", "sh", "-c", there])
    yield
    run(["env", "sh", "-c", back])


# Whether the file's times must be restored, and the edit.
EDITS: dict[str, tuple[bool, Edit]] = {
    "in place": (False, in_place),
    "in place, with utime": (True, in_place),
    "touch -r": (False, partial(shell, "touch -r $F then && printf wrong >$F", "printf right >$F && touch -r then $F")),
    "cp -p": (False, partial(shell, "cp -p $F backup && printf wrong >$F", "cp -p backup $F")),
    "rename over": (False, partial(shell, "ln $F backup && mv $O $F", "mv backup $F")),
    "rename away": (False, partial(shell, "mv $F backup && mv $O $F", "mv $F $O && mv backup $F")),
    "exchange files": (False, partial(exchange, FILE, OTHER)),
    "exchange folders": (False, partial(exchange, FILE.parent, OTHER.parent)),
    "memory map": (True, memory_map),
    "open descriptor": (True, open_descriptor),
    "append and cut": (True, partial(shell, "printf wrong >>$F", "truncate --size 5 $F")),
    "delete and make": (True, partial(shell, "rm $F && printf wrong >$F", "rm $F && printf right >$F")),
    "write a range": (
        True,
        partial(shell, "dd if=$O of=$F conv=notrunc status=none", "printf right | dd of=$F conv=notrunc status=none"),
    ),
    "write-protect": (
        True,
        partial(shell, "chmod 444 $F && chmod 644 $F && printf wrong >$F", "printf right >$F && chmod 444 $F"),
    ),
    "rename the folder": (False, partial(shell, "mv $D away && mv $P $D", "mv $D $P && mv away $D")),
    "link the folder": (False, partial(shell, "mv $D away && ln -s $PWD/$P $D", "rm $D && mv away $D")),
    "retarget the link": (False, partial(shell, "ln -sf $PWD/$O $L", "ln -sf inner/file $L")),
}


@pytest.fixture(params=["fine", pytest.param("ticking", marks=needs_mounts)])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Inputs]]:
    """Start a stage that depends on a folder with a file and a link to it, on a file system with this clock."""
    if request.param == "ticking":
        subprocess.run(["mount", "-t", "ramfs", "ramfs", tmp_path], check=True)
    try:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for path, content in ((FILE, RIGHT), (OTHER, WRONG)):
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
            LINK.symlink_to("inner/file")
            with recording(tmp_path) as opened:
                yield lambda: Inputs(Stage("stage", deps=("data",), params=(), outs=()), opened)
    finally:
        if request.param == "ticking":
            subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("name", EDITS)
def test_undone_edit_that_was_read_is_detected(start: Callable[[], Inputs], name: str) -> None:
    sets_times, edit = EDITS[name]
    read = LINK if name == "retarget the link" else FILE
    inputs = start()
    # Immediately: the clock has advanced while the stage started.
    with times_kept() if sets_times else nullcontext(), edit():
        assert WRONG in read.read_bytes()
    assert read.read_bytes() == RIGHT
    with pytest.raises(UserError, match="touched during the run"):
        inputs.check()


def test_early_edits_are_all_detected(start: Callable[[], Inputs]) -> None:
    # Comparing a link takes longest, and this is not about links.
    LINK.unlink()
    for _ in range(25):
        inputs = start()
        with times_kept(), in_place(), inputs.opened.paused():
            FILE.read_bytes()
        with pytest.raises(UserError, match="touched during the run"):
            inputs.check()


@needs_mounts
def test_edit_is_detected_with_timestamps_of_whole_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = FILE.parents[1]
    data.mkdir()
    command = f"truncate --size 1M disk && mkfs.ext2 -q -I 128 -F disk && mount -o loop disk {data}"
    if subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no such file system")
    try:
        FILE.parent.mkdir()
        FILE.write_bytes(RIGHT)
        with recording(tmp_path) as opened:
            inputs = Inputs(Stage("stage", deps=("data",), params=(), outs=()), opened)
            with times_kept(), in_place(), opened.paused():
                FILE.read_bytes()
            with pytest.raises(UserError, match="touched during the run"):
                inputs.check()
    finally:
        subprocess.run(["umount", data], check=True)
