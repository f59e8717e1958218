"""`python -m src.mnist.export`: the trained model as ONNX, compared with PyTorch on the whole test set."""

import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.files import sha256, write_bytes, write_json
from src.core.process import prepare_process, take_no_arguments
from src.core.run import versions
from src.mnist.data.dataset import DATA_DIR, load_examples
from src.mnist.model.weights import MODEL_PATH, load_model

TARGET = Path("models/model.onnx")


def export() -> None:
    """Export the model, and write its comparison with PyTorch next to it, with `.json` appended to the name.

    Raises:
        UserError: If a package, the model or the data is missing or damaged, or if the exported model's results differ.
    """
    try:
        from src.mnist.export.onnx_model import OPSET, compare, to_onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is missing; run `make onnx`, or pip install -r requirements-dev.lock"
        ) from error
    model, images = load_model(MODEL_PATH), load_examples(DATA_DIR, "test").images
    source = {"model_sha256": sha256(MODEL_PATH)}
    content = to_onnx(model, source)
    found = compare(model, content, images)
    packages = versions("torch", "onnx", "onnxruntime", "onnxscript")
    write_bytes(TARGET, content)
    write_json(TARGET.with_name(f"{TARGET.name}.json"), {**found, "opset": OPSET, **source, "versions": packages})
    print(  # noqa: T201
        f"{TARGET}: on {found['images']:,} test images, probabilities differ from PyTorch's by at most "
        f"{found['max_difference']:.2g}, and {len(found['changed_predictions'])} predictions differ"
    )
    if not found["equal"]:
        raise UserError(
            f"expected at most {found['tolerance']:.0e} and no changed prediction; "
            f"do not use {TARGET}, see {TARGET}.json"
        )


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.mnist.export")
    try:
        export()
    except UserError as error:
        sys.exit(f"export: {error}")
