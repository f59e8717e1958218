"""Cache and outputs match dvc.lock, and different ways of running lock the same results."""

import os
import shutil
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path

import pytest

from src.audit.reproduce import main as reproduce
from src.audit.verify import main, verify
from src.core.errors import UserError
from src.core.files import md5
from src.mnist.predict.registry import fetch_version
from tests.faults.project import Project, called, wait_for


@pytest.fixture
def unusable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give DVC a folder for its own files that it cannot create, as in a read-only container; returns its path."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "file"))
    return str(tmp_path / "file" / "repo")


def corrupt(path: Path) -> None:
    """Change a byte of a file that DVC trusts because it is write-protected."""
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    path.chmod(0o444)


def said(project: Project) -> list[str]:
    """Lines of `make verify`, which finds something wrong."""
    with chdir(project.path):
        done = called(main)
    assert done.returncode == 1
    return done.stdout.splitlines()


def test_intact_outputs_are_counted(project: Project) -> None:
    # An output in git counts once; an output in DVC's cache counts twice.
    cached = sum(not path.startswith(("metrics/", "plots/", "receipts/")) for path in project.outs())
    count, problems = verify(project.path)
    # User data tracked by DVC is counted, too.
    assert (count >= len(project.outs()) + cached, problems) == (True, [])


@pytest.mark.fault(30)
def test_corrupt_object_is_reported_with_its_repair(project: Project) -> None:
    model = project.cached(project.outs()["models/model.safetensors"])
    corrupt(model)
    line, last = said(project)
    assert last.endswith("checked against dvc.lock: 1 wrong")
    assert line.startswith(f"{model} (cache of models/model.safetensors): md5 is")
    assert line.endswith("delete it and run `dvc pull` or `dvc repro`")


@pytest.mark.parametrize("command", [main, partial(reproduce, [])], ids=["verify", "reproduce"])
def test_folder_that_dvc_cannot_use_is_named(project: Project, unusable: str, command: Callable[[], int]) -> None:
    with chdir(project.path):
        done = called(command)
    assert done.returncode > 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.endswith(f"Not a directory: '{unusable}'")


def test_folder_that_dvc_cannot_use_is_named_if_a_version_is_fetched(
    project: Project, unusable: str, tmp_path: Path
) -> None:
    with chdir(project.path), pytest.raises(UserError, match=f"version v1 cannot be fetched .*'{unusable}'"):
        fetch_version("v1", tmp_path / "fetched")


@pytest.mark.fault(31)
def test_missing_object_is_restored_by_its_repair(folder: Project) -> None:
    one = folder.cached(md5(folder.path / "made/one"))
    one.unlink()
    assert verify(folder.path)[1] == [f"{one} (cache of made/one): is missing; run `dvc pull` or `dvc repro`"]
    folder.repro()
    assert verify(folder.path)[1] == []
    # Not the output of a stage.
    folder.git("rm", "--quiet", "--cached", "given")
    folder.dvc_ok("add", "--quiet", "given")
    one.unlink()
    assert f"{one} (cache of given): is missing; run `dvc pull` or `dvc add given`" in verify(folder.path)[1]
    folder.dvc_ok("add", "--quiet", "given")
    assert verify(folder.path)[1] == []


@pytest.mark.fault(31)
@pytest.mark.parametrize(("outs", "is_edited"), [("[made]", True), ("[made/one]", False)])
def test_output_that_the_cache_cannot_restore_is_made_again(folder: Project, outs: str, is_edited: bool) -> None:
    folder.edit("dvc.yaml", "outs: [made]", f"outs: {outs}")
    folder.repro()
    name, one = "made/one", folder.path / "made/one"
    cached = folder.cached(md5(one))
    cached.unlink()
    one.unlink()
    if is_edited:
        one.write_text("edited")
    lines = verify(folder.path)[1]
    if is_edited:
        assert [line.partition(":")[0] for line in lines] == [f"{cached} (cache of {name})", name]
        assert lines[1].endswith("; delete it and run `dvc pull` or `dvc repro`")
        one.unlink()
    else:
        assert lines == [f"{name}: is missing, also in the cache; run `dvc pull` or `dvc repro`"]
    folder.repro()
    assert verify(folder.path)[1] == []


def test_missing_folder_is_one_problem(folder: Project) -> None:
    shutil.rmtree(folder.path / "made")
    shutil.rmtree(folder.path / ".dvc/cache")
    assert verify(folder.path)[1] == ["made: is missing, also in the cache; run `dvc pull` or `dvc repro`"]
    folder.repro()
    assert verify(folder.path)[1] == []


