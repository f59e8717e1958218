"""Whether a training run resumes, and from which checkpoint."""

import sys
from collections.abc import Mapping
from pathlib import Path

from src.mnist.train.checkpoint import Checkpoints, DamagedError


def run_identity(origin: Mapping[str, str], schedule: str, facts: Mapping[str, object]) -> dict[str, str]:
    """Everything that determines the weights after an epoch; a run resumes only from a checkpoint with the same.

    Args:
        origin: Params (`params.yaml: lr`), hashes of the inputs and processor, by name.
        schedule: Schedule of the learning rate.
        facts: Versions of the packages, device and the like, by name.
    """
    # With a constant rate, no epoch depends on how many there will be.
    ignored = {"params.yaml: epochs"} if schedule == "constant" else set()
    return {name: str(value) for name, value in {**origin, **facts}.items() if name not in ignored}


def checkpoint_to_resume(checkpoints: Checkpoints, epochs: int) -> Path | None:
    """The checkpoint from which a run of `epochs` resumes, or None; prints which."""
    try:
        done = checkpoints.find(epochs)
    except DamagedError as error:
        print(f"train: {error}; training starts over", file=sys.stderr)  # noqa: T201
        return None
    if done == 0:
        return None
    print(f"Resuming after epoch {done} of {epochs}, from {checkpoints.path}")  # noqa: T201
    return checkpoints.path
