import json
import shutil
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.mnist.card.__main__ import CARD
from src.mnist.card.results import read_results
from src.mnist.card.text import ARCHITECTURES, DATA_SETS, format_card
from src.mnist.model.network import build_model
from src.mnist.model.params import Params
from tests.conftest import REPOSITORY

READ = ("receipts", "metrics", "plots", "metrics_noise.json", "benchmarks/recipes.json")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The committed results in another folder."""
    for name in READ:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, tmp_path / name)
        else:
            shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_the_committed_card_is_that_of_the_committed_results() -> None:
    assert (REPOSITORY / CARD).read_text() == format_card(read_results(REPOSITORY)), "run `make card`"


def test_the_card_tells_the_scores_and_where_they_come_from(copy: Path) -> None:
    card = format_card(read_results(copy))
    test, model = (
        json.loads((copy / "metrics/eval.json").read_text()),
        json.loads((copy / "receipts/train.json").read_text()),
    )
    for value in (test["test_acc"], test["test_acc_low"], test["test_acc_high"], test["test_ece"]):
        assert f"{value:.2%}" in card
    assert all(oid in card for oid in model[0]["deps"].values())
    assert model[0]["outs"]["models/model.safetensors"] in card
    assert str(copy) not in card


@pytest.mark.parametrize(
    "path", ["metrics/train.json", "metrics/eval.json", "plots/per_class.csv", "plots/confusion.csv"]
)
def test_results_that_were_edited_are_refused(path: str, copy: Path) -> None:
    with (copy / path).open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=rf"^{path}: is not what the receipts say that its stage wrote"):
        read_results(copy)


def test_results_of_another_model_are_refused(copy: Path) -> None:
    path = copy / "receipts/evaluate.json"
    receipt = json.loads(path.read_text())
    receipt[0]["deps"]["models/model.safetensors"] = "0" * 32
    path.write_text(json.dumps(receipt))
    with pytest.raises(UserError, match=r"^receipts/evaluate.json: used another models/model.safetensors"):
        read_results(copy)


@pytest.mark.parametrize(("path", "content"), [("receipts/train.json", "{}"), ("metrics_noise.json", None)])
def test_what_cannot_be_read_is_named(path: str, content: str | None, copy: Path) -> None:
    (copy / path).unlink()
    if content is not None:
        (copy / path).write_text(content)
    with pytest.raises(UserError, match=rf"^{path}: "):
        read_results(copy)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_number_of_weights_is_right(name: str) -> None:
    weights = sum(parameter.numel() for parameter in build_model(name, seed=0).parameters())
    assert f"{weights:,} weights" in ARCHITECTURES[name]


def test_every_architecture_and_data_set_is_described() -> None:
    fields = Params.model_json_schema()["properties"]
    assert set(ARCHITECTURES) == set(fields["architecture"]["enum"])
    assert set(DATA_SETS) == set(fields["dataset"]["enum"])
