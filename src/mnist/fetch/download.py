"""Downloads the four MNIST files from the first mirror that delivers them intact."""

import errno
import gzip
import io
import logging
import multiprocessing
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from src.core.errors import UserError, one_line

# torchvision and TensorFlow use the first two; the last is the original site, which often refuses requests.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


class Original(NamedTuple):
    """Expected hash and size, in bytes, of a file."""

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
# Timeout of a connection and between two packets, and of a whole file, which allows the largest one 17 kB/s.
TIMEOUT_SECONDS, DEADLINE_SECONDS = 20.0, 600.0
# Per file, before giving up on a mirror.
RETRIES = 1
CHUNK_BYTES = 1 << 16
# Errors that another mirror cannot fix.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def download(folder: Path, mirrors: Sequence[str], originals: Mapping[str, Original]) -> None:
    """Download every file, each from the first mirror that delivers it with the right hash.

    A mirror that fails is not tried for the remaining files; files that it delivered are kept.

    Args:
        folder: Target folder. Files in it with the right hash are kept.
        mirrors: URLs (http, https, file) or folders, tried in order.
        originals: Expected hash and size of each file, by name.

    Raises:
        UserError: If a file cannot be downloaded; the message gives the cause for each mirror, and what works offline.
        OSError: If the disk of the folder is full or read-only.
    """
    # pooch reports every retry at INFO; the progress bar and the final error are enough.
    pooch.get_logger().setLevel(logging.WARNING)

    def download_file(url: str, output_file: str, _: pooch.Pooch) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"}:
            size = originals[url.rpartition("/")[2]].size
            content = _within(DEADLINE_SECONDS, lambda: _receive(url, size))
            Path(output_file).write_bytes(content)
        else:
            shutil.copyfile(unquote(parts.path) if parts.scheme == "file" else url, output_file)

    causes = []
    for mirror in mirrors:
        store = pooch.create(
            path=folder,
            base_url=mirror.rstrip("/") + "/",
            registry={name: original.sha256 for name, original in originals.items()},
            retry_if_failed=RETRIES,
        )
        try:
            for name in originals:
                store.fetch(name, downloader=download_file)
            return
        except (OSError, ValueError, requests.RequestException) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                # The system's error does not name the file.
                raise OSError(error.errno, error.strerror, os.fspath(folder)) from error
            causes.append(f"{mirror} ({_cause(error)})")
    # Without a user's name and password.
    said = re.sub(r"(?<=//)[^/\s]*@", "", "; ".join(causes))
    raise UserError(
        f"MNIST could not be downloaded from any mirror: {said}. Without network: set MNIST_MIRROR to a "
        "URL, or a folder outside the project, that holds the four .gz files, or use the built-in digits: "
        "dvc exp run -S dataset=digits"
    )


def _receive(url: str, size: int) -> bytes:
    """Download a file, and undo any compression that the server applied in transfer."""
    # Some servers compress nevertheless; some only declare a .gz file as compressed.
    headers = {"Accept-Encoding": "identity"}
    name, content = url.rpartition("/")[2], bytearray()
    with (
        requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as response,
        tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar,
    ):
        response.raise_for_status()
        try:
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                content += chunk
                bar.update(len(chunk))
                # Compressing a compressed file adds less than 1%.
                if len(content) > 1.01 * size + 1000:
                    raise ValueError(f"sends more than the {size} bytes of the original file")
        # Converted to requests' errors, which pooch retries.
        except ReadTimeoutError as error:
            raise requests.Timeout from error
        except ProtocolError as error:
            raise requests.ConnectionError from error
    if len(content) != size:
        # Content that cannot be decompressed is returned as received; the hash check rejects it.
        with suppress(EOFError, gzip.BadGzipFile, zlib.error), gzip.open(io.BytesIO(content)) as file:
            return file.read(size + 1)
    return bytes(content)


def _within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """Run `work` with a deadline, since a server that sends a byte now and then never reaches the read timeout.

    Raises:
        TimeoutError: If it takes longer. Its thread keeps running until the process ends.
    """
    pool = ThreadPool(1)
    result = pool.apply_async(work)
    pool.close()
    try:
        return result.get(seconds)
    except multiprocessing.TimeoutError as error:
        raise TimeoutError(f"did not arrive within {seconds:g} s") from error


def _cause(error: Exception) -> str:
    """Describe the cause in a few words; requests buries it under several layers."""
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            return f"HTTP status {response.status_code}"
        case requests.Timeout():
            return "timed out"
        case requests.ConnectionError():
            return "connection failed or broke off"
        case ValueError() if "hash" in str(error):
            return "wrong SHA-256: not the original file"
        case _:
            return one_line(error)
