"""A branch cannot make the report use the network, the reviewer's credentials or the reviewer's cache."""

import subprocess
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.revision.git import run_git
from tests.unit.history import History
from tests.unit.report.attacks import METRIC, both, delete, locked, swap, without
from tests.unit.report.conftest import PASS, UNKNOWN, verdict_of
from tests.unit.server import Server

INTO_THE_CACHE = both(
    locked(swap("dvc.yaml", f"{METRIC}: {{cache: false}}", f"{METRIC}: {{cache: true}}")), delete(METRIC)
)


def cached(path: Path) -> list[Path]:
    return sorted((path / ".dvc").rglob("*"))


def test_changed_remote_is_never_contacted(history: History, server: Server) -> None:
    history.write(
        ".dvc/config.local", "['remote \"store\"']\n    user = reviewer\n    password = secret\n    auth = basic\n"
    )
    history.git("switch", "-q", "-c", "theirs")
    history.write(".dvc/config", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {server.url}\n")
    INTO_THE_CACHE(history)
    history.commit("another remote")
    history.git("switch", "-q", "main")
    before = cached(history.path)
    verdict = verdict_of("main", "theirs")
    assert verdict["outcome"] == UNKNOWN
    assert "test_acc, test_f1: its file is in DVC's cache" in str(verdict)
    assert ".dvc/config changed" in str(verdict)
    assert cached(history.path) == before


@pytest.mark.parametrize("kind", ["repository", "url", "local"])
def test_imports_are_not_followed(history: History, server: Server, kind: str, tmp_path: Path) -> None:
    source = {
        "repository": f"path: eval.json\n  repo:\n    url: {server.url}their.git\n",
        "url": f"path: {server.url}eval.json\n",
        "local": f"path: eval.json\n  repo:\n    url: {tmp_path}\n",
    }[kind]
    history.git("switch", "-q", "-c", "theirs")
    locked(without("evaluate", "metrics", METRIC))(history)
    (history.path / METRIC).unlink()
    history.write(f"{METRIC}.dvc", f"deps:\n- {source}outs:\n- path: eval.json\n  hash: md5\n  md5: {'0' * 32}\n")
    history.commit("import")
    history.git("switch", "-q", "main")
    before = cached(history.path)
    verdict = verdict_of("main", "theirs")
    assert verdict["outcome"] != PASS
    assert "test_acc, test_f1: its file is in DVC's cache" in str(verdict)
    assert "metrics/eval.json.dvc changed" in str(verdict)
    assert cached(history.path) == before


def test_git_does_not_fetch_missing_objects(history: History, server: Server) -> None:
    # In a separate file: the base's objects are in one pack.
    history.write(METRIC, '{"test_acc": 0.5}')
    history.commit("another metric")
    blob = history.git("rev-parse", f"HEAD:{METRIC}")
    (history.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    history.lacks_what_is_at(server.url)
    verdict = verdict_of("HEAD", "HEAD")
    assert verdict["outcome"] == UNKNOWN
    assert "git cannot" in str(verdict)


def test_nested_repository_is_not_fetched(history: History, server: Server) -> None:
    history.write(".gitmodules", f'[submodule "src/core/x"]\n\tpath = src/core/x\n\turl = {server.url}x.git\n')
    history.git("update-index", "--add", "--cacheinfo", f"160000,{history.git('rev-parse', 'HEAD')},src/core/x")
    history.git("add", ".gitmodules")
    history.git("commit", "-qm", "submodule")
    verdict = verdict_of("main~1", "HEAD")
    assert verdict["outcome"] == UNKNOWN
    assert "src/core/x of HEAD: is a repository of its own" in str(verdict)


def test_git_cannot_use_the_network(history: History, server: Server) -> None:
    with pytest.raises(UserError, match="git ls-remote"):
        run_git(history.path, "ls-remote", server.url)
    assert server.requested == []
    subprocess.run(["git", "ls-remote", server.url], cwd=history.path, capture_output=True, check=False)
    assert server.requested, "of itself it would"
    server.requested.clear()
