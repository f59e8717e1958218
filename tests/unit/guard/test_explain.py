import errno
import os
from pathlib import Path

import pytest

from src.guard.explain import GPU_TAKEN, MEMORY, explain


@pytest.mark.fault(56)
@pytest.mark.parametrize(
    ("names", "repair"),
    [
        (("ENOSPC", "EDQUOT"), "free some space"),
        (("EROFS",), "make it writable"),
        (("EACCES", "EPERM"), "change its permissions"),
        (("EEXIST", "ENOTDIR"), "move the file away"),
        (("EFBIG",), "raise the limit"),
        (("EPIPE",), "send the output to a file"),
        (("EIO",), "check the disk"),
    ],
)
def test_machine_error_names_file_and_repair(names: tuple[str, ...], repair: str) -> None:
    for name in names:
        number = getattr(errno, name)
        line = explain(OSError(number, os.strerror(number), "models/model.safetensors"))
        assert line
        assert line.startswith(f"models/model.safetensors: {os.strerror(number)}; ")
        assert repair in line


@pytest.mark.fault(55)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        ImportError("libtorch_cuda.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_is_explained_in_one_line(error: Exception) -> None:
    assert explain(error) == MEMORY


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_occupied_gpu_is_explained_in_one_line(said: str) -> None:
    assert explain(RuntimeError(said)) == GPU_TAKEN


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape"),
        OSError(errno.ENOENT, "No such file", "x"),
        OSError(errno.EEXIST, "File exists", "/"),
        KeyError("x"),
        ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available."),
        KeyError("out of memory"),
    ],
)
def test_bugs_are_not_explained_as_machine_errors(error: Exception) -> None:
    assert explain(error) is None


def test_module_that_git_does_not_know_is_explained_in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError("No module named 'src.mnist.own'", name="src.mnist.own")
    monkeypatch.chdir(tmp_path)
    assert explain(error) is None
    (copy := tmp_path / ".dvc/tmp/exps/standalone/tmp1").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert "src.mnist.own is not in this copy of the repository; `git add` its file" in str(explain(error))
