import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.mnist.model.network import normalize
from src.mnist.model.shifts import shifted_views
from src.mnist.train.batches import Batches, BatchPlan
from src.mnist.train.steps import StepRunner
from tests.conftest import PARAMS, random_examples

CALLS = ((4, 0), (4, 30), (4, 7))  # steps and first image
BATCH_SIZE = 3


def network() -> nn.Module:
    linear = nn.Linear(784, 10)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Flatten(), linear)


def rates(steps: int) -> Tensor:
    return 0.001 * torch.arange(1.0, steps + 1)


def run_calls(device: str, first_layer: nn.Module | None = None) -> tuple[list[Tensor], nn.Module]:
    """Logits of each call, and the averaged network."""
    average, split = network().to(device), random_examples(50)
    model = nn.Sequential(first_layer or nn.Identity(), copy.deepcopy(average))
    images, labels = (torch.from_numpy(array).to(device) for array in (split.images, split.labels))
    views = shifted_views(images, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.zeros(()), fused=True, capturable=device == "cuda")

    def batches(steps: int, start: int) -> Batches:
        indices = start + torch.arange(steps * BATCH_SIZE, device=device).view(steps, BATCH_SIZE)
        plan = BatchPlan(indices, torch.zeros_like(indices)[..., None].expand(-1, -1, 2))
        return Batches(views, labels.long(), plan)

    params = PARAMS.model_copy(update={"ema": 0.5, "label_smoothing": 0.1})
    runner = StepRunner(model, average, optimizer, batches(*CALLS[0]), params)
    return [runner.run(batches(*call), rates(call[0]).to(device)).clone().cpu() for call in CALLS], average.cpu()


def run_plainly() -> tuple[list[Tensor], nn.Module]:
    model, average, split = network(), network(), random_examples(50)
    optimizer, seen = torch.optim.AdamW(model.parameters()), []
    for steps, start in CALLS:
        for step, rate in enumerate(rates(steps)):
            images = slice(start + step * BATCH_SIZE, start + (step + 1) * BATCH_SIZE)
            optimizer.param_groups[0]["lr"] = rate.item()
            logits = model(normalize(torch.from_numpy(split.images[images])))
            seen.append(logits.detach())
            optimizer.zero_grad()
            F.cross_entropy(logits, torch.from_numpy(split.labels[images]).long(), label_smoothing=0.1).backward()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(average.parameters(), model.parameters(), strict=True):
                    old.copy_((old + new) / 2)
    return seen, average


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_each_batch_is_stepped_once_in_order_with_its_rate(device: str) -> None:
    (logits, average), (expected, expected_average) = run_calls(device), run_plainly()
    torch.testing.assert_close(torch.cat(logits), torch.stack(expected), rtol=1e-3, atol=1e-4)
    for own, other in zip(average.parameters(), expected_average.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


class Reading(nn.Module):
    """Passes its input on, and reads it on the host, which CUDA cannot capture."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all().item()
        return x


@pytest.mark.gpu
def test_steps_that_cuda_cannot_capture_run_one_by_one() -> None:
    with pytest.warns(UserWarning, match="one by one"):
        logits, _ = run_calls("cuda", Reading())
    torch.testing.assert_close(torch.cat(logits), torch.stack(run_plainly()[0]), rtol=1e-3, atol=1e-4)
