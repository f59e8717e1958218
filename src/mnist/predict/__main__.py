"""`python -m src.mnist.predict IMAGE...`: the digit in each picture, and how sure the model is."""

import argparse
import json
import sys
from collections.abc import Sequence
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
    read = [_read(path) for path in arguments.images]
    digits = [digit for digit in read if isinstance(digit, np.ndarray)]
    errors = [error for error in read if isinstance(error, str)]
    try:
        answers = iter(_answers(digits, arguments.model, arguments.version) if digits else [])
        rows = [
            (path, found if isinstance(found, str) else next(answers))
            for path, found in zip(arguments.images, read, strict=True)
        ]
        _show(rows, arguments.json)
    except UserError as error:
        errors.append(str(error))
    for line in errors:
        print(f"predict: {line}", file=sys.stderr)  # noqa: T201
    return 1 if errors else 0


def _read(path: Path) -> np.ndarray | str:
    """The digit in a picture, or why there is none."""
    try:
        return read_digit(path)
    except UserError as error:
        return str(error)


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


def _show(rows: Sequence[tuple[Path, tuple[int, float] | str]], as_json: bool) -> None:
    """Print an answer for each picture: as JSON also what is wrong with it, so that every picture has its line."""
    if as_json:
        for path, answer in rows:
            if isinstance(answer, str):
                line: dict[str, object] = {"image": str(path), "error": answer}
            else:
                line = {"image": str(path), "digit": answer[0], "confidence": round(answer[1], 4)}
            print(json.dumps(line))  # noqa: T201
        return
    table = Table(Column("image", overflow="fold"), "digit", "confidence", box=None)
    for path, answer in rows:
        if not isinstance(answer, str):
            table.add_row(str(path), str(answer[0]), f"{answer[1]:.1%}")
    if table.rows:
        Console(highlight=False, soft_wrap=True).print(table, markup=False)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
