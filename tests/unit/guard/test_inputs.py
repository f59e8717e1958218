import mmap
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.guard import inputs
from src.guard.inputs import Inputs
from src.guard.opened import recording
from src.guard.stage import Stage

pytestmark = pytest.mark.fault(49, 60, 90)

CHECKPOINT = f"logs/checkpoints/{64 * 'a'}.ckpt"
STAGE = Stage("stage", deps=("code", "data/in.txt"), params=("seed",), outs=("out",))
Start = Callable[..., Inputs]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a stage with one code folder, one data file and one param in this process."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 0\nepochs: 2\n")
    Path(".dvcignore").write_text("__pycache__\n*~\n")
    files = ("code/a.py", "code/inner/b.py", "data/in.txt", "data/other.txt", "other/in.txt")
    for name in (*files, "logs/note.txt", CHECKPOINT, "logs/checkpoints/mine.ckpt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("other/inner").mkdir()
    Path("data/inner").symlink_to("../other/inner")
    with ExitStack() as stack:
        yield lambda stage=STAGE: Inputs(stage, stack.enter_context(recording(tmp_path)))


def test_ignored_files_are_not_inputs(start: Start) -> None:
    before = start()
    Path("code/a.py~").touch()
    Path("code/inner/__pycache__").mkdir()
    Path("code/inner/__pycache__/b.pyc").touch()
    # A nested DVC repository, with everything that it ignores.
    Path("code/other/.dvc").mkdir(parents=True)
    Path("code/other/.dvcignore").touch()
    Path("code/other/c.py").touch()
    assert start().deps == before.deps
    assert list(before.md5) == ["code/a.py", "code/inner/b.py", "data/in.txt"]
    Path(".dvcignore").unlink()
    assert "code/a.py~" in start().md5


@pytest.mark.parametrize(("place", "dep"), [("code/inner", "code"), ("data", "data/in.txt")])
def test_nested_dvcignore_is_rejected(start: Start, place: str, dep: str) -> None:
    Path(place, ".dvcignore").write_text("*\n")
    with pytest.raises(UserError, match=rf"^{place}/.dvcignore: hides files of {dep} from DVC"):
        start()


def test_links_are_followed_as_in_dvc(start: Start, tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/c..py").write_text("c")
    Path("code/linked").symlink_to(tmp_path / "elsewhere")
    Path("code/linked.py").symlink_to(tmp_path / "elsewhere/c..py")
    declared = start(replace(STAGE, deps=("code/linked", "code/linked.py")))
    Path("code/linked/c..py").read_text()
    Path("code/linked.py").read_text()
    declared.check()
    within = start()
    Path("code/linked.py").read_text()
    within.check()
    # DVC does not hash a linked folder in a folder.
    Path("code/linked/c..py").read_text()
    with pytest.raises(UserError, match=r"^code/linked/c..py: stage stage read it, but it is no input that was hashed"):
        within.check()


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda: Path("code/a.py").write_text("b"), "code/a.py"),
        (lambda: Path("code/a.py").touch(), "code/a.py"),
        (lambda: Path("code/new.py").touch(), "code/new.py"),
        (lambda: Path("code/a.py").unlink(), "code/a.py"),
        (lambda: Path("params.yaml").write_text("seed: 1\nepochs: 2\n"), "params.yaml: seed"),
        (lambda: Path("params.yaml").write_text("seed: 0.0\nepochs: 2\n"), "params.yaml: seed"),
        (lambda: Path("data/in.txt").write_text("data/in.txt"), "data/in.txt"),
    ],
    ids=["edited", "touched", "added", "removed", "param", "type of a param", "the same"],
)
def test_touched_inputs_are_reported(start: Start, edit: Callable[[], object], named: str) -> None:
    inputs = start()
    edit()
    with pytest.raises(UserError, match=rf"^{named}: touched during the run, so the result is void"):
        inputs.check()


def test_undeclared_params_may_change(start: Start) -> None:
    inputs = start()
    # As by another process.
    with inputs.opened.paused():
        Path("params.yaml").write_text("seed: 0 # comment\nepochs: 3\n")
    inputs.check()


def test_missing_dependency_is_reported_with_its_repair(start: Start) -> None:
    shutil.rmtree("code")
    with pytest.raises(UserError, match=r"^code: is missing; run `dvc repro`, or restore it from git$"):
        start()


def test_inputs_outputs_and_own_files_may_be_read(start: Start) -> None:
    Path("data/.out.killed.1.tmp").touch()
    inputs = start(replace(STAGE, outs=("out", "other")))
    Path("data/in.txt").read_text()
    Path("out").write_text("result")
    Path("out").read_text()
    Path("logs/scratch").write_text("mine")
    Path("logs/scratch").rename("out")
    Path("out").read_text()
    Path("data/absent").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        Path("data/absent").read_text()
    Path("data/.out.killed.1.tmp").unlink()
    with tempfile.TemporaryDirectory(dir="logs") as folder:
        Path(folder, "mine").mkdir()
    for old in ("logs/checkpoints", "other"):
        shutil.rmtree(old)
    inputs.check()


