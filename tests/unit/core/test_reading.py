import hashlib
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.reading import expecting, read_input


def test_only_the_expected_content_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("folder/../file")
    Path("folder").mkdir()
    path.write_bytes(b"right")
    with expecting({"file": hashlib.md5(b"right").hexdigest()}):
        assert read_input(path) == b"right"
        path.write_bytes(b"wrong")
        for name in (path, path.absolute()):
            with pytest.raises(UserError, match=r"^file changed during the run"):
                read_input(name)
    assert read_input(path) == b"wrong"


def test_what_nobody_noted_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"any")
    with expecting({"another": "0"}):
        assert read_input(tmp_path / "file") == b"any"
