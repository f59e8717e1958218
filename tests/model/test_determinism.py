import pytest
import torch

from src.model.determinism import CPU_THREADS, configure_determinism


def test_the_number_of_threads_is_the_same_on_every_machine() -> None:
    for threads in (1, 3):
        torch.set_num_threads(threads)
        configure_determinism()
        assert torch.get_num_threads() == CPU_THREADS == 2


@pytest.mark.parametrize("tf32", [True, False])
def test_float32_is_rounded_to_tf32_only_if_asked_for(tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not tf32
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    configure_determinism(tf32=tf32)
    try:
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
        assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu  # type: ignore[attr-defined]
        # Lightning calls it; it raises where the two ways to choose are mixed.
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    finally:
        configure_determinism()


@pytest.mark.gpu
def test_tf32_rounds_convolutions_and_linear_layers_on_a_gpu_and_fp32_neither() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("TF32 came with Ampere")
    generator = torch.Generator().manual_seed(0)
    layers = {
        "linear": (torch.nn.Linear(512, 256, bias=False), torch.randn(256, 512, generator=generator)),
        "convolution": (torch.nn.Conv2d(64, 64, 3, bias=False), torch.randn(32, 64, 12, 12, generator=generator)),
    }
    try:
        for layer, x in layers.values():
            exact = layer.double()(x.double())
            layer.float().cuda()
            off = {}
            for tf32 in (True, False):
                configure_determinism(tf32=tf32)
                off[tf32] = float(((layer(x.cuda()).cpu().double() - exact).norm() / exact.norm()).detach())
            # TF32 keeps 10 bits of each factor's mantissa, float32 keeps 23.
            assert off[False] < 1e-5 < 1e-4 < off[True]
    finally:
        configure_determinism()
