"""The train stage's function with a recipe, scored on the test set.

Prints JSON: the duration of `fit` in seconds, the test accuracy and the MD5 of the model file.
"""

import argparse
import gc
import json
import tempfile
from pathlib import Path

from src.core.files import md5
from src.mnist.data.dataset import load_examples
from src.mnist.model.params import Params, load_params
from src.mnist.model.weights import load_model
from stages.evaluate import predict
from stages.train import Outputs, train

RECIPES = {"default": "params.yaml"} | {name: f"recipes/{name}.yaml" for name in ("plain", "fast", "accurate", "gpu")}


def main() -> None:
    """Command line."""
    # As in the stage: objects created by imports are not worth scanning for garbage.
    gc.freeze()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--recipe", choices=RECIPES, default="plain")
    parser.add_argument("--precision")
    arguments = parser.parse_args()
    changes = {"seed": 0, "epochs": arguments.epochs, "precision": arguments.precision}
    recipe = load_params(Path(RECIPES[arguments.recipe])).model_dump()
    params = Params.model_validate(recipe | {name: value for name, value in changes.items() if value is not None})
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(*(Path(folder) / name for name in vars(Outputs())))
        result = train(params, arguments.data_dir, outputs)
        test = load_examples(arguments.data_dir, "test")
        accuracy = float((predict(load_model(outputs.model), test.images).argmax(1) == test.labels).mean())
        model = md5(outputs.model)
    print(json.dumps({"seconds": result.fit_seconds, "test_acc": accuracy, "model": model}))


if __name__ == "__main__":
    main()
