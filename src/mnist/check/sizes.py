"""Whether params fit the data set, known before it is fetched."""

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.mnist.model.split import held_out

# Training images of each class. The hashes of MNIST's files fix its numbers. Nothing is known about an unlisted data
# set before it is fetched; the train stage repeats the checks.
CLASS_COUNTS = {
    "mnist": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "digits": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
}
# The learning rates of all steps are computed beforehand: 40 MB, and about 400 MB while computing.
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
    """Raise UserError if some process would compute more shards than others."""
    if shards % processes:
        fitting = ", ".join(str(count) for count in range(1, shards + 1) if shards % count == 0)
        raise UserError(
            f"{processes} processes were asked for (PL_TRAINER_DEVICES, torchrun), but params.yaml cuts a batch into "
            f"{shards} shard{'s' if shards > 1 else ''}: expected {fitting}; change their number or shards"
        )


def needs(images: int, processes: int) -> dict[str, int]:
    """Bytes that processes may need when they train together on so many images, by what limits them; seen on a CPU."""
    return {
        # Each of them.
        "ulimit -d": 1_300_000_000 + 8_000 * images,
        # The checkpoint of a large recipe, or the images.
        "ulimit -f": max(40_000_000, 800 * images),
        "ulimit -s": 1 << 20,
        "ulimit -v": 4_100_000_000 + 8_000 * images,
        # All, without what the system may drop.
        "memory": processes * (900_000_000 + 4_000 * images),
        # Data, model and checkpoints, twice where DVC's cache keeps a copy.
        "disk": 60_000_000 + 2_500 * images,
    }
