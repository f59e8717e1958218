from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from src.core.errors import UserError
from src.core.yaml_file import read_mapping


def test_values_match_dvc(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("lr:\t1e-05\non: yes\ncount: 010\nlarge: 9007199254740993\ninner: {a: [0.1, .inf]}\n")
    content = read_mapping(path)
    assert content == load_yaml(str(path))
    assert (content["lr"], content["on"], content["count"], content["large"]) == (0.00001, "yes", 10, 2**53 + 1)


BROKEN = (
    b"a: {\n",
    b"a: 1\n  b: 2",
    b"\xff\xfe\x00",
    b"a: 1\n---\na: 2\n",
    b"a: 2026-02-30\n",
    b"!!int x\n",
    b"a: \x00\n",
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected one `key: value` per line, got nothing"),
        (b"- 1\n", "expected one `key: value` per line, got type list"),
        (b"lr: 1\nseed: 0\nlr: 2\n", 'is not YAML: line 3: found duplicate key "lr"'),
        *((content, "is not YAML: ") for content in BROKEN),
    ],
)
def test_non_mapping_is_a_one_line_error_with_safe_advice(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: {said}[^\n]*; fix it, or see what changed: `git diff [^\n]*$"):
        read_mapping(path)


def test_missing_file_is_restored_from_git() -> None:
    with pytest.raises(UserError, match=r"^nowhere: is missing; restore it with `git checkout nowhere`$"):
        read_mapping(Path("nowhere"))
