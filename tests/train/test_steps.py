import pytest
import torch
from torch import Tensor

from src.train.batches import Plan
from src.train.steps import StepRunner


def plan(steps: int, batch_size: int, start: int = 0, device: str = "cpu") -> Plan:
    order = start + torch.arange(steps * batch_size, device=device).view(steps, batch_size)
    return Plan(order, torch.stack([order, -order], dim=-1), None)


class Sum:
    """Adds up (order · rate); its logits are the order plus what was added up before."""

    def __init__(self, device: str = "cpu") -> None:
        self.total = torch.zeros((), device=device)
        self.calls = 0

    def __call__(self, batch: Plan, rate: Tensor) -> Tensor:
        self.calls += 1
        logits = (batch.order + self.total)[:, None].expand(-1, 10).clone()
        self.total.add_((batch.order + batch.offsets.sum(-1)).sum() * rate)
        return logits


def run_three_chunks(device: str) -> tuple[list[list[list[float]]], int]:
    step = Sum(device)
    runner = StepRunner(step, plan(4, 3, device=device), lambda: [step.total])
    logits = []
    for steps, start in ((4, 0), (2, 100), (4, 7)):
        rates = torch.arange(1.0, steps + 1, device=device)
        logits.append(runner.run(plan(steps, 3, start, device), rates)[..., 9].tolist())
    return logits, step.calls


def test_each_batch_is_stepped_once_in_order_with_its_rate() -> None:
    logits, calls = run_three_chunks("cpu")
    total = 0
    expected: list[list[list[float]]] = []
    for steps, start in ((4, 0), (2, 100), (4, 7)):
        expected.append([])
        for number in range(steps):
            batch = [start + 3 * number + i for i in range(3)]
            expected[-1].append([float(index + total) for index in batch])
            total += sum(batch) * (number + 1)
    assert logits == expected
    assert calls == 10


@pytest.mark.gpu
def test_a_captured_graph_gives_the_same() -> None:
    (on_cpu, calls), (on_gpu, captured) = run_three_chunks("cpu"), run_three_chunks("cuda")
    assert on_gpu == on_cpu
    assert captured < calls
