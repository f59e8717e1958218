"""The model as ONNX, from grey values to calibrated probabilities, so that it runs without this project's code."""

import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from src.mnist.data.dataset import IMAGE_SHAPE
from src.mnist.model.network import CalibratedModel, normalize, predict_logits

# The opset that PyTorch's exporter writes without a conversion.
OPSET = 18
INPUT, OUTPUT = "images", "probabilities"
# Larger differences in a probability are not rounding: float32 has seven digits, and the order of sums differs.
TOLERANCE = 1e-5
BATCH_SIZE = 100


class Deployed(nn.Module):
    """A model with its pre- and postprocessing: normalisation and softmax."""

    def __init__(self, model: CalibratedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map grey values, uint8 (N, 28, 28), to calibrated probabilities, float32 (N, 10)."""
        return self.model(normalize(images)).softmax(1)


def to_onnx(model: CalibratedModel, facts: dict[str, str]) -> bytes:
    """Export a model to ONNX.

    Args:
        model: A model on the CPU; it is left in evaluation mode.
        facts: Additional metadata, such as the hash of the model file.

    Returns:
        An ONNX file with input `images`, uint8 of shape (batch, 28, 28), light ink on 0 like MNIST's, and output
        `probabilities`, float32 of shape (batch, 10). Its bytes depend only on the arguments and package versions.
    """
    with warnings.catch_warnings():
        # The exporter calls deprecated functions of torch.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Deployed(model).eval(),
            (torch.zeros(2, *IMAGE_SHAPE, dtype=torch.uint8),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": {0: "batch"}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        # These are stack traces, which contain local paths.
        del node.metadata_props[:]
    proto.doc_string = "Handwritten digits: grey values 0 to 255, light ink on 0, to calibrated probabilities of 0 to 9"
    onnx.helper.set_model_props(proto, {"temperature": str(model.temperature), **facts})
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def run_onnx(content: bytes, images: np.ndarray) -> np.ndarray:
    """Run an ONNX file on the CPU: uint8 images (N, 28, 28) to probabilities, float32 (N, 10)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([session.run([OUTPUT], {INPUT: images[i : i + BATCH_SIZE]})[0] for i in starts])


def max_difference(model: CalibratedModel, content: bytes, images: np.ndarray) -> float:
    """Largest absolute difference in a probability between an ONNX file and its model, on uint8 images (N, 28, 28)."""
    ours = predict_logits(model, torch.tensor(images)).softmax(1).numpy()
    return float(np.abs(ours - run_onnx(content, images)).max())
