"""One-line explanations of errors that are no bugs; any other error keeps its traceback."""

import errno
import sys
from pathlib import Path

from src.core.copies import original
from src.core.errors import UserError

MEMORY = "out of memory; end other programs, or change its limits (`ulimit -v`, `ulimit -s`, the batch system)"
GPU_TAKEN = (
    "the GPU is out of memory or closed, perhaps because another program took it (see `nvidia-smi`); try again, choose "
    "another with CUDA_VISIBLE_DEVICES, or lower batch_size"
)
LOST = "the connection to another process of this run is lost; see what ended it, then run again to resume"
ACTIVATE = (
    "DVC runs the `python` that is first on PATH: activate the environment (`. .venv/bin/activate`) and try again, or "
    "run `make repro`; a new package goes into requirements.txt, then `make lock repro`"
)
ADVICE = {
    "free some space": (errno.ENOSPC, errno.EDQUOT),
    "make it writable": (errno.EROFS,),
    "change its permissions": (errno.EACCES, errno.EPERM),
    "a folder must be there; move the file away": (errno.EEXIST, errno.ENOTDIR),
    "raise the limit (`ulimit -f unlimited`)": (errno.EFBIG,),
    # The reader of the stage's output has closed it: the other end of a pipe, or a terminal.
    "send the output to a file": (errno.EPIPE,),
    "check the disk and the terminal": (errno.EIO,),
}
# Messages of CUDA, and of cuBLAS and cuDNN if they find no memory at startup.
NO_GPU = ("cuda out of memory", "cuda error: out of memory", "busy or unavailable", "status_alloc_failed")
# PyTorch's allocators raise RuntimeError, the dynamic linker ImportError.
OUT_OF_MEMORY = ("allocate memory", "out of memory", "failed to map segment", "can't start new thread")
# Messages of gloo, NCCL and torch's store if a process has ended or does not respond.
LOST_CONNECTION = ("gloo/", "nccl", "closed by peer", "reset by peer", "timed out after", "broken pipe")


def explain(error: Exception) -> str | None:
    """Explain what happened and what to do; None if neither the user nor the machine caused the error."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        for advice, numbers in ADVICE.items():
            # If the folder exists, the code should not have tried to create it: a bug.
            is_there = error.errno == errno.EEXIST and Path(error.filename or "").is_dir()
            if error.errno in numbers and not is_there:
                return f"{error.filename or 'its output'}: {error.strerror}; {advice} and try again"
    # Some libraries raise it without a name, with their own advice on what to install.
    if isinstance(error, ModuleNotFoundError) and error.name:
        if not error.name.startswith(("src", "stages")):
            return f"{sys.executable} has no package {error.name}; {ACTIVATE}"
        if original(Path.cwd()) != Path.cwd():
            return f"{error.name} is not in this copy of the repository; `git add` its file, then queue the run again"
    if isinstance(error, MemoryError):
        return MEMORY
    if not isinstance(error, RuntimeError | ImportError | OSError):
        return None
    said = str(error).lower()
    if any(sign in said for sign in NO_GPU):
        return GPU_TAKEN
    if any(sign in said for sign in OUT_OF_MEMORY):
        return MEMORY
    return LOST if isinstance(error, RuntimeError) and any(sign in said for sign in LOST_CONNECTION) else None
