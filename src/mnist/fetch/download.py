"""Downloads the four MNIST files from the first mirror that delivers them intact."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pooch
import requests

from src.core.errors import UserError, one_line
from src.mnist.fetch.http import TooLongError, receive

# torchvision and TensorFlow use the first two; the last is the original site, which often refuses requests.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


class Original(NamedTuple):
    """What is known of a file."""

    sha256: str
    size: int


ORIGINALS = {
    "train-images-idx3-ubyte.gz": Original(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422
    ),
    "train-labels-idx1-ubyte.gz": Original("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    "t10k-images-idx3-ubyte.gz": Original(
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877
    ),
    "t10k-labels-idx1-ubyte.gz": Original("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
}
TIMEOUT_SECONDS = 20.0
# Enough for the largest at 17 kB/s.
DEADLINE_SECONDS = 600.0
RETRIES = 1
Downloader = Callable[[str, str, pooch.Pooch], None]
# No other mirror helps against these.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def download(
    folder: Path,
    mirrors: Sequence[str] = MIRRORS,
    originals: Mapping[str, Original] = ORIGINALS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    deadline_seconds: float = DEADLINE_SECONDS,
    retries: int = RETRIES,
) -> None:
    """Download every file, each from the first mirror that delivers it with the right hash.

    A mirror that fails is not asked for the remaining files; what it delivered stays.

    Args:
        folder: Where the files go; files already there with the right hash are kept.
        mirrors: URLs (http, https, file) or folders, tried in order.
        originals: Hash and size of each file, by name.
        timeout_seconds: Longest wait for a connection and between two packets.
        deadline_seconds: Longest wait for one file.
        retries: Further attempts at a file before giving up on its mirror.

    Raises:
        UserError: If a file cannot be downloaded; the message gives each mirror's cause and the offline alternatives.
        OSError: If the disk of the folder is full or read-only.
    """
    # pooch reports every retry at INFO; the progress bar and the final error are enough.
    pooch.get_logger().setLevel(logging.WARNING)

    def over_http(url: str, output_file: str, _: pooch.Pooch) -> None:
        size = originals[url.rpartition("/")[2]].size
        Path(output_file).write_bytes(receive(url, size, timeout_seconds, deadline_seconds))

    causes = []
    for mirror in mirrors:
        try:
            downloader = over_http if urlsplit(mirror).scheme in {"http", "https"} else _copy
            _download_from(mirror, folder, originals, downloader, retries)
            return
        except (OSError, ValueError, requests.RequestException) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                # The system's error does not name the file.
                raise OSError(error.errno, error.strerror, os.fspath(folder)) from error
            causes.append(f"{mirror} ({_cause(error)})")
    raise UserError(
        f"MNIST could not be downloaded from any mirror: {'; '.join(causes)}. Without network: set MNIST_MIRROR to a "
        "folder or URL that holds the four .gz files, or use the built-in digits: dvc exp run -S dataset=digits"
    )


def _download_from(
    mirror: str, folder: Path, originals: Mapping[str, Original], downloader: Downloader, retries: int
) -> None:
    """Download from one mirror; pooch skips files already there with the right hash and checks the others."""
    store = pooch.create(
        path=folder,
        base_url=mirror.rstrip("/") + "/",
        registry={name: original.sha256 for name, original in originals.items()},
        retry_if_failed=retries,
    )
    for name in originals:
        store.fetch(name, downloader=downloader)


def _copy(url: str, output_file: str, _: pooch.Pooch) -> None:
    """A pooch downloader for mirrors that are folders."""
    parts = urlsplit(url)
    shutil.copyfile(unquote(parts.path) if parts.scheme == "file" else url, output_file)


def _cause(error: Exception) -> str:
    """The cause in a few words; requests buries it under several layers."""
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            return f"HTTP status {response.status_code}"
        case TimeoutError() | TooLongError():
            return str(error)
        case requests.Timeout():
            return "timed out"
        case requests.TooManyRedirects():
            return "redirects without end"
        case requests.ConnectionError():
            return "connection failed or broke off"
        case FileNotFoundError():
            return f"no such file: {error.filename}"
        case ValueError() if "hash" in str(error):
            return "wrong SHA-256: not the original file"
        case _:
            return one_line(error)
