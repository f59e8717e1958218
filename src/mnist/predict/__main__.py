"""Predict the digit in each picture, with the model's confidence: `python -m src.mnist.predict IMAGE...`."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table

from src.core.errors import UserError
from src.core.process import prepare_process
from src.mnist.model.network import predict_logits
from src.mnist.model.weights import MODEL_PATH, load_model
from src.mnist.predict.doubt import doubt
from src.mnist.predict.images import FORMATS, Digit, read_digit
from src.mnist.predict.registry import fetch_version


class Answer(NamedTuple):
    """A digit, its calibrated probability in [0, 1], and a reason to doubt it, if there is one."""

    digit: int
    confidence: float
    doubt: str | None


def main(argv: list[str] | None = None) -> int:
    """Print a table or JSON; exit code 1 if a picture or the model is unreadable, 2 if the arguments are invalid."""
    parser = argparse.ArgumentParser(prog="python -m src.mnist.predict", description=__doc__)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help=f"picture of one digit: {', '.join(FORMATS)}"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, default=MODEL_PATH, help="file of a model (default: %(default)s)")
    model.add_argument("--version", help="registered version of the model, such as v1.0.0 (docs/sharing.md)")
    parser.add_argument("--json", action="store_true", help="one JSON object per picture, including unreadable ones")
    arguments = parser.parse_args(argv)
    digits: dict[Path, Digit] = {}
    errors: dict[Path, str] = {}
    for path in arguments.images:
        try:
            digits[path] = read_digit(path)
        except UserError as error:
            errors[path] = str(error)
    lines = list(errors.values())
    try:
        found = _classify(list(digits.values()), arguments.model, arguments.version) if digits else []
        answers = dict(zip(digits, found, strict=True))
        if arguments.json:
            for path in arguments.images:
                print(json.dumps({"image": str(path), **_as_json(answers.get(path), errors.get(path))}))  # noqa: T201
        elif answers:
            table = Table(
                Column("image", overflow="fold"), "digit", "confidence", Column("doubt", no_wrap=True), box=None
            )
            for path, answer in answers.items():
                table.add_row(str(path), str(answer.digit), f"{answer.confidence:.1%}", answer.doubt)
            Console(highlight=False, soft_wrap=True).print(table, markup=False)
    except UserError as error:
        lines.append(str(error))
    for line in lines:
        print(f"predict: {line}", file=sys.stderr)  # noqa: T201
    return 1 if lines else 0


def _as_json(answer: Answer | None, error: str | None) -> dict[str, object]:
    if answer is None:
        return {"error": error}
    return {**answer._asdict(), "confidence": round(answer.confidence, 4)}


def _classify(digits: list[Digit], model_path: Path, version: str | None) -> list[Answer]:
    if version is None:
        return predict(digits, model_path)
    with TemporaryDirectory() as folder:
        fetched = Path(folder) / MODEL_PATH.name
        fetch_version(version, fetched)
        return predict(digits, fetched)


def predict(digits: list[Digit], model_path: Path) -> list[Answer]:
    """Classify the digits of at least one picture.

    Raises:
        UserError: If the model is missing or damaged.
    """
    images = torch.from_numpy(np.stack([digit.image for digit in digits]))
    probs = predict_logits(load_model(model_path), images).softmax(1).numpy()
    return [
        Answer(int(one.argmax()), float(one.max()), doubt(one, digit.crossings))
        for one, digit in zip(probs, digits, strict=True)
    ]


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
