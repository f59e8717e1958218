"""YAML and JSON designed to break their readers."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from src.core.errors import UserError
from src.report.command import judge
from src.report.finding import Level
from src.revision.parsing import MAX_VALUES, parse
from tests.unit.history import REPOSITORY, History

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12)
)
HOSTILE = {
    "aliases": (LAUGHS, "expected at most 10,000 values"),
    "merges": (MERGES, "expected at most 10,000 values"),
    "values": ("- a\n" * (MAX_VALUES + 1), "expected at most 10,000 values"),
    "alias of itself": ("a: &a [*a]", "expected no alias within its own anchor"),
    "brackets": ("a: " + "[" * 3000, "expected at most 500 opening brackets, got 3,000"),
    "braces": ("a: " + "{" * 3000, "expected at most 500 opening brackets, got 3,000"),
    "levels": ("- " * 3000, "expected at most 50 levels"),
    "long number": ("a: " + "9" * 5000, "expected at most 1,000 characters without quotes, got 5,000"),
    "long hexadecimal number": ("a: 0x" + "f" * 5000, "expected at most 1,000 characters without quotes"),
    "impossible date": ("a: 2026-02-30", "is not YAML: day "),
    "key twice": ("a: 1\na: 2", "found duplicate key"),
    "size": ("#" * 100_001, "expected at most 100,000 bytes, got 100,001"),
    "tag": ("a: !!int x", "expected no tags"),
    "object": ("a: !!python/object/apply:os.system [id]", "expected no tags"),
    "control character": ("a: \x00", "is not YAML"),
    "two documents": ("a: 1\n---\nb: 2", "is not YAML"),
    "collection for a key": ("? {a: 1}\n: 1", "is not YAML"),
    "not UTF-8": ("\udcff", "is not YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_rejected_by_file_name(name: str) -> None:
    text, problem = HOSTILE[name]
    with pytest.raises(UserError, match=problem) as caught:
        parse(text.encode(errors="surrogateescape"), "x.yaml", "the file")
    assert str(caught.value).startswith("the file: ")


@pytest.mark.parametrize("path", ["dvc.yaml", "dvc.lock", "params.yaml", "metrics_policy.yaml"])
def test_hostile_yaml_in_any_file_gives_no_verdict(history: History, path: str) -> None:
    history.write(path, LAUGHS)
    history.commit("bomb")
    report = judge("HEAD", "HEAD")
    assert report.level is Level.UNSURE
    assert f"{path} of HEAD: expected at most 10,000 values" in str(report.verdict)


def test_oversized_lock_has_no_advice_to_rerun(history: History) -> None:
    history.write("dvc.lock", "#" * 100_001)
    (finding,) = judge("HEAD", None).verdict["findings"]
    assert finding["text"].endswith("dvc.lock of working tree: expected at most 100,000 bytes, got 100,001")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": 1, "a": 2}', "9" * 5000, ""])
def test_hostile_json_is_rejected(text: str) -> None:
    with pytest.raises(UserError, match="the file: is not JSON"):
        parse(text.encode(), "x.json", "the file")


@pytest.mark.parametrize("path", ["dvc.yaml", "dvc.lock", "params.yaml", "metrics_policy.yaml"])
def test_own_files_are_read_as_in_dvc(path: str) -> None:
    content = (REPOSITORY / path).read_bytes()
    assert parse(content, path, path) == YAML(typ="safe").load(content)


@pytest.mark.parametrize("text", ["lr:\t1e-05", "\ufefflr: yes", "lr: 010\r\n", "lr: 'a\tb' \t# note"])
def test_input_accepted_by_dvc_is_accepted(text: str) -> None:
    assert parse(text.encode(), "params.yaml", "it") == YAML(typ="safe").load(text)


def test_few_aliases_are_accepted() -> None:
    assert parse(b"a: &a [1]\nb: *a\nc: {<<: &d {x: 1}}\n", "x.yaml", "it") == {"a": [1], "b": [1], "c": {"x": 1}}


@given(st.text(max_size=200))
def test_any_text_is_read_or_rejected(text: str) -> None:
    with suppress(UserError):
        parse(text.encode(errors="surrogatepass"), "x.yaml", "it")
