"""Checks that params fit the data set before it is fetched, and the resources that a run needs."""

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.mnist.model.split import held_out

# Training images per class; the hashes of MNIST's files guarantee its counts. The counts of an unlisted data set are
# unknown until it is fetched, so the train stage repeats the checks.
CLASS_COUNTS = {
    "mnist": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "digits": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
}
# The learning rates of all steps are computed in advance. They take 40 MB, and about 400 MB while being computed.
MAX_STEPS = 10_000_000


def check_sizes(params: Params) -> None:
    """Raise UserError if val_fraction, batch_size, shards or epochs do not fit the number of images."""
    if params.batch_size % params.shards:
        raise UserError(
            f"params.yaml: batch_size must be a multiple of shards, which is {params.shards}, got {params.batch_size}"
        )
    if params.dataset not in CLASS_COUNTS:
        return
    counts = CLASS_COUNTS[params.dataset]
    training = sum(n - held_out(n, params.val_fraction, label) for label, n in enumerate(counts))
    if params.batch_size > training:
        raise UserError(
            f"params.yaml: batch_size must be at most {training}, the training images, got {params.batch_size}"
        )
    steps = params.epochs * -(-training // params.batch_size)
    if steps > MAX_STEPS:
        raise UserError(
            f"params.yaml: epochs and batch_size make {steps} optimizer steps, at most {MAX_STEPS} are possible; "
            "lower epochs or raise batch_size"
        )


def check_processes(processes: int, shards: int) -> None:
    """Raise UserError if the shards cannot be divided evenly among the processes."""
    if shards % processes:
        fitting = ", ".join(str(count) for count in range(1, shards + 1) if shards % count == 0)
        raise UserError(
            f"{processes} processes were asked for (PL_TRAINER_DEVICES, torchrun), but params.yaml cuts a batch into "
            f"{shards} shard{'s' if shards > 1 else ''}: expected {fitting}; change their number or shards"
        )


def needs(images: int, processes: int) -> dict[str, int]:
    """Estimate the bytes that a run needs, by the limit that applies to them; measured on a CPU."""
    return {
        # Per process.
        "ulimit -d": 1_300_000_000 + 8_000 * images,
        "ulimit -s": 1 << 20,
        "ulimit -v": 4_100_000_000 + 8_000 * images,
        # All processes together, without reclaimable memory.
        "memory": processes * (900_000_000 + 4_000 * images),
        # Data, model and checkpoints; twice, where DVC's cache keeps a copy.
        "disk": 60_000_000 + 2_500 * images,
    }
