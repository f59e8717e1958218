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
    """IDX bytes of an array of uint8, any shape of rank 1 to 255."""
    if array.dtype != np.uint8:
        raise TypeError(f"IDX of MNIST holds uint8, got {array.dtype}")
    header = struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    return header + array.tobytes()


def decode_idx(content: bytes, name: str) -> np.ndarray:
    """Array of uint8 held in IDX bytes.

    Args:
        content: A whole IDX file.
        name: What to call it in errors.

    Raises:
        UserError: If the magic number is wrong or the length is not what the header says.
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
    """Write an array of uint8 as an IDX file, whole or not at all."""
    write_bytes(path, encode_idx(array))


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file; the array is read-only.

    Raises:
        UserError: If the file is not a whole IDX file of unsigned bytes.
    """
    return decode_idx(path.read_bytes(), str(path))
