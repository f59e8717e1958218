from contextlib import AbstractContextManager

import pytest
from dvc.repo import Repo

from src.core.errors import UserError
from src.revision.git import find_commit
from src.revision.tree import Tree, open_tree
from tests.unit.history import History


def test_hashes_are_those_of_dvc_in_a_commit_and_in_the_working_tree(history: History) -> None:
    history.write("src/core/odd name é.py", "x")
    history.write("src/core/deeper/file.py", "y")
    history.write("src/core-2/file.py", "of another folder whose name begins alike")
    history.commit("more files")
    history.write("src/core/__pycache__/x.pyc", "ignored by .dvcignore")
    deps = {str(dep): dep for stage in Repo(".").index.stages for dep in stage.deps if str(dep).startswith("s")}
    assert "src/core" in deps
    for commit in (None, find_commit(history.path, "HEAD")):
        with open_tree(history.path, "it", commit) as snapshot:
            for path, dep in deps.items():
                assert snapshot.md5(path) == dep.get_hash().value, path


def test_experiments_of_dvc_are_revisions(history: History) -> None:
    commit = history.git("rev-parse", "HEAD")
    history.git("update-ref", "refs/exps/ab/cdef/nice-name", commit)
    assert find_commit(history.path, "nice-name") == commit


def test_a_folder_that_is_a_file_too_is_refused(history: History) -> None:
    """Git cannot check out such a commit, but it can be made and pushed."""
    blob = history.git("rev-parse", "HEAD:params.yaml")
    folder = history.git_with(f"100644 blob {blob}\tb\n", "mktree")
    tree = history.git_with(f"100644 blob {blob}\ta\n040000 tree {folder}\ta\n", "mktree")
    commit = history.git("commit-tree", "-m", "malformed", tree)
    with (
        pytest.raises(UserError, match="a of it: is not a path that git can check out, or appears twice"),
        open_it(history, commit),
    ):
        pass


def test_the_bytes_that_are_read_are_limited(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.revision.tree.MAX_TOTAL_BYTES", 25_000)
    for number in range(3):
        history.write(f"many/{number}", str(number) * 10_000)
    with open_it(history, history.commit("many")) as snapshot:
        assert snapshot.md5("many/0")
        with pytest.raises(UserError, match=r"many/. of it: at most 25,000 bytes of a revision are read"):
            snapshot.md5("many")


def open_it(history: History, commit: str) -> AbstractContextManager[Tree]:
    return open_tree(history.path, "it", commit)


def test_a_tag_does_not_take_the_place_of_a_branch_or_a_hash(history: History) -> None:
    """Git prefers tags, and `git fetch` brings those of a fork."""
    main = history.git("rev-parse", "main")
    theirs = history.git("commit-tree", "-m", "theirs", "main^{tree}")
    history.git("tag", "main", theirs)
    history.git("tag", main[:7], theirs)
    for name in ("main", "main~0", main[:7]):
        with pytest.raises(UserError, match=f"^{name}: is the name of more than one tag, branch or commit; give the"):
            find_commit(history.path, name)
    assert find_commit(history.path, "refs/heads/main") == find_commit(history.path, main) == main
