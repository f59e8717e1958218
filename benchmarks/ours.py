"""The train stage's function with a recipe, scored on the test set.

Prints JSON: the seconds that `fit` took, the test accuracy, the MD5 of the model file and the receipt's `machine`.
"""

import argparse
import gc
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
    # As in the stage: what imports leave is no garbage to look for.
    gc.freeze()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--recipe", choices=RECIPES, default="plain")
    parser.add_argument("--precision")
    arguments = parser.parse_args()
    asked = {"epochs": arguments.epochs, "precision": arguments.precision}
    params = recipe_params(arguments.recipe, **{name: value for name, value in asked.items() if value})
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(*(Path(folder) / name for name in vars(Outputs())))
        result = train(params, arguments.data_dir, outputs)
        test = load_examples(arguments.data_dir, "test")
        accuracy = float((predict(load_model(outputs.model), test.images).argmax(1) == test.labels).mean())
        model = md5(outputs.model)
    facts = {"seconds": result.fit_seconds, "test_acc": accuracy, "model": model, "machine": result.machine}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