@pytest.mark.parametrize("name", ["data/MNIST/raw/train-images-idx3-ubyte", "metrics/eval.json", "plots/history.csv"])
def test_every_output_is_hashed(project: Project, name: str) -> None:
    corrupt(project.path / name)
    assert [line.split(":")[0] for line in verify(project.path)[1]] == [name]


def test_repair_of_an_output_in_git_works(folder: Project) -> None:
    folder.edit("dvc.yaml", "outs: [made]", "outs: [{made/one: {cache: false}}]")
    (folder.path / ".gitignore").unlink()
    folder.repro()
    folder.commit()
    corrupt(folder.path / "made/one")
    # Git restores what is staged, unless the command names the commit.
    folder.git("add", "made/one")
    (line,) = verify(folder.path)[1]
    assert line.endswith("delete it and run `git checkout HEAD made/one`")
    folder.git("checkout", "HEAD", "made/one")
    assert verify(folder.path)[1] == []
    # It was committed without its dvc.lock, so git has no better version.
    (folder.path / "given").write_text("other")
    folder.repro()
    folder.git("checkout", "HEAD", "dvc.lock")
    folder.commit()
    (of_output, of_input) = sorted(verify(folder.path)[1])
    assert of_input == "make: given changed; run `dvc repro`"
    assert of_output.endswith("delete it and run `dvc repro`")
    (folder.path / "made/one").unlink()
    folder.repro()
    assert verify(folder.path)[1] == []


def test_folder_in_git_is_hashed(folder: Project) -> None:
    folder.edit("dvc.yaml", "outs: [made]", "outs: [{made: {cache: false}}]")
    (folder.path / ".gitignore").unlink()
    folder.repro()
    folder.commit()
    assert verify(folder.path)[1] == []
    (folder.path / "made/one").write_text("edited")
    (line,) = verify(folder.path)[1]
    assert line.endswith("delete it and run `git checkout HEAD made`")


def test_repair_of_an_undetectably_edited_file_works(folder: Project) -> None:
    folder.edit("dvc.yaml", "outs: [made]", "outs: [made/one]")
    folder.repro()
    one = folder.path / "made/one"
    before = one.stat()
    corrupt(one)
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "up to date" in folder.dvc("status").stdout
    (line,) = verify(folder.path)[1]
    assert line.endswith("delete it and run `dvc checkout made/one`")
    one.unlink()
    folder.dvc_ok("checkout", "made/one")
    assert verify(folder.path)[1] == []


def test_files_of_a_folder_are_hashed_in_workspace_and_cache(folder: Project) -> None:
    # The listing; two files, each twice.
    assert verify(folder.path) == (1 + 2 * 2, [])
    cached = folder.cached(md5(folder.path / "made/deep/two"))
    corrupt(cached)
    corrupt(folder.path / "made/one")
    (folder.path / "made/notes.txt").touch()
    there, stray, here = sorted(verify(folder.path)[1])
    assert there.startswith(f"{cached} (cache of made/deep/two): md5 is")
    assert stray == "made/notes.txt: is not in dvc.lock; move it out of made, where DVC deletes it"
    assert here.startswith("made/one: md5 is")


@pytest.mark.fault(80, 81)
def test_repair_of_a_truncated_folder_listing_works(folder: Project) -> None:
    listing = folder.cached(folder.outs()["made"])
    listing.chmod(0o644)
    for content in (b"", b'[{"md5": "', b"[1, 2]", b"\xff"):
        listing.write_bytes(content)
        (line,) = verify(folder.path)[1]
        assert line.startswith(f"{listing} (cache of made): md5 is")
        assert line.endswith("delete it and run `dvc pull` or `dvc repro`")
    (folder.path / "made/one").write_text("edited")
    _, whole = verify(folder.path)[1]
    assert whole.startswith("made: md5 is")
    # Not to be deleted, since it may contain more than was recorded.
    assert whole.endswith("; run `dvc pull` or `dvc repro`")
    listing.unlink()
    folder.repro()
    assert verify(folder.path)[1] == []


