"""The IDX format of the MNIST files: unsigned bytes in an array of any rank.

Layout: two zero bytes, 0x08 for unsigned byte, the rank in one byte, each dimension as a big-endian 32-bit integer,
then the values in row-major order. Source: the description on the original MNIST page by LeCun, Cortes and Burges.
"""

import math
import struct
from pathlib import Path

import numpy as np

from src.core.errors import UserError
from src.core.files import write_bytes

UNSIGNED_BYTE = 0x08


def encode_idx(array: np.ndarray) -> bytes:
    """Encode a uint8 array of rank 1 to 255 as IDX."""
    if array.dtype != np.uint8:
        raise TypeError(f"MNIST's IDX files hold uint8, got {array.dtype}")
    header = struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    return header + array.tobytes()


def decode_idx(content: bytes, name: str) -> np.ndarray:
    """Decode IDX to a read-only uint8 array.

    Args:
        content: A whole IDX file.
        name: Name of the file in error messages.

    Raises:
        UserError: If the magic number is wrong or the length does not match the header.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise UserError(f"{name}: an IDX file of unsigned bytes starts with 00 00 08, got {content[:4].hex(' ')!r}")
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise UserError(f"{name}: the header is cut off: expected {start} bytes, got {len(content)}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise UserError(f"{name}: shape {shape} takes {start + math.prod(shape)} bytes, the file has {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file, atomically."""
    write_bytes(path, encode_idx(array))


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file; the array is read-only.

    Raises:
        UserError: If the file is not a complete IDX file of unsigned bytes.
    """
    return decode_idx(path.read_bytes(), str(path))
