import subprocess
from contextlib import AbstractContextManager

import pytest
from dvc.repo import Repo

from src.core.errors import UserError
from src.report.command import judge
from src.revision.git import find_commit, find_root
from src.revision.tree import Tree, open_tree
from tests.unit.history import History


def test_hashes_match_dvc_in_commits_and_the_working_tree(history: History) -> None:
    history.write("src/core/odd name é.py", "x")
    history.write("src/core/deeper/file.py", "y")
    history.write("src/core/draft.py", "ignored, although DVC's patterns are indented")
    history.write(".dvcignore", (history.path / ".dvcignore").read_text() + "  draft.py\n")
    history.write("src/core-2/file.py", "of another folder whose name begins alike")
    history.commit("more files")
    history.write("src/core/__pycache__/x.pyc", "ignored by .dvcignore")
    deps = {str(dep): dep for stage in Repo(".").index.stages for dep in stage.deps if str(dep).startswith("s")}
    assert "src/core" in deps
    for commit in (None, find_commit(history.path, "HEAD")):
        with open_tree(history.path, "it", commit) as snapshot:
            for path, dep in deps.items():
                assert snapshot.md5(path) == dep.get_hash().value, path


def open_it(history: History, commit: str) -> AbstractContextManager[Tree]:
    return open_tree(history.path, "it", commit)


def commit_of(history: History, *entries: tuple[str, str, str]) -> str:
    """Commit a tree with these entries of mode, name and object, even if git could not check it out."""
    content = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in entries)
    command = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    done = subprocess.run(command, cwd=history.path, input=content, capture_output=True, check=True)
    return history.git("commit-tree", "-m", "made by hand", done.stdout.decode().strip())


def nested(history: History, leaf: str, folders: int, levels: int) -> str:
    """Commit nested folders that all have the same objects."""
    tree = history.git("mktree", standard_input=leaf)
    for _ in range(levels):
        tree = history.git("mktree", standard_input="".join(f"040000 tree {tree}\tf{n}\n" for n in range(folders)))
    return history.git("commit-tree", "-m", "many folders", tree)


@pytest.mark.parametrize("leaf", ["", "100644 blob {}\ta\n"])
def test_too_many_files_or_folders_are_rejected(history: History, leaf: str) -> None:
    commit = nested(history, leaf.format(history.git("rev-parse", "HEAD:params.yaml")), folders=60, levels=12)
    refused = pytest.raises(UserError, match="it: has too many files and folders; 20,000,000 bytes of names are read")
    with refused, open_it(history, commit):
        pass


def test_deeply_nested_folders_are_read(history: History) -> None:
    path = "f/" * 150 + "x"
    history.write(path, "")
    with open_it(history, history.commit("deep")) as tree:
        assert tree.has(path)


@pytest.mark.parametrize("names", [".git", ".GIT", "..", ".", "a/b", "a a", "f f", "f a/b", "x" * 4096])
def test_invalid_git_paths_are_rejected(history: History, names: str) -> None:
    """Such a commit can be created and pushed; `f` is a folder here, and any other name is a file."""
    blob, folder = history.git("rev-parse", "HEAD:params.yaml"), history.git("rev-parse", "HEAD:src")
    entries = [("40000", "f", folder) if name == "f" else ("100644", name, blob) for name in names.split()]
    with (
        pytest.raises(UserError, match="is not a path that git can check out, or appears twice"),
        open_it(history, commit_of(history, *entries)),
    ):
        pass


def test_total_bytes_read_are_limited(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.revision.tree.MAX_TOTAL_BYTES", 25_000)
    for number in range(3):
        history.write(f"many/{number}", str(number) * 10_000)
    with open_it(history, history.commit("many")) as snapshot:
        assert snapshot.md5("many/0")
        with pytest.raises(UserError, match=r"many/. of it: at most 25,000 bytes of a revision are read"):
            snapshot.md5("many")


def test_project_in_a_subfolder_of_the_repository(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the project; files outside of it count as read unless the policy lists them as unread."""
    project = history.path / "ml/mnist"
    history.git("config", "core.safecrlf", "false")
    for path in sorted(set(history.git("ls-files").splitlines())):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (history.path / path).rename(project / path)
    history.write("params.yaml", "another: project's\n")
    history.write("ml/another/README.md", "another project's")
    with (project / "metrics_policy.yaml").open("a") as policy:
        policy.write("unread: [../another/*]\n")
    commit = history.commit("moved")
    monkeypatch.chdir(project)
    assert find_root() == project
    for name in (None, commit):
        with open_tree(project, "it", name) as tree:
            assert tree.has("dvc.yaml")
            assert not tree.has("ml/mnist/dvc.yaml")
            assert b"epochs" in (tree.read("params.yaml") or b"")
    assert judge("main", None).verdict["outcome"] == "pass"

    history.write(".github/workflows/checks.yml", "jobs: {}\n")
    history.write("ml/.gitattributes", "*.py eol=crlf\n")
    history.write("ml/uv.lock", "evil==1.0\n")
    for name in ("Makefile", "requirements.txt", ".gitattributes"):
        history.write(f"ml/another/{name}", "another project's\n")
    said = str(judge("main", None).verdict["findings"])
    assert all(path in said for path in ("../.gitattributes", "../uv.lock", "../../.github/workflows/checks.yml"))
    assert "another" not in said
    history.write("ml/my-lib/setup.py", "print()\n")
    assert "../my-lib/setup.py" in str(judge("main", None).verdict["findings"])
    history.write("ml/mnist/src/mnist/train/classifier.py", "edited\n")
    assert judge("main", None).verdict["outcome"] == "fail"


def test_working_tree_matches_what_git_would_commit(history: History) -> None:
    history.write("data/MNIST/raw/x", "ignored")
    history.write("new.txt", "new")
    (history.path / "params.yaml").unlink()
    history.git("update-index", "--chmod=+x", "dvc.yaml")
    # A branch may contain hooks.
    history.git("config", "core.hooksPath", ".hooks")
    history.write(".hooks/post-index-change", "#!/bin/sh\ntouch ran\n")
    (history.path / ".hooks/post-index-change").chmod(0o755)
    before = history.git("-c", "core.hooksPath=", "status", "--porcelain")
    with open_tree(history.path, "it", None) as tree:
        assert tree.read("new.txt") == b"new"
        assert not tree.has("params.yaml")
        assert not tree.has("data/MNIST/raw/x")
    assert history.git("-c", "core.hooksPath=", "status", "--porcelain") == before
    assert history.git("count-objects").startswith("0 objects")


def test_huge_unignored_file_is_reported(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.revision.tree.MAX_NEW_BYTES", 1000)
    history.write("huge.bin", "x" * 2000)
    refused = pytest.raises(UserError, match=r"huge\.bin: has 2,000 bytes, and git neither has nor ignores it")
    with refused, open_tree(history.path, "it", None):
        pass
