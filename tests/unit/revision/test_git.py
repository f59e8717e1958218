"""Incomplete clones, and names that are not commits."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.report.command import judge
from src.revision.git import find_commit, find_root, merge_bases, open_objects
from src.revision.tree import open_tree
from tests.unit.history import TRAINS, History


def clone(history: History, folder: Path, *options: str) -> Path:
    history.git("config", "uploadpack.allowFilter", "true")
    source = history.path.as_uri()
    subprocess.run(["git", "clone", "--quiet", *options, source, folder], check=True, capture_output=True)
    return folder


def run(folder: Path, command: str) -> None:
    subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)


def test_shallow_clone_error_has_a_repair(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = history.git("rev-parse", "main")
    history.commit("second")
    history.git("branch", "theirs")
    shallow = clone(history, tmp_path / "shallow", "--depth=1")
    with pytest.raises(UserError, match="the clone is shallow: run `git fetch --unshallow`") as caught:
        find_commit(shallow, "main~1")
    monkeypatch.chdir(shallow)
    (finding,) = judge("main~1", "main").verdict["findings"]
    assert str(caught.value) == finding["text"].replace("’", "'")
    run(shallow, "git fetch --unshallow")
    assert find_commit(shallow, "main~1") == first
    # It had only one branch, and still has.
    with pytest.raises(UserError, match="is not a revision in this clone; try `git fetch --tags") as caught:
        find_commit(shallow, "origin/theirs~1")
    run(shallow, str(caught.value).split("`")[1])
    assert find_commit(shallow, "origin/theirs~1") == first


def test_missing_merge_base_is_inconclusive_in_a_shallow_clone(history: History, tmp_path: Path) -> None:
    history.git("branch", "theirs")
    main = history.commit("on main")
    history.git("switch", "-q", "theirs")
    theirs = history.commit("on theirs")
    shallow = clone(history, tmp_path / "shallow", "--depth=1", "--no-single-branch")
    with pytest.raises(UserError, match="where they parted is not in this clone; the clone is shallow"):
        merge_bases(shallow, main, theirs)
    run(shallow, "git fetch --unshallow")
    assert merge_bases(shallow, main, theirs) == [history.git("rev-parse", "main~1")]


def test_merge_base_is_not_trusted_in_a_shallow_clone(history: History, tmp_path: Path) -> None:
    """A branch that merges an old commit of main, and whose history since main exceeds the depth of the clone."""
    first, second = history.git("rev-parse", "main"), history.commit("second")
    history.git("switch", "-q", "-c", "theirs")
    own = [history.commit(f"theirs {number}") for number in range(3)]
    theirs = history.git("commit-tree", "-m", "merged", "-p", own[-1], "-p", first, "main^{tree}")
    history.git("reset", "-q", "--hard", theirs)
    history.git("switch", "-q", "main")
    main = history.commit("third")
    shallow = clone(history, tmp_path / "shallow", "--depth=3", "--no-single-branch")
    found = subprocess.run(["git", "merge-base", main, theirs], cwd=shallow, capture_output=True, text=True)
    assert found.stdout.strip() == first
    with pytest.raises(UserError, match="where they parted is not in this clone; the clone is shallow"):
        merge_bases(shallow, main, theirs)
    assert merge_bases(shallow, main, second) == [second]
    run(shallow, "git fetch --unshallow")
    assert merge_bases(shallow, main, theirs) == [second]


def test_partial_clone_error_has_a_repair(history: History, tmp_path: Path) -> None:
    history.write("README.md", "first")
    commit = history.commit("first")
    history.write("README.md", "second")
    history.commit("second")
    partial = clone(history, tmp_path / "partial", "--filter=blob:none")
    with pytest.raises(
        UserError, match=r"README\.md of it: git cannot read it; the clone is partial: run `g"
    ) as caught:
        read(partial, commit)
    run(partial, str(caught.value).split("`")[1])
    assert read(partial, commit) == b"first"


@pytest.mark.parametrize(
    "path", ["metrics_policy.yaml", "receipts/train.json", "metrics_noise.json", "metrics/eval.json"]
)
def test_partial_clone_is_not_the_fault_of_the_branch(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    history.write(path, "broken")
    history.commit("what this clone cannot read")
    history.git("branch", "theirs")
    history.git("reset", "-q", "--hard", "main~1")
    monkeypatch.chdir(clone(history, tmp_path / "partial", "--filter=blob:none"))
    verdict = judge("origin/main", "origin/theirs").verdict
    assert verdict["outcome"] == "could not tell"
    (finding,) = verdict["findings"]
    assert finding["text"] == (
        f"{path} of origin/theirs: git cannot read it; the clone is partial: run `git fetch --refetch --no-filter`"
    )


@pytest.mark.parametrize(("what", "where"), [("HEAD:README.md", r"README\.md of it"), ("HEAD:src", "it")])
def test_damaged_clone_error_suggests_a_check(history: History, what: str, where: str) -> None:
    history.write("README.md", "first")
    history.write("src/new.py", "first")
    commit = history.commit("first")
    oid = history.git("rev-parse", what)
    (history.path / ".git/objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(UserError, match=f"^{where}: git cannot read it; run `git fsck`"):
        read(history.path, commit)


def read(folder: Path, commit: str) -> bytes | None:
    with open_tree(folder, "it", commit) as tree:
        return tree.read("README.md")


def test_non_commit_is_rejected(history: History) -> None:
    history.git("tag", "-a", "-m", "of a tree", "of-a-tree", "main^{tree}")
    objects = ["main^{tree}", "main:params.yaml", "main:src", "of-a-tree"]
    hashes = history.git("rev-parse", *objects).split()
    for name in [*objects, *hashes, "../../etc", "-x", "main\0b", "main\n", "0" * 40, "0" * 40 + " commit"]:
        with pytest.raises(UserError, match="is not a revision in this clone"):
            find_commit(history.path, name)
    with pytest.raises(UserError, match="expected the name of a revision, such as main, got an empty string"):
        find_commit(history.path, "")


def test_any_name_of_a_commit_is_accepted(history: History) -> None:
    history.git("tag", "-a", "-m", "annotated", "v1")
    for name in ("v1", "HEAD", history.git("rev-parse", "--short=7", "main"), "main@{0}", ":/base"):
        assert find_commit(history.path, name) == history.git("rev-parse", "main"), name


def test_malformed_git_output_is_rejected(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit has 40 digits, whatever the exit code."""
    real = shutil.which("git")
    for answer in ("", "main", *("0" * digits for digits in (39, 64))):
        (tmp_path / "git").write_text(
            f'#!/bin/sh\ncase "$*" in *--verify*) echo {answer};; *) exec {real} "$@";; esac\n'
        )
        (tmp_path / "git").chmod(0o755)
        with monkeypatch.context() as changed:
            changed.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
            with pytest.raises(UserError, match="is not a revision"):
                find_commit(history.path, "main")


