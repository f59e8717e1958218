"""Differences between an exported model and the model that it was exported from."""

from typing import Any

import numpy as np
import onnxruntime
import torch

from src.mnist.export.onnx_model import INPUT, OUTPUT
from src.mnist.model.network import CalibratedModel, predict_logits

# Largest difference of a probability that counts as rounding: float32 has seven digits, and the order of sums differs.
TOLERANCE = 1e-5
BATCH_SIZE = 100


def run_onnx(content: bytes, images: np.ndarray) -> np.ndarray:
    """Probabilities, float32 (N, 10), that onnxruntime computes on the CPU for uint8 images (N, 28, 28)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([session.run([OUTPUT], {INPUT: images[i : i + BATCH_SIZE]})[0] for i in starts])


def compare(model: CalibratedModel, content: bytes, images: np.ndarray) -> dict[str, Any]:
    """Compare an ONNX file with its model.

    Args:
        model: What was exported.
        content: The ONNX file.
        images: uint8 of shape (N, 28, 28).

    Returns:
        `images`, their number; `max_difference` and `mean_difference` of a probability, absolute;
        `changed_predictions`, the images with another most probable class: index, `torch`, `onnx`; `equal`, whether
        there is none and no difference is over the tolerance.
    """
    ours = predict_logits(model, torch.tensor(images)).softmax(1).numpy()
    theirs = run_onnx(content, images)
    difference = np.abs(ours - theirs)
    before, after = ours.argmax(1), theirs.argmax(1)
    changed = [
        {"index": int(i), "torch": int(before[i]), "onnx": int(after[i])} for i in np.flatnonzero(before != after)
    ]
    largest = float(difference.max())
    return {
        "images": len(images),
        "max_difference": largest,
        "mean_difference": float(difference.mean()),
        "tolerance": TOLERANCE,
        "changed_predictions": changed,
        "equal": largest <= TOLERANCE and not changed,
    }
