from dvc.repo import Repo

from src.report.snapshot import find_commit, open_snapshot
from tests.report.history import History


def test_hashes_are_those_of_dvc_in_a_commit_and_in_the_working_tree(history: History) -> None:
    history.write("src/core/odd name é.py", "x")
    history.write("src/core/deeper/file.py", "y")
    history.write("src/core-2/file.py", "of another folder whose name begins alike")
    history.commit("more files")
    history.write("src/core/__pycache__/x.pyc", "ignored by .dvcignore")
    deps = {str(dep): dep for stage in Repo(".").index.stages for dep in stage.deps if str(dep).startswith("s")}
    assert "src/core" in deps
    for commit in (None, find_commit(history.path, "HEAD")):
        with open_snapshot(history.path, "it", commit) as snapshot:
            for path, dep in deps.items():
                assert snapshot.md5(path) == dep.get_hash().value, path


def test_experiments_of_dvc_are_revisions(history: History) -> None:
    commit = history.git("rev-parse", "HEAD")
    history.git("update-ref", "refs/exps/ab/cdef/nice-name", commit)
    assert find_commit(history.path, "nice-name") == commit
