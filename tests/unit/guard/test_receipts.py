import copy
import json
from pathlib import Path
from typing import Any

import pytest

from src.core.errors import UserError
from src.core.files import write_text
from src.core.run import ReceiptFields
from src.guard.inputs import Inputs
from src.guard.opened import recording
from src.guard.receipts import check_receipt, write_receipt
from src.guard.stage import Stage

RECEIPT: dict[str, Any] = {
    "stage": "train",
    "deps": {"src/core": "1.dir", "data": "2.dir"},
    "params": {"lr": 0.1, "seed": 1},
    "outs": {"model": "3"},
    "versions": {"torch": "2"},
    "machine": {},
}
LOCKED: dict[str, Any] = {
    "cmd": "python",
    "deps": [{"path": "src/core", "hash": "md5", "md5": "1.dir", "size": 1}, {"path": "data", "md5": "2.dir"}],
    "params": {"params.yaml": {"lr": 0.1, "seed": 1}},
    "outs": [{"path": "model", "md5": "3"}, {"path": "receipts/train.json", "md5": "4"}],
}


def locked(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(LOCKED), **changes}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working tree with the receipt as the current directory."""
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts/train.json").write_text(json.dumps([RECEIPT]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_receipt_matches_its_own_entry() -> None:
    check_receipt("train", LOCKED)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (locked(deps=LOCKED["deps"][:1]), ["data"]),
        (locked(deps=[*LOCKED["deps"], {"path": "src/new", "md5": "5"}]), ["src/new"]),
        (locked(deps=[LOCKED["deps"][0], {"path": "data", "md5": "9.dir"}]), ["data"]),
        (locked(params={"params.yaml": {"lr": 0.2, "seed": 1}}), ["params.yaml: lr"]),
        (locked(params={"params.yaml": {"lr": 0.1, "seed": True}}), ["params.yaml: seed"]),
        (locked(params={}), ["params.yaml: lr", "params.yaml: seed"]),
        (locked(outs=[{"path": "model", "md5": "9"}]), ["model"]),
        (locked(outs=[]), ["model"]),
        ({}, ["src/core", "data", "params.yaml: lr", "params.yaml: seed", "model"]),
    ],
)
def test_every_difference_is_reported(entry: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_receipt("train", entry)
    assert str(caught.value) == (
        f"dvc.lock contradicts receipts/train.json in {', '.join(named)}; run `dvc repro --single-item --force train`"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "is not a receipt") for text in ("", "{}", "[]", "[1]", '[{"stage": "train"}]', "1e999", "[" * 10**5)),
        ('[{"stage": "train", "deps": [], "params": {}, "outs": {}}]', "is not a receipt"),
        ("\xff", "is not a receipt"),
        (
            json.dumps([{**RECEIPT, "stage": "evaluate"}]),
            "expected the receipt of stage train, got that of stage eva",
        ),
        (None, "is missing"),
    ],
)
def test_invalid_receipt_is_rejected(text: str | None, said: str, folder: Path) -> None:
    path = folder / "receipts/train.json"
    path.unlink() if text is None else path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"^receipts/train.json: {said}"):
        check_receipt("train", LOCKED)


@pytest.mark.fault(59)
def test_foreign_file_in_an_output_folder_is_reported(folder: Path) -> None:
    stage = Stage("train", deps=(), params=(), outs=("models", "receipts/train.json"))
    with recording(folder) as opened:
        inputs = Inputs(stage, opened)
        write_text(Path("models/model"), "weights")
        write_receipt(inputs, ReceiptFields(), {})
        Path("models/notes.txt").touch()
        with pytest.raises(UserError, match=r"^models/notes.txt: is not what the stage wrote"):
            write_receipt(inputs, ReceiptFields(), {})
