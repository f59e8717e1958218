"""`python -m src.predict IMAGE...`: the digit in each picture, and how sure the model is."""

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
from src.model.logits import predict_logits
from src.model.weights import load_model
from src.predict.images import FORMATS, read_digit
from src.predict.registry import fetch_version

MODEL = Path("models/model.safetensors")


def main(argv: list[str] | None = None) -> int:
    """Print a table or JSON; 1 if a picture or the model could not be read, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help=f"picture of one digit: {', '.join(FORMATS)}"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, default=MODEL, help="what the train stage wrote (default: %(default)s)")
    model.add_argument("--version", help="a registered version of the model, such as v1.0.0, instead (docs/sharing.md)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")
    arguments = parser.parse_args(argv)
    digits, errors = {}, []
    for path in arguments.images:
        try:
            digits[path] = read_digit(path)
        except UserError as error:
            errors.append(str(error))
    try:
        answers = _answers(list(digits.values()), arguments.model, arguments.version) if digits else []
    except UserError as error:
        errors, answers = [*errors, str(error)], []
    _show(list(zip(digits, answers, strict=False)), arguments.json)
    for line in errors:
        print(f"predict: {line}", file=sys.stderr)  # noqa: T201
    return 1 if errors else 0


def _answers(digits: list[np.ndarray], model_path: Path, version: str | None) -> list[tuple[int, float]]:
    if version is None:
        return predict(digits, model_path)
    with TemporaryDirectory() as folder:
        fetched = Path(folder) / MODEL.name
        fetch_version(version, fetched)
        return predict(digits, fetched)


def predict(digits: list[np.ndarray], model_path: Path) -> list[tuple[int, float]]:
    """Classify digits.

    Args:
        digits: uint8 of shape (28, 28) each, at least one, from `read_digit`.
        model_path: What the train stage wrote.

    Returns:
        (digit, confidence) of each; the confidence is the calibrated probability, in [0, 1].

    Raises:
        UserError: If the model is missing or damaged.
    """
    logits = predict_logits(load_model(model_path), torch.from_numpy(np.stack(digits)))
    confidence, digit = logits.softmax(1).max(1)
    return list(zip(digit.tolist(), confidence.tolist(), strict=True))


def _show(answers: list[tuple[Path, tuple[int, float]]], as_json: bool) -> None:
    if as_json:
        for path, (digit, confidence) in answers:
            print(json.dumps({"image": str(path), "digit": digit, "confidence": round(confidence, 4)}))  # noqa: T201
        return
    table = Table(Column("image", overflow="fold"), "digit", "confidence", box=None)
    for path, (digit, confidence) in answers:
        table.add_row(str(path), str(digit), f"{confidence:.1%}")
    if answers:
        Console(highlight=False, soft_wrap=True).print(table, markup=False)


if __name__ == "__main__":
    sys.exit(main())
