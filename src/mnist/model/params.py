"""The schema of params.yaml: type, range and meaning of every hyperparameter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from src.core.errors import UserError
from src.core.yaml_file import read_mapping

# Maximum length of a value in an error message.
SHOWN = 60

Threads = Annotated[
    int, Field(ge=1, le=256, description="CPU threads that compute; the last bits depend on their number")
]


class _Checked(BaseModel):
    """A group of hyperparameters with strict names, types and ranges."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FetchParams(_Checked):
    """Params of the fetch stage."""

    dataset: Literal["mnist", "digits"] = Field(description="mnist (70,000 images) or digits (1,797, offline)")


class TrainParams(_Checked):
    """Params of the train stage."""

    architecture: Literal["cnn", "small", "resnet", "ensemble", "large_ensemble"] = Field(
        description="which network of src/mnist/model/network.py"
    )
    seed: int = Field(ge=0, lt=2**32, description="seeds the split, the weights, the batches and the augmentation")
    val_fraction: float = Field(gt=0, lt=1, description="share of the training set held out for validation")
    epochs: int = Field(ge=1, le=10_000, description="passes over the training part")
    batch_size: int = Field(ge=1, le=60_000, description="images in one optimizer step, on all devices together")
    shards: int = Field(ge=1, le=64, description="equal parts of a batch that may be computed by several processes")
    # A schedule would round a smaller rate to zero in float32. A larger one makes the loss NaN in the first epoch.
    lr: float = Field(ge=1e-20, le=1e6, description="learning rate of Adam; its peak if there is a schedule")
    schedule: Literal["constant", "one-cycle", "cosine"] = Field(description="schedule of the learning rate")
    weight_decay: float = Field(ge=0, le=1e6, description="decoupled weight decay of AdamW; 0 makes it plain Adam")
    label_smoothing: float = Field(ge=0, lt=1, description="share of the target spread evenly over all classes")
    shift: int = Field(ge=0, le=8, description="most pixels by which training images are shifted, each way")
    rotation: float = Field(ge=0, le=45, description="most degrees by which training images are rotated, each way")
    scale: float = Field(ge=0, le=0.5, description="largest share by which training images grow or shrink")
    ema: float = Field(ge=0, lt=1, description="decay per step of the moving average of the weights; 0: none")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        description="arithmetic of the network in training; tf32 differs from fp32 only on NVIDIA GPUs from Ampere on"
    )
    threads: Threads


class EvaluateParams(_Checked):
    """Params of the evaluate stage."""

    threads: Threads
    tta_shift: int = Field(
        ge=0, le=4, description="most pixels by which test images are shifted; scores average over all"
    )


class Params(EvaluateParams, TrainParams, FetchParams):
    """All of params.yaml, in its order; device, mirror and folders are set elsewhere."""


def load_params(path: Path) -> Params:
    """Read params.yaml and check it with `check_params`."""
    return check_params(read_mapping(path), str(path))


def check_params(content: Mapping[Any, Any], where: str) -> Params:
    """Check values by name against the schema; error messages name their source as `where`.

    Raises:
        UserError: If anything is invalid; the message lists every problem by key.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: " + "; ".join(map(_describe, error.errors()))) from error


def _describe(problem: ErrorDetails) -> str:
    """Describe a problem found by pydantic in the user's terms."""
    key = _shown(problem["loc"][0]).strip("'")
    if problem["type"] == "missing":
        return f"{key} is missing"
    if key not in Params.model_fields:
        return f"{key} is not a parameter (known: {', '.join(Params.model_fields)})"
    place = " (choices: src/mnist/model/params.py)" if problem["type"] == "literal_error" else ""
    return f"{key} must be {problem['msg'].removeprefix('Input should be ')}, got {_shown(problem['input'])}{place}"


def _shown(value: object) -> str:
    """Format a value for an error message, truncated to leave room for the rest of the line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to print an integer of more than 4300 digits.
        return f"a value of type {type(value).__name__} that is too large to show"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
