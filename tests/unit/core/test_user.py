import os
import pwd

import pytest
from dvc.repo import Repo

from src.core.user import name_user
from tests.faults.project import Project

pytestmark = pytest.mark.fault(84)


def test_dvc_opens_a_repository_for_a_user_without_a_name(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyError), Repo(str(reproduced.path)) as repo:
        assert repo.site_cache_dir
    # Registered with the fixture, so that it is gone after the test.
    monkeypatch.setenv("USER", "")
    name_user()
    assert os.environ["USER"] == str(os.getuid())
    with Repo(str(reproduced.path)) as repo:
        assert repo.site_cache_dir


def test_a_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("USER", "else")
    name_user()
    assert os.environ["USER"] == "else"
