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


@pytest.mark.parametrize(
    "text", ["a: {\n", "lr: 1\nseed: 0\nlr: 2\n", "- 1\n", "", "a: 2026-02-30\n", "!!int x\n", "a: \x00\n"]
)
def test_non_mapping_is_a_one_line_error_with_safe_advice(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        read_mapping(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "checkout" not in str(caught.value)
