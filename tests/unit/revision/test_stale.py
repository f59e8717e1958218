"""Mismatches with dvc.lock, in addition to tests/unit/report/test_no_wrong_pass.py."""

import pytest

from src.core.errors import UserError
from src.core.files import md5
from src.core.folder import folder_md5
from src.revision.receipts import lock_differences, read_receipt
from src.revision.revision import open_revision
from src.revision.stale import Mismatch
from src.revision.tree import LinkError
from tests.unit.history import History

CHAIN = """
stages:
  one: {cmd: echo, deps: [a.txt], outs: [one.txt]}
  two: {cmd: echo, deps: [one.txt], outs: [two]}
  three: {cmd: echo, deps: [two/part.txt], outs: [three.txt]}
  four: {cmd: echo, deps: [three.txt], outs: [{four.txt: {cache: false}}]}
  other: {cmd: echo, deps: [b.txt]}
"""


@pytest.fixture
def chain(history: History) -> History:
    """A chain of stages, each of which reads the previous output; the third reads a part of a folder."""
    for name in ("a.txt", "b.txt", "four.txt"):
        history.write(name, name)
    history.write("dvc.yaml", CHAIN)
    history.relock()
    assert stale(history) == []
    return history


def stale(history: History) -> list[Mismatch]:
    with open_revision(history.path, None) as revision:
        return revision.stale


@pytest.mark.parametrize(
    ("edit", "repair"),
    [
        (("deps: [a.txt]", "deps: [b.txt]"), "run `dvc repro`"),
        (("deps: [a.txt]", "frozen: true, deps: [b.txt]"), "run `dvc unfreeze one`, then run `dvc repro`"),
        (("one: {cmd", "another: {cmd"), "delete its entry in dvc.lock"),
        ((CHAIN, "stages: {}\n"), "restore dvc.yaml"),
    ],
)
def test_repair_works_in_dvc(chain: History, edit: tuple[str, str], repair: str) -> None:
    chain.write("dvc.yaml", CHAIN.replace(*edit))
    assert repair in {mismatch.repair for mismatch in stale(chain)}


@pytest.mark.parametrize("every", ["", "[]"])
def test_params_of_missing_or_undeclared_files(history: History, every: str) -> None:
    history.write("dvc.yaml", f"stages:\n  a: {{cmd: echo, params: [{{more.yaml: {every}}}], outs: [a.txt]}}\n")
    history.write("more.yaml", "{x: 1}")
    history.relock()
    assert stale(history) == []
    history.write("more.yaml", "{x: 2}")
    assert stale(history) == [Mismatch("a", "more.yaml:x", "changed")]
    (history.path / "more.yaml").unlink()
    assert stale(history) == [Mismatch("a", "more.yaml", "is missing")]
    history.write("dvc.yaml", "stages:\n  a: {cmd: echo, outs: [a.txt]}\n")
    assert stale(history) == [Mismatch("a", "more.yaml", "is in dvc.lock but no longer declared")]


@pytest.mark.parametrize(("name", "value"), [("a.b", 2), ("list.1", 6), ("numbers.7", 8)])
def test_param_lookup_matches_dvc(history: History, name: str, value: int) -> None:
    """Dots separate levels, whose keys may be numbers; a key with a dot in its name is different."""
    history.write("dvc.yaml", f"stages:\n  a: {{cmd: echo, params: [{name}], outs: [a.txt]}}\n")
    history.write("params.yaml", "a.b: 1\na: {b: 2}\nlist: [5, 6]\nnumbers: {7: 8}\n")
    for recorded, found in ((value, []), (1, [Mismatch("a", f"params.yaml:{name}", "changed")])):
        out = {"path": "a.txt", "hash": "md5", "md5": "1" * 32}
        locked = {"cmd": "echo", "params": {"params.yaml": {name: recorded}}, "outs": [out]}
        history.write_yaml("dvc.lock", {"schema": "2.0", "stages": {"a": locked}})
        assert stale(history) == found


