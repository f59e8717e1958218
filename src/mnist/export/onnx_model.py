"""The model as ONNX, from grey values to calibrated probabilities, so that running it takes no code of this project."""

import warnings

import onnx
import torch
from torch import Tensor, nn

from src.mnist.model.network import CalibratedModel, normalize

# The one that PyTorch's exporter writes without converting.
OPSET = 18
INPUT, OUTPUT = "images", "probabilities"


class Deployed(nn.Module):
    """A model with what stands before and after it: normalisation and softmax."""

    def __init__(self, model: CalibratedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Grey values, uint8 (N, 28, 28), to calibrated probabilities, float32 (N, 10)."""
        return self.model(normalize(images)).softmax(1)


def to_onnx(model: CalibratedModel, facts: dict[str, str]) -> bytes:
    """Export a model.

    Args:
        model: On the CPU; put into evaluation mode and left there.
        facts: Added to the metadata, such as the hash of the model file.

    Returns:
        An ONNX file: input `images`, uint8 of shape (batch, 28, 28), light ink on 0 like MNIST's; output
        `probabilities`, float32 of shape (batch, 10). Its bytes depend only on arguments and package versions.
    """
    with warnings.catch_warnings():
        # The exporter uses what torch has deprecated.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Deployed(model).eval(),
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
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
        # Stack traces, with this machine's paths.
        del node.metadata_props[:]
    proto.doc_string = "Handwritten digits: grey values 0 to 255, light ink on 0, to calibrated probabilities of 0 to 9"
    onnx.helper.set_model_props(proto, {"temperature": str(model.temperature), **facts})
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)
