"""Stage fetch: the data set as four IDX files in torchvision's layout."""

import gzip
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this module has the stage's functions; its guarded command is `python -m stages fetch`")

import numpy as np

from src.core.errors import UserError
from src.core.files import write_bytes
from src.core.run import ReceiptFields, Run, versions
from src.mnist.data.dataset import DATA_DIR, FILES, raw_folder, write_examples
from src.mnist.fetch.download import MIRRORS, ORIGINALS, Original, download


def main(run: Run) -> ReceiptFields:
    """Fetch the data set of params.yaml; `MNIST_MIRROR` (a folder or a URL) is tried before the official mirrors."""
    own = os.environ.get("MNIST_MIRROR")
    fetch(run.params["dataset"], DATA_DIR, [own, *MIRRORS] if own else MIRRORS)
    return ReceiptFields(versions("numpy", "pillow", "scikit-learn"))


def fetch(
    dataset: str, data_dir: Path, mirrors: Sequence[str] = MIRRORS, originals: Mapping[str, Original] = ORIGINALS
) -> None:
    """Write a data set so that `load_examples` and `torchvision.datasets.MNIST(data_dir.parent)` open it.

    Args:
        dataset: `mnist`, which is downloaded, or `digits`, which comes with scikit-learn.
        data_dir: A folder named MNIST; created if missing.
        mirrors: Mirrors of MNIST, tried in order.
        originals: Hash and size of each of its four files, by name.

    Raises:
        UserError: If the data set is unknown, or no mirror delivers MNIST intact; nothing is written in that case.
    """
    if dataset not in WRITERS:
        raise UserError(
            f"stages/fetch.py: expected a data set that it can write ({', '.join(WRITERS)}), got {dataset!r}"
        )
    # A data set of one's own may be split at random.
    random.seed(0)
    np.random.seed(0)
    WRITERS[dataset](data_dir, mirrors, originals)


def _download_mnist(data_dir: Path, mirrors: Sequence[str], originals: Mapping[str, Original]) -> None:
    """Download to a temporary folder and decompress the files, as torchvision expects them."""
    with tempfile.TemporaryDirectory() as folder:
        download(Path(folder), mirrors, originals)
        for pair in FILES.values():
            for name in pair:
                write_bytes(raw_folder(data_dir) / name, gzip.decompress(Path(folder, f"{name}.gz").read_bytes()))


# A custom data set needs a function like this one, but no mirror.
def _write_digits(data_dir: Path, *_: object) -> None:
    # Imported here because scikit-learn takes half a second, which MNIST does not need.
    from src.mnist.fetch.digits import digits_as_mnist

    write_examples(data_dir, **digits_as_mnist())


# Writes each data set, with the same bytes on every run; stage check compares the names with the schema.
WRITERS: dict[str, Callable[[Path, Sequence[str], Mapping[str, Original]], None]] = {
    "mnist": _download_mnist,
    "digits": _write_digits,
}
