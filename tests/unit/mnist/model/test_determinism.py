import pytest
import torch

from src.mnist.model.device import configure_determinism
from tests.conftest import THREADS


def test_the_number_of_threads_is_the_same_on_every_machine() -> None:
    for before in (1, 3):
        torch.set_num_threads(before)
        configure_determinism(2)
        assert torch.get_num_threads() == 2


def test_an_operation_without_a_deterministic_kernel_is_refused() -> None:
    torch.use_deterministic_algorithms(False)
    configure_determinism(THREADS)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("tf32", [True, False])
def test_float32_is_rounded_to_tf32_only_if_asked_for(tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not tf32
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    configure_determinism(THREADS, tf32=tf32)
    try:
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
        assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu  # type: ignore[attr-defined]
        # Lightning calls it; it raises where the two ways to choose are mixed.
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    finally:
        configure_determinism(THREADS)


@pytest.mark.gpu
def test_fp32_is_float32_on_a_gpu_and_tf32_is_not() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("TF32 came with Ampere")
    # Large enough for the libraries to prefer TF32 where they may. Only the linear layer is sure to use it then.
    linear, convolution = torch.nn.Linear(1024, 1024, bias=False), torch.nn.Conv2d(64, 64, 3, bias=False)
    generator = torch.Generator().manual_seed(0)
    flat, images = torch.randn(1024, 1024, generator=generator), torch.randn(32, 64, 28, 28, generator=generator)
    try:
        configure_determinism(THREADS)
        # Float32 keeps 23 bits of each factor's mantissa, TF32 keeps 10.
        assert max(error(linear, flat), error(convolution, images)) < 5e-5
        configure_determinism(THREADS, tf32=True)
        assert error(linear, flat) > 1e-4
    finally:
        configure_determinism(THREADS)


@torch.inference_mode()
def error(layer: torch.nn.Module, x: torch.Tensor) -> float:
    """Relative error of a layer on the GPU."""
    exact, found = layer.cpu().double()(x.double()), layer.float().cuda()(x.cuda())
    return float((found.cpu().double() - exact).norm() / exact.norm())
