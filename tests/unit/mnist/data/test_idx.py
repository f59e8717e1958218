import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from src.core.errors import UserError
from src.mnist.data.idx import read_idx, write_idx

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))


@given(array=ARRAYS, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_array_round_trips_and_damaged_file_is_rejected(tmp_path: Path, array: np.ndarray, data: st.DataObject) -> None:
    path = tmp_path / "file"
    write_idx(path, array)
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)
    content = path.read_bytes()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    for damaged in (cut, content + data.draw(st.binary(min_size=1, max_size=8))):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"^{path}: "):
            read_idx(path)


def test_file_bytes_match_the_format_in_row_major_order(tmp_path: Path) -> None:
    write_idx(tmp_path / "file", np.arange(6, dtype=np.uint8).reshape(2, 3).T)
    expected = b"\x00\x00\x08\x02" + struct.pack(">II", 3, 2) + bytes([0, 3, 1, 4, 2, 5])
    assert (tmp_path / "file").read_bytes() == expected


@pytest.mark.fault(29)
@pytest.mark.parametrize("magic", [b"\x00\x00\x0d\x01", b"\x01\x00\x08\x01", b"\x1f\x8b\x08\x00", b"<htm", b""])
def test_wrong_magic_number_is_rejected(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "file").write_bytes(magic + bytes(8))
    with pytest.raises(UserError, match="starts with 00 00 08"):
        read_idx(tmp_path / "file")