def test_folder_is_hashed_with_its_outputs(history: History) -> None:
    """DVC writes a .gitignore next to them, which is in git."""
    history.write(
        "dvc.yaml",
        "stages:\n  a: {cmd: echo, deps: [a.py], outs: [made/x, made/y/z]}\n"
        "  b: {cmd: echo, deps: [made], outs: [b]}\n",
    )
    history.write("a.py", "a")
    history.write("made/.gitignore", "/x\n")
    history.hashes |= {"made/x": "1" * 32, "made/y/z": "2" * 32}
    history.relock()
    lock = (history.path / "dvc.lock").read_text()
    parts = {".gitignore": md5(history.path / "made/.gitignore"), "x": "1" * 32, "y/z": "2" * 32}
    assert folder_md5(parts) in lock
    assert stale(history) == []
    history.write("made/.gitignore", "/x\n/y\n")
    assert stale(history) == [Mismatch("b", "made", "changed")]
    history.write("made/.gitignore", "/x\n")
    history.write("a.py", "edited")
    assert stale(history) == [Mismatch("a", "a.py", "changed")]
    history.write("dvc.lock", lock.replace("2" * 32, f"{'2' * 32}.dir"))
    with pytest.raises(UserError, match="made of working tree: only DVC knows the files in y/z; depend on it by its"):
        stale(history)


def test_link_in_place_of_an_output_in_git_is_rejected(chain: History) -> None:
    (chain.path / "four.txt").unlink()
    (chain.path / "four.txt").symlink_to("a.txt")
    with open_revision(chain.path, None) as revision, pytest.raises(LinkError, match=r"four\.txt"):
        _ = revision.edited


def test_link_into_the_cache_is_left_to_verify(chain: History) -> None:
    (chain.path / "one.txt").symlink_to("a.txt")
    with open_revision(chain.path, None) as revision:
        assert revision.edited == []


def test_data_tracked_by_a_dvc_file(history: History) -> None:
    entry = "outs:\n- md5: {}\n  hash: md5\n  path: x.xml\n"
    history.write("dvc.yaml", "stages:\n  a: {cmd: echo, deps: [raw/x.xml], outs: [a.txt]}\n")
    history.write("raw/x.xml.dvc", entry.format("a" * 32))
    history.hashes["raw/x.xml"] = "a" * 32
    history.relock()
    assert stale(history) == []
    history.write("raw/x.xml.dvc", entry.format("b" * 32))
    assert stale(history) == [Mismatch("a", "raw/x.xml", "changed")]
    # No file in git has the hash of a part of a folder that DVC tracks.
    (history.path / "raw/x.xml.dvc").unlink()
    assert stale(history) == [Mismatch("a", "raw/x.xml", "is missing")]
    history.write("raw.dvc", entry.format(f"{'b' * 32}.dir").replace("x.xml", "raw"))
    assert stale(history) == []


@pytest.mark.parametrize(
    ("part", "update", "names"),
    [
        ("deps", {}, []),
        ("deps", {"src/core": "0" * 32 + ".dir"}, ["src/core"]),
        ("deps", {"src/more": "0" * 32}, ["src/more"]),
        ("params", {"lr": 0.5}, ["params.yaml: lr"]),
        ("params", {"epochs": 10.0}, ["params.yaml: epochs"]),
        ("params", {"shards": True}, ["params.yaml: shards"]),
        ("outs", {"models/model.safetensors": "0" * 32}, ["models/model.safetensors"]),
    ],
)
def test_receipt_and_lock_agree(history: History, part: str, update: dict[str, object], names: list[str]) -> None:
    with open_revision(history.path, None) as revision:
        receipt = read_receipt(revision.tree, "train")
        changed = receipt.model_copy(update={part: {**getattr(receipt, part), **update}})
        assert lock_differences(changed, revision.pipeline.locked["train"]) == names


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "expected a list of one receipt"),
        ("{}", "expected a list of one receipt"),
        ('[{"stage": "train"}]', "deps: Field required"),
        ('[{"stage": 7}]', "stage: Input should be a valid string"),
        ("[", "is not JSON"),
        (None, "got that of stage fetch"),
    ],
)
def test_invalid_receipt_of_a_stage_is_rejected(history: History, text: str | None, problem: str) -> None:
    history.write("receipts/train.json", text or (history.path / "receipts/fetch.json").read_text())
    with open_revision(history.path, None) as revision, pytest.raises(UserError, match=problem):
        read_receipt(revision.tree, "train")


def test_receipt_is_not_a_metric(history: History) -> None:
    """Nor is that of a stage which has another name now."""
    history.write("dvc.yaml", (history.path / "dvc.yaml").read_text().replace("\n  evaluate:\n", "\n  score:\n"))
    with open_revision(history.path, None) as revision:
        assert set(revision.metrics) == {"metrics/train.json", "metrics/eval.json"}
