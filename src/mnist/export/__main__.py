"""`python -m src.mnist.export`: the trained model as ONNX, compared with PyTorch on the whole test set."""

import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.files import md5, write_bytes
from src.core.process import prepare_process, take_no_arguments
from src.mnist.data.dataset import DATA_DIR, load_examples
from src.mnist.model.weights import MODEL_PATH, load_model

TARGET = Path("models/model.onnx")


def export() -> None:
    """Export the model, unless its probabilities on the test set differ from PyTorch's.

    Raises:
        UserError: If they differ; no file of an earlier model is left then. If a package, the model or the data is
            missing or damaged.
    """
    try:
        from src.mnist.export.onnx_model import TOLERANCE, max_difference, to_onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is missing; run `make onnx`, or pip install -r requirements-dev.lock"
        ) from error
    model, images = load_model(MODEL_PATH), load_examples(DATA_DIR, "test").images
    TARGET.unlink(missing_ok=True)
    content = to_onnx(model, {"model_md5": md5(MODEL_PATH)})
    difference = max_difference(model, content, images)
    found = f"on {len(images):,} test images, probabilities differ from PyTorch's by at most {difference:.2g}"
    # Not `>`, which NaN would pass.
    if not difference <= TOLERANCE:
        raise UserError(f"{TARGET}: {found}, expected {TOLERANCE:.0e}; install the versions in requirements-dev.lock")
    write_bytes(TARGET, content)
    print(f"{TARGET}: {found}")  # noqa: T201


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.mnist.export")
    try:
        export()
    except UserError as error:
        sys.exit(f"export: {error}")
