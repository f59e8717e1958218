"""Edits that are read and then put back, times included: a stage that read one fails, whatever a file looks like then.

Each is tried where a file's time of change is fine, and on ramfs, where it moves in ticks of milliseconds. Mounting it
takes root, so elsewhere that half is skipped.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


@contextmanager
def times_of(path: Path) -> Iterator[None]:
    """Set the times of a file as they were before."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def in_place() -> Iterator[None]:
    FILE.write_bytes(WRONG)
    yield
    FILE.write_bytes(RIGHT)


@contextmanager
def in_place_with_utime() -> Iterator[None]:
    with times_of(FILE), in_place():
        yield


@contextmanager
def touch_reference() -> Iterator[None]:
    subprocess.run(["touch", "-r", FILE, "reference"], check=True)
    with in_place():
        yield
    subprocess.run(["touch", "-r", "reference", FILE], check=True)


@contextmanager
def copy_preserving() -> Iterator[None]:
    subprocess.run(["cp", "-p", FILE, "backup"], check=True)
    FILE.write_bytes(WRONG)
    yield
    subprocess.run(["cp", "-p", "backup", FILE], check=True)


@contextmanager
def rename_over() -> Iterator[None]:
    os.link(FILE, "backup")
    OTHER.rename(FILE)
    yield
    Path("backup").rename(FILE)


@contextmanager
def rename_away() -> Iterator[None]:
    FILE.rename("backup")
    OTHER.rename(FILE)
    yield
    FILE.rename(OTHER)
    Path("backup").rename(FILE)


def exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        pytest.skip(f"this file system does not exchange names: {os.strerror(ctypes.get_errno())}")


@contextmanager
def exchange_files() -> Iterator[None]:
    exchange(FILE, OTHER)
    yield
    exchange(FILE, OTHER)


@contextmanager
def exchange_folders() -> Iterator[None]:
    exchange(FILE.parent, OTHER.parent)
    yield
    exchange(FILE.parent, OTHER.parent)


@contextmanager
def memory_map() -> Iterator[None]:
    with times_of(FILE), FILE.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:] = WRONG
        memory.flush()
        yield
        memory[:] = RIGHT
        memory.flush()


@contextmanager
def open_descriptor() -> Iterator[None]:
    with times_of(FILE), FILE.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), WRONG, 0)
        yield
        os.pwrite(file.fileno(), RIGHT, 0)


@contextmanager
def append_and_cut() -> Iterator[None]:
    with times_of(FILE):
        with FILE.open("ab") as file:
            file.write(WRONG)
        yield
        os.truncate(FILE, len(RIGHT))


@contextmanager
def delete_and_make() -> Iterator[None]:
    with times_of(FILE):
        FILE.unlink()
        FILE.write_bytes(WRONG)
        yield
        FILE.unlink()
        FILE.write_bytes(RIGHT)


@contextmanager
def copy_range() -> Iterator[None]:
    with times_of(FILE):
        shutil.copyfile(FILE, "backup")
        subprocess.run(["dd", f"if={OTHER}", f"of={FILE}", "conv=notrunc", "status=none"], check=True)
        yield
        subprocess.run(["dd", "if=backup", f"of={FILE}", "conv=notrunc", "status=none"], check=True)


@contextmanager
def write_protected() -> Iterator[None]:
    with times_of(FILE):
        FILE.chmod(0o444)
        FILE.chmod(0o644)
        FILE.write_bytes(WRONG)
        yield
        FILE.write_bytes(RIGHT)
        FILE.chmod(0o444)
        FILE.chmod(0o644)


@contextmanager
def rename_folder() -> Iterator[None]:
    FILE.parent.rename("away")
    OTHER.parent.rename(FILE.parent)
    yield
    FILE.parent.rename(OTHER.parent)
    Path("away").rename(FILE.parent)


@contextmanager
def link_folder() -> Iterator[None]:
    FILE.parent.rename("away")
    FILE.parent.symlink_to(OTHER.parent.absolute())
    yield
    FILE.parent.unlink()
    Path("away").rename(FILE.parent)


@contextmanager
def retarget_link() -> Iterator[None]:
    target = LINK.readlink()
    LINK.unlink()
    LINK.symlink_to(OTHER.absolute())
    yield
    LINK.unlink()
    LINK.symlink_to(target)


Edit = Callable[[], AbstractContextManager[None]]
EDITS: list[Edit] = [
    in_place,
    in_place_with_utime,
    touch_reference,
    copy_preserving,
    rename_over,
    rename_away,
    exchange_files,
    exchange_folders,
    memory_map,
    open_descriptor,
    append_and_cut,
    delete_and_make,
    copy_range,
    write_protected,
    rename_folder,
    link_folder,
    retarget_link,
]


@pytest.fixture(params=["fine", pytest.param("ticking", marks=needs_mounts)])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, on a file system with such a clock."""
    if request.param == "ticking":
        subprocess.run(["mount", "-t", "ramfs", "ramfs", tmp_path], check=True)
    try:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            yield tmp_path
    finally:
        if request.param == "ticking":
            subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Inputs]]:
    """Begins a stage that depends on a folder with a file and a link to it."""
    for path, content in ((FILE, RIGHT), (OTHER, WRONG)):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    LINK.symlink_to("inner/file")
    with recording(folder) as opened:
        yield lambda: Inputs(Stage("stage", deps=("data",), params=(), outs=()), opened)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_is_read_and_put_back_is_noticed(start: Callable[[], Inputs], edit: Edit) -> None:
    read = LINK if edit is retarget_link else FILE
    inputs = start()
    # At once: the clock has moved on while the stage began.
    with edit():
        assert WRONG in read.read_bytes()
    assert read.read_bytes() == RIGHT
    with pytest.raises(UserError, match="touched during the run"):
        inputs.check()


@pytest.mark.usefixtures("start")
def test_of_a_hundred_edits_right_after_the_start_none_escapes() -> None:
    for _ in range(100):
        with recording(Path.cwd()) as opened:
            inputs = Inputs(Stage("stage", deps=("data",), params=(), outs=()), opened)
            with in_place_with_utime(), opened.paused():
                FILE.read_bytes()
            with pytest.raises(UserError, match="touched during the run"):
                inputs.check()
