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


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array of rank 1 to 255, atomically."""
    header = struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    write_bytes(path, header + array.tobytes())


def read_idx(path: Path) -> np.ndarray:
    """Read a file into a read-only uint8 array.

    Raises:
        UserError: If the magic number is wrong or the length does not match the header.
    """
    content = path.read_bytes()
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise UserError(f"{path}: an IDX file of unsigned bytes starts with 00 00 08, got {content[:4].hex(' ')!r}")
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise UserError(f"{path}: the header is cut off: expected {start} bytes, got {len(content)}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise UserError(f"{path}: shape {shape} takes {start + math.prod(shape)} bytes, the file has {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