@pytest.mark.fault(80, 81)
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("conflict", "verify: dvc.lock of the working tree: is not YAML: line "),
        ("conflict within", "verify: dvc.lock of the working tree: is not YAML: line "),
        ("empty", "verify: dvc.lock of the working tree: "),
        ("cut in a line", "verify: dvc.lock of the working tree: "),
        ("another schema", "verify: dvc.lock of the working tree: "),
        ("binary", "verify: dvc.lock of the working tree: "),
        ("no stage", "make: the stage is not in dvc.lock; run `dvc repro`"),
        ("no file", "make: the stage is not in dvc.lock; run `dvc repro`"),
    ],
)
def test_repair_of_a_truncated_lock_works(folder: Project, kind: str, problem: str) -> None:
    path, before = folder.path / "dvc.lock", folder.lock()
    lock = path.read_text()
    half = len(lock) // 2
    torn = {
        "conflict": f"<<<<<<< HEAD\n{lock}=======\n{lock}>>>>>>> theirs\n",
        "conflict within": f"{lock[:half]}\n<<<<<<< HEAD\n=======\n>>>>>>> theirs\n{lock[half:]}",
        "empty": "",
        "cut in a line": lock[: lock.index("md5:") + 10],
        "another schema": lock.replace("outs:", "outputs:"),
        "binary": "\0",
        "no stage": "schema: '2.0'\nstages: {}\n",
        "no file": "",
    }
    path.write_text(torn[kind])
    if kind == "no file":
        path.unlink()
    first, *rest = said(folder)
    assert first.startswith(problem)
    if first.startswith("verify: "):
        # As if the file were missing.
        assert "; delete dvc.lock, then run `dvc repro`" in first
        assert not rest
    else:
        folder.repro()
        assert folder.lock() == before
        assert verify(folder.path)[1] == []


