"""`python -m src.mnist.predict IMAGE...`: the digit in each picture, and how sure the model is."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table

from src.core.errors import UserError
from src.core.signals import restore_signals
from src.mnist.model.network import predict_logits
from src.mnist.model.weights import load_model
from src.mnist.predict.images import FORMATS, read_digit
from src.mnist.predict.registry import fetch_version

MODEL = Path("models/model.safetensors")


def main(argv: list[str] | None = None) -> int:
    """Print a table or JSON; 1 if a picture or the model could not be read, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.mnist.predict", description=__doc__)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help=f"picture of one digit: {', '.join(FORMATS)}"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, default=MODEL, help="what the train stage wrote (default: %(default)s)")
    model.add_argument("--version", help="a registered version of the model, such as v1.0.0, instead (docs/sharing.md)")
    parser.add_argument("--json", action="store_true", help="one JSON object per picture, also for unreadable ones")
    arguments = parser.parse_args(argv)
    digits: dict[Path, np.ndarray] = {}
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
            table = Table(Column("image", overflow="fold"), "digit", "confidence", box=None)
            for path, (digit, confidence) in answers.items():
                table.add_row(str(path), str(digit), f"{confidence:.1%}")
            Console(highlight=False, soft_wrap=True).print(table, markup=False)
    except UserError as error:
        lines.append(str(error))
    for line in lines:
        print(f"predict: {line}", file=sys.stderr)  # noqa: T201
    return 1 if lines else 0


def _as_json(answer: tuple[int, float] | None, error: str | None) -> dict[str, object]:
    return {"error": error} if answer is None else {"digit": answer[0], "confidence": round(answer[1], 4)}


def _classify(digits: list[np.ndarray], model_path: Path, version: str | None) -> list[tuple[int, float]]:
    if version is None:
        return predict(digits, model_path)
    with TemporaryDirectory() as folder:
        fetched = Path(folder) / MODEL.name
        fetch_version(version, fetched)
        return predict(digits, fetched)


def predict(digits: list[np.ndarray], model_path: Path) -> list[tuple[int, float]]:
    """The digit in each of at least one image, uint8 of shape (28, 28), and its calibrated probability, in [0, 1].

    Raises:
        UserError: If the model is missing or damaged.
    """
    logits = predict_logits(load_model(model_path), torch.from_numpy(np.stack(digits)))
    confidence, digit = logits.softmax(1).max(1)
    return list(zip(digit.tolist(), confidence.tolist(), strict=True))


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
