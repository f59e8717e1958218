"""Files are accepted and rejected as in DVC, except for unsupported features."""

from contextlib import suppress
from copy import deepcopy
from functools import reduce
from itertools import product
from operator import getitem
from typing import Any

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA, COMPILED_MULTI_STAGE_SCHEMA

from src.core.errors import UserError
from src.revision.pipeline import Pipeline, enclosing, output_md5, read_pipeline, source_md5, tracked_md5
from src.revision.tree import Tree, open_tree
from tests.unit.history import History

VALUES: list[Any] = [None, True, 0, 7, -1, 1.5, "", "x", "a" * 32, [], ["x"], {}, {"x": "y"}, [{}], "1.0", "2.0", 2.0]
HASH = {"hash": "md5", "md5": "a" * 32}
LOCK = {"schema": "2.0", "stages": {"train": {"cmd": "echo", "params": {}, "outs": [{"path": "model", **HASH}]}}}
DECLARED = {"stages": {"train": {"cmd": "echo", "deps": ["src"], "params": ["lr"], "outs": ["model"]}}}
OPTIONS = "cache persist checkpoint push remote desc type labels meta template x header new"
# A file, the path to a mapping within it, and keys to try there.
PLACES = {
    "lock": (LOCK, (), "schema stages datasets new"),
    "stage of the lock": (LOCK, ("stages", "train"), "cmd deps params outs new"),
    "entry of the lock": (
        LOCK,
        ("stages", "train", "outs", 0),
        "path md5 hash size nfiles isexec version_id etag checksum cloud files dataset new",
    ),
    "dvc.yaml": (DECLARED, (), "stages metrics params plots artifacts datasets vars new"),
    "stage": (
        DECLARED,
        ("stages", "train"),
        "cmd deps params outs metrics plots frozen always_changed desc meta wdir new",
    ),
    **{
        kind: ({"stages": {"x": {"cmd": "echo", kind: [{"x.json": {}}]}}}, ("stages", "x", kind, 0, "x.json"), OPTIONS)
        for kind in ("outs", "metrics", "plots")
    },
}


class Files(Tree):
    """Files in memory, as if they had been parsed."""

    def __init__(self, **contents: Any) -> None:
        self.name = "it"
        self.contents = contents

    def has(self, path: str) -> bool:
        return path.replace(".", "_") in self.contents

    def read(self, path: str) -> bytes:
        return b""

    def parse(self, path: str) -> Any:
        return deepcopy(self.contents[path.replace(".", "_")])


def read(history: History) -> Pipeline:
    with open_tree(history.path, "it", None) as tree:
        return read_pipeline(tree)


@pytest.mark.parametrize("place", PLACES)
def test_accepted_input_is_accepted_by_dvc(place: str) -> None:
    whole, way, keys = PLACES[place]
    for key, value in product(keys.split(), VALUES):
        content: Any = deepcopy(whole)
        reduce(getitem, way, content)[key] = value
        with suppress(UserError):
            if whole is LOCK:
                read_pipeline(Files(dvc_lock=content))
                COMPILED_LOCKFILE_SCHEMA(content)
            else:
                read_pipeline(Files(dvc_yaml=content))
                COMPILED_MULTI_STAGE_SCHEMA(content)


def test_input_accepted_by_dvc_is_accepted(history: History) -> None:
    history.write(
        "dvc.yaml",
        """
stages:
  a:
    cmd: [echo 1, echo 2]
    deps: [src/core]
    params: [lr, {more.yaml: }, {params.yaml: [epochs]}]
    outs:
    - a.txt
    - b.txt: {cache: false, desc: b}
    - c.txt: {push: false, remote: other, type: model, labels: [x], meta: {any: thing}}
    plots: [{d.csv: {template: linear, header: false}}]
    frozen: true
    meta: {any: thing}
metrics: [b.json]
params: [more.yaml]
plots: [d.csv, {Title: {x: {d.csv: a}, y: {d.csv: [b, c]}}}, {e.csv: }]
artifacts: {model: {path: a.txt, type: model, labels: [x], meta: {any: thing}}}
""",
    )
    stage = read(history).stages["a"]
    assert stage.params == {"params.yaml": ["lr", "epochs"], "more.yaml": None}
    assert (stage.outs["b.txt"].cached, stage.outs["a.txt"].cached, stage.frozen) == (False, True, True)
    assert stage.outs["d.csv"].options == {"template": "linear", "header": False}


def test_stages_that_only_dvc_can_resolve_are_named_as_such() -> None:
    many = {"foreach": ["a"], "do": {"cmd": "echo ${item}"}}
    with pytest.raises(UserError, match=r"^dvc\.yaml of it: has a template, .* write it out$"):
        read_pipeline(Files(dvc_yaml={"stages": {"many": many}}))


def test_data_tracked_next_to_a_dvc_file(history: History) -> None:
    entry = f"- md5: {'a' * 32}\n  size: 3\n  hash: md5\n  path: x.xml\n  remote: other\n  desc: b\n"
    history.write("raw/x.xml.dvc", f"outs:\n{entry}")
    history.write("raw/old.xml.dvc", f"outs:\n- md5: {'a' * 32}\n  path: old.xml\n")
    history.write("bad.xml.dvc", "outs:\n- md5: 7\n  path: bad.xml\n")
    with open_tree(history.path, "it", None) as tree:
        assert tracked_md5(tree, "raw/x.xml") == "a" * 32
        assert tracked_md5(tree, "raw/none.xml") is None
        with pytest.raises(UserError, match=r"raw/old\.xml\.dvc of it: outs\.0\.hash: Field required"):  # DVC 2's
            source_md5(tree, "raw")
        with pytest.raises(UserError, match=r"bad\.xml\.dvc of it: outs\.0\.md5"):
            tracked_md5(tree, "bad.xml")


def test_folders_of_outputs() -> None:
    assert enclosing("a/b/c", {"a": 1}) == "a"
    assert enclosing("ab/c", {"a": 1}) is None
    assert output_md5({"a/b": "1" * 32}, "a") == output_md5({"x/b": "1" * 32}, "x") != None  # noqa: E711
    assert output_md5({"a/b": "1" * 32}, "b") is None


def test_upstream_stages(history: History) -> None:
    pipeline = read(history)
    assert pipeline.before({"evaluate"}) == {"check", "fetch", "train"}
    assert pipeline.before({"train"}) == {"check", "fetch"}
    assert pipeline.before({"check"}) == set()
    assert pipeline.producer("data/MNIST/raw/train-images-idx3-ubyte") == "fetch"
