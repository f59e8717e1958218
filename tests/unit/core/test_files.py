import json
import multiprocessing
import platform
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.core.files import write_bytes, write_json, write_table, write_text


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_content_is_written_into_a_created_folder_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"\x00\xff, and more")
    write_text(path, "né")
    assert path.read_bytes() == b"n\xc3\xa9"
    assert list(path.parent.iterdir()) == [path]


def test_full_disk_keeps_the_old_file_and_leaves_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with full_disk(100_000), pytest.raises(OSError, match=f"too large: '{path}'"):
        write_bytes(path, bytes(200_000))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_rename_leaves_no_scratch(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(folder, "new")
    assert list(tmp_path.iterdir()) == [folder]


def test_only_scratch_files_of_dead_local_processes_are_removed(tmp_path: Path) -> None:
    dead = multiprocessing.get_context("fork").Process(target=int)
    dead.start()
    dead.join()
    own = f".file.{platform.node()}"
    (tmp_path / f"{own}.{dead.pid}.tmp").touch()
    # On a shared file system, processes of other machines are not visible here. Their names may have the same prefix.
    names = [f"{own}.1.tmp", f"{own}.cluster.{dead.pid}.tmp", f"{own}.backup.tmp", f".file.elsewhere.{dead.pid}.tmp"]
    for name in names:
        (tmp_path / name).touch()
    write_text(tmp_path / "file", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "file"])
    # Git does not commit them, nor the leftovers of a killed dvc.
    for name in (*names, ".Gzc7Anpw6UEh11uIcz27kA.tmp"):
        subprocess.run(["git", "check-ignore", "--quiet", f"metrics/{name}"], cwd=Path(__file__).parent, check=True)


def test_reader_never_sees_a_partial_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [b"a" * 100_000, b"b" * 50_000]
    write_bytes(path, contents[0])

    def write_often() -> None:
        for round_number in range(100):
            write_bytes(path, contents[round_number % 2])

    writer = threading.Thread(target=write_often)
    writer.start()
    seen = {path.read_bytes()}
    while writer.is_alive():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(contents)


def test_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"b": 1, "a": [0.5]})
    assert path.read_text().endswith("}\n")
    assert list(json.loads(path.read_text()).items()) == [("b", 1), ("a", [0.5])]
    assert len(path.read_text().splitlines()) > 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_number_is_rejected_and_the_old_file_is_kept(tmp_path: Path, number: float) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"loss": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": number})
    assert json.loads(path.read_text()) == {"loss": 1}


def test_table_has_a_header_and_empty_cells_for_missing_values(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", ("a", "b"), [{"a": 1, "b": 0.5}, {"b": "x, y"}])
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n1,0.5\n,"x, y"\n'
