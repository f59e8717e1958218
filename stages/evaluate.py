"""Stage evaluate: scores the model on the test set, which no other stage uses."""

import itertools
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this module has the stage's functions; its guarded command is `python -m stages evaluate`")

import numpy as np
import torch

from src.core.files import write_json, write_table
from src.core.run import ReceiptFields, Run, versions
from src.mnist.data.dataset import DATA_DIR, load_examples
from src.mnist.evaluate.pictures import draw_errors
from src.mnist.evaluate.scores import confusion_rows, error_rows, per_class_rows, score_predictions
from src.mnist.evaluate.summary import summary_line
from src.mnist.model.device import configure_determinism, device_facts, torch_device
from src.mnist.model.network import predict_logits, shifted_views
from src.mnist.model.params import EvaluateParams
from src.mnist.model.weights import MODEL_PATH, load_model

CONFUSION_COLUMNS = ("actual", "predicted", "count")
PER_CLASS_COLUMNS = ("class", "precision", "recall", "f1", "images")
ERROR_COLUMNS = ("index", "actual", "predicted", "confidence")


@dataclass(frozen=True)
class Outputs:
    """Where the stage writes; the defaults are the outs in dvc.yaml."""

    metrics: Path = Path("metrics/eval.json")
    confusion: Path = Path("plots/confusion.csv")
    per_class: Path = Path("plots/per_class.csv")
    errors: Path = Path("plots/errors.csv")
    errors_picture: Path = Path("plots/errors.png")


def main(run: Run) -> ReceiptFields:
    """Evaluate the model of the train stage on the requested device."""
    outputs = Outputs()
    evaluate(EvaluateParams.model_validate(run.params), DATA_DIR, MODEL_PATH, outputs, run.accelerator)
    print(summary_line())
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "safetensors")
    return ReceiptFields(
        versions(*packages), device_facts(torch_device(run.accelerator)) | {"threads": torch.get_num_threads()}
    )


def evaluate(
    params: EvaluateParams, data_dir: Path, model_path: Path, outputs: Outputs, accelerator: str = "auto"
) -> dict[str, float]:
    """Score a model on the test set and write metrics, tables and images of its errors.

    Args:
        params: `tta_shift` and the number of threads.
        data_dir: Output of the fetch stage.
        model_path: Output of the train stage.
        outputs: Where to write.
        accelerator: Lightning's name of a device: auto, cpu, cuda or gpu.

    Returns:
        The metrics that were written.

    Raises:
        UserError: If the data, the model or the device is missing, or the data or the model is damaged.
    """
    configure_determinism(params.threads)
    device = torch_device(accelerator)
    test = load_examples(data_dir, "test")
    probs = predict(load_model(model_path).to(device), test.images, params.tta_shift)
    metrics = score_predictions(test.labels, probs)
    y_pred, errors = probs.argmax(1), error_rows(test.labels, probs)
    # In the order of the table, so that the report can show any error without the data.
    titles = [f"{row['actual']} as {row['predicted']} ({row['confidence']:.0%})" for row in errors]
    draw_errors(test.images[[int(row["index"]) for row in errors]], titles, outputs.errors_picture)
    write_table(outputs.confusion, CONFUSION_COLUMNS, confusion_rows(test.labels, y_pred))
    write_table(outputs.per_class, PER_CLASS_COLUMNS, per_class_rows(test.labels, y_pred))
    write_table(outputs.errors, ERROR_COLUMNS, errors)
    write_json(outputs.metrics, metrics)
    return metrics


def predict(model: torch.nn.Module, images: np.ndarray, shift: int = 0) -> np.ndarray:
    """Predict probabilities of the ten classes on the model's device.

    Args:
        model: Maps normalised images to logits; probabilities are calibrated if the logits are.
        images: uint8 of shape (N, 28, 28).
        shift: Largest shift in pixels; probabilities are averaged over all (2 * shift + 1)² positions of each image.

    Returns:
        float64 of shape (N, 10); each row sums to 1.
    """
    device = next(model.parameters()).device
    shifted = shifted_views(torch.tensor(images, device=device), shift)
    positions = itertools.product(range(2 * shift + 1), repeat=2)
    probs = [predict_logits(model, shifted[:, down, right]).softmax(1) for down, right in positions]
    return torch.stack(probs).mean(0).numpy()
