"""The model file: weights as safetensors, with the metadata needed to use them."""

import json
import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from src.core.errors import UserError, one_line
from src.core.files import write_bytes
from src.mnist.model.network import MEAN, STD, CalibratedModel, build_model

MODEL_PATH = Path("models/model.safetensors")
METADATA_KEY = "mnist"
# Preprocessing that the weights assume: the normalisation of images, and the order in which pixels are flattened.
PREPARATION = {"layout": "NHWC", "mean": MEAN, "std": STD}


def save_model(path: Path, model: CalibratedModel, architecture: str) -> None:
    """Write the weights as safetensors, atomically, with the metadata that `load_model` needs."""
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.network.state_dict().items()}
    # A single key: safetensors does not preserve the order of several, so the bytes would differ from run to run.
    description = {"architecture": architecture, **PREPARATION, "temperature": model.temperature}
    write_bytes(path, save(weights, {METADATA_KEY: json.dumps(description)}))


def load_model(path: Path) -> CalibratedModel:
    """Read a model that `save_model` wrote; safetensors cannot contain code.

    Raises:
        UserError: If the file is missing, truncated, or not a model of this pipeline.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; run `dvc pull` or `dvc repro`")
    try:
        content = path.read_bytes()
        weights = load(content)
        description = json.loads(_metadata(content)[METADATA_KEY])
        if {name: description[name] for name in PREPARATION} != PREPARATION:
            raise UserError(f"{path}: another version wrote it, and its weights mean something else; run `dvc repro`")
        temperature = description["temperature"]
        if not (isinstance(temperature, float) and 0 < temperature < math.inf):
            raise ValueError(f"temperature is {temperature!r}")
        network = build_model(description["architecture"], seed=0)
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: is not a model of this pipeline ({one_line(error)}); to restore its own, delete {MODEL_PATH} and "
            "run `dvc checkout` or `dvc repro`"
        ) from error
    return CalibratedModel(network, temperature)


def _metadata(content: bytes) -> dict[str, str]:
    """Read the metadata of a safetensors file: eight bytes with the header's length, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]
