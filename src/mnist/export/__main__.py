"""`python -m src.mnist.export`: the trained model as ONNX, compared with PyTorch on the whole test set."""

import argparse
import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.files import sha256, write_bytes, write_json
from src.core.run import versions
from src.core.signals import restore_signals
from src.mnist.data.dataset import load_examples
from src.mnist.model.weights import load_model

MODEL = Path("models/model.safetensors")
DATA = Path("data/MNIST")


def main(argv: list[str] | None = None) -> int:
    """Write MODEL.onnx and MODEL.onnx.json beside the model; 1 if the outputs differ or an input is missing."""
    parser = argparse.ArgumentParser(prog="python -m src.mnist.export", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="what the train stage wrote (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=DATA, help="what the fetch stage wrote (default: %(default)s)")
    arguments = parser.parse_args(argv)
    target = arguments.model.with_suffix(".onnx")
    try:
        export(arguments.model, arguments.data, target)
    except UserError as error:
        print(f"export: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def export(model_path: Path, data_dir: Path, target: Path) -> None:
    """Export a model, and write beside it, with `.json` added to the name, how it compares with PyTorch's.

    Raises:
        UserError: If a package, the model or the data is missing or damaged, or if the exported model computes
            something else.
    """
    try:
        from src.mnist.export.onnx_model import OPSET, compare, to_onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is missing; run `make onnx`, or pip install -r requirements-dev.lock"
        ) from error
    model, images = load_model(model_path), load_examples(data_dir, "test").images
    source = {"model_sha256": sha256(model_path)}
    content = to_onnx(model, source)
    found = compare(model, content, images)
    packages = versions("torch", "onnx", "onnxruntime", "onnxscript")
    write_bytes(target, content)
    write_json(target.with_name(f"{target.name}.json"), {**found, "opset": OPSET, **source, "versions": packages})
    print(  # noqa: T201
        f"{target}: on {found['images']} test images, probabilities differ from PyTorch's by at most "
        f"{found['max_difference']:.2g}, predictions of {len(found['changed_predictions'])}"
    )
    if not found["equal"]:
        raise UserError(
            f"expected at most {found['tolerance']:.0e} and no changed prediction; "
            f"do not use {target}, see {target}.json"
        )


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