def test_huge_commit_message_is_rejected(history: History) -> None:
    commit = history.git("commit-tree", "-F", "-", "main^{tree}", standard_input="x" * 2_000_000)
    refused = pytest.raises(UserError, match="expected at most 1,000,000 bytes, got 2,000,")
    with refused, open_tree(history.path, "it", commit):
        pass


def test_nested_tag_resolves_to_its_commit(history: History) -> None:
    history.git("tag", "-a", "-m", "1", "t1")
    history.git("tag", "-a", "-m", "2", "t2", "t1")
    assert find_commit(history.path, "t2") == history.git("rev-parse", "main")


def test_tag_does_not_shadow_a_branch_or_a_hash(history: History) -> None:
    """Git prefers tags, and `git fetch` also fetches those of a fork."""
    main = history.git("rev-parse", "main")
    theirs = history.git("commit-tree", "-m", "theirs", "main^{tree}")
    history.git("tag", "main", theirs)
    history.git("tag", main[:7], theirs)
    history.git("tag", main, theirs)
    for name in ("main", "main~0", main[:7]):
        with pytest.raises(UserError, match=f"^{name}: is the name of more than one tag, branch or commit; give the"):
            find_commit(history.path, name)
    assert find_commit(history.path, "refs/heads/main") == find_commit(history.path, main) == main


@pytest.mark.fault(77)
def test_git_environment_variables_have_no_effect(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of a hook of another repository, or of this one, which runs in the top folder."""
    verdict = judge("main", None).verdict
    other = tmp_path / "other"
    history.git("init", "-q", str(other))
    folders = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_OBJECT_DIRECTORY": str(other)}
    for name, value in {**folders, "GIT_INDEX_FILE": "nothing", "GIT_LITERAL_PATHSPECS": "1"}.items():
        monkeypatch.setenv(name, value)
    assert judge("main", None).verdict == verdict


def test_new_file_outside_a_sparse_checkout_is_found(history: History) -> None:
    history.git("sparse-checkout", "set", "--no-cone", "/*", "!/src/mnist/train/")
    with open_tree(history.path, "it", None) as tree:
        assert tree.has(TRAINS)
    history.write("src/mnist/train/new.py", "new")
    with open_tree(history.path, "it", None) as tree:
        assert tree.has(TRAINS)
        assert tree.has("src/mnist/train/new.py")


def test_project_is_the_nearest_folder_with_dvc(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_root() == history.path
    monkeypatch.chdir(history.path / "src/core")
    assert find_root() == history.path
    (history.path / "ml/mnist/.dvc").mkdir(parents=True)
    (history.path / "ml/mnist/src").mkdir()
    monkeypatch.chdir(history.path / "ml/mnist/src")
    assert find_root() == history.path / "ml/mnist"


def test_git_process_ends_with_the_revision(history: History) -> None:
    with open_objects(history.path) as objects:
        processes = objects._sizes, objects._contents
        assert [process.poll() for process in processes] == [None, None]
    assert None not in [process.poll() for process in processes]


def test_git_of_ubuntu_22_04_is_sufficient(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An option that came with git 2.36.
    script = f'#!/bin/sh\ncase "$*" in *--batch-command*) exit 129;; esac\nexec {shutil.which("git")} "$@"\n'
    (tmp_path / "git").write_text(script)
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with open_tree(history.path, "main", history.git("rev-parse", "main")) as tree:
        assert tree.read("dvc.yaml")


def test_missing_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"expected a folder of a git repository; .*No such file or directory: 'git'"):
        find_root()