@pytest.mark.fault(82)
def test_converted_line_endings_are_accepted(project: Project, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone", "--config", "core.autocrlf=true")
    shutil.copytree(project.path / ".dvc/cache", clone.path / ".dvc/cache")
    clone.dvc_ok("checkout")
    assert clone.git("status", "--porcelain") == ""
    assert "up to date" in clone.dvc_ok("status")
    assert verify(clone.path)[1] == []


@pytest.mark.fault(98)
def test_stage_that_read_an_older_output_is_reported(folder: Project) -> None:
    folder.append("dvc.yaml", "  use: {cmd: cp made/one used, deps: [made], outs: [used]}\n")
    folder.repro()
    (folder.path / "given").write_text("edited\n")
    folder.repro("make")
    assert verify(folder.path)[1] == ["use: made changed; run `dvc repro`"]


@pytest.mark.parametrize(
    ("path", "old", "new", "subjects"),
    [
        ("src/mnist/train/loop.py", "", "# edited", ["check: src/mnist/train", "train: src/mnist/train"]),
        (
            "params.yaml",
            "tta_shift: 0",
            "tta_shift: 1",
            ["check: params.yaml:tta_shift", "evaluate: params.yaml:tta_shift"],
        ),
        ("dvc.yaml", "__main__.py evaluate", "__main__.py evaluate --again", ["evaluate: its command"]),
    ],
)
def test_results_of_other_code_params_or_commands_are_reported(
    project: Project, path: str, old: str, new: str, subjects: list[str]
) -> None:
    file = project.path / path
    file.write_text(file.read_text().replace(old, new, 1) if old else new)
    assert verify(project.path)[1] == [f"{subject} changed; run `dvc repro`" for subject in subjects]


def test_repair_of_a_missing_input_works(folder: Project) -> None:
    (folder.path / "given").unlink()
    assert verify(folder.path)[1] == ["make: given is missing; restore it, then run `dvc repro`"]
    folder.git("checkout", "given")
    folder.repro()
    assert verify(folder.path)[1] == []


def test_repair_works_if_plain_repro_does_not(folder: Project) -> None:
    """DVC keeps stages and inputs that were removed from dvc.yaml, and does not run frozen stages."""
    pipeline, lock = folder.path / "dvc.yaml", folder.path / "dvc.lock"
    declared, recorded = pipeline.read_text(), lock.read_text()
    lock.write_text(f"{recorded}  gone:\n    cmd: echo\n")
    assert verify(folder.path)[1] == [
        "gone: the stage is in dvc.lock but no longer in dvc.yaml; delete its entry in dvc.lock"
    ]
    folder.repro()
    assert "gone" in lock.read_text()
    lock.write_text(recorded)
    pipeline.write_text(declared.replace("    deps: [given]\n", ""))
    line = "make: given is in dvc.lock but no longer declared; run `dvc repro --single-item --force make`"
    assert verify(folder.path)[1] == [line]
    folder.repro()
    assert verify(folder.path)[1] == [line]
    folder.dvc_ok("repro", "--single-item", "--force", "make")
    assert verify(folder.path)[1] == []
    lock.write_text(recorded)
    pipeline.write_text(f"{declared}    frozen: true\n")
    (folder.path / "given").write_text("edited\n")
    line = "make: given changed; run `dvc unfreeze make`, then run `dvc repro`"
    assert verify(folder.path)[1] == [line]
    folder.repro()
    assert verify(folder.path)[1] == [line]
    folder.dvc_ok("unfreeze", "make")
    folder.repro()
    assert verify(folder.path)[1] == []


def test_repair_of_a_file_in_place_of_a_folder_works(folder: Project) -> None:
    shutil.rmtree(folder.path / "made")
    (folder.path / "made").symlink_to("given")
    (line,) = verify(folder.path)[1]
    assert line == "made: is not a folder; delete it and run `dvc checkout made`"
    (folder.path / "made").unlink()
    folder.dvc_ok("checkout", "made")
    assert verify(folder.path)[1] == []


def hide_from_git(folder: Project) -> None:
    (folder.path / ".git/info").mkdir(exist_ok=True)
    (folder.path / ".git/info/exclude").write_text("*.tmp\n")
    (folder.path / "given/hidden.tmp").write_text("edited\n")


def trust_in_git(folder: Project) -> None:
    folder.git("update-index", "--assume-unchanged", "given/file")
    (folder.path / "given/file").write_text("edited\n")


def convert_in_git(folder: Project) -> None:
    (folder.path / ".gitattributes").write_text("given/file text eol=lf\n")
    (folder.path / "given/file").write_bytes(b"given\r\n")


def test_input_ignored_by_git_is_hashed(folder: Project) -> None:
    (folder.path / ".gitignore").write_text("/given\n/made\n")
    folder.git("rm", "--quiet", "--cached", "given")
    folder.commit()
    assert verify(folder.path)[1] == []
    (folder.path / "given").write_text("edited\n")
    assert verify(folder.path)[1] == ["make: given changed; run `dvc repro`"]


@pytest.mark.parametrize("edit", [hide_from_git, trust_in_git, convert_in_git])
def test_input_changed_unseen_by_git_is_reported(folder: Project, edit: Callable[[Project], None]) -> None:
    (folder.path / "given").unlink()
    (folder.path / "given").mkdir()
    (folder.path / "given/file").write_text("given\n")
    pipeline = folder.path / "dvc.yaml"
    pipeline.write_text(
        pipeline.read_text().replace("cp given ", "cp given/file ").replace("cat given given", "cat given/file")
    )
    folder.repro()
    folder.commit()
    assert verify(folder.path)[1] == []
    edit(folder)
    assert verify(folder.path)[1] == ["make: given changed; run `dvc repro`"]


@pytest.mark.fault(39)
@pytest.mark.slow
def test_forced_run_temporary_copy_and_clone_lock_the_same(project: Project, tmp_path: Path) -> None:
    lock, outs = project.lock(), project.outs()
    project.repro("--force")
    assert project.lock() == lock
    done = project.run("python", "-m", "src.audit.verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.git("status", "--porcelain") == ""
    clone = project.clone(tmp_path / "clone")
    clone.repro()
    assert clone.outs() == outs
    done = project.dvc("exp", "run", "--temp", "--force", "--name", "again")
    assert done.returncode == 0, done.stderr
    (again,) = [ref for ref in project.git("for-each-ref", "--format=%(refname)").split() if ref.endswith("/again")]
    assert project.git("show", f"{again}:dvc.lock") == (project.path / "dvc.lock").read_text()


@pytest.mark.fault(43)
@pytest.mark.slow
def test_two_of_three_queued_experiments_succeed(project: Project) -> None:
    project.commit()
    for name, setting in (("one", "epochs=1"), ("bad", "epochs=0"), ("three", "epochs=3")):
        done = project.dvc("exp", "run", "--queue", "--name", name, "--set-param", setting)
        assert done.returncode == 0, done.stderr
    done = project.dvc("queue", "start")
    try:
        wait_for(
            lambda: "Running" not in (said := project.dvc("queue", "status").stdout) and "Queued" not in said,
            "the queue",
        )
        status = {
            line.split()[1]: line.split()[-1]
            for line in project.dvc("queue", "status").stdout.splitlines()
            if " " in line
        }
    finally:
        project.dvc("queue", "stop", "--kill")
    assert (status["one"], status["bad"], status["three"]) == ("Success", "Failed", "Success")
