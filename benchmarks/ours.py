"""The train stage function with a recipe, scored on the test set.

Prints a line of JSON (`test_acc`, `model`: the MD5 of the model file, `machine`: the receipt's) and then the seconds
that `fit` took.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.recipes import RECIPES, recipe_params
from src.core.files import md5
from src.mnist.data.dataset import load_examples
from src.mnist.model.weights import load_model
from stages.evaluate import predict
from stages.train import Outputs, train


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--recipe", choices=RECIPES, default="plain")
    parser.add_argument("--precision")
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()
    asked = {"epochs": arguments.epochs, "precision": arguments.precision}
    params = recipe_params(arguments.recipe, **{name: value for name, value in asked.items() if value})
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("model.safetensors", "train.json", "history.csv", "curve.png")]
        result = train(params, arguments.data_dir, Outputs(*paths), arguments.accelerator)
        test = load_examples(arguments.data_dir, "test")
        preds = predict(load_model(paths[0]), test.images).argmax(1)
        facts = {"test_acc": float((preds == test.labels).mean()), "model": md5(paths[0]), "machine": result.machine}
    print(json.dumps(facts))
    print(result.fit_seconds)


if __name__ == "__main__":
    main()
