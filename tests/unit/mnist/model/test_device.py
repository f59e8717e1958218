import subprocess
import sys

import pytest
import torch

from src.core.errors import UserError
from src.mnist.model.device import DRIVER_VERSION, configure_determinism, device_facts, torch_device, try_cuda
from tests.conftest import THREADS


@pytest.fixture
def restore_determinism() -> object:
    yield
    configure_determinism(THREADS)


def test_cpu_is_always_available() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    assert device_facts(torch.device("cpu")) == {"device": "cpu"}


@pytest.mark.fault(57)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_device_is_rejected() -> None:
    assert torch_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match=r"^PL_TRAINER_ACCELERATOR is 'cuda', but torch finds no such device$"):
        torch_device("cuda")
    with pytest.raises(UserError, match=r"^the GPU cannot be used: .*; see .*, or train on the CPU: PL_TRAINER_ACC"):
        try_cuda()


@pytest.mark.fault(57)
@pytest.mark.gpu
def test_working_gpu_is_accepted_and_full_gpu_is_rejected() -> None:
    try_cuda()
    # PyTorch's allocator still caches the memory that was freed.
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 500_000_000, dtype=torch.uint8, device="cuda")
    with pytest.raises(UserError, match=r"^the GPU cannot be used: CUDA out of memory"):
        try_cuda()
    del taken
    torch.cuda.empty_cache()


@pytest.mark.gpu
def test_device_facts_describe_the_gpu() -> None:
    assert torch_device("auto") == torch_device("gpu") == torch.device("cuda")
    facts = device_facts(torch_device("gpu"), tf32=True)
    assert facts["device"] == torch.cuda.get_device_name()
    assert facts["cuda"] == torch.version.cuda
    assert facts["cudnn"] == torch.backends.cudnn.version() > 90_000
    assert facts["driver"] == DRIVER_VERSION.read_text().strip()
    assert facts["fp32"] == "tf32"
    assert device_facts(torch_device("gpu"))["fp32"] == "ieee"


@pytest.mark.usefixtures("restore_determinism")
@pytest.mark.parametrize("tf32", [True, False])
def test_determinism_fixes_threads_kernels_and_arithmetic(tf32: bool) -> None:
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not tf32
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    configure_determinism(2, tf32=tf32)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
    assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu  # type: ignore[attr-defined]
    # Lightning calls this function, which raises if both APIs for TF32 were used.
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")


@pytest.mark.gpu
@pytest.mark.usefixtures("restore_determinism")
def test_fp32_is_exact_on_a_gpu_and_tf32_is_not() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("TF32 came with Ampere")
    # Large enough for the libraries to choose TF32 if allowed. Only the linear layer is certain to use it.
    linear, convolution = torch.nn.Linear(1024, 1024, bias=False), torch.nn.Conv2d(64, 64, 3, bias=False)
    generator = torch.Generator().manual_seed(0)
    flat, images = torch.randn(1024, 1024, generator=generator), torch.randn(32, 64, 28, 28, generator=generator)
    configure_determinism(THREADS)
    # Float32 has 23 bits of mantissa, TF32 has 10.
    assert max(error(linear, flat), error(convolution, images)) < 5e-5
    configure_determinism(THREADS, tf32=True)
    assert error(linear, flat) > 1e-4


@torch.inference_mode()
def error(layer: torch.nn.Module, x: torch.Tensor) -> float:
    """Relative error of a layer on the GPU."""
    exact, found = layer.cpu().double()(x.double()), layer.float().cuda()(x.cuda())
    return float((found.cpu().double() - exact).norm() / exact.norm())


# Allocates, writes and frees 12 MB a hundred times, like the activations of training steps.
PROGRAM = """
import resource
from src.mnist.model.device import keep_freed_memory
def faults():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(100):
            blocks = [b"x" * size for size in [4_000_000] * 3]
            del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
keep_freed_memory()
print(usual, faults())
"""


@pytest.mark.slow
def test_freed_memory_is_reused_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 1000
    assert kept < 100