def test_leftover_output_is_not_an_input(start: Start) -> None:
    Path("out").write_text("of the run before")
    inputs = start()
    Path("out").read_text()
    with pytest.raises(
        UserError, match=r"^out: stage stage read it, but it is no input that was hashed: an earlier run left"
    ):
        inputs.check()


def append(path: str) -> None:
    """Append to a file, which does not read it."""
    with Path(path).open("a") as file:
        file.write("more")


def move_and_read() -> None:
    Path("data/other.txt").rename("data/mine.txt")
    Path("data/mine.txt").read_text()


def link_and_read() -> None:
    os.link("data/other.txt", "data/mine.txt")
    Path("data/mine.txt").read_text()


def read_through_a_link() -> None:
    Path("data/mine.txt").symlink_to("other.txt")
    Path("data/mine.txt").read_text()


def read_from_outside() -> None:
    link = Path.cwd().with_name(f"{Path.cwd().name}-link")
    link.symlink_to(Path.cwd())
    (link / "data/other.txt").read_text()


def open_below(folder: str, path: str) -> None:
    """Open a file relative to a folder, whose path no audit event contains."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.close(os.open(path, os.O_RDONLY, dir_fd=descriptor))
    os.close(descriptor)


def make_code() -> None:
    """Read code that the stage itself has written."""
    Path("made.py").write_text("")
    Path("made.py").read_text()
    Path("made.py").unlink()


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (lambda: Path("data/other.txt").read_text(), "data/other.txt"),
        (lambda: Path("data/other.txt").absolute().read_text(), "data/other.txt"),
        (lambda: Path("data/../data/other.txt").read_text(), "data/other.txt"),
        (lambda: os.open(b"data/other.txt", os.O_RDONLY), "data/other.txt"),
        (lambda: Path("data/other.txt").open("r+").close(), "data/other.txt"),
        (lambda: append("data/other.txt"), "data/other.txt"),
        (lambda: os.truncate("data/other.txt", 3), "data/other.txt"),
        (lambda: Path("params.yaml").read_text(), "params.yaml"),
        (move_and_read, "data/mine.txt, data/other.txt"),
        (link_and_read, "data/mine.txt, data/other.txt"),
        (read_through_a_link, "data/mine.txt"),
        # The system resolves `..` from the link's target.
        (lambda: Path("data/inner/../in.txt").read_text(), "other/in.txt"),
        (read_from_outside, "data/other.txt"),
        (make_code, "made.py"),
        (lambda: Path("logs/note.txt").read_text(), "logs/note.txt"),
        (lambda: Path("logs/checkpoints/mine.ckpt").read_text(), "logs/checkpoints/mine.ckpt"),
    ],
    ids=[
        "read", "absolute", "detour", "descriptor", "change", "append", "cut", "params", "move", "hard link",
        "link", "behind a link", "link from outside", "code", "log", "checkpoint",
    ],
)  # fmt: skip
def test_undeclared_read_is_reported(start: Start, read: Callable[[], object], named: str) -> None:
    inputs = start()
    read()
    with pytest.raises(
        UserError, match=rf"^{named}: stage stage read it, but dvc.yaml does not list it among the stage's deps"
    ):
        inputs.check()


def test_link_inside_is_recorded_by_its_own_name(start: Start, tmp_path: Path) -> None:
    """Links to the cache, as created by DVC."""
    outside = tmp_path.with_name(f"{tmp_path.name}-object")
    for name in ("data/in.txt", "data/other.txt"):
        outside.write_text("object")
        Path(name).unlink()
        Path(name).symlink_to(outside)
    inputs = start()
    Path("data/in.txt").read_text()
    inputs.check()
    Path("data/other.txt").read_text()
    with pytest.raises(UserError, match=r"^data/other.txt: stage stage read it"):
        inputs.check()


def process(method: str) -> None:
    # As in a process that has not started others before.
    for module in [name for name in sys.modules if name.startswith("multiprocessing.popen_")]:
        del sys.modules[module]
    process = multiprocessing.get_context(method).Process(target=int)  # type: ignore[attr-defined]
    process.start()
    process.join()


@pytest.mark.parametrize(
    ("act", "used"),
    [
        *(
            (partial(process, method), "another process would open")
            for method in multiprocessing.get_all_start_methods()
        ),
        (lambda: os.system("cat data/other.txt"), "another process would open"),
        # Its exit code would be that of the stage.
        (lambda: os.execv("/none", ["none"]), "another process would open"),
        (lambda: os.posix_spawn("/bin/true", ["true"], {}), "another process would open"),
        (lambda: subprocess.run("cat data/other.txt", shell=True, check=True), "another process would open"),
        (lambda: sqlite3.connect(":memory:").close(), "SQLite would open"),
        (lambda: open_below("data", "../other/in.txt"), "data: stage stage opened the folder"),
        (lambda: open_below("..", f"{Path.cwd().name}/data/other.txt"), r"\.\.: stage stage opened the folder"),
    ],
)
def test_unrecordable_operations_are_rejected(start: Start, act: Callable[[], object], used: str) -> None:
    inputs = start()

    def act_and_check() -> None:
        act()
        inputs.check()

    with pytest.raises(UserError, match=f"^{used}"):
        act_and_check()


def test_program_may_run(start: Start) -> None:
    inputs = start()
    # Every Python uses posix_spawn for this; since 3.13, also without `close_fds`.
    subprocess.run(["/bin/true"], close_fds=False, check=True)
    inputs.check()


def make_and_remove(path: Path) -> None:
    path.write_text("note")
    path.unlink()


def make_and_read(path: Path) -> None:
    path.write_text("note")
    path.read_text()
    path.unlink()


@pytest.mark.fault(59, 60, 88)
@pytest.mark.parametrize("name", ["data/note.txt", "dvc.yaml"])
@pytest.mark.parametrize("change", [lambda path: path.write_text("note"), Path.unlink, make_and_remove, make_and_read])
def test_undeclared_write_or_removal_is_reported(start: Start, change: Callable[[Path], object], name: str) -> None:
    Path(name).touch()
    inputs = start()
    change(Path(name))
    with pytest.raises(
        UserError, match=rf"^{name}: stage stage wrote or removed it, but dvc.yaml does not list it among"
    ):
        inputs.check()


def test_logs_may_be_written_and_checkpoints_read(start: Start) -> None:
    inputs = start()
    Path(CHECKPOINT).read_text()
    Path("logs/note.txt").write_text("note")
    inputs.check()


def link_to_a_cache(name: str, kind: str) -> Path:
    """Link a file as DVC does with `cache.type hardlink` or `symlink`; returns the object."""
    cached = Path.cwd().with_name(f"{Path.cwd().name}-cache")
    Path(name).rename(cached)
    if kind == "hardlink":
        os.link(cached, name)
    else:
        Path(name).symlink_to(cached)
    return cached


def check_out_elsewhere(cached: Path) -> None:
    """Emulate another run's checkout of the same object: one more link, which changes its time of change."""
    other = cached.with_name(f"{cached.name}-other")
    os.link(cached, other)
    other.unlink()


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_checkout_of_a_linked_object_is_harmless_after_a_check(start: Start, kind: str) -> None:
    cached = link_to_a_cache("data/in.txt", kind)
    inputs = start()
    for _ in range(2):
        Path("data/in.txt").read_text()
        inputs.check()
        check_out_elsewhere(cached)
        inputs.check()


