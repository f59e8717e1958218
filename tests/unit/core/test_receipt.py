import copy
from typing import Any

import pytest

from src.core.receipt import contradictions, format_receipt, parse_receipt, why_void

RECEIPT: dict[str, Any] = {
    "stage": "train",
    "deps": {"src/core": "1.dir", "data": "2.dir"},
    "params": {"lr": 0.1, "precision": "fp32"},
    "outs": {"model": "3"},
    "versions": {"torch": "2"},
    "machine": {},
}
LOCKED: dict[str, Any] = {
    "cmd": "python",
    "deps": [{"path": "src/core", "hash": "md5", "md5": "1.dir", "size": 1}, {"path": "data", "md5": "2.dir"}],
    "params": {"params.yaml": {"lr": 0.1, "precision": "fp32"}},
    "outs": [{"path": "model", "md5": "3"}, {"path": "receipts/train.json", "md5": "4"}],
}


def locked(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(LOCKED), **changes}


def test_a_receipt_confirms_its_own_entry() -> None:
    assert contradictions(RECEIPT, LOCKED) == []
    assert why_void("train", format_receipt(RECEIPT), LOCKED) == ""


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (locked(deps=LOCKED["deps"][:1]), ["data"]),
        (locked(deps=[*LOCKED["deps"], {"path": "src/new", "md5": "5"}]), ["src/new"]),
        (locked(deps=[LOCKED["deps"][0], {"path": "data", "md5": "9.dir"}]), ["data"]),
        (locked(params={"params.yaml": {"lr": 0.2, "precision": "fp32"}}), ["params.yaml: lr"]),
        (locked(params={}), ["params.yaml: lr", "params.yaml: precision"]),
        (locked(outs=[{"path": "model", "md5": "9"}]), ["model"]),
        (locked(outs=[]), ["model"]),
        ({}, ["src/core", "data", "params.yaml: lr", "params.yaml: precision", "model"]),
    ],
)
def test_each_difference_is_named(entry: dict[str, Any], named: list[str]) -> None:
    assert contradictions(RECEIPT, entry) == named
    assert why_void("train", format_receipt(RECEIPT), entry).startswith(
        f"dvc.lock contradicts receipts/train.json in {', '.join(named)}: "
    )


def test_the_receipt_of_another_stage_proves_nothing() -> None:
    other = format_receipt({**RECEIPT, "stage": "evaluate"})
    assert (
        why_void("train", other, LOCKED)
        == "receipts/train.json: expected the receipt of stage train, got that of stage evaluate"
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"stage": "train"}]', "[[[", "1e999"])
def test_what_is_not_a_receipt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_receipt(text)
    assert why_void("train", text, LOCKED).startswith("receipts/train.json: is not a receipt")


def test_a_missing_receipt_proves_nothing() -> None:
    assert why_void("train", None, LOCKED).startswith("receipts/train.json: is missing")


def test_a_receipt_reads_as_it_was_written() -> None:
    assert parse_receipt(format_receipt(RECEIPT)) == RECEIPT
