from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from src.core.errors import UserError
from src.mnist.model.params import SHOWN, Params, load_params
from tests.conftest import REPOSITORY

*DATASETS, LAST = map(repr, get_args(Params.model_fields["dataset"].annotation))
COMMITTED = YAML(typ="safe", pure=True).load((REPOSITORY / "params.yaml").read_text())


def write(folder: Path, **texts: str) -> Path:
    lines = {key: str(value) for key, value in COMMITTED.items()} | texts
    path = folder / "params.yaml"
    path.write_text("".join(f"{key}: {text}\n" for key, text in lines.items()))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_params(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_committed_file_is_read_unchanged() -> None:
    assert load_params(REPOSITORY / "params.yaml").model_dump() == COMMITTED


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("epochs", "abc", "a valid integer, got 'abc'"),
        ("epochs", "2.5", "a valid integer, got 2.5"),
        ("epochs", f"1{400 * '0'}", f"less than or equal to 10000, got 1{(SHOWN - 1) * '0'}..."),
        ("epochs", "10001", "less than or equal to 10000, got 10001"),
        ("epochs", "true", "a valid integer, got True"),
        # Text in YAML 1.2, which DVC uses.
        ("epochs", "yes", "a valid integer, got 'yes'"),
        ("batch_size", '"3"', "a valid integer, got '3'"),
        ("seed", "-1", "greater than or equal to 0, got -1"),
        ("lr", ".nan", "a finite number, got nan"),
        ("lr", "[1]", "a valid number, got [1]"),
        ("val_fraction", "1", "less than 1, got 1"),
        ("dataset", "MNIST", f"{', '.join(DATASETS)} or {LAST}, got 'MNIST' (choices: src/mnist/model/params.py)"),
    ],
)
def test_invalid_value_error_has_key_expectation_and_value(tmp_path: Path, key: str, text: str, message: str) -> None:
    path = write(tmp_path, **{key: text})
    assert error_of(path) == f"{path}: {key} must be {message}"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, epochs="abc", lr="0", epoch="20")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("batch_size:")))
    *problems, unknown = error_of(path).removeprefix(f"{path}: ").split("; ")
    assert [problem.partition(" must")[0] for problem in problems] == ["epochs", "batch_size is missing", "lr"]
    assert unknown == f"epoch is not a parameter (known: {', '.join(Params.model_fields)})"


@pytest.mark.parametrize("key", ["1", "true", "null", "2.5"])
def test_non_string_key_is_reported(tmp_path: Path, key: str) -> None:
    assert "is not a parameter" in error_of(write(tmp_path, **{key: "1"}))


ODD_VALUES = (
    """
2026-02-30|0000-00-00|2026-13-01T99:99:99|!!timestamp x|!!int x|!!float x|!!bool x|!!int ''|!!binary x|!!set {a}
!!omap [a: 1]|!!python/object:os.system x|!foo x|&a [*a]|*a|{<<: 1}|1e400|{[1]: 2}|'|"|%YAML 3.0|---|- 1|@|1: 2: 3
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
ODD_VALUES += [5000 * "9", "0x" + 5000 * "f", 2000 * "[", 1000 * "{a: ", "? [1, 2]\n  : 3", "? |\n  x\n  y", "|9"]
ODD_VALUES += ["\0", "\x85", "\u2028", "\ufeff", "\t1", '"\\ud800"']


@pytest.mark.fault(54)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_error_is_one_line_for_any_content(data: st.DataObject, tmp_path: Path) -> None:
    lines = [f"{key}: {value}" for key, value in COMMITTED.items()]
    odd = st.sampled_from(ODD_VALUES) | st.text(max_size=20)
    for _ in range(data.draw(st.integers(1, 3))):
        number, value = data.draw(st.integers(0, len(lines) - 1)), data.draw(odd)
        key = data.draw(st.sampled_from([lines[number].partition(":")[0], "x", "?", value]))
        lines[number] = f"{key}: {value}"
    content = "\n".join(lines).encode(data.draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), "replace")
    path = tmp_path / "params.yaml"
    path.write_bytes(content[data.draw(st.integers(0, 3)) :])
    said = ""
    try:
        load_params(path)
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
