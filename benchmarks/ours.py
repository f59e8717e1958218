"""The train stage function with the plain recipe; prints the seconds that `fit` took."""

import argparse
import tempfile
from pathlib import Path

from benchmarks.recipes import recipe_params
from stages.train import Outputs, train


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    params = recipe_params("plain", epochs=arguments.epochs, precision="bf16" if arguments.bf16 else "fp32")
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / name for name in ("model.safetensors", "train.json", "history.csv", "curve.png"))
        print(train(params, arguments.data_dir, Outputs(*paths)).fit_seconds)


if __name__ == "__main__":
    main()
