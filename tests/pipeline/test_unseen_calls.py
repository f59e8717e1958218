"""The guard records files that Python opens. Stages must not open files by other code or in other processes."""

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.fault(49, 60)

PLACES = ("stages", *(f"src/mnist/{folder}" for folder in ("data", "model", "fetch", "train", "evaluate")), "src/core")
FILES = [path for place in PLACES for path in sorted((REPOSITORY / place).rglob("*.py"))]
# Code in C, C++ or Rust that opens files, and other programs. The guard itself detects forks and shells.
MODULES = {"subprocess", "cv2", "h5py", "pyarrow", "cffi", "dbm", "torchvision.io", "torch.utils.cpp_extension"}
NAMES = {
    # safetensors; torch.from_file and storages; torch.jit; decoders of torchvision.
    "load_file", "save_file", "safe_open", "from_file", "read_image", "decode_file", "ScriptModule",
    # PIL's fonts and numpy's writers in C.
    "truetype", "FreeTypeFont", "tofile",
}  # fmt: skip


def unseen(source: str) -> list[str]:
    """Calls of a module that the guard would not see, with their lines."""
    tree, found = ast.parse(source), []
    buffers = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "io.BytesIO()"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = {alias.name for alias in node.names}
            parts = {module, *names, *(f"{module}.{name}" for name in names)}
            if parts & NAMES or any(f"{part}.".startswith(f"{bad}.") for part in parts for bad in MODULES):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last, first = name.rpartition(".")[2], ast.unparse(node.args[0]) if node.args else ""
            is_unseen = (
                last in NAMES
                or name.startswith(("os.exec", "torch.jit.", "ImageFont.load_path"))
                # Loads a library; without an argument, the program itself.
                or (last in {"CDLL", "PyDLL", "LoadLibrary"} and first != "None")
                # In memory, it does not open files.
                or (name == "torch.save" and ast.unparse(node.args[1]) not in buffers)
            )
            if is_unseen:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_stage_opens_no_file_unseen(path: Path) -> None:
    found = unseen(path.read_text())
    if path == REPOSITORY / "stages/__main__.py":
        # It replaces itself with a new process before anything is read.
        found = [line for line in found if "os.execv(sys.executable" not in line]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from safetensors.torch import load_file",
        "safetensors.torch.load_file(path)",
        "torch.from_file(path)",
        "torch.UntypedStorage.from_file(path)",
        "torch.save(model, path)",
        "torch.save(model, 'model.pt')",
        "torch.jit.load(path)",
        "ImageFont.truetype('font.ttf')",
        "ctypes.CDLL('libother.so')",
        "import subprocess",
        "os.execvp('a', [])",
        "from torchvision.io import read_image",
        "import cv2",
    ],
)
def test_unseen_call_is_detected(source: str) -> None:
    assert unseen(source)


@pytest.mark.parametrize(
    "source",
    [
        "buffer = io.BytesIO()\ntorch.save(model, buffer)",
        "from safetensors.torch import load, save",
        "ctypes.CDLL(None)",
        "torch.load(path)",
        "ImageFont.load_default(8)",
    ],
)
def test_other_calls_are_accepted(source: str) -> None:
    assert not unseen(source)
