"""Receives one file over HTTP, whatever the server does: no more than its size, and no longer than its deadline."""

import gzip
import io
import sys
import zlib
from concurrent.futures import Future
from threading import Thread

import requests
from tqdm import tqdm
from urllib3.exceptions import ProtocolError, ReadTimeoutError

CHUNK_BYTES = 1 << 16


class TooLongError(ValueError):
    """A server sends more than the file has."""


def receive(url: str, size: int, timeout_seconds: float, deadline_seconds: float) -> bytes:
    """Receive a file as it was sent, or unpacked if the server compressed it on the way.

    Args:
        url: Where it is.
        size: Bytes that the file has.
        timeout_seconds: Longest wait for a connection and between two packets.
        deadline_seconds: Longest wait for the whole file, which a server that sends a byte now and then would stretch.

    Raises:
        requests.RequestException: If the server refuses, breaks off or falls silent.
        TooLongError: If more comes than the file has.
        TimeoutError: If the deadline passes.
    """
    # In a thread of its own, since a blocked read looks at no clock. One that is given up ends with the process.
    received: Future[bytes] = Future()

    def work() -> None:
        try:
            received.set_result(_receive(url, size, timeout_seconds))
        except BaseException as error:
            received.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return received.result(deadline_seconds)
    except TimeoutError as error:
        raise TimeoutError(f"did not arrive within {deadline_seconds:g} s") from error


def _receive(url: str, size: int, timeout_seconds: float) -> bytes:
    # Asked not to compress; some servers do, and some only say so of a file that ends in .gz.
    headers = {"Accept-Encoding": "identity"}
    content = bytearray()
    with (
        requests.get(url, stream=True, timeout=timeout_seconds, headers=headers) as response,
        tqdm(
            total=size, desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=not sys.stderr.isatty()
        ) as bar,
    ):
        response.raise_for_status()
        packed = response.headers.get("Content-Encoding", "").endswith("gzip")
        # Packing a file that cannot be packed adds less than 1%.
        most = size + size // 100 + 1000 if packed else size
        try:
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                content += chunk
                bar.update(len(chunk))
                if len(content) > most:
                    raise TooLongError(f"sends more than the {size} bytes of the original file")
        except ReadTimeoutError as error:
            raise requests.Timeout from error
        except ProtocolError as error:
            raise requests.ConnectionError from error
    return _unpacked(bytes(content), size) if packed and len(content) != size else bytes(content)


def _unpacked(content: bytes, size: int) -> bytes:
    """What the server compressed, up to one byte more than the file has; as it came, if it is damaged."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return content
