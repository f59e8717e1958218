import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from src.core.errors import UserError
from src.mnist.data.idx import decode_idx, encode_idx, read_idx, write_idx

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))


@given(ARRAYS)
def test_decoding_gives_what_was_encoded(array: np.ndarray) -> None:
    decoded = decode_idx(encode_idx(array), "file")
    assert decoded.dtype == np.uint8
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(ARRAYS, st.data())
def test_any_truncation_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = encode_idx(array)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(UserError, match=r"^file: "):
        decode_idx(content[:cut], "file")


@given(ARRAYS, st.binary(min_size=1, max_size=8))
def test_any_surplus_is_refused(array: np.ndarray, surplus: bytes) -> None:
    with pytest.raises(UserError, match=r"^file: shape "):
        decode_idx(encode_idx(array) + surplus, "file")


def test_the_bytes_are_those_of_the_format() -> None:
    content = encode_idx(np.arange(6, dtype=np.uint8).reshape(3, 2))
    assert content == b"\x00\x00\x08\x02" + struct.pack(">II", 3, 2) + bytes(range(6))


def test_an_array_that_is_not_contiguous_is_written_in_row_major_order() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3).T
    np.testing.assert_array_equal(decode_idx(encode_idx(array), "file"), array)


@pytest.mark.parametrize("magic", [b"\x00\x00\x0d\x01", b"\x01\x00\x08\x01", b"\x1f\x8b\x08\x00", b"<htm", b""])
def test_a_wrong_magic_number_is_refused(magic: bytes) -> None:
    with pytest.raises(UserError, match="starts with 00 00 08"):
        decode_idx(magic + bytes(8), "file")


def test_other_types_of_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        encode_idx(np.zeros(3))


def test_a_file_is_read_as_it_was_written_and_cannot_be_changed(tmp_path: Path) -> None:
    array = np.arange(4, dtype=np.uint8)
    write_idx(tmp_path / "raw" / "file", array)
    read = read_idx(tmp_path / "raw" / "file")
    np.testing.assert_array_equal(read, array)
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 1


def test_the_file_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(encode_idx(np.zeros(5, np.uint8))[:-1])
    with pytest.raises(UserError, match=f"^{path}: "):
        read_idx(path)
