"""The model file: weights as safetensors, with what it takes to use them."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from src.core.errors import UserError
from src.core.files import write_bytes
from src.core.reading import read_input
from src.model.network import ARCHITECTURES, MEAN, STD

METADATA_KEY = "mnist"


def save_model(path: Path, model: nn.Module, architecture: str) -> None:
    """Write the weights as safetensors, whole or not at all, with what `load_model` needs in the metadata."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # One key, since safetensors does not keep the order of several and the bytes would differ from run to run.
    metadata = {METADATA_KEY: json.dumps({"architecture": architecture, "mean": MEAN, "std": STD})}
    write_bytes(path, save(weights, metadata))


def load_model(path: Path) -> nn.Module:
    """Read a model that `save_model` wrote; safetensors holds numbers only, so nothing in the file can run.

    Raises:
        UserError: If the file is missing, cut off, or not such a model.
    """
    repair = "delete it and run `dvc checkout` or `dvc repro`"
    if not path.is_file():
        raise UserError(f"{path}: is missing; run `dvc checkout` or `dvc repro`")
    try:
        content = read_input(path)
        weights = load(content)
        description = json.loads(_metadata(content)[METADATA_KEY])
        if (description["mean"], description["std"]) != (MEAN, STD):
            raise UserError(f"{path}: was trained on images normalised in another way; {repair}")
        model = ARCHITECTURES[description["architecture"]]()
        model.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: is not a model of this pipeline ({' '.join(str(error).split())}); {repair}"
        ) from error
    return model


def _metadata(content: bytes) -> dict[str, str]:
    """Metadata of a safetensors file: eight bytes with the length of a header, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]