# Within one tick of the clock, it could have been edited, read and put back.
@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
@pytest.mark.parametrize("is_first", [True, False])
def test_linked_object_read_since_the_last_check_is_reported(start: Start, kind: str, is_first: bool) -> None:
    cached = link_to_a_cache("data/in.txt", kind)
    inputs = start()
    acts = [lambda: Path("data/in.txt").read_text(), lambda: check_out_elsewhere(cached)]
    for act in acts if is_first else reversed(acts):
        act()
    with pytest.raises(UserError, match=r"^data/in.txt: touched during the run"):
        inputs.check()


@pytest.mark.parametrize("is_mapped", [False, True])
def test_open_linked_object_is_reported(start: Start, is_mapped: bool) -> None:
    cached = link_to_a_cache("data/in.txt", "hardlink")
    inputs = start()
    with Path("data/in.txt").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        if is_mapped:
            file.close()
        else:
            memory.close()
        inputs.check()
        check_out_elsewhere(cached)
        with pytest.raises(UserError, match=r"^data/in.txt: touched during the run"):
            inputs.check()


def test_edited_linked_object_is_reported(start: Start) -> None:
    cached = link_to_a_cache("data/in.txt", "hardlink")
    inputs = start()
    before = cached.stat()
    cached.write_text("another.txt")
    os.utime(cached, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match=r"^data/in.txt: touched during the run"):
        inputs.check()


def test_file_system_without_change_times_is_rejected(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that does not advance.
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: 0)
    monkeypatch.setattr(inputs, "TICK_SECONDS", 0.0)
    with pytest.raises(UserError, match=r"^logs/: files here get no times of change"):
        start()


def test_stage_with_all_params_may_read_the_file(start: Start) -> None:
    inputs = start(replace(STAGE, params=None))
    assert inputs.params == {"seed": 0, "epochs": 2}
    Path("params.yaml").read_text()
    inputs.check()
    assert list(inputs.deps) == ["code", "data/in.txt"]


def test_long_lists_of_files_are_shortened(start: Start) -> None:
    names = [f"images/{number}.png" for number in range(7)]
    Path("images").mkdir()
    for name in names:
        Path(name).touch()
    found = start()
    for name in names:
        Path(name).read_bytes()
    said = r"^images/0\.png, .*images/4\.png and 2 more: stage stage read it, but dvc\.yaml does not list it"
    with pytest.raises(UserError, match=said):
        found.check()
