"""The committed results that the model card describes; a file that its receipt does not confirm is refused."""

import csv
import io
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path
from src.noise.measurement import NOISE, Measurement, find_measurement, parse_noise

DATA = "data/MNIST"
MODEL = "models/model.safetensors"
TRAIN_METRICS = "metrics/train.json"
TEST_METRICS = "metrics/eval.json"
PER_CLASS = "plots/per_class.csv"
CONFUSION = "plots/confusion.csv"
RECIPES = "benchmarks/recipes.json"


@dataclass(frozen=True)
class Recipe:
    """Test accuracy of a recipe over several seeds, as a share of the test images."""

    name: str
    seeds: int
    mean: float
    std: float
    machine: str


@dataclass(frozen=True)
class Results:
    """The content of the card.

    Attributes:
        receipts: Receipt of each stage by its name.
        train: Content of metrics/train.json.
        test: Content of metrics/eval.json.
        per_class: Rows of plots/per_class.csv.
        confusion: Rows of plots/confusion.csv.
        noise: Several seeds of this data and recipe, or None if they were not measured.
        recipes: The recipes of benchmarks/recipes.json.
    """

    receipts: dict[str, dict[str, Any]]
    train: dict[str, Any]
    test: dict[str, Any]
    per_class: list[dict[str, str]]
    confusion: list[dict[str, str]]
    noise: Measurement | None
    recipes: list[Recipe]

    @property
    def params(self) -> dict[str, Any]:
        """Every param that the results were made with."""
        return {name: value for receipt in self.receipts.values() for name, value in receipt["params"].items()}


def read_results(root: Path) -> Results:
    """Read the results in a working tree.

    Raises:
        UserError: If a file is missing or damaged, or is not the one that its stage wrote.
    """
    receipts = {stage: _receipt(root, stage) for stage in ("fetch", "train", "evaluate")}
    outs = {path: oid for receipt in receipts.values() for path, oid in receipt["outs"].items()}
    for stage in receipts.values():
        for path in (MODEL, DATA):
            if path in stage["deps"] and stage["deps"][path] != outs[path]:
                raise UserError(f"{receipt_path(stage['stage'])}: used another {path} than was made; run `dvc repro`")
    texts = {path: _confirmed(root, path, outs[path]) for path in (TRAIN_METRICS, TEST_METRICS, PER_CLASS, CONFUSION)}
    params = {name: value for receipt in receipts.values() for name, value in receipt["params"].items()}
    return Results(
        receipts=receipts,
        train=json.loads(texts[TRAIN_METRICS]),
        test=json.loads(texts[TEST_METRICS]),
        per_class=list(csv.DictReader(io.StringIO(texts[PER_CLASS]))),
        confusion=list(csv.DictReader(io.StringIO(texts[CONFUSION]))),
        noise=find_measurement(parse_noise(_text(root, NOISE), NOISE), outs[DATA], params),
        recipes=[_recipe(name, measured) for name, measured in json.loads(_text(root, RECIPES)).items()],
    )


def _receipt(root: Path, stage: str) -> dict[str, Any]:
    try:
        return parse_receipt(_text(root, receipt_path(stage)))
    except ValueError as error:
        raise UserError(f"{receipt_path(stage)}: is not a receipt ({error}); run `dvc repro`") from error


def _confirmed(root: Path, path: str, expected: str) -> str:
    text = _text(root, path)
    if md5(root / path) != expected:
        raise UserError(f"{path}: is not what the receipts say that its stage wrote; run `dvc repro`")
    return text


def _text(root: Path, path: str) -> str:
    try:
        return (root / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `dvc repro`") from error


def _recipe(name: str, measured: dict[str, Any]) -> Recipe:
    scores = [run["test_acc"] for run in measured["runs"]]
    std = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return Recipe(name, len(scores), statistics.mean(scores), std, measured["machine"])
