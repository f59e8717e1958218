import subprocess
import sys

import pytest

# Allocates, writes and frees 12 MB a hundred times, as training steps do with their activations.
PROGRAM = """
import resource
from src.mnist.model.device import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        blocks = [b"x" * size for size in [4_000_000] * 3]
        del blocks
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(keep: bool) -> int:
    program = PROGRAM.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert faults(keep=False) > 1000
    assert faults(keep=True) < 100
