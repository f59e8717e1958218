"""Rows 30, 31 and 39: what is in the cache is what dvc.lock says, and what dvc.lock says comes out again."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from src.audit.verify import verify
from tests.faults.project import Project, make_folder_project, wait_for


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def corrupt(path: Path) -> None:
    """Change a byte of a file that DVC trusts because it is write-protected."""
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    path.chmod(0o444)


@pytest.mark.fault(30)
def test_a_corrupt_object_is_named_with_its_repair(project: Project) -> None:
    model = project.cached(project.outs()["models/model.safetensors"])
    corrupt(model)
    assert "up to date" in project.dvc("status").stdout
    done = project.run("python", "-m", "src.audit.verify")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if str(model) in line)
    assert "(cache of models/model.safetensors): md5 is" in line
    assert "delete it and run `dvc pull` or `dvc repro`" in line


@pytest.mark.fault(31)
def test_a_missing_object_is_made_again(project: Project) -> None:
    name = "data/MNIST/raw/train-labels-idx1-ubyte"
    labels = project.cached(md5(project.path / name))
    labels.unlink()
    assert verify(project.path)[1] == [f"{labels} (cache of {name}): is missing; run `dvc pull` or `dvc repro`"]
    project.repro("fetch")
    assert labels.exists()
    assert verify(project.path)[1] == []
    assert "up to date" in project.dvc("status").stdout


@pytest.mark.parametrize("name", ["data/MNIST/raw/train-images-idx3-ubyte", "metrics/eval.json", "plots/history.csv"])
def test_every_output_is_hashed(project: Project, name: str) -> None:
    corrupt(project.path / name)
    assert [line.split(":")[0] for line in verify(project.path)[1]] == [name]


@pytest.fixture
def folder(tmp_path: Path) -> Project:
    return make_folder_project(tmp_path / "folder")


def test_a_file_that_does_not_belong_to_a_folder_is_named(folder: Project) -> None:
    (folder.path / "made/notes.txt").touch()
    assert verify(folder.path)[1] == ["made/notes.txt: is not in dvc.lock; move it out of made, where DVC deletes it"]


def test_the_repair_of_a_file_that_only_its_hash_betrays_works(project: Project) -> None:
    model = project.path / "models/model.safetensors"
    # DVC looks at it once, and from then on at its size and time.
    project.dvc("status")
    before = model.stat()
    corrupt(model)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "up to date" in project.dvc("status").stdout
    (line,) = verify(project.path)[1]
    assert line.endswith("delete it and run `dvc checkout models/model.safetensors`")
    model.unlink()
    project.dvc("checkout", "models/model.safetensors")
    assert verify(project.path)[1] == []


def test_files_of_a_folder_are_hashed_here_and_in_the_cache(folder: Project) -> None:
    # The stage, its command and its dependency; the listing; two files, each twice.
    assert verify(folder.path) == (1 + 1 + 1 + 2 * 2, [])
    cached = folder.cached(md5(folder.path / "made/deep/two"))
    corrupt(cached)
    corrupt(folder.path / "made/one")
    here, there = sorted(verify(folder.path)[1])
    assert here.startswith(f"{cached} (cache of made/deep/two): md5 is")
    assert there.startswith("made/one: md5 is")


@pytest.mark.fault(80, 81)
@pytest.mark.parametrize("content", [b"", b'[{"md5": "', b"[1, 2]", b"\xff"])
def test_a_torn_listing_of_a_folder_is_one_line_whose_repair_works(folder: Project, content: bytes) -> None:
    listing = folder.cached(folder.outs()["made"])
    listing.chmod(0o644)
    listing.write_bytes(content)
    (line,) = verify(folder.path)[1]
    assert line.startswith(f"{listing} (cache of made): md5 is")
    assert line.endswith("delete it and run `dvc pull` or `dvc repro`")
    listing.unlink()
    folder.repro()
    assert verify(folder.path)[1] == []


@pytest.mark.fault(80, 81)
def test_a_folder_is_hashed_even_if_its_listing_is_torn(folder: Project) -> None:
    corrupt(folder.cached(folder.outs()["made"]))
    corrupt(folder.path / "made/one")
    _, line = verify(folder.path)[1]
    assert line.startswith("made: md5 is")


def torn(lock: str, kind: str) -> str:
    """A dvc.lock after a merge that left a conflict, or after a write that was cut off."""
    half = len(lock) // 2
    return {
        "conflict": f"<<<<<<< HEAD\n{lock}=======\n{lock}>>>>>>> theirs\n",
        "conflict within": f"{lock[:half]}\n<<<<<<< HEAD\n=======\n>>>>>>> theirs\n{lock[half:]}",
        "empty": "",
        "cut in a line": lock[: lock.index("md5:", half) + 10],
        "cut after a stage": lock[: lock.index("  train:")],
        "another schema": lock.replace("outs:", "outputs:"),
        "binary": "\0",
    }[kind]


@pytest.mark.fault(80, 81)
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("conflict", "dvc.lock of the working tree: has the conflict markers of a merge; delete dvc.lock, then"),
        ("conflict within", "dvc.lock of the working tree: has the conflict markers of a merge; delete dvc.lock, then"),
        ("empty", "dvc.lock of the working tree: "),
        ("cut in a line", "dvc.lock"),
        ("cut after a stage", "dvc.lock: has no whole record of train, evaluate; run `dvc repro`"),
        ("another schema", "dvc.lock of the working tree: "),
        ("binary", "dvc.lock of the working tree: "),
    ],
)
def test_a_torn_lock_is_one_line_whose_repair_works(project: Project, kind: str, problem: str) -> None:
    lock = project.path / "dvc.lock"
    before = project.lock()
    lock.write_text(torn(lock.read_text(), kind))
    done = project.run("python", "-m", "src.audit.verify")
    assert done.returncode == 1
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert first.removeprefix("verify: ").startswith(problem)
    if "delete dvc.lock" in first:
        assert not rest
        lock.unlink()
    project.repro()
    assert project.lock() == before
    assert verify(project.path)[1] == []


@pytest.mark.fault(80, 81)
def test_without_a_lock_there_are_no_results(project: Project) -> None:
    (project.path / "dvc.lock").unlink()
    done = project.run("python", "-m", "src.audit.verify")
    assert done.returncode == 1
    assert done.stdout.startswith("dvc.lock: has no whole record of check, fetch, train, evaluate; run `dvc repro`\n")


@pytest.mark.fault(82)
def test_a_clone_with_converted_line_endings_has_the_same_files(project: Project, tmp_path: Path) -> None:
    project.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    shutil.copytree(project.path / ".dvc/cache", clone.path / ".dvc/cache")
    clone.dvc_ok("checkout")
    assert clone.git("status", "--porcelain") == ""
    assert "up to date" in clone.dvc_ok("status")
    assert verify(clone.path)[1] == []


def test_sound_outputs_are_counted(project: Project) -> None:
    count, problems = verify(project.path)
    # What is in git is one file, an output of DVC's also an object in its cache; three receipts are files and hold
    # dvc.lock to what they say; of each of four stages a command, a params file and its dependencies.
    cached = sum(not path.startswith(("metrics/", "plots/", "receipts/")) for path in project.outs())
    inputs = sum(len(stage["deps"]) for stage in project.read_yaml("dvc.yaml")["stages"].values())
    assert (count, problems) == (len(project.outs()) + cached + 3 + 2 * 4 + inputs, [])


@pytest.mark.fault(98)
def test_a_stage_that_read_another_output_than_there_is_now_is_named(toy: Project) -> None:
    toy.repro()
    toy.set(lr=0.1)
    toy.repro("train")
    assert verify(toy.path)[1] == ["evaluate: models/model.safetensors changed since it ran; run `dvc repro`"]


@pytest.mark.parametrize(
    ("path", "text", "problems"),
    [
        ("src/mnist/train/loop.py", "# edited", ["check: src/mnist/train", "train: src/mnist/train"]),
        ("params.yaml", "tta_shift: 1", ["check: params.yaml: tta_shift", "evaluate: params.yaml: tta_shift"]),
        ("dvc.yaml", "__main__.py evaluate --again", ["evaluate: its command"]),
    ],
)
def test_results_of_other_code_params_or_commands_are_named(
    project: Project, path: str, text: str, problems: list[str]
) -> None:
    old = (project.path / path).read_text() if (project.path / path).exists() else ""
    replaced = old.replace("tta_shift: 0", text).replace("__main__.py evaluate", text)
    (project.path / path).write_text(replaced if replaced != old else f"{old}{text}\n")
    assert verify(project.path)[1] == [f"{problem} changed since it ran; run `dvc repro`" for problem in problems]


@pytest.mark.fault(39)
@pytest.mark.slow
def test_forced_runs_lock_the_same(project: Project) -> None:
    lock = project.lock()
    project.repro("--force")
    assert project.lock() == lock


@pytest.mark.fault(39)
@pytest.mark.slow
def test_a_temporary_copy_and_a_clone_lock_the_same(project: Project, tmp_path: Path) -> None:
    project.commit()
    outs = project.outs()
    project.git("clone", "--quiet", str(project.path), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.repro()
    assert clone.outs() == outs
    done = project.dvc("exp", "run", "--temp", "--force", "--name", "again")
    assert done.returncode == 0, done.stderr
    (again,) = [ref for ref in project.git("for-each-ref", "--format=%(refname)").split() if ref.endswith("/again")]
    assert project.git("show", f"{again}:dvc.lock") == (project.path / "dvc.lock").read_text()


@pytest.mark.fault(43)
@pytest.mark.slow
def test_of_three_queued_experiments_two_succeed(project: Project) -> None:
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
