import pytest
import torch

from src.core.errors import UserError
from src.mnist.model.device import DRIVER_VERSION, device_facts, torch_device, try_cuda

pytestmark = pytest.mark.fault(57)


def test_the_cpu_is_a_choice_everywhere() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    assert device_facts(torch.device("cpu")) == {"device": "cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert torch_device("auto").type != "cuda"
    with pytest.raises(UserError, match=r"^PL_TRAINER_ACCELERATOR is 'cuda', but torch finds no such device$"):
        torch_device("cuda")
    with pytest.raises(UserError, match=r"^the GPU cannot be used: .*; see .*, or train on the CPU: PL_TRAINER_ACC"):
        try_cuda()


@pytest.mark.gpu
def test_a_gpu_that_works_passes_and_a_full_one_is_refused() -> None:
    try_cuda()
    # What the try has given back is free for others only then.
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 500_000_000, dtype=torch.uint8, device="cuda")
    with pytest.raises(UserError, match=r"^the GPU cannot be used: CUDA out of memory"):
        try_cuda()
    del taken
    torch.cuda.empty_cache()


@pytest.mark.gpu
def test_a_receipt_says_everything_about_a_gpu() -> None:
    assert torch_device("auto") == torch_device("gpu") == torch.device("cuda")
    facts = device_facts(torch_device("gpu"), tf32=True)
    assert facts["device"] == torch.cuda.get_device_name()
    assert facts["cuda"] == torch.version.cuda
    assert facts["cudnn"] == torch.backends.cudnn.version() > 90_000
    assert facts["driver"] == DRIVER_VERSION.read_text().strip()
    assert facts["fp32"] == "tf32"
    assert device_facts(torch_device("gpu"))["fp32"] == "ieee"
