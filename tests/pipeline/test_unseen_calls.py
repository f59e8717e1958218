"""The guard records files that Python opens. Stages must not open files by other code or in other processes."""

import re

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.fault(49, 60)

PLACES = ("stages", *(f"src/mnist/{folder}" for folder in ("data", "model", "fetch", "train", "evaluate")), "src/core")
# Code in C, C++ or Rust that opens files, and other programs. The guard itself detects forks and shells.
UNSEEN = re.compile(
    r"(import|from) .*\b(subprocess|cv2|h5py|pyarrow|cffi|dbm)\b|os\.exec"
    r"|(import|from) .*\b(polars|duckdb|lmdb|tokenizers|sentencepiece|faiss|xgboost|lightgbm)\b"
    # torch's storages, its compiler and its files; a buffer in memory is accepted by its name.
    r"|from_file|ScriptModule|torch\.jit\.|cpp_extension|torch\.save\((?!.*\b(buffer|content)\))"
    # safetensors; torchvision's decoders; PIL's fonts; numpy's writer.
    r"|\bload_file|save_file|safe_open|torchvision(\.io| import .*\bio)\b|read_image|decode_file"
    r"|truetype|FreeTypeFont|load_path|tofile"
    # A library; without an argument, the program itself.
    r"|(CDLL|PyDLL|LoadLibrary)\((?!None\))"
)


def unseen(source: str) -> list[str]:
    """Lines with a call that the guard would not see."""
    return [line.strip() for line in source.splitlines() if UNSEEN.search(line)]


def test_stages_open_no_file_unseen() -> None:
    files = [path for place in PLACES for path in sorted((REPOSITORY / place).rglob("*.py"))]
    found = {str(path.relative_to(REPOSITORY)): unseen(path.read_text()) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {
        # The script replaces itself with a new process before anything is read.
        "stages/__main__.py": ["os.execv(sys.executable, [sys.executable, ISOLATED, __file__, sys.argv[1]])"],
    }, "read and write with Python's `open`; torch.save into memory: `buffer = io.BytesIO()`"


@pytest.mark.parametrize(
    "source",
    [
        "from safetensors.torch import load_file",
        "torch.UntypedStorage.from_file(path)",
        "torch.save(model, path)",
        "torch.jit.load(path)",
        "ImageFont.truetype('font.ttf')",
        "ctypes.CDLL('libother.so')",
        "import os, subprocess",
        "from subprocess import run",
        "os.execvp('a', [])",
        "from torchvision.io import read_image",
        "import polars as pl",
        "from tokenizers import Tokenizer",
    ],
)
def test_unseen_call_is_detected(source: str) -> None:
    assert unseen(source)


def test_call_that_opens_no_file_is_accepted() -> None:
    assert not unseen("torch.save(model.state_dict(), buffer)\nctypes.CDLL(None)\nimport io, json")
