import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.sweep import remote as module
from src.sweep.git import GitError, git
from src.sweep.remote import Remote
from tests.unit.sweep.conftest import GIT_USER

EXPERIMENT = f"refs/exps/ab/{'0' * 38}/run-1"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    return tmp_path / "server.git"


def connect(server: Path, name: str) -> Remote:
    """A clone of its own."""
    folder = server.parent / name
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return Remote(folder, str(server), dict(GIT_USER))


def claims(server: Path) -> list[str]:
    return git(server, "for-each-ref", "--format=%(refname)", "refs/sweep").splitlines()


def test_one_of_two_clones_gets_a_claim_until_it_is_released(server: Path) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    assert a.claim("run-1") == ""
    assert b.claim("run-1") == f"is being run on {module.platform.node()}"
    assert b.claim("run-2") == ""
    a.release("run-1")
    assert claims(server) == ["refs/sweep/run-2"]
    assert b.claim("run-1") == ""


def test_of_many_at_once_one_gets_it(server: Path) -> None:
    clones = [connect(server, str(number)) for number in range(6)]
    with ThreadPoolExecutor(len(clones)) as pool:
        answers = list(pool.map(lambda clone: clone.claim("run-1"), clones))
    assert answers.count("") == 1


def test_a_clone_takes_over_its_own_claim(server: Path) -> None:
    first = connect(server, "a")
    # Within the same second, both claims would be the same commit.
    first.identity = {**first.identity, "GIT_COMMITTER_DATE": f"{int(time.time()) - 60} +0000"}
    assert first.claim("run-1") == ""
    assert connect(server, "a").claim("run-1") == ""


def test_a_dead_machines_claim_is_taken_over_and_its_owner_notices(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    monkeypatch.setitem(a.identity, "GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    assert a.claim("run-1") == ""
    assert b.claim("run-1") == ""
    # It was not dead after all: it neither takes the claim back nor removes it.
    monkeypatch.setattr(module, "RENEW_SECONDS", 0)
    a.renew()
    a.release("run-1")
    assert claims(server) == ["refs/sweep/run-1"]
    assert a.claim("run-1") == f"is being run on {module.platform.node()}"


def test_a_renewed_claim_stays_alive(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    monkeypatch.setitem(a.identity, "GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    assert a.claim("run-1") == ""
    monkeypatch.delitem(a.identity, "GIT_COMMITTER_DATE")
    monkeypatch.setattr(module, "RENEW_SECONDS", 0)
    a.renew()
    assert b.claim("run-1") == f"is being run on {module.platform.node()}"
    a.release("run-1")
    assert claims(server) == []


def test_a_claim_is_as_old_as_it_is_whatever_the_environment_says(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    a, b = connect(server, "a"), connect(server, "b")
    assert a.claim("run-1") == ""
    assert b.claim("run-1") == f"is being run on {module.platform.node()}"


def test_a_claim_that_was_taken_over_leaves_the_others_alive(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    monkeypatch.setattr(module, "RENEW_SECONDS", 0)
    monkeypatch.setitem(a.identity, "GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    assert [a.claim("run-1"), a.claim("run-2"), b.claim("run-1")] == ["", "", ""]
    monkeypatch.setitem(a.identity, "GIT_COMMITTER_DATE", "2020-01-01T00:01:00Z")
    a.renew()
    monkeypatch.delitem(a.identity, "GIT_COMMITTER_DATE")
    a.renew()
    assert b.claim("run-2") == f"is being run on {module.platform.node()}"


def test_a_copy_of_a_clone_is_another_clone(server: Path) -> None:
    a = connect(server, "a")
    assert a.claim("run-1") == ""
    shutil.copytree(a.root, server.parent / "b")
    assert connect(server, "b").claim("run-1") == f"is being run on {module.platform.node()}"
    assert connect(server, "a").claim("run-1") == ""


def test_a_server_that_takes_no_claims_is_named(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = server / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(UserError, match="pre-receive hook declined") as caught:
        connect(server, "a").claim("run-1")
    assert "\n" not in str(caught.value)


def test_a_failed_run_stays_claimed_for_others(server: Path) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    assert a.claim("run-1") == ""
    a.forget("run-1")
    assert b.claim("run-1") == f"is being run on {module.platform.node()}"


def test_what_is_finished_is_not_claimed_again(server: Path) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    assert a.claim("run-1") == ""
    commit = git(a.root, "commit-tree", git(a.root, "mktree"), "-m", "result", env=GIT_USER)
    git(a.root, "push", "--quiet", str(server), f"{commit}:{EXPERIMENT}")
    a.release("run-1")
    assert b.claim("run-1") == "has been run by another clone"
    assert claims(server) == []
    b.fetch([EXPERIMENT])
    assert git(b.root, "rev-parse", EXPERIMENT) == commit


def test_an_unreachable_remote_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    clone = connect(tmp_path / "none.git", "a")
    with pytest.raises(UserError, match=r"git ls-remote: .*none\.git") as caught:
        clone.experiments()
    assert "\n" not in str(caught.value)
    with pytest.raises(GitError):
        clone.claim("run-1")


def test_a_remote_that_has_vanished_is_no_error_when_a_claim_is_released(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    clone = connect(server, "a")
    assert clone.claim("run-1") == ""
    server.rename(server.with_name("elsewhere"))
    clone.release("run-1")


def test_claims_on_what_is_done_are_tidied_away(server: Path) -> None:
    a, b = connect(server, "a"), connect(server, "b")
    assert [a.claim("run-1"), a.claim("run-2")] == ["", ""]
    commit = git(a.root, "commit-tree", git(a.root, "mktree"), "-m", "result", env=GIT_USER)
    git(a.root, "push", "--quiet", str(server), f"{commit}:{EXPERIMENT}")
    assert (b.commit(EXPERIMENT), b.commit(f"{EXPERIMENT}x")) == (commit, None)
    b.tidy()
    assert claims(server) == ["refs/sweep/run-2"]
